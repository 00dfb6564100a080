// Reports a kernel's memory fault with the kernel and the memory that it accessed.
#pragma once

namespace device {

/// Installs the handlers. From then on, a fault is reported before the program ends.
void tell_of_faults();

}  // namespace device
