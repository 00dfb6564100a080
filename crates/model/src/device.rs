//! Where the model runs and in which type it computes.

use std::fmt;

use candle_core::{DType, Device};

use crate::ModelError;

/// The type of weights and KV cache. Accumulation is always in f32; on the CPU activations are
/// f32 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeType {
    /// bfloat16: half the memory, and what the checkpoints are trained in.
    Bf16,
    /// IEEE single precision: for comparisons with a reference.
    F32,
}

impl ComputeType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        self.dtype().size_in_bytes()
    }

    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::F32 => DType::F32,
        }
    }
}

impl fmt::Display for ComputeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

/// The device to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The machine's processors.
    Cpu,
}

impl DeviceKind {
    pub(crate) fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
        }
    }

    /// What `--device auto` means on this build.
    pub fn best() -> Self {
        Self::Cpu
    }

    /// A word on the device for people, e.g. `CPU, 2 threads, avx2`.
    pub fn describe(self) -> String {
        match self {
            Self::Cpu => {
                format!(
                    "CPU, {} threads, {}",
                    farthing_ops::num_threads(),
                    farthing_ops::simd_level()
                )
            }
        }
    }
}
