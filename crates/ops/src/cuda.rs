//! An open CUDA device: its stream, the loaded kernels and their buffers.

mod blas;
mod graph;
mod kernels;
mod launch;
mod libraries;
mod operand;
mod side_stream;
mod transfer;
mod weight_upload;

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::driver::{
    self, CudaContext, CudaSlice, CudaStream, result, sys,
};
use candle_core::cuda_backend::{CudaDevice, CudaError};
use candle_core::{Device, Result, bail};

use self::blas::Blas;
pub(crate) use self::blas::{Matrices, Product};
pub use self::graph::{Graph, Stopwatch, is_lost, is_out_of_memory, open_cuda};
use self::kernels::Kernels;
pub(crate) use self::kernels::arguments;
pub(crate) use self::launch::Grid;
pub(crate) use self::operand::{Address, address, operand, tensor};
use self::side_stream::SideStream;
pub use self::transfer::{Download, Upload, copy_on_device};
pub(crate) use self::weight_upload::WeightUpload;
use crate::paged_attention::geometry::Geometry;
pub use crate::sample::DeviceSampler;

/// Size of cublasLt's workspace; the size that NVIDIA recommends for Hopper.
const BLAS_WORKSPACE_BYTES: usize = 32 << 20;

/// Maximum number of rows of a grid.
const MAX_ROWS: usize = 1 << 16;

/// One open device and its resources. A device is opened once and stays open.
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    side_stream: SideStream,
    kernels: Kernels,
    blas: Blas,
    /// The numbers from 0 to the maximum number of rows. If all rows of a grid are valid, the kernel
    /// reads the number of rows here.
    numbers: CudaSlice<u32>,
    attention: AttentionScratch,
    multiprocessors: usize,
}

/// Buffers for the partial results of attention when several blocks share a context.
pub(crate) struct AttentionScratch {
    stream: Arc<CudaStream>,
    outputs: CudaSlice<f32>,
    stats: CudaSlice<f32>,
    arrived: CudaSlice<u32>,
}

static OPEN: Mutex<Vec<&'static Gpu>> = Mutex::new(Vec::new());

thread_local! {
    /// Address of the number of valid rows if a grid may be larger; else 0.
    static LIVE_ROWS: Cell<Address> = const { Cell::new(0) };
}

impl Gpu {
    /// Opens the device with this ordinal, or returns it if it is already open.
    pub(crate) fn open(ordinal: usize) -> Result<&'static Self> {
        libraries::load()?;
        let mut open = OPEN.lock().map_err(|_| lost_lock())?;
        if let Some(gpu) = open.iter().copied().find(|gpu| gpu.ordinal() == ordinal) {
            return Ok(gpu);
        }
        let gpu: &'static Self = Box::leak(Box::new(Self::new(ordinal)?));
        open.push(gpu);
        Ok(gpu)
    }

    /// The open device of candle's handle.
    pub(crate) fn of(device: &CudaDevice) -> Result<&'static Self> {
        let open = OPEN.lock().map_err(|_| lost_lock())?;
        let found = open.iter().find(|gpu| gpu.device.id() == device.id());
        found.copied().ok_or_else(|| {
            candle_core::Error::msg("this CUDA device was opened by somebody else: use open_cuda")
        })
    }

    fn new(ordinal: usize) -> Result<Self> {
        let count = CudaContext::device_count().map_err(driver_error)?;
        if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
            bail!("this machine has {count} NVIDIA GPUs, and they are numbered from 0");
        }
        let device = CudaDevice::new_with_stream(ordinal)?;
        // SAFETY: all work is on this one stream, so no synchronization by events is needed.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        keep_freed_memory(&stream).map_err(driver_error)?;
        let multiprocessors = stream
            .context()
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(driver_error)?;
        let multiprocessors = usize::try_from(multiprocessors).unwrap_or(1);
        Ok(Self {
            side_stream: SideStream::new(&stream)?,
            kernels: Kernels::load(&stream)?,
            blas: Blas::new(&stream, BLAS_WORKSPACE_BYTES)?,
            numbers: stream
                .clone_htod(&(0..=MAX_ROWS as u32).collect::<Vec<_>>())
                .map_err(driver_error)?,
            attention: AttentionScratch::new(&stream, multiprocessors)?,
            multiprocessors,
            device,
            stream,
        })
    }

    pub(crate) fn device(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(crate) fn blas(&self) -> &Blas {
        &self.blas
    }

    pub(crate) fn attention(&self) -> &AttentionScratch {
        &self.attention
    }

    pub(crate) fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    pub(crate) fn ordinal(&self) -> usize {
        self.stream.context().ordinal()
    }

    /// The address from which a kernel reads the number of valid rows. Outside a graph, all rows are
    /// valid.
    pub(crate) fn live_rows(&self, rows: usize) -> Result<Address> {
        match LIVE_ROWS.get() {
            0 if rows > MAX_ROWS => bail!("{rows} rows at once are more than {MAX_ROWS}"),
            0 => Ok(address(&self.numbers, &self.stream) + (rows * size_of::<u32>()) as Address),
            address => Ok(address),
        }
    }

    /// Calls `f`. Its launches read the number of valid rows from `live_rows`.
    pub(crate) fn with_live_rows<R>(live_rows: Address, f: impl FnOnce() -> R) -> R {
        struct Restore(Address);
        impl Drop for Restore {
            fn drop(&mut self) {
                LIVE_ROWS.set(self.0);
            }
        }
        let _restore = Restore(LIVE_ROWS.replace(live_rows));
        f()
    }
}

impl AttentionScratch {
    /// The largest head dimension that the kernels support.
    const MAX_HEAD_DIM: usize = 128;

    fn new(stream: &Arc<CudaStream>, multiprocessors: usize) -> Result<Self> {
        let blocks = Geometry::max_split_blocks(multiprocessors);
        let (outputs, stats) = Geometry::partial_len(Self::MAX_HEAD_DIM);
        Ok(Self {
            outputs: stream.alloc_zeros(blocks * outputs).map_err(driver_error)?,
            stats: stream.alloc_zeros(blocks * stats).map_err(driver_error)?,
            arrived: stream.alloc_zeros(blocks).map_err(driver_error)?,
            stream: stream.clone(),
        })
    }

    pub(crate) fn outputs(&self) -> Address {
        address(&self.outputs, &self.stream)
    }

    pub(crate) fn stats(&self) -> Address {
        address(&self.stats, &self.stream)
    }

    /// Address of the counters of each context's finished parts. They are zero between launches.
    pub(crate) fn arrived(&self) -> Address {
        address(&self.arrived, &self.stream)
    }
}

/// Makes the driver keep freed memory in its pool. By default it releases the memory to the system at
/// each synchronization and has to allocate it again.
fn keep_freed_memory(stream: &CudaStream) -> std::result::Result<(), driver::DriverError> {
    let Some(pool) = memory_pool(stream)? else {
        return Ok(());
    };
    let mut threshold = u64::MAX;
    // SAFETY: the context is current, and the call reads only the threshold.
    unsafe {
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold).cast(),
        )
        .result()
    }
}

/// Releases freed memory that the pool has kept.
fn give_back_freed_memory(stream: &CudaStream) -> std::result::Result<(), driver::DriverError> {
    stream.synchronize()?;
    match memory_pool(stream)? {
        // SAFETY: the call releases only unused memory.
        Some(pool) => unsafe { sys::cuMemPoolTrimTo(pool, 0) }.result(),
        None => Ok(()),
    }
}

/// The device's default memory pool, if the device supports pools.
fn memory_pool(
    stream: &CudaStream,
) -> std::result::Result<Option<sys::CUmemoryPool>, driver::DriverError> {
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    context.bind_to_thread()?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: the call only writes the variable.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) }.result()?;
    Ok(Some(pool))
}

/// Converts a driver error to candle's error type.
pub(crate) fn driver_error(error: result::DriverError) -> candle_core::Error {
    CudaError::Cuda(error).into()
}

fn lost_lock() -> candle_core::Error {
    candle_core::Error::msg("another thread failed while it opened a CUDA device")
}
