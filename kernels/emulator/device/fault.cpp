#include "fault.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "../block.h"
#include "memory.h"

namespace device {
namespace {

struct sigaction before_segv, before_bus, before_ill;

struct sigaction& before(int signal) {
    return signal == SIGSEGV ? before_segv : signal == SIGBUS ? before_bus : before_ill;
}

/// Calls functions that are not async-signal-safe. That is acceptable because the program ends here.
void tell(int signal, siginfo_t* info, void*) {
    const std::string kernel = emulator::whereabouts();
    const auto address = reinterpret_cast<Address>(info->si_addr);
    const bool is_ours = Memory::instance().is_within_arena(address);
    if (kernel.empty() && !is_ours) {
        // Not a fault of a kernel: with the previous handler restored, it occurs again after the return.
        sigaction(signal, &before(signal), nullptr);
        return;
    }
    const std::string where =
        signal == SIGILL ? "does what C++ leaves undefined, such as a misaligned access"
        : is_ours        ? "touches " + Memory::instance().describe(address)
        : address != 0   ? "touches address " + std::to_string(address)
                         : "touches address 0, or one that is misaligned or beyond all memory";
    // Not printf, which needs more stack than a signal handler has.
    const std::string line =
        "emulated device: " + (kernel.empty() ? "no kernel" : kernel) + ": " + where + "\n";
    const auto written = write(STDERR_FILENO, line.data(), line.size());
    static_cast<void>(written);
    std::_Exit(1);
}

}  // namespace

void tell_of_faults() {
    static bool tells = false;
    if (tells) {
        return;
    }
    tells = true;
    struct sigaction action = {};
    action.sa_sigaction = tell;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL}) {
        sigaction(signal, &action, &before(signal));
    }
}

}  // namespace device
