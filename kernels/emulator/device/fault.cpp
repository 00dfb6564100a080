#include "fault.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "../block.h"
#include "memory.h"

namespace device {
namespace {

struct sigaction before_segv, before_bus, before_ill;

struct sigaction& before(int signal) {
    return signal == SIGSEGV ? before_segv : signal == SIGBUS ? before_bus : before_ill;
}

/// The program ends here, so that what a handler may not call does no harm.
void tell(int signal, siginfo_t* info, void*) {
    const std::string kernel = emulator::whereabouts();
    const auto address = reinterpret_cast<Address>(info->si_addr);
    const bool is_ours = Memory::instance().is_within_arena(address);
    if (kernel.empty() && !is_ours) {
        // Somebody else's: it comes again when this returns.
        sigaction(signal, &before(signal), nullptr);
        return;
    }
    const std::string where =
        signal == SIGILL ? "does what C++ leaves undefined, such as a misaligned access"
        : is_ours ? "touches " + Memory::instance().describe(address)
                  : "touches address " + std::to_string(address) + ", or one that is misaligned";
    std::fprintf(stderr, "emulated device: %s: %s\n", kernel.empty() ? "no kernel" : kernel.c_str(),
                 where.c_str());
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
