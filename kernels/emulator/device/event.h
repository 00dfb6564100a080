// An event: a point in a stream's work.
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
    /// Executes the work that was submitted before the event was recorded.
    void wait() const;
    /// The capturing stream, if the event was recorded in a capture that has not ended.
    std::shared_ptr<Stream> captured_on() const;
    /// Whether the work before the event is done.
    bool is_done() const;
    /// Seconds from this event to `end`. Both must be done.
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
    /// The last record. A wait for an earlier record keeps that record alive.
    std::shared_ptr<Record> record_;
};

}  // namespace device
