// The one device's one context, and the threads that have made it current.
#pragma once

#include <cuda.h>

#include "refusal.h"

namespace device {

/// The context; handles of it are its address.
CUcontext context();

/// What the calling thread has made current; null where nothing is.
CUcontext& current_context();

/// Runs the body of a driver function that works in the current context.
template <typename Body> CUresult call_in_context(const char* function, Body body) {
    return call(function, [&] {
        require(current_context() != nullptr, CUDA_ERROR_INVALID_CONTEXT,
                "this thread has made no context current");
        body();
    });
}

}  // namespace device
