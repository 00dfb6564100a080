// Fibers: execution contexts with explicit switches.
#pragma once

#include <memory>


namespace emulator {

class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(Fiber&&) noexcept;

    /// Prepares this fiber to run `main` from the beginning on its own stack.
    void start(void (*main)());

  private:
    friend void switch_fiber(Fiber& from, Fiber& to);
    struct State;
    std::unique_ptr<State> state_;
};

/// Suspends the running fiber `from` and resumes `to`.
void switch_fiber(Fiber& from, Fiber& to);

}  // namespace emulator
