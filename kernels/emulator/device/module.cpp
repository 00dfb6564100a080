#include "module.h"

#include "settings.h"
#include "stream.h"

namespace device {
namespace {

struct SharedBytes {
    const char* name;
    int bytes;
};

/// Static shared memory of each kernel as reported by ptxas, the maximum over all architectures. The
/// build generates it.
constexpr SharedBytes STATIC_SHARED_BYTES[] = {
#include "static_shared_bytes.inc"
    {nullptr, 0}};

int static_shared_bytes(const std::string& name) {
    for (const SharedBytes& known : STATIC_SHARED_BYTES) {
        if (known.name != nullptr && name == known.name) {
            return known.bytes;
        }
    }
    return 0;
}

}  // namespace

Handles<Function>& Function::all() {
    static auto& functions = *new Handles<Function>("function");
    return functions;
}

Handles<Module>& Module::all() {
    static auto& modules = *new Handles<Module>("module");
    return modules;
}

Module::~Module() {
    for (const auto& function : functions_) {
        Function::all().remove(function.second);
    }
}

CUfunction Module::function(const std::string& name) {
    const auto known = functions_.find(name);
    if (known != functions_.end()) {
        return known->second;
    }
    Stream::refuse_in_capture("function " + name + " is looked up for the first time");
    for (const emulator::Entry* entry : emulator::Entry::all()) {
        if (name == entry->name) {
            const int own = static_shared_bytes(name);
            const auto function = std::make_shared<Function>(
                Function{entry, own, Settings::DEFAULT_SHARED_BYTES - own, false});
            return functions_[name] = Function::all().add<CUfunction>(function);
        }
    }
    throw Refusal{CUDA_ERROR_NOT_FOUND,
                  "there is no kernel " + name + " here: candle's are in candle.cpp"};
}

}  // namespace device
