// The functions that can be launched, by the names that `cuModuleGetFunction` looks up: the entry
// points of kernels/*.cu, which are compiled into this library, and candle's kernels in candle.cpp.
// The image of a module is ignored.
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
    /// Bytes of static shared memory.
    int static_shared_bytes;
    /// Maximum dynamic shared memory of a launch, in bytes.
    int max_dynamic_shared_bytes;
    /// A device may load a function at its first launch, which is not possible during a capture.
    bool was_launched;

    static Handles<Function>& all();
};

class Module {
  public:
    static Handles<Module>& all();

    ~Module();
    /// Looks up a function. Refuses a name that no kernel has.
    CUfunction function(const std::string& name);

  private:
    std::map<std::string, CUfunction> functions_;
};

}  // namespace device
