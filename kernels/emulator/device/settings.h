// Settings of the emulated device, from environment variables.
//
//   FARTHING_EMULATED_DEVICE   eager: work is executed when it is submitted (the default); late: as late
//                              as a device may, when the program waits for it
//   FARTHING_EMULATED_MEMORY_MIB   the device's memory; 2048 by default
#pragma once

#include <cstddef>

namespace device {

struct Settings {
    static const Settings& instance();

    bool is_late;
    size_t memory_bytes;

    /// Few, so that a launch has few blocks to emulate, but enough to split contexts.
    static constexpr int MULTIPROCESSORS = 8;
    /// Hopper's limit, in bytes per block.
    static constexpr int MAX_SHARED_BYTES = 232448;
    /// The limit of a function whose limit has not been raised, in bytes per block.
    static constexpr int DEFAULT_SHARED_BYTES = 49152;
};

}  // namespace device
