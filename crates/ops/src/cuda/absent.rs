//! The CUDA types of a build without CUDA. [`open_cuda`] always fails, so no value of them exists.

use std::convert::Infallible;

use candle_core::{Device, Error, Result, Tensor};

use crate::linear_weight::WeightElement;
use crate::{GpuInfo, ListCapacity, SampleResult, SampleSpec, UploadTable};

/// Always fails.
///
/// # Errors
/// Always: this build does not support CUDA.
pub fn open_cuda(_: usize) -> Result<Device> {
    Err(absent())
}

/// Always `false`: a build without CUDA has no CUDA device.
pub fn is_lost(_: &Device) -> bool {
    false
}

/// Always `false`: a build without CUDA has no CUDA device.
pub fn is_out_of_memory(_: &Error) -> bool {
    false
}

/// Always fails.
///
/// # Errors
/// Always: this build does not support CUDA.
pub fn copy_on_device(_: &Tensor, _: &Tensor) -> Result<()> {
    Err(absent())
}

fn absent() -> Error {
    Error::msg("this build has no CUDA: build it with `cargo build --release --features cuda`")
}

impl GpuInfo {
    /// Always fails.
    pub fn of(_: &Device) -> Result<Self> {
        Err(absent())
    }
}

/// A sequence of launches that is recorded once. It does not exist in this build.
#[derive(Debug)]
pub struct Graph(Infallible);

impl Graph {
    /// Always fails.
    pub fn capture(_: &Device, _: &Tensor, _: impl FnOnce() -> Result<()>) -> Result<Self> {
        Err(absent())
    }

    /// Always fails.
    pub fn rehearse(_: &Tensor, _: impl FnOnce() -> Result<()>) -> Result<()> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn launch(&self) -> Result<()> {
        match self.0 {}
    }
}

/// Measures time on a device. It does not exist in this build.
#[derive(Debug)]
pub struct Stopwatch(Infallible);

impl Stopwatch {
    /// Always fails.
    pub fn new(_: &Device) -> Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn start(&self) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn stop(&self) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn seconds(&self) -> Result<f64> {
        match self.0 {}
    }
}

/// A buffer for copies to a device. It does not exist in this build.
#[derive(Debug)]
pub struct Upload(Infallible);

impl Upload {
    /// Always fails.
    pub fn new(_: usize, _: &Device) -> Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn tensor(&self) -> &Tensor {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn words(&mut self) -> Result<&mut [u32]> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn send(&mut self, _: usize) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn send_with_table(&mut self, _: UploadTable) -> Result<()> {
        match self.0 {}
    }
}

/// A buffer for copies from a device. It does not exist in this build.
#[derive(Debug)]
pub struct Download(Infallible);

impl Download {
    /// Always fails.
    pub fn new(_: usize, _: &Device) -> Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn tensor(&self) -> &Tensor {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn receive(&mut self, _: usize) -> Result<&[u32]> {
        match self.0 {}
    }
}

/// Samples on a device. It does not exist in this build.
#[derive(Debug)]
pub struct DeviceSampler(Infallible);

impl DeviceSampler {
    /// Words per row of parameters.
    pub const PARAMETER_WORDS: usize = 0;

    /// Always fails.
    pub fn new(_: usize, _: usize, _: ListCapacity, _: &Device) -> Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn stage(&mut self, _: &[SampleSpec<'_>], _: &mut [u32]) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn launch(&self, _: &Tensor, _: &Tensor) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn tokens(&self) -> Result<Tensor> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn collect(&mut self, _: &[SampleSpec<'_>]) -> Result<Vec<SampleResult>> {
        match self.0 {}
    }
}

/// An upload of a weight to a device. It does not exist in this build.
#[derive(Debug)]
pub(crate) struct WeightUpload(Infallible);

impl WeightUpload {
    /// Always fails.
    pub(crate) fn new(_: usize, _: &Device) -> Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub(crate) fn push<E: WeightElement>(&mut self, _: &[E]) -> Result<()> {
        match self.0 {}
    }

    /// Cannot be called.
    pub(crate) fn finish(self) -> Result<Tensor> {
        match self.0 {}
    }
}
