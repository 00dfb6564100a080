// libcuda: streams, events and graphs.
#include <cuda.h>

#include "context.h"
#include "event.h"
#include "graph.h"
#include "stream.h"

using namespace device;

extern "C" {

CUresult cuStreamCreate(CUstream* stream, unsigned int) {
    return call_in_context("cuStreamCreate", [&] { *stream = Stream::create(); });
}

CUresult cuStreamDestroy(CUstream stream) {
    return call_in_context("cuStreamDestroy", [&] { Stream::destroy(stream); });
}

CUresult cuStreamSynchronize(CUstream stream) {
    return call_in_context("cuStreamSynchronize", [&] {
        Stream::refuse_in_capture("a wait for a stream");
        Stream::of(stream)->run();
    });
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned int) {
    return call_in_context("cuStreamWaitEvent", [&] {
        if (const auto captured = Event::all().get(handle)->captured_on()) {
            Stream::of(stream)->wait_in_capture(captured);
            return;
        }
        Stream::refuse_in_capture("a wait for an event");
        // A copy of the event's current state: it may be recorded again before the stream reaches this
        // task.
        const Event event = *Event::all().get(handle);
        Stream::of(stream)->submit_outside_graph(
            {"a wait for an event", {}, [event] { event.wait(); }});
    });
}

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
    return call_in_context("cuStreamBeginCapture", [&] {
        const bool is_legacy = stream == nullptr || stream == CU_STREAM_LEGACY;
        require(!is_legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                "the legacy stream can't be recorded");
        Stream::of(stream)->begin_capture();
    });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    *graph = nullptr;
    return call_in_context("cuStreamEndCapture", [&] {
        *graph = Graph::all().add<CUgraph>(Stream::of(stream)->end_capture());
    });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
    return call_in_context("cuStreamIsCapturing", [&] {
        const auto stream = Stream::of(handle);
        *status = !stream->is_capturing()        ? CU_STREAM_CAPTURE_STATUS_NONE
                  : stream->has_spoilt_capture() ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                 : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    });
}

CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
    return call_in_context("cuGraphInstantiate", [&] {
        Stream::refuse_in_capture("a graph is made");
        require(flags == 0, CUDA_ERROR_INVALID_VALUE, "these flags are not emulated");
        const auto made = std::make_shared<GraphExec>(GraphExec{Graph::all().get(graph)->tasks});
        *exec = GraphExec::all().add<CUgraphExec>(made);
    });
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    return call_in_context("cuGraphUpload", [&] {
        GraphExec::all().get(exec);
        Stream::of(stream);
    });
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
    return call_in_context("cuGraphLaunch", [&] {
        Stream::refuse_in_capture("a graph is launched");
        const auto graph = GraphExec::all().get(exec);
        const auto stream = Stream::of(handle);
        for (const Task& task : graph->tasks) {
            stream->submit(task);
        }
    });
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
    return call("cuGraphExecDestroy", [&] { GraphExec::all().remove(exec); });
}

CUresult cuGraphDestroy(CUgraph graph) {
    return call("cuGraphDestroy", [&] { Graph::all().remove(graph); });
}

CUresult cuEventCreate(CUevent* event, unsigned int flags) {
    return call_in_context("cuEventCreate", [&] {
        const bool has_time = (flags & CU_EVENT_DISABLE_TIMING) == 0;
        *event = Event::all().add<CUevent>(std::make_shared<Event>(has_time));
    });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    return call_in_context("cuEventRecord",
                           [&] { Event::all().get(event)->record(Stream::of(stream)); });
}

CUresult cuEventSynchronize(CUevent event) {
    return call_in_context("cuEventSynchronize", [&] {
        Stream::refuse_in_capture("a wait for an event");
        Event::all().get(event)->wait();
    });
}

// In the mode `late`, a query alone never makes the device progress.
CUresult cuEventQuery(CUevent handle) {
    bool is_done = false;
    const CUresult result = call_in_context("cuEventQuery", [&] {
        Stream::refuse_in_capture("a question for an event");
        is_done = Event::all().get(handle)->is_done();
    });
    return result == CUDA_SUCCESS && !is_done ? CUDA_ERROR_NOT_READY : result;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    return call_in_context("cuEventElapsedTime", [&] {
        const double seconds = Event::all().get(start)->seconds_to(*Event::all().get(end));
        *milliseconds = float(seconds * 1e3);
    });
}

CUresult cuEventDestroy(CUevent event) {
    return call("cuEventDestroy", [&] { Event::all().remove(event); });
}

}  // extern "C"
