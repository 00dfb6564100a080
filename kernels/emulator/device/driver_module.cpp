// libcuda: modules, functions and launches.
#include <cuda.h>

#include "context.h"
#include "launch.h"
#include "module.h"
#include "settings.h"
#include "stream.h"

using namespace device;

extern "C" {

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    return call_in_context("cuModuleLoadData", [&] {
        Stream::refuse_in_capture("a module is loaded");
        require(image != nullptr, CUDA_ERROR_INVALID_VALUE, "there is no image");
        *module = Module::all().add<CUmodule>(std::make_shared<Module>());
    });
}

CUresult cuModuleUnload(CUmodule module) {
    return call_in_context("cuModuleUnload", [&] {
        Stream::refuse_in_capture("a module is unloaded");
        Stream::run_all();
        Module::all().remove(module);
    });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    return call_in_context("cuModuleGetFunction",
                           [&] { *function = Module::all().get(module)->function(name); });
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
    return call("cuFuncGetAttribute", [&] {
        require(attribute == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, CUDA_ERROR_INVALID_VALUE,
                "this attribute of a function is not emulated");
        *value = Function::all().get(handle)->static_shared_bytes;
    });
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    return call("cuFuncSetAttribute", [&] {
        require(attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                CUDA_ERROR_INVALID_VALUE, "this attribute of a function is not emulated");
        const auto function = Function::all().get(handle);
        const int most = Settings::MAX_SHARED_BYTES - function->static_shared_bytes;
        require(value >= 0 && value <= most, CUDA_ERROR_INVALID_VALUE,
                std::to_string(value) + " bytes of shared memory, a block has " +
                    std::to_string(most));
        function->max_dynamic_shared_bytes = value;
    });
}

CUresult cuLaunchKernel(CUfunction handle, unsigned int grid_x, unsigned int grid_y,
                        unsigned int grid_z, unsigned int threads_x, unsigned int threads_y,
                        unsigned int threads_z, unsigned int shared_bytes, CUstream stream_handle,
                        void** arguments, void** extra) {
    return call_in_context("cuLaunchKernel", [&] {
        const auto function = Function::all().get(handle);
        const auto stream = Stream::of(stream_handle);
        require(extra == nullptr, CUDA_ERROR_NOT_SUPPORTED,
                "arguments in one buffer are not emulated");
        Task task = launch(
            *function,
            {{grid_x, grid_y, grid_z}, {threads_x, threads_y, threads_z}, shared_bytes, arguments});
        if (!function->was_launched) {
            Stream::refuse_in_capture(task.name + " is launched for the first time");
        }
        function->was_launched = true;
        stream->submit(std::move(task));
    });
}

}  // extern "C"
