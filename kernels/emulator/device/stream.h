// A stream: a queue of work that is executed in order, at once or as late as a device may.
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
    /// The stream of a handle. Refuses an invalid handle. The default streams always exist.
    static std::shared_ptr<Stream> of(CUstream handle);
    static CUstream create();
    static void destroy(CUstream handle);
    /// Executes the queued work of all streams.
    static void run_all();

    /// If this thread is capturing a graph, refuses `what` and invalidates the capture.
    static void refuse_in_capture(const std::string& what);

    /// Queues a task, or records it during a capture. Its memory must be live.
    void submit(Task task);
    /// Queues a task that cannot be recorded.
    void submit_outside_graph(Task task);
    /// Number of tasks submitted so far.
    uint64_t submitted() const { return done_ + queue_.size(); }
    /// Executes the tasks up to this number.
    void run_to(uint64_t number);
    void run() { run_to(submitted()); }

    void begin_capture();
    /// Waits for a capturing stream. From now on this stream records a branch of the same graph. If this
    /// stream began the capture, the other stream's branch ends here instead.
    void wait_in_capture(const std::shared_ptr<Stream>& other);
    /// Ends the capture and returns the graph. Refuses if something could not be recorded.
    std::shared_ptr<Graph> end_capture();
    bool is_capturing() const { return capture_ != nullptr; }
    bool has_spoilt_capture() const { return is_spoilt_; }

  private:
    static Handles<Stream>& all();

    void join(Stream& branch);

    std::deque<Task> queue_;
    uint64_t done_ = 0;
    std::shared_ptr<Graph> capture_;
    /// In the stream that began the capture: the other capturing streams.
    std::vector<std::shared_ptr<Stream>> branches_;
    /// In another capturing stream: whether it records a branch, the tasks recorded since the last
    /// wait for it, and whether it has been waited for since it began or last recorded a task.
    bool is_branch_ = false;
    std::vector<Task> branch_tasks_;
    bool is_joined_ = true;
    bool is_spoilt_ = false;
    std::thread::id capturing_thread_;
};

}  // namespace device
