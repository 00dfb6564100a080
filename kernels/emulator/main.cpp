// Runs one launch. Reads the launch from standard input and writes the resulting memory to standard
// output. All numbers are little-endian.
//
// in:  u32 length of a name, the name; grid x, y, z; threads; shared bytes; seed; number of arguments
//      (u32 each); then each argument: u32 kind (0 number, 1 memory, 2 null), u32 bytes, the bytes.
// out: the bytes of each memory argument, in order; then u32: the largest number of atomic updates of
//      one address by one block.
//
// Every memory argument is an allocation of exactly its size, aligned to 256 bytes as with cudaMalloc,
// so that the sanitizer detects an access to the first byte past it.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "block.h"
#include "entry.h"

namespace {

using emulator::Argument;
using emulator::Entry;
using emulator::u32;

struct Memory {
    void* bytes;
    size_t size;
};

[[noreturn]] void fail(const std::string& problem) {
    std::fprintf(stderr, "%s\n", problem.c_str());
    std::_Exit(1);
}

void read(void* to, size_t bytes) {
    if (std::fread(to, 1, bytes, stdin) != bytes) {
        fail("the launch ends early");
    }
}

u32 read_number() {
    u32 number;
    read(&number, sizeof number);
    return number;
}

Memory read_memory(size_t size) {
    void* bytes = nullptr;
    if (posix_memalign(&bytes, 256, size) != 0) {
        fail("no memory for an argument");
    }
    read(bytes, size);
    return {bytes, size};
}

const Entry& find_entry(const std::string& name) {
    for (const Entry* entry : Entry::all()) {
        if (entry->name == name) {
            return *entry;
        }
    }
    fail("there is no entry point " + name);
}

}  // namespace

/// The detection of use after return does not support the manual stack switches. The detection of
/// container overflow needs sanitizers in all code, but only the kernels are compiled with them.
/// Allocations live as long as the program, so leaks are not detected.
extern "C" const char* __asan_default_options() {
    return "detect_stack_use_after_return=0:detect_container_overflow=0:detect_leaks=0";
}

int main() {
    std::string name(read_number(), ' ');
    read(&name[0], name.size());
    const Entry& entry = find_entry(name);

    emulator::Launch launch;
    launch.name = entry.name;
    launch.grid.x = read_number();
    launch.grid.y = read_number();
    launch.grid.z = read_number();
    launch.threads = read_number();
    launch.shared_bytes = read_number();
    launch.seed = read_number();
    if (launch.threads != entry.threads) {
        fail(name + " is launched with " + std::to_string(entry.threads) + " threads, not with " +
             std::to_string(launch.threads));
    }

    std::vector<Argument> arguments(read_number());
    std::vector<Memory> memories;
    for (Argument& argument : arguments) {
        const u32 kind = read_number(), bytes = read_number();
        argument.is_pointer = kind != 0;
        argument.memory = nullptr;
        if (kind == 1) {
            memories.push_back(read_memory(bytes));
            argument.memory = memories.back().bytes;
        } else {
            argument.number.resize(bytes);
            read(argument.number.data(), bytes);
        }
    }
    if (arguments.size() != entry.parameters.size()) {
        fail(name + " has " + std::to_string(entry.parameters.size()) + " parameters");
    }
    const auto kernel = entry.bind(arguments);
    if (!kernel) {
        fail(name + ": an argument doesn't fit its parameter");
    }

    emulator::run(launch, kernel);
    for (const Memory& memory : memories) {
        std::fwrite(memory.bytes, 1, memory.size, stdout);
    }
    const u32 hottest_updates = emulator::hottest_updates();
    std::fwrite(&hottest_updates, sizeof hottest_updates, 1, stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
}
