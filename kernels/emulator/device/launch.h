// Kernel launches, with the checks of a device and more.
#pragma once

#include "../block.h"
#include "module.h"
#include "task.h"

namespace device {

struct LaunchRequest {
    emulator::Dim3 grid;
    emulator::Dim3 threads;
    size_t shared_bytes;
    /// A pointer to each argument.
    void** arguments;
};

/// The task of a launch. Refuses grid dimensions, block sizes and shared memory sizes that a device
/// would refuse, and invalid pointers.
Task launch(Function& function, const LaunchRequest& request);

}  // namespace device
