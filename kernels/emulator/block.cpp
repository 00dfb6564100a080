#include "block.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>

#include "fiber.h"

namespace emulator {
namespace {

constexpr u32 WARP_SIZE = 32;
constexpr u32 MAX_THREADS = 1024;

/// The lanes that have arrived at an operation of their warp.
struct Meeting {
    const char* what = nullptr;
    u32 arrived = 0;
    void* brought[WARP_SIZE] = {};
};

struct Running {
    /// The kernel's name; null between launches.
    const char* name = nullptr;
    Block block = {};
    u32 threads = 0;
    u32 current = 0;
    std::vector<Thread> thread;
    std::vector<Fiber> fibers;
    std::vector<Meeting> meetings;
    std::vector<u32> runnable;
    u32 at_barrier = 0;
    u32 returned = 0;
    std::vector<u32> waiting_at_barrier;
    std::unordered_map<const void*, u32> updates;
    u32 hottest_updates = 0;
    std::minstd_rand random;
    const std::function<void()>* kernel = nullptr;
    Fiber scheduler;
};

Running the_running;

Running& running() { return the_running; }

void release_barrier_if_all_wait() {
    Running& r = running();
    if (r.at_barrier > 0 && r.at_barrier + r.returned == r.threads) {
        r.runnable.insert(
            r.runnable.end(), r.waiting_at_barrier.begin(), r.waiting_at_barrier.end());
        r.waiting_at_barrier.clear();
        r.at_barrier = 0;
    }
}

/// Switches to the next thread. Returns when it is this thread's turn again.
void yield() {
    Running& r = running();
    const u32 own = r.current;
    switch_fiber(r.fibers[own], r.scheduler);
    r.current = own;
}

void thread_main() {
    Running& r = running();
    (*r.kernel)();
    check(r.thread[r.current].copies.done(), "returns before its cp.async have been waited for");
    r.returned += 1;
    release_barrier_if_all_wait();
    switch_fiber(r.fibers[r.current], r.scheduler);
}

void tell_deadlock() {
    Running& r = running();
    for (const Meeting& meeting : r.meetings) {
        if (meeting.arrived > 0) {
            r.current = u32(&meeting - r.meetings.data()) * WARP_SIZE;
            std::fprintf(stderr, "%u lanes of the warp wait at %s, ", meeting.arrived, meeting.what);
            check(false, "which the others never come to");
        }
    }
    r.current = r.waiting_at_barrier.empty() ? 0 : r.waiting_at_barrier[0];
    check(false, "waits at __syncthreads for threads that never come");
}

void run_block(Dim3 index) {
    Running& r = running();
    r.block.index = index;
    // Every block gets its own allocation, so that the sanitizer detects accesses past its end. The
    // memory is not zeroed, because a GPU does not clear shared memory either.
    void* memory = nullptr;
    check(posix_memalign(&memory, 128, r.block.shared_bytes) == 0, "has no memory to share");
    const std::unique_ptr<void, decltype(&std::free)> shared(memory, std::free);
    std::memset(memory, 0xff, r.block.shared_bytes);
    r.block.shared = static_cast<unsigned char*>(memory);

    r.returned = 0;
    r.updates.clear();
    r.runnable.clear();
    for (u32 i = 0; i < r.threads; ++i) {
        r.thread[i].index = {i, 0, 0};
        r.thread[i].copies.clear();
        r.fibers[i].start(thread_main);
        r.runnable.push_back(i);
    }
    while (r.returned < r.threads) {
        if (r.runnable.empty()) {
            tell_deadlock();
        }
        const u32 next = r.random() % r.runnable.size();
        std::swap(r.runnable[next], r.runnable.back());
        r.current = r.runnable.back();
        r.runnable.pop_back();
        switch_fiber(r.scheduler, r.fibers[r.current]);
    }
}

}  // namespace

void Copies::commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
}

void Copies::wait(size_t pending) {
    while (groups_.size() > pending) {
        arrived_.insert(arrived_.end(), groups_.front().begin(), groups_.front().end());
        groups_.pop_front();
    }
}

void Copies::publish() {
    for (const Copy& copy : arrived_) {
        std::memcpy(copy.shared, copy.bytes, sizeof copy.bytes);
    }
    arrived_.clear();
}

void Copies::clear() {
    open_.clear();
    groups_.clear();
    arrived_.clear();
}

bool Copies::done() const {
    const auto is_empty = [](const std::vector<Copy>& group) { return group.empty(); };
    return open_.empty() && std::all_of(groups_.begin(), groups_.end(), is_empty);
}

Thread& thread() { return running().thread[running().current]; }

const Block& block() { return running().block; }

void sync_block() {
    Running& r = running();
    thread().copies.publish();
    r.at_barrier += 1;
    r.waiting_at_barrier.push_back(r.current);
    release_barrier_if_all_wait();
    yield();
}

void meet(const char* what, void* brought, void (*act)(void* const (&lanes)[32])) {
    Running& r = running();
    const u32 warp = r.current / WARP_SIZE, lane = r.current % WARP_SIZE;
    Meeting& meeting = r.meetings[warp];
    const bool is_first = meeting.arrived == 0;
    check(is_first || meeting.what == what || std::strcmp(meeting.what, what) == 0,
          "comes to another operation than the lanes of its warp that wait");
    meeting.what = what;
    meeting.brought[lane] = brought;
    meeting.arrived += 1;
    if (meeting.arrived < WARP_SIZE) {
        yield();
        return;
    }
    act(meeting.brought);
    meeting.arrived = 0;
    for (u32 other = 0; other < WARP_SIZE; ++other) {
        if (other != lane) {
            r.runnable.push_back(warp * WARP_SIZE + other);
        }
    }
}

void check(bool holds, const char* problem) {
    if (holds) {
        return;
    }
    std::fprintf(stderr, "%s %s\n", whereabouts().c_str(), problem);
    std::_Exit(1);
}

std::string whereabouts() {
    const Running& r = running();
    if (r.name == nullptr) {
        return "";
    }
    const Dim3 index = r.block.index;
    return std::string(r.name) + ": thread " + std::to_string(r.current) + " of block (" +
           std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
           std::to_string(index.z) + ")";
}

void check_shared(const void* address, size_t bytes, const char* what) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    const auto begin = reinterpret_cast<uintptr_t>(block().shared);
    if (at < begin || at + bytes > begin + block().shared_bytes || at % bytes != 0) {
        std::fprintf(stderr, "%s: offset %td of %zu bytes of shared memory: ", what,
                     static_cast<const unsigned char*>(address) - block().shared,
                     block().shared_bytes);
        check(false, "uses an address outside shared memory, or not aligned");
    }
}

void count_update(const void* address) {
    Running& r = running();
    r.hottest_updates = std::max(r.hottest_updates, r.updates[address] += 1);
}

u32 hottest_updates() { return running().hottest_updates; }

void run(const Launch& launch, const std::function<void()>& kernel) {
    Running& r = running();
    r.name = launch.name;
    r.block.grid = launch.grid;
    r.block.shared_bytes = launch.shared_bytes;
    r.threads = launch.threads;
    r.kernel = &kernel;
    r.random.seed(launch.seed);
    check(launch.threads > 0 && launch.threads <= MAX_THREADS && launch.threads % WARP_SIZE == 0,
          "a block needs whole warps, at most 1024 threads");
    // The fibers of a larger block are kept for later blocks, because their stacks are expensive.
    if (r.fibers.size() < launch.threads) {
        r.thread.resize(launch.threads);
        r.fibers.resize(launch.threads);
        r.meetings.resize(launch.threads / WARP_SIZE);
    }

    std::vector<Dim3> blocks;
    for (u32 z = 0; z < launch.grid.z; ++z) {
        for (u32 y = 0; y < launch.grid.y; ++y) {
            for (u32 x = 0; x < launch.grid.x; ++x) {
                blocks.push_back({x, y, z});
            }
        }
    }
    std::shuffle(blocks.begin(), blocks.end(), r.random);
    for (const Dim3& index : blocks) {
        run_block(index);
    }
    r.name = nullptr;
}

}  // namespace emulator
