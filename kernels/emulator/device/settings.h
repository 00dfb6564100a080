// What the emulated device is like, by environment variables.
//
//   FARTHING_EMULATED_DEVICE   eager: work is done as it is submitted (the default); late: as late
//                              as a device may, when somebody waits for it
//   FARTHING_EMULATED_MEMORY_MIB   the device's memory; 2048 by default
#pragma once

#include <cstddef>

namespace device {

struct Settings {
    static const Settings& instance();

    bool is_late;
    size_t memory_bytes;

    /// Few, so that a launch has few blocks to emulate; enough to split contexts.
    static constexpr int MULTIPROCESSORS = 8;
    /// A Hopper's, in bytes a block.
    static constexpr int MAX_SHARED_BYTES = 232448;
    /// Without leave to use more.
    static constexpr int DEFAULT_SHARED_BYTES = 49152;
};

}  // namespace device
