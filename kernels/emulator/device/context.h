// The context of the only device, and the threads on which it is current.
#pragma once

#include <cuda.h>

#include "refusal.h"

namespace device {

/// The context. Its address is its handle.
CUcontext context();

/// The calling thread's current context, or null.
CUcontext& current_context();

/// Runs the body of a driver function that needs a current context.
template <typename Body> CUresult call_in_context(const char* function, Body body) {
    return call(function, [&] {
        require(current_context() != nullptr, CUDA_ERROR_INVALID_CONTEXT,
                "this thread has made no context current");
        body();
    });
}

}  // namespace device
