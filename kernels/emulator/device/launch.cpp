#include "launch.h"

#include <cstring>

#include "settings.h"

namespace device {
namespace {

using emulator::Argument;
using emulator::Dim3;
using emulator::Entry;
using emulator::Parameter;

std::string words(Dim3 size) {
    return "(" + std::to_string(size.x) + ", " + std::to_string(size.y) + ", " +
           std::to_string(size.z) + ")";
}

void require_size(const Function& function, const LaunchRequest& request) {
    const Dim3 grid = request.grid, threads = request.threads;
    const std::string name = function.entry->name;
    require(grid.x >= 1 && grid.x <= 0x7fffffff && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 &&
                grid.z <= 65535,
            CUDA_ERROR_INVALID_VALUE, name + ": a grid of " + words(grid) + " blocks");
    require(threads.x == function.entry->threads && threads.y == 1 && threads.z == 1,
            CUDA_ERROR_INVALID_VALUE,
            name + ": a block of " + words(threads) + " threads, it is made for " +
                std::to_string(function.entry->threads));
    require(request.shared_bytes <= size_t(function.max_dynamic_shared_bytes),
            CUDA_ERROR_INVALID_VALUE,
            name + ": " + std::to_string(request.shared_bytes) +
                " bytes of shared memory, it may use " +
                std::to_string(function.max_dynamic_shared_bytes) + " beside its own " +
                std::to_string(function.static_shared_bytes));
}

/// Copies an argument from the caller's memory, as a launch does.
Argument read(const Parameter& parameter, const void* from) {
    Argument argument = {parameter.is_pointer, {}, nullptr};
    if (parameter.is_pointer) {
        std::memcpy(&argument.memory, from, sizeof argument.memory);
    } else {
        const auto* bytes = static_cast<const unsigned char*>(from);
        argument.number.assign(bytes, bytes + parameter.bytes);
    }
    return argument;
}

/// Each launch has its own order of threads, which is the same in every run.
emulator::u32 next_seed() {
    static emulator::u32 seed = 0;
    return seed += 1;
}

}  // namespace

Task launch(Function& function, const LaunchRequest& request) {
    const Entry& entry = *function.entry;
    require_size(function, request);
    Task task = {entry.name, {}, {}};
    std::vector<Argument> arguments;
    for (size_t i = 0; i < entry.parameters.size(); ++i) {
        const Parameter& parameter = entry.parameters[i];
        arguments.push_back(read(parameter, request.arguments[i]));
        const auto address = reinterpret_cast<Address>(arguments.back().memory);
        // A null pointer is allowed: it means that there is no such array.
        if (!parameter.is_pointer || address == 0) {
            continue;
        }
        require(address % parameter.alignment == 0, CUDA_ERROR_MISALIGNED_ADDRESS,
                task.name + ": argument " + std::to_string(i) + " is not aligned to " +
                    std::to_string(parameter.alignment) + " bytes");
        task.memory.push_back(address);
    }
    const auto kernel = entry.bind(arguments);
    if (entry.runs == emulator::Runs::ONCE) {
        task.run = kernel;
        return task;
    }
    const emulator::Launch size = {entry.name, request.grid, request.threads.x,
                                   request.shared_bytes, next_seed()};
    task.run = [size, kernel] { emulator::run(size, kernel); };
    return task;
}

}  // namespace device
