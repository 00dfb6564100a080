//! Device operations, each with its CPU side and its CUDA side.
