#include "event.h"

#include <chrono>

namespace device {

Handles<Event>& Event::all() {
    static auto& events = *new Handles<Event>("event");
    return events;
}

void Event::record(const std::shared_ptr<Stream>& stream) {
    const auto record =
        std::make_shared<Record>(Record{stream, 0, stream->is_capturing(), false, 0.0});
    record_ = record;
    if (record->is_captured) {
        return;
    }
    record->number = stream->submitted() + 1;
    stream->submit_outside_graph({"an event", {}, [record] {
                                      const auto now =
                                          std::chrono::steady_clock::now().time_since_epoch();
                                      record->seconds = std::chrono::duration<double>(now).count();
                                      record->is_done = true;
                                  }});
}

void Event::wait() const {
    refuse_captured();
    if (record_ != nullptr) {
        record_->stream->run_to(record_->number);
    }
}

std::shared_ptr<Stream> Event::captured_on() const {
    const bool is_point = record_ != nullptr && record_->is_captured;
    return is_point && record_->stream->is_capturing() ? record_->stream : nullptr;
}

bool Event::is_done() const {
    refuse_captured();
    return record_ == nullptr || record_->is_done;
}

double Event::seconds_to(const Event& end) const {
    for (const Event* event : {this, &end}) {
        event->refuse_captured();
        require(event->has_time_, CUDA_ERROR_INVALID_HANDLE, "the event was made without a time");
        require(event->record_ != nullptr, CUDA_ERROR_INVALID_HANDLE,
                "the event was never recorded");
        require(event->record_->is_done, CUDA_ERROR_NOT_READY,
                "the device has not come to the event");
    }
    return end.record_->seconds - record_->seconds;
}

void Event::refuse_captured() const {
    require(record_ == nullptr || !record_->is_captured, CUDA_ERROR_CAPTURED_EVENT,
            "the event was recorded in a graph, which tells nobody outside");
}

}  // namespace device
