// Flows of control that switch by hand.
#pragma once

#include <memory>


namespace emulator {

class Fiber {
  public:
    Fiber();
    ~Fiber();
    Fiber(Fiber&&) noexcept;

    /// Prepares to run `main` from its beginning, on this fiber's own stack.
    void start(void (*main)());

  private:
    friend void switch_fiber(Fiber& from, Fiber& to);
    struct State;
    std::unique_ptr<State> state_;
};

/// Leaves `from`, which is running, and goes on with `to`.
void switch_fiber(Fiber& from, Fiber& to);

}  // namespace emulator
