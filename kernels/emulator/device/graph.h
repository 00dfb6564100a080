// Graphs: recorded work.
#pragma once

#include <cuda.h>

#include <vector>

#include "handles.h"
#include "task.h"

namespace device {

struct Graph {
    std::vector<Task> tasks;

    static Handles<Graph>& all() {
        static auto& graphs = *new Handles<Graph>("graph");
        return graphs;
    }
};

/// An executable graph: a copy of the graph's work at the time of instantiation.
struct GraphExec {
    std::vector<Task> tasks;

    static Handles<GraphExec>& all() {
        static auto& graphs = *new Handles<GraphExec>("executable graph");
        return graphs;
    }
};

}  // namespace device
