// One block of threads at a time, its threads as fibers that take turns in a random order.
//
// A thread runs until it has to wait: at __syncthreads for the block, at an operation of its warp
// for the other lanes. Who runs next is drawn from a seeded generator, so that a missing barrier
// shows as a wrong result, the same in every run.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace emulator {

using u32 = unsigned int;

struct Dim3 {
    u32 x, y, z;
};

/// A cp.async that has not arrived.
struct Copy {
    void* shared;
    unsigned char bytes[16];
};

/// The copies of one thread, group by group.
class Copies {
  public:
    void push_back(const Copy& copy) { open_.push_back(copy); }
    void commit();
    /// Lets all but the newest groups arrive.
    void wait(size_t pending);
    /// Lets others see what has arrived, as a barrier does. The thread itself could see it before; no
    /// kernel here needs that, and so a missing barrier shows.
    void publish();
    /// Forgets all of them.
    void clear();
    /// Whether nothing is left that could arrive.
    bool done() const;

  private:
    std::vector<Copy> open_;
    std::deque<std::vector<Copy>> groups_;
    std::vector<Copy> arrived_;
};

struct Thread {
    Dim3 index;
    Copies copies;
};

struct Block {
    Dim3 index;
    Dim3 grid;
    unsigned char* shared;
    size_t shared_bytes;
};

/// The thread that runs.
Thread& thread();
/// Its block.
const Block& block();

/// Waits for all threads of the block that have not returned.
void sync_block();

/// Waits for all lanes of the warp. The last one to come calls `act` with what each has brought.
void meet(const char* what, void* brought, void (*act)(void* const (&lanes)[32]));

/// Ends the program with a message, the thread and the block, unless `holds`.
void check(bool holds, const char* problem);
/// The bytes must be shared memory, aligned to their number.
void check_shared(const void* address, size_t bytes, const char* what);

/// Notes an atomic update of an address.
void count_update(const void* address);
/// Atomic updates of the address that had most of them from one block, in all launches so far.
u32 hottest_updates();

struct Launch {
    /// Of the kernel, for messages.
    const char* name;
    Dim3 grid;
    u32 threads;
    size_t shared_bytes;
    u32 seed;
};

/// Runs every block of a grid, in a random order.
void run(const Launch& launch, const std::function<void()>& kernel);

/// Where the thread is that runs, in words; empty between launches.
std::string whereabouts();

}  // namespace emulator
