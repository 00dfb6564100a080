//! A sequence of launches that is started as one.

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{Context, DType, Device, Error, Result, Tensor};

use super::{Gpu, driver_error, give_back_freed_memory, tensor};
use crate::GpuInfo;

/// Launches recorded once, to be started again and again: on the same addresses, over the same
/// grids, with what is in memory then.
pub struct Graph {
    graph: CudaGraph,
}

// SAFETY: a graph may be used from any thread, one at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `f` starts on the device, without starting it. `live_rows` u32 `[1]` says, each
    /// time the graph starts, how many of the leading rows of its grids are real.
    ///
    /// All memory that `f` works with must live as long as the graph; `f` may allocate none, and
    /// copy nothing between host and device.
    ///
    /// # Errors
    /// What `f` returns, or where it did something that cannot be recorded.
    pub fn capture(
        device: &Device,
        live_rows: &Tensor,
        f: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let live_rows = tensor("live_rows", live_rows)?.of("live_rows", DType::U32)?;
        let stream = gpu.stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED)
            .map_err(driver_error)?;
        let recorded = Gpu::with_live_rows(live_rows, f);
        // A capture is ended whatever happened in it: the stream is of no other use before.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        recorded?;
        let graph = graph
            .map_err(driver_error)?
            .context("nothing was recorded")?;
        graph.upload().map_err(driver_error)?;
        Ok(Self { graph })
    }

    /// Runs `f` with the launches of a graph, but at once: what a first run sets up must not
    /// happen while a graph is recorded.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn rehearse(live_rows: &Tensor, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let live_rows = tensor("live_rows", live_rows)?.of("live_rows", DType::U32)?;
        Gpu::with_live_rows(live_rows, f)
    }

    /// Starts all of it.
    ///
    /// # Errors
    /// The device refused.
    pub fn launch(&self) -> Result<()> {
        self.graph.launch().map_err(driver_error)
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

/// Measures time on the device, between two points of its work.
#[derive(Debug)]
pub struct Stopwatch {
    gpu: &'static Gpu,
    started: candle_core::cuda_backend::cudarc::driver::CudaEvent,
    stopped: candle_core::cuda_backend::cudarc::driver::CudaEvent,
}

impl Stopwatch {
    /// A stopwatch for a device.
    ///
    /// # Errors
    /// It is no CUDA device.
    pub fn new(device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let event = || {
            gpu.stream()
                .context()
                .new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))
                .map_err(driver_error)
        };
        Ok(Self {
            gpu,
            started: event()?,
            stopped: event()?,
        })
    }

    /// Counts from the end of the work so far.
    ///
    /// # Errors
    /// The device refused.
    pub fn start(&self) -> Result<()> {
        self.started.record(self.gpu.stream()).map_err(driver_error)
    }

    /// Counts to the end of the work so far.
    ///
    /// # Errors
    /// The device refused.
    pub fn stop(&self) -> Result<()> {
        self.stopped.record(self.gpu.stream()).map_err(driver_error)
    }

    /// Seconds between the two, once the device has come that far. Waits for it.
    ///
    /// # Errors
    /// Work failed on the device.
    pub fn seconds(&self) -> Result<f64> {
        let milliseconds = self
            .started
            .elapsed_ms(&self.stopped)
            .map_err(driver_error)?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Gpu {
    /// Whether the device has stopped working for good: after an illegal address and the like
    /// every call fails, while memory that ran out leaves it as it was.
    pub(crate) fn is_lost(&self) -> bool {
        self.stream.synchronize().is_err() || self.stream.context().mem_get_info().is_err()
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.ordinal())
    }
}

impl GpuInfo {
    /// Asks an open device.
    ///
    /// # Errors
    /// It is no CUDA device, or it is lost.
    pub fn of(device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let context = gpu.stream().context();
        // Freed memory that the driver keeps for us counts as free.
        give_back_freed_memory(gpu.stream()).map_err(driver_error)?;
        let (free_bytes, total_bytes) = context.mem_get_info().map_err(driver_error)?;
        let mut driver_version = 0;
        // SAFETY: the driver writes the variable, no more.
        unsafe { sys::cuDriverGetVersion(&mut driver_version) }
            .result()
            .map_err(driver_error)?;
        Ok(Self {
            name: context.name().map_err(driver_error)?,
            compute_capability: context.compute_capability().map_err(driver_error)?,
            multiprocessors: gpu.multiprocessors(),
            driver_version,
            free_bytes,
            total_bytes,
        })
    }
}

/// Opens the CUDA device of this number, or finds it open.
///
/// # Errors
/// A library of CUDA is missing, there is no such device, or our kernels are not for it.
pub fn open_cuda(ordinal: usize) -> Result<Device> {
    Ok(Gpu::open(ordinal)?.device())
}

/// Whether a device has stopped working for good, so that nothing can be computed on it any more.
pub fn is_lost(device: &Device) -> bool {
    match device {
        Device::Cuda(device) => Gpu::of(device).is_ok_and(Gpu::is_lost),
        _ => false,
    }
}

/// Whether an error says that the device's memory has run out.
pub fn is_out_of_memory(error: &Error) -> bool {
    use candle_core::cuda_backend::CudaError;
    match error {
        Error::Cuda(error) => matches!(
            error.downcast_ref::<CudaError>(),
            Some(CudaError::Cuda(driver)) if driver.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
        ),
        Error::WithBacktrace { inner, .. }
        | Error::Context { inner, .. }
        | Error::WithPath { inner, .. } => is_out_of_memory(inner),
        _ => false,
    }
}
