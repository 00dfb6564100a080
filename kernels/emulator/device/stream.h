// A queue of work, done in its order: at once, or as late as a device may.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "graph.h"
#include "handles.h"
#include "task.h"

namespace device {

class Stream {
  public:
    /// Refuses a handle of none. The default streams are always there.
    static std::shared_ptr<Stream> of(CUstream handle);
    static CUstream create();
    static void destroy(CUstream handle);
    /// Waits for the work of all streams.
    static void run_all();

    /// Refuses `what`, and spoils the capture, where this thread records a graph.
    static void refuse_in_capture(const std::string& what);

    /// Takes work, or records it. Its memory must be live.
    void submit(Task task);
    /// Takes work that cannot be recorded.
    void submit_outside_graph(Task task);
    /// How many pieces of work it has taken.
    uint64_t submitted() const { return done_ + queue_.size(); }
    /// Does the work up to the piece of this number.
    void run_to(uint64_t number);
    void run() { run_to(submitted()); }

    void begin_capture();
    /// Waits for a stream that records: this one records a branch of the same graph from now on, or, if
    /// it is the one that began the graph, the other's branch ends here.
    void wait_in_capture(const std::shared_ptr<Stream>& other);
    /// What was recorded. Refuses where something could not be.
    std::shared_ptr<Graph> end_capture();
    bool is_capturing() const { return capture_ != nullptr; }
    bool has_spoilt_capture() const { return is_spoilt_; }

  private:
    static Handles<Stream>& all();

    void join(Stream& branch);

    std::deque<Task> queue_;
    uint64_t done_ = 0;
    std::shared_ptr<Graph> capture_;
    /// Of the stream that began the graph: the others that record it.
    std::vector<std::shared_ptr<Stream>> branches_;
    /// Of such another: whether it is one, what it recorded since it was waited for, and whether that
    /// has happened since it began or recorded anything.
    bool is_branch_ = false;
    std::vector<Task> branch_tasks_;
    bool is_joined_ = true;
    bool is_spoilt_ = false;
    std::thread::id capturing_thread_;
};

}  // namespace device
