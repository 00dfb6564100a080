// A task: one unit of the device's work.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "memory.h"

namespace device {

struct Task {
    /// For messages.
    std::string name;
    /// The device memory that it uses.
    std::vector<Address> memory;
    std::function<void()> run;

    /// Refuses if any of the memory has been freed.
    void require_live_memory() const {
        for (const Address address : memory) {
            Memory::instance().require_live(address, 1, Place::DEVICE, name + ": an argument");
        }
    }
};

}  // namespace device
