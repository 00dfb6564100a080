// libcuda: the driver with one device and one context. This file and the other driver_*.cpp implement
// only the functions that candle, cudarc and crates/ops call. Every other function returns an error.
#include <cuda.h>

#include <cstdio>
#include <cstring>

#include "context.h"
#include "fault.h"
#include "memory.h"
#include "settings.h"
#include "stream.h"

using namespace device;

namespace device {
namespace {

constexpr CUdevice DEVICE = 0;
constexpr int DRIVER_VERSION = 13000;
constexpr char NAME[] = "emulated on the CPU";

struct ErrorName {
    CUresult code;
    const char* name;
};

#define NAMED(code) {code, #code}
constexpr ErrorName ERROR_NAMES[] = {
    NAMED(CUDA_SUCCESS),
    NAMED(CUDA_ERROR_INVALID_VALUE),
    NAMED(CUDA_ERROR_OUT_OF_MEMORY),
    NAMED(CUDA_ERROR_INVALID_DEVICE),
    NAMED(CUDA_ERROR_INVALID_CONTEXT),
    NAMED(CUDA_ERROR_INVALID_HANDLE),
    NAMED(CUDA_ERROR_ILLEGAL_STATE),
    NAMED(CUDA_ERROR_NOT_FOUND),
    NAMED(CUDA_ERROR_NOT_READY),
    NAMED(CUDA_ERROR_ILLEGAL_ADDRESS),
    NAMED(CUDA_ERROR_MISALIGNED_ADDRESS),
    NAMED(CUDA_ERROR_NOT_SUPPORTED),
    NAMED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
    NAMED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
    NAMED(CUDA_ERROR_CAPTURED_EVENT),
};
#undef NAMED

int attribute(CUdevice_attribute attribute) {
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return 9;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return 0;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        return 1;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return Settings::MULTIPROCESSORS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return Settings::MAX_SHARED_BYTES;
    default:
        throw Refusal{CUDA_ERROR_INVALID_VALUE,
                      "attribute " + std::to_string(attribute) + " of the device is not emulated"};
    }
}

void require_device(CUdevice number) {
    require(number == DEVICE, CUDA_ERROR_INVALID_DEVICE, "there is one device, number 0");
}

}  // namespace

CUcontext context() {
    static char only;
    return reinterpret_cast<CUcontext>(&only);
}

CUcontext& current_context() {
    thread_local CUcontext current = nullptr;
    return current;
}

}  // namespace device

extern "C" {

CUresult cuInit(unsigned int flags) {
    return call("cuInit", [&] {
        require(flags == 0, CUDA_ERROR_INVALID_VALUE, "flags must be 0");
        tell_of_faults();
    });
}

CUresult cuDriverGetVersion(int* version) {
    *version = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
    for (const ErrorName& known : ERROR_NAMES) {
        if (known.code == error) {
            *name = known.name;
            return CUDA_SUCCESS;
        }
    }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

CUresult cuDeviceGetCount(int* count) {
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* number, int ordinal) {
    return call("cuDeviceGet", [&] {
        require_device(ordinal);
        *number = DEVICE;
    });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice number) {
    return call("cuDeviceGetName", [&] {
        require_device(number);
        std::snprintf(name, size_t(length), "%s", NAME);
    });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute of, CUdevice number) {
    return call("cuDeviceGetAttribute", [&] {
        require_device(number);
        *value = attribute(of);
    });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice number) {
    return call("cuDeviceGetDefaultMemPool", [&] {
        require_device(number);
        *pool = reinterpret_cast<CUmemoryPool>(&Memory::instance());
    });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* retained, CUdevice number) {
    return call("cuDevicePrimaryCtxRetain", [&] {
        require_device(number);
        *retained = context();
    });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice number) {
    return call("cuDevicePrimaryCtxRelease", [&] { require_device(number); });
}

CUresult cuCtxGetCurrent(CUcontext* current) {
    *current = current_context();
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext wanted) {
    return call("cuCtxSetCurrent", [&] {
        require(wanted == nullptr || wanted == context(), CUDA_ERROR_INVALID_CONTEXT,
                "there is no such context");
        current_context() = wanted;
    });
}

CUresult cuCtxSynchronize() {
    return call_in_context("cuCtxSynchronize", [] {
        Stream::refuse_in_capture("a wait for the device");
        Stream::run_all();
    });
}

}  // extern "C"
