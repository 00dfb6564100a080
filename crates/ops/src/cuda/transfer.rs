//! Copies of u32 words between host and device through page-locked memory.

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice, result, sys};
use candle_core::{DType, Device, Result, Tensor, bail};

use super::{Address, Gpu, driver_error, tensor};
use crate::UploadTable;

/// Number of host buffers of an [`Upload`]: the device may still read one while the host writes the
/// next.
const RING: usize = 2;

/// A buffer for copies to a fixed address on the device.
#[derive(Debug)]
pub struct Upload {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    ring: [Pinned; RING],
    next: usize,
}

/// A buffer for copies from a fixed address on the device.
#[derive(Debug)]
pub struct Download {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    on_host: Pinned,
}

/// Page-locked host memory.
#[derive(Debug)]
pub(super) struct Pinned {
    words: PinnedHostSlice<u32>,
    /// Recorded after the last copy.
    pub(super) copied: CudaEvent,
}

/// Copies all elements of `source` to `target` within device memory, at the memory's full bandwidth.
///
/// # Errors
/// The tensors differ in type or size, are strided, or are not on a CUDA device.
pub fn copy_on_device(target: &Tensor, source: &Tensor) -> Result<()> {
    let gpu = Gpu::of(target.device().as_cuda_device()?)?;
    if target.elem_count() != source.elem_count() {
        bail!(
            "copy: a target of {} elements for {}",
            target.elem_count(),
            source.elem_count()
        );
    }
    let to = tensor("copy: target", target)?.of("copy: target", source.dtype())?;
    let from = tensor("copy: source", source)?.of("copy: source", source.dtype())?;
    let bytes = source.elem_count() * source.dtype().size_in_bytes();
    // SAFETY: both tensors have this number of bytes and are on this device. They are freed in the
    // order of its one stream, so after the copy.
    unsafe { result::memcpy_dtod_async(to, from, bytes, gpu.stream().cu_stream()) }
        .map_err(driver_error)
}

impl Upload {
    /// Allocates `words` words on the host and on the device.
    ///
    /// # Errors
    /// The device is not a CUDA device, or memory ran out.
    pub fn new(words: usize, device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let on_device = Tensor::zeros(words.max(1), DType::U32, device)?;
        Ok(Self {
            gpu,
            address: tensor("upload", &on_device)?.of("upload", DType::U32)?,
            on_device,
            ring: [Pinned::new(gpu, words)?, Pinned::new(gpu, words)?],
            next: 0,
        })
    }

    /// The words on the device, `[words]`.
    pub fn tensor(&self) -> &Tensor {
        &self.on_device
    }

    /// The words on the host, which the caller writes and then [sends](Self::send). They contain the
    /// data of an earlier step; this call waits until the device has read it.
    ///
    /// # Errors
    /// Work on the device failed.
    pub fn words(&mut self) -> Result<&mut [u32]> {
        self.ring[self.next].words()
    }

    /// Copies the first `len` words to the device after all work submitted so far.
    ///
    /// # Errors
    /// The buffer has fewer words, or the driver returns an error.
    pub fn send(&mut self, len: usize) -> Result<()> {
        self.send_with_table(UploadTable::none_after(len))
    }

    /// Copies the words before a table and the used part of the table to the device, after all work
    /// submitted so far.
    ///
    /// # Errors
    /// The buffer has fewer words, or the driver returns an error.
    pub fn send_with_table(&mut self, table: UploadTable) -> Result<()> {
        let (start, end) = (table.start, table.end());
        let pinned = &mut self.ring[self.next];
        self.next = (self.next + 1) % RING;
        let words = pinned.words()?;
        let Some(words) = words.get(..end) else {
            bail!(
                "{end} words do not fit the {} that go to the device",
                words.len()
            );
        };
        let stream = self.gpu.stream();
        // SAFETY: the host's words do not change until the copies are complete (`words` waits for that),
        // and the device's buffer is as large.
        unsafe {
            result::memcpy_htod_async(self.address, &words[..start], stream.cu_stream())
                .map_err(driver_error)?;
            if end > start {
                let copy = table.copy(words, self.address);
                sys::cuMemcpy2DAsync_v2(&copy, stream.cu_stream())
                    .result()
                    .map_err(driver_error)?;
            }
        }
        pinned.copied.record(stream).map_err(driver_error)
    }
}

impl UploadTable {
    /// A copy from the host's words to the same offsets on the device.
    fn copy(&self, words: &[u32], address: Address) -> sys::CUDA_MEMCPY2D {
        let bytes = |words: usize| words * size_of::<u32>();
        sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: words[self.start..].as_ptr().cast(),
            srcDevice: 0,
            srcArray: std::ptr::null_mut(),
            srcPitch: bytes(self.pitch),
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: address + bytes(self.start) as Address,
            dstArray: std::ptr::null_mut(),
            dstPitch: bytes(self.pitch),
            WidthInBytes: bytes(self.columns),
            Height: self.rows,
        }
    }
}

impl Download {
    /// Allocates `words` words on the host and on the device.
    ///
    /// # Errors
    /// The device is not a CUDA device, or memory ran out.
    pub fn new(words: usize, device: &Device) -> Result<Self> {
        let gpu = Gpu::of(device.as_cuda_device()?)?;
        let on_device = Tensor::zeros(words.max(1), DType::U32, device)?;
        Ok(Self {
            gpu,
            address: tensor("download", &on_device)?.of("download", DType::U32)?,
            on_device,
            on_host: Pinned::new(gpu, words)?,
        })
    }

    /// The words on the device, `[words]`.
    pub fn tensor(&self) -> &Tensor {
        &self.on_device
    }

    /// Waits for all work submitted so far and returns the first `len` words.
    ///
    /// # Errors
    /// The buffer has fewer words, or work on the device failed.
    pub fn receive(&mut self, len: usize) -> Result<&[u32]> {
        let words = self.on_host.words()?;
        let available = words.len();
        let Some(words) = words.get_mut(..len) else {
            bail!("{len} words do not fit the {available} that come from the device");
        };
        let stream = self.gpu.stream();
        // SAFETY: the host's words are not read before the copy is complete.
        unsafe { result::memcpy_dtoh_async(words, self.address, stream.cu_stream()) }
            .map_err(driver_error)?;
        self.on_host.copied.record(stream).map_err(driver_error)?;
        Ok(&self.on_host.words()?[..len])
    }
}

impl Pinned {
    pub(super) fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        let context = gpu.stream().context();
        // Not write-combined, because such memory is slow to read. SAFETY: zeroed before it is read.
        let mut words = unsafe { context.alloc_pinned_with_flags::<u32>(len.max(1), 0) }
            .map_err(driver_error)?;
        words.as_mut_slice().map_err(driver_error)?.fill(0);
        Ok(Self {
            words,
            copied: context.new_event(None).map_err(driver_error)?,
        })
    }

    /// Waits for the last copy and returns the words.
    pub(super) fn words(&mut self) -> Result<&mut [u32]> {
        self.copied.synchronize().map_err(driver_error)?;
        self.words.as_mut_slice().map_err(driver_error)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The device may still read the memory. If synchronizing fails, the device no longer works.
        let _ = self.copied.synchronize();
    }
}
