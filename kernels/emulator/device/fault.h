// Faults of kernels, told with the kernel and the memory that they meant.
#pragma once

namespace device {

/// From now on a fault says where it is before the program ends.
void tell_of_faults();

}  // namespace device
