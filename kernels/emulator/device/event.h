// A point in a stream's work.
#pragma once

#include <cuda.h>

#include <memory>

#include "handles.h"
#include "stream.h"

namespace device {

class Event {
  public:
    explicit Event(bool has_time) : has_time_(has_time) {}

    static Handles<Event>& all();

    void record(const std::shared_ptr<Stream>& stream);
    /// Does the work that was submitted before the event was recorded.
    void wait() const;
    /// The stream whose graph it is a point of, if it was recorded in one that is not done.
    std::shared_ptr<Stream> captured_on() const;
    /// Whether that is done.
    bool is_done() const;
    /// Seconds from this event to another, both done.
    double seconds_to(const Event& end) const;

  private:
    struct Record {
        std::shared_ptr<Stream> stream;
        uint64_t number;
        bool is_captured;
        bool is_done;
        double seconds;
    };

    void refuse_captured() const;

    bool has_time_;
    /// The last one; a wait for an earlier one keeps that.
    std::shared_ptr<Record> record_;
};

}  // namespace device
