// Functions that can be launched, by the names that `cuModuleGetFunction` is asked for: the entry
// points of kernels/*.cu, which are part of this library, and what candle.cpp has of candle's. The
// image of a module is not looked at.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <string>

#include "../entry.h"
#include "handles.h"

namespace device {

struct Function {
    const emulator::Entry* entry;
    /// Of the kernel's own variables.
    int static_shared_bytes;
    /// What a launch may ask for.
    int max_dynamic_shared_bytes;
    /// A device may load a function when it is first launched, and can't within a graph.
    bool was_launched;

    static Handles<Function>& all();
};

class Module {
  public:
    static Handles<Module>& all();

    ~Module();
    /// Refuses a name that no kernel has.
    CUfunction function(const std::string& name);

  private:
    std::map<std::string, CUfunction> functions_;
};

}  // namespace device
