#include "stream.h"

#include <vector>

#include "settings.h"

namespace device {
namespace {

/// All streams that exist, including the default streams.
std::vector<std::weak_ptr<Stream>>& known() {
    static auto& streams = *new std::vector<std::weak_ptr<Stream>>;
    return streams;
}

std::shared_ptr<Stream> default_stream() {
    static auto& stream = *new std::shared_ptr<Stream>([] {
        auto made = std::make_shared<Stream>();
        known().push_back(made);
        return made;
    }());
    return stream;
}

}  // namespace

Handles<Stream>& Stream::all() {
    static auto& streams = *new Handles<Stream>("stream");
    return streams;
}

std::shared_ptr<Stream> Stream::of(CUstream handle) {
    const bool is_default =
        handle == nullptr || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD;
    return is_default ? default_stream() : all().get(handle);
}

CUstream Stream::create() {
    auto stream = std::make_shared<Stream>();
    known().push_back(stream);
    return all().add<CUstream>(stream);
}

void Stream::destroy(CUstream handle) {
    // Its queued work is still executed.
    all().get(handle)->run();
    all().remove(handle);
}

void Stream::run_all() {
    for (const auto& stream : known()) {
        if (const auto alive = stream.lock()) {
            alive->run();
        }
    }
}

void Stream::refuse_in_capture(const std::string& what) {
    for (const auto& known_stream : known()) {
        const auto stream = known_stream.lock();
        if (stream != nullptr && stream->is_capturing() &&
            stream->capturing_thread_ == std::this_thread::get_id()) {
            stream->is_spoilt_ = true;
            throw Refusal{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                          what + " while a graph is recorded"};
        }
    }
}

void Stream::submit(Task task) {
    task.require_live_memory();
    if (is_branch_) {
        // A device may execute work at once, or as late as when somebody waits for it.
        is_joined_ = false;
        auto& tasks = Settings::instance().is_late ? branch_tasks_ : capture_->tasks;
        tasks.push_back(std::move(task));
        return;
    }
    if (capture_ != nullptr) {
        capture_->tasks.push_back(std::move(task));
        return;
    }
    submit_outside_graph(std::move(task));
}

void Stream::submit_outside_graph(Task task) {
    queue_.push_back(std::move(task));
    if (!Settings::instance().is_late) {
        run();
    }
}

void Stream::run_to(uint64_t number) {
    while (done_ < number) {
        // Removed from the queue first, so that the task counts as done if it waits for its own stream.
        const Task task = std::move(queue_.front());
        queue_.pop_front();
        done_ += 1;
        task.run();
        for (const Address address : task.memory) {
            Memory::instance().check_surroundings(address, task.name);
        }
    }
}

void Stream::begin_capture() {
    require(capture_ == nullptr, CUDA_ERROR_ILLEGAL_STATE, "the stream is recorded already");
    capture_ = std::make_shared<Graph>();
    is_spoilt_ = false;
    capturing_thread_ = std::this_thread::get_id();
}

void Stream::wait_in_capture(const std::shared_ptr<Stream>& other) {
    require(capture_ == nullptr || capture_ == other->capture_, CUDA_ERROR_STREAM_CAPTURE_MERGE,
            "two graphs are recorded");
    if (!is_branch_ && capture_ != nullptr) {
        join(*other);
        return;
    }
    require(!other->is_branch_, CUDA_ERROR_NOT_SUPPORTED, "a branch of a branch is not emulated");
    if (capture_ == nullptr) {
        capture_ = other->capture_;
        capturing_thread_ = other->capturing_thread_;
        is_branch_ = true;
        for (const auto& known_stream : known()) {
            if (const auto stream = known_stream.lock(); stream.get() == this) {
                other->branches_.push_back(stream);
            }
        }
    }
    is_joined_ = false;
}

void Stream::join(Stream& branch) {
    auto& tasks = branch.branch_tasks_;
    capture_->tasks.insert(capture_->tasks.end(), tasks.begin(), tasks.end());
    tasks.clear();
    branch.is_joined_ = true;
}

std::shared_ptr<Graph> Stream::end_capture() {
    require(capture_ != nullptr, CUDA_ERROR_ILLEGAL_STATE, "the stream is not recorded");
    require(!is_branch_, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the stream records a branch");
    const auto graph = std::move(capture_);
    capture_ = nullptr;
    bool are_joined = true;
    for (const auto& branch : branches_) {
        are_joined &= branch->is_joined_;
        branch->capture_ = nullptr;
        branch->is_branch_ = false;
        branch->branch_tasks_.clear();
    }
    branches_.clear();
    require(!is_spoilt_, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            "something was called that cannot be recorded");
    require(are_joined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "nobody waits for a branch");
    return graph;
}

}  // namespace device
