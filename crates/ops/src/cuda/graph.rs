//! CUDA graphs: a sequence of launches that is started as one.

use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{Context, DType, Device, Error, Result, Tensor};

use super::{Gpu, driver_error, give_back_freed_memory, tensor};
use crate::GpuInfo;

/// A sequence of launches that is recorded once and can be launched repeatedly. Every launch uses the
/// same addresses and grids, and the memory's current content.
pub struct Graph {
    graph: CudaGraph,
}

// SAFETY: any thread may use a graph, one at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Records the launches of `f` without executing them. Every launch of the graph reads the number of
    /// valid leading rows of its grids from `live_rows`, u32 `[1]`.
    ///
    /// All memory that `f` uses must live as long as the graph. `f` must not allocate memory or copy
    /// between host and device.
    ///
    /// # Errors
    /// `f` fails, or does something that cannot be recorded.
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
        // The capture is ended even if `f` failed: until then the stream cannot be used for anything
        // else.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        recorded?;
        let graph = graph
            .map_err(driver_error)?
            .context("nothing was recorded")?;
        graph.upload().map_err(driver_error)?;
        Ok(Self { graph })
    }

    /// Executes `f` as [`capture`](Self::capture) would record it. The first run may do some setup,
    /// which must not happen during a capture.
    ///
    /// # Errors
    /// `f` fails.
    pub fn rehearse(live_rows: &Tensor, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let live_rows = tensor("live_rows", live_rows)?.of("live_rows", DType::U32)?;
        Gpu::with_live_rows(live_rows, f)
    }

    /// Launches the graph.
    ///
    /// # Errors
    /// The driver returns an error.
    pub fn launch(&self) -> Result<()> {
        self.graph.launch().map_err(driver_error)
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

/// Measures the time on the device between two points of the stream.
#[derive(Debug)]
pub struct Stopwatch {
    gpu: &'static Gpu,
    started: candle_core::cuda_backend::cudarc::driver::CudaEvent,
    stopped: candle_core::cuda_backend::cudarc::driver::CudaEvent,
}

impl Stopwatch {
    /// Creates a stopwatch for a device.
    ///
    /// # Errors
    /// The device is not a CUDA device.
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

    /// Starts the measurement at the end of the work submitted so far.
    ///
    /// # Errors
    /// The driver returns an error.
    pub fn start(&self) -> Result<()> {
        self.started.record(self.gpu.stream()).map_err(driver_error)
    }

    /// Ends the measurement at the end of the work submitted so far.
    ///
    /// # Errors
    /// The driver returns an error.
    pub fn stop(&self) -> Result<()> {
        self.stopped.record(self.gpu.stream()).map_err(driver_error)
    }

    /// Waits until the device has reached the end. Returns the time between start and end in seconds.
    ///
    /// # Errors
    /// Work on the device failed.
    pub fn seconds(&self) -> Result<f64> {
        let milliseconds = self
            .started
            .elapsed_ms(&self.stopped)
            .map_err(driver_error)?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Gpu {
    /// Whether the device is permanently unusable. After an error such as an illegal address every call
    /// fails; after running out of memory the device still works.
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
    /// Queries an open device.
    ///
    /// # Errors
    /// The device is not a CUDA device, or it is lost.
    pub fn of(device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let context = gpu.stream().context();
        // Freed memory that the driver's pool keeps for this process counts as free.
        give_back_freed_memory(gpu.stream()).map_err(driver_error)?;
        let (free_bytes, total_bytes) = context.mem_get_info().map_err(driver_error)?;
        let mut driver_version = 0;
        // SAFETY: the driver only writes the variable.
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

/// Opens the CUDA device with this ordinal, or returns it if it is already open.
///
/// # Errors
/// A CUDA library is missing, there is no such device, or the kernels do not support it.
pub fn open_cuda(ordinal: usize) -> Result<Device> {
    Ok(Gpu::open(ordinal)?.device())
}

/// Whether a device is permanently unusable.
pub fn is_lost(device: &Device) -> bool {
    match device {
        Device::Cuda(device) => Gpu::of(device).is_ok_and(Gpu::is_lost),
        _ => false,
    }
}

/// Whether an error means that the device ran out of memory.
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
