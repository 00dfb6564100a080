//! What a GPU is.

/// What a device is, and how much of its memory is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// As NVIDIA calls it.
    pub name: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// The newest CUDA that the driver knows, such as 13000 for 13.0.
    pub driver_version: i32,
    /// Bytes not taken by anybody.
    pub free_bytes: usize,
    /// Bytes of the device.
    pub total_bytes: usize,
}
