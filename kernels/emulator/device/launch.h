// A kernel's launch: what a device would check of it, and more.
#pragma once

#include "../block.h"
#include "module.h"
#include "task.h"

namespace device {

struct LaunchRequest {
    emulator::Dim3 grid;
    emulator::Dim3 threads;
    size_t shared_bytes;
    /// Where each argument lies.
    void** arguments;
};

/// The work of a launch. Refuses a grid, a block or shared memory that a device would refuse, and
/// pointers that lead nowhere.
Task launch(Function& function, const LaunchRequest& request);

}  // namespace device
