// A queue of work, done in its order: at once, or as late as a device may.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>

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
    /// What was recorded. Refuses where something could not be.
    std::shared_ptr<Graph> end_capture();
    bool is_capturing() const { return capture_ != nullptr; }
    bool has_spoilt_capture() const { return is_spoilt_; }

  private:
    static Handles<Stream>& all();

    std::deque<Task> queue_;
    uint64_t done_ = 0;
    std::shared_ptr<Graph> capture_;
    bool is_spoilt_ = false;
    std::thread::id capturing_thread_;
};

}  // namespace device
