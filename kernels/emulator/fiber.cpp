#include "fiber.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#if defined(__x86_64__) && defined(__ELF__)
#define SWITCHES_BY_ITSELF
#else
#include <ucontext.h>
#endif

namespace emulator {
namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr size_t GUARD_BYTES = 16 * 1024;
/// Stacks begin at different offsets in their pages, so that they do not compete for the same cache
/// lines.
constexpr size_t COLOURS = 64;
constexpr size_t COLOUR_BYTES = 1024;

/// The offset of the next stack from the end of its memory.
size_t next_offset() {
    static size_t stacks = 0;
    return stacks++ % COLOURS * COLOUR_BYTES;
}

/// A stack with a guard page at its end, so that an overflow faults.
unsigned char* new_stack() {
    void* stack = mmap(
        nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
        0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE) != 0) {
        std::fprintf(stderr, "no memory for the stack of a fiber\n");
        std::_Exit(1);
    }
    return static_cast<unsigned char*>(stack);
}

}  // namespace

#ifdef SWITCHES_BY_ITSELF

struct Fiber::State {
    void* stack_pointer = nullptr;
    unsigned char* stack = nullptr;
    size_t offset = next_offset();
};

// Saves the callee-saved registers of the System V ABI and switches the stacks.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
    .text
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, .-emulator_switch
)");

void Fiber::start(void (*main)()) {
    if (state_->stack == nullptr) {
        state_->stack = new_stack();
    }
    auto** top = reinterpret_cast<void**>(state_->stack + STACK_BYTES - state_->offset);
    // A return address for `main` aligns the stack as after a call. `main` never returns.
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(main);
    for (int saved = 0; saved < 6; ++saved) {
        *--top = nullptr;
    }
    state_->stack_pointer = top;
}

void switch_fiber(Fiber& from, Fiber& to) {
    emulator_switch(&from.state_->stack_pointer, to.state_->stack_pointer);
}

#else

struct Fiber::State {
    ucontext_t context;
    unsigned char* stack = nullptr;
};

void Fiber::start(void (*main)()) {
    if (state_->stack == nullptr) {
        state_->stack = new_stack();
    }
    getcontext(&state_->context);
    state_->context.uc_stack.ss_sp = state_->stack;
    state_->context.uc_stack.ss_size = STACK_BYTES;
    state_->context.uc_link = nullptr;
    makecontext(&state_->context, main, 0);
}

void switch_fiber(Fiber& from, Fiber& to) {
    swapcontext(&from.state_->context, &to.state_->context);
}

#endif

Fiber::Fiber() : state_(std::make_unique<State>()) {}
Fiber::Fiber(Fiber&&) noexcept = default;
Fiber::~Fiber() {
    if (state_ != nullptr && state_->stack != nullptr) {
        munmap(state_->stack, STACK_BYTES);
    }
}

}  // namespace emulator
