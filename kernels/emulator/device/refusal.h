// Refused calls: the caller gets the error code that a device would return. The reason, which a real
// device does not report, goes to standard error.
#pragma once

#include <cuda.h>

#include <cstdio>
#include <mutex>
#include <string>

namespace device {

struct Refusal {
    CUresult code;
    std::string why;
};

/// The lock that every call holds: the device executes one call at a time.
inline std::recursive_mutex& lock() {
    static auto& mutex = *new std::recursive_mutex;
    return mutex;
}

/// Prints what is wrong to standard error.
inline void say(const char* function, const std::string& why) {
    std::fprintf(stderr, "emulated device: %s: %s\n", function, why.c_str());
}

/// Runs the body of a driver function.
template <typename Body> CUresult call(const char* function, Body body) {
    const std::lock_guard<std::recursive_mutex> guard(lock());
    try {
        body();
        return CUDA_SUCCESS;
    } catch (const Refusal& refusal) {
        say(function, refusal.why);
        return refusal.code;
    }
}

/// Refuses the call unless `holds`.
inline void require(bool holds, CUresult code, const std::string& why) {
    if (!holds) {
        throw Refusal{code, why};
    }
}

}  // namespace device
