//! Where the model runs and in which type it computes.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};
use farthing_ops::GpuInfo;

use crate::ModelError;

/// The type of weights and KV cache. Accumulation is always in f32; on the CPU activations are
/// f32 as well, on a GPU they are of this type.
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

    /// The same type in candle's terms.
    pub fn dtype(self) -> DType {
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
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

impl DeviceKind {
    /// The first GPU, if this build is for GPUs and there is one; else the processors, and why.
    pub fn best() -> (Self, Option<ModelError>) {
        if !cfg!(feature = "cuda") {
            return (Self::Cpu, None);
        }
        match Self::Cuda(0).check() {
            Ok(()) => (Self::Cuda(0), None),
            Err(why) => (Self::Cpu, Some(why)),
        }
    }

    /// Whether the device can be computed on.
    ///
    /// # Errors
    /// It cannot; why, and what to do.
    pub fn check(self) -> Result<(), ModelError> {
        self.open().map(drop)
    }

    /// The device; opened once, the same each time.
    pub fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) => {
                farthing_ops::open_cuda(ordinal).map_err(|source| ModelError::Device {
                    device: self.to_string(),
                    source,
                })
            }
        }
    }

    /// Type of the activations.
    pub fn activation_dtype(self, compute_type: ComputeType) -> DType {
        match self {
            Self::Cpu => DType::F32,
            Self::Cuda(_) => compute_type.dtype(),
        }
    }

    /// What a GPU is, and how much memory it has to spare now; none for the processors.
    ///
    /// # Errors
    /// The device cannot be opened.
    pub fn gpu(self) -> Result<Option<GpuInfo>, ModelError> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(_) => Ok(Some(GpuInfo::of(&self.open()?)?)),
        }
    }

    /// A word on the device for people, e.g. `CPU, 2 threads, avx2`.
    pub fn describe(self) -> String {
        match self {
            Self::Cpu => {
                format!(
                    "CPU, {} threads, {}",
                    farthing_ops::num_threads(),
                    farthing_ops::SimdLevel::current()
                )
            }
            Self::Cuda(_) => match self.open().and_then(|device| Ok(GpuInfo::of(&device)?)) {
                Ok(info) => {
                    let (major, minor) = info.compute_capability;
                    format!(
                        "{self}, {}, compute capability {major}.{minor}, {} multiprocessors, driver for CUDA {}.{}",
                        info.name,
                        info.multiprocessors,
                        info.driver_version / 1000,
                        info.driver_version % 1000 / 10
                    )
                }
                Err(error) => error.to_string(),
            },
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ordinal = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        let ordinal = ordinal.ok_or("write cpu, cuda, or cuda:1 for the second GPU")?;
        Ok(Self::Cuda(ordinal))
    }
}
