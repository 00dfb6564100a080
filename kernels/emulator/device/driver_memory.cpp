// libcuda: memory and copies.
//
// A copy from pageable host memory reads the memory during the call. A copy from page-locked memory
// reads it when the device executes the copy. A copy to pageable memory waits for the device; a copy
// to page-locked memory does not.
#include <cuda.h>

#include <cstring>
#include <memory>
#include <vector>

#include "context.h"
#include "memory.h"
#include "stream.h"

using namespace device;

namespace {

void require_device_memory(CUdeviceptr address, size_t bytes, const char* what) {
    if (bytes > 0) {
        Memory::instance().require_live(Address(address), bytes, Place::DEVICE, what);
    }
}

bool is_page_locked(const void* host, size_t bytes) {
    const auto address = reinterpret_cast<Address>(host);
    if (Memory::instance().find(address) == nullptr) {
        return false;
    }
    Memory::instance().require_live(address, bytes, Place::HOST, "the host's side of the copy");
    return true;
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(Address(address)); }

void copy_to_device(CUdeviceptr to, const void* from, size_t bytes, Stream& stream) {
    Stream::refuse_in_capture("a copy from the host");
    require_device_memory(to, bytes, "where the copy goes");
    if (bytes == 0) {
        return;
    }
    if (is_page_locked(from, bytes)) {
        stream.submit({"a copy from page-locked memory", {Address(to)}, [=] {
                           std::memcpy(pointer(to), from, bytes);
                       }});
        return;
    }
    const auto* source = static_cast<const unsigned char*>(from);
    const auto staged = std::make_shared<std::vector<unsigned char>>(source, source + bytes);
    stream.submit({"a copy from the host", {Address(to)}, [=] {
                       std::memcpy(pointer(to), staged->data(), bytes);
                   }});
}

void copy_to_host(void* to, CUdeviceptr from, size_t bytes, Stream& stream) {
    Stream::refuse_in_capture("a copy to the host");
    require_device_memory(from, bytes, "where the copy comes from");
    if (bytes == 0) {
        return;
    }
    const bool waits = !is_page_locked(to, bytes);
    stream.submit(
        {"a copy to the host", {Address(from)}, [=] { std::memcpy(to, pointer(from), bytes); }});
    if (waits) {
        stream.run();
    }
}

}  // namespace

extern "C" {

CUresult cuMemGetInfo(size_t* free, size_t* total) {
    return call_in_context("cuMemGetInfo", [&] {
        *free = Memory::instance().free_bytes();
        *total = Memory::instance().total_bytes();
    });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void*) {
    return call("cuMemPoolSetAttribute", [&] {
        require(attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, CUDA_ERROR_INVALID_VALUE,
                "this attribute of the pool is not emulated");
    });
}

CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) {
    return call("cuMemPoolTrimTo", [] { Stream::refuse_in_capture("memory is given back"); });
}

CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
    return call_in_context("cuMemAlloc", [&] {
        Stream::refuse_in_capture("an allocation");
        require(bytes > 0, CUDA_ERROR_INVALID_VALUE, "no bytes are wanted");
        *address = Memory::instance().allocate(bytes, Place::DEVICE);
    });
}

CUresult cuMemFree(CUdeviceptr address) {
    return call_in_context("cuMemFree", [&] {
        Stream::refuse_in_capture("memory is freed");
        if (address != 0) {
            Stream::run_all();
            Memory::instance().free(Address(address), Place::DEVICE);
            Memory::instance().unmap(Address(address));
        }
    });
}

// During a capture, a real device records the allocation, and the graph owns the memory. The program
// must not do that.
CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream handle) {
    return call_in_context("cuMemAllocAsync", [&] {
        Stream::refuse_in_capture("an allocation");
        Stream::of(handle);
        *address = bytes == 0 ? 0 : Memory::instance().allocate(bytes, Place::DEVICE);
    });
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    return call_in_context("cuMemFreeAsync", [&] {
        Stream::refuse_in_capture("memory is freed");
        const auto stream = Stream::of(handle);
        if (address == 0) {
            return;
        }
        Memory::instance().free(Address(address), Place::DEVICE);
        stream->submit_outside_graph(
            {"memory is freed", {}, [=] { Memory::instance().unmap(Address(address)); }});
    });
}

CUresult cuMemHostAlloc(void** host, size_t bytes, unsigned int) {
    return call_in_context("cuMemHostAlloc", [&] {
        Stream::refuse_in_capture("an allocation of page-locked memory");
        require(bytes > 0, CUDA_ERROR_INVALID_VALUE, "no bytes are wanted");
        *host = reinterpret_cast<void*>(Memory::instance().allocate(bytes, Place::HOST));
    });
}

CUresult cuMemFreeHost(void* host) {
    return call_in_context("cuMemFreeHost", [&] {
        Stream::refuse_in_capture("page-locked memory is freed");
        Stream::run_all();
        Memory::instance().free(reinterpret_cast<Address>(host), Place::HOST);
        Memory::instance().unmap(reinterpret_cast<Address>(host));
    });
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
    return call_in_context("cuMemcpyHtoD", [&] {
        const auto stream = Stream::of(nullptr);
        copy_to_device(to, from, bytes, *stream);
        stream->run();
    });
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
    return call_in_context("cuMemcpyDtoH", [&] {
        const auto stream = Stream::of(nullptr);
        copy_to_host(to, from, bytes, *stream);
        stream->run();
    });
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    return call_in_context("cuMemcpyHtoDAsync",
                           [&] { copy_to_device(to, from, bytes, *Stream::of(stream)); });
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D* copy, CUstream stream) {
    return call_in_context("cuMemcpy2DAsync", [&] {
        const CUDA_MEMCPY2D it = *copy;
        require(it.srcMemoryType == CU_MEMORYTYPE_HOST && it.dstMemoryType == CU_MEMORYTYPE_DEVICE &&
                    it.srcXInBytes == 0 && it.srcY == 0 && it.dstXInBytes == 0 && it.dstY == 0,
                CUDA_ERROR_NOT_SUPPORTED, "another copy of rows than from host to device is not emulated");
        require(it.WidthInBytes <= it.srcPitch && it.WidthInBytes <= it.dstPitch,
                CUDA_ERROR_INVALID_VALUE, "rows are longer than the pitch");
        // The device reads all rows when it executes the copy, also those of a page-locked source.
        const auto* from = static_cast<const unsigned char*>(it.srcHost);
        for (size_t row = 0; row < it.Height; ++row) {
            copy_to_device(it.dstDevice + row * it.dstPitch, from + row * it.srcPitch, it.WidthInBytes,
                           *Stream::of(stream));
        }
    });
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return call_in_context("cuMemcpyDtoHAsync",
                           [&] { copy_to_host(to, from, bytes, *Stream::of(stream)); });
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return call_in_context("cuMemcpyDtoDAsync", [&] {
        require_device_memory(to, bytes, "where the copy goes");
        require_device_memory(from, bytes, "where the copy comes from");
        if (bytes > 0) {
            Stream::of(stream)->submit({"a copy on the device", {Address(to), Address(from)}, [=] {
                                            std::memmove(pointer(to), pointer(from), bytes);
                                        }});
        }
    });
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    return call_in_context("cuMemsetD8Async", [&] {
        require_device_memory(to, bytes, "what is set");
        if (bytes > 0) {
            Stream::of(stream)->submit(
                {"memory is set", {Address(to)}, [=] { std::memset(pointer(to), value, bytes); }});
        }
    });
}

}  // extern "C"
