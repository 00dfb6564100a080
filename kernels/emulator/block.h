// Runs one block at a time. Its threads are fibers that take turns in a random order.
//
// A thread runs until it has to wait: at __syncthreads for the block, at a warp operation for the other
// lanes. A seeded generator selects the next thread. So a missing barrier causes a wrong result, which
// is the same in every run.
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

/// A cp.async that is not complete.
struct Copy {
    void* shared;
    unsigned char bytes[16];
};

/// The copies of one thread, by group.
class Copies {
  public:
    void push_back(const Copy& copy) { open_.push_back(copy); }
    void commit();
    /// Completes all but the `pending` newest groups.
    void wait(size_t pending);
    /// Makes the completed copies visible, as a barrier does. On a GPU the copying thread sees them
    /// before the barrier. No kernel here needs that, and without it a missing barrier causes a wrong
    /// result.
    void publish();
    /// Discards all copies.
    void clear();
    /// Whether no copy is pending.
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

/// The running thread.
Thread& thread();
/// The running thread's block.
const Block& block();

/// Waits for all threads of the block that have not returned.
void sync_block();

/// Waits for all lanes of the warp. The last lane to arrive calls `act` with every lane's `brought`.
void meet(const char* what, void* brought, void (*act)(void* const (&lanes)[32]));

/// Unless `holds`, ends the program with a message that names the thread and the block.
void check(bool holds, const char* problem);
/// Checks that the bytes are in shared memory and aligned to their size.
void check_shared(const void* address, size_t bytes, const char* what);

/// Counts an atomic update of an address.
void count_update(const void* address);
/// The largest number of atomic updates of one address by one block, over all launches so far.
u32 hottest_updates();

struct Launch {
    /// The kernel's name, for messages.
    const char* name;
    Dim3 grid;
    u32 threads;
    size_t shared_bytes;
    u32 seed;
};

/// Runs every block of a grid, in a random order.
void run(const Launch& launch, const std::function<void()>& kernel);

/// Describes the running thread's kernel, block and thread index; empty between launches.
std::string whereabouts();

}  // namespace emulator
