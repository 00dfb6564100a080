//! The device, and the type in which it computes.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};
use farthing_ops::GpuInfo;

use crate::ModelError;

/// The type of weights and KV cache. Sums are always accumulated in f32. Activations are f32 on the
/// CPU; on a GPU they have this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeType {
    /// bfloat16: half the memory of f32, and the type in which the checkpoints were trained.
    Bf16,
    /// IEEE single precision, for comparisons with a reference.
    F32,
}

impl ComputeType {
    /// Size of one element in bytes.
    pub fn size_bytes(self) -> usize {
        self.dtype().size_in_bytes()
    }

    /// The same type as a candle `DType`.
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

/// The device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this number.
    Cuda(usize),
}

impl DeviceKind {
    /// The first GPU if this build supports GPUs and there is one; otherwise the CPU, and the
    /// reason why no GPU is used.
    pub fn best() -> (Self, Option<ModelError>) {
        if !cfg!(feature = "cuda") {
            return (Self::Cpu, None);
        }
        match Self::Cuda(0).check() {
            Ok(()) => (Self::Cuda(0), None),
            Err(why) => (Self::Cpu, Some(why)),
        }
    }

    /// Checks that the device can be used.
    ///
    /// # Errors
    /// The device cannot be used. The error says why and what to do.
    pub fn check(self) -> Result<(), ModelError> {
        self.open().map(drop)
    }

    /// Opens the device. A GPU is opened once; later calls return the same.
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

    /// The type of activations.
    pub fn activation_dtype(self, compute_type: ComputeType) -> DType {
        match self {
            Self::Cpu => DType::F32,
            Self::Cuda(_) => compute_type.dtype(),
        }
    }

    /// Description of a GPU with its free memory; `None` for the CPU.
    ///
    /// # Errors
    /// The device cannot be opened.
    pub fn gpu(self) -> Result<Option<GpuInfo>, ModelError> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(_) => Ok(Some(GpuInfo::of(&self.open()?)?)),
        }
    }

    /// A description of the device, e.g. `CPU, 2 threads, avx2`.
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
