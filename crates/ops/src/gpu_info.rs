//! Properties of a GPU.

/// Properties of a GPU, and its free memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// NVIDIA's name.
    pub name: String,
    /// Major and minor version.
    pub compute_capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// The newest CUDA version that the driver supports, such as 13000 for 13.0.
    pub driver_version: i32,
    /// Free memory.
    pub free_bytes: usize,
    /// Total memory.
    pub total_bytes: usize,
}
