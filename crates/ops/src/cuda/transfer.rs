//! Words on their way between host and device, over memory that the device reads by itself.

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice, result, sys};
use candle_core::{DType, Device, Result, Tensor, bail};

use super::{Address, Gpu, driver_error, tensor};
use crate::UploadTable;

/// Host memory of an [`Upload`], so many times that the device may still read one while the host
/// writes the next.
const RING: usize = 2;

/// Words that go to the device, always to the same place there.
#[derive(Debug)]
pub struct Upload {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    ring: [Pinned; RING],
    next: usize,
}

/// Words that come from the device, always from the same place there.
#[derive(Debug)]
pub struct Download {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    on_host: Pinned,
}

/// Host memory that the device reads and writes by itself.
#[derive(Debug)]
pub(super) struct Pinned {
    words: PinnedHostSlice<u32>,
    /// After the last copy.
    pub(super) copied: CudaEvent,
}

/// Copies all elements of `source` to `target`, on the device: as fast as its memory can.
///
/// # Errors
/// They differ in type or size, are strided, or are not on a CUDA device.
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
    // SAFETY: both have so many bytes, and both live on this device, whose one stream frees them after
    // the copy.
    unsafe { result::memcpy_dtod_async(to, from, bytes, gpu.stream().cu_stream()) }
        .map_err(driver_error)
}

impl Upload {
    /// Room for `words`, on the host and on the device.
    ///
    /// # Errors
    /// It is no CUDA device, or memory ran out.
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

    /// The words on the host, to be written before they are [sent](Self::send): what they hold is
    /// of an earlier step. Waits until the device has read that.
    ///
    /// # Errors
    /// Work failed on the device.
    pub fn words(&mut self) -> Result<&mut [u32]> {
        self.ring[self.next].words()
    }

    /// Sends the first `len` words after all work so far.
    ///
    /// # Errors
    /// There are not so many, or the device refused.
    pub fn send(&mut self, len: usize) -> Result<()> {
        self.send_with_table(UploadTable::none_after(len))
    }

    /// Sends the words before a table and the used part of it after all work so far.
    ///
    /// # Errors
    /// There are not so many, or the device refused.
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
        // SAFETY: the host's words stay as they are until the copies are through (`words` waits for
        // that), and the device has as many.
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
    /// From the host's words to the same places on the device.
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
    /// Room for `words`, on the host and on the device.
    ///
    /// # Errors
    /// It is no CUDA device, or memory ran out.
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

    /// The first `len` words as all work so far leaves them. Waits for it.
    ///
    /// # Errors
    /// There are not so many, or work failed on the device.
    pub fn receive(&mut self, len: usize) -> Result<&[u32]> {
        let words = self.on_host.words()?;
        let available = words.len();
        let Some(words) = words.get_mut(..len) else {
            bail!("{len} words do not fit the {available} that come from the device");
        };
        let stream = self.gpu.stream();
        // SAFETY: nobody looks at the host's words before the copy is through.
        unsafe { result::memcpy_dtoh_async(words, self.address, stream.cu_stream()) }
            .map_err(driver_error)?;
        self.on_host.copied.record(stream).map_err(driver_error)?;
        Ok(&self.on_host.words()?[..len])
    }
}

impl Pinned {
    pub(super) fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        let context = gpu.stream().context();
        // Not write-combined, which is slow to read. SAFETY: zeroed before anybody reads it.
        let mut words = unsafe { context.alloc_pinned_with_flags::<u32>(len.max(1), 0) }
            .map_err(driver_error)?;
        words.as_mut_slice().map_err(driver_error)?.fill(0);
        Ok(Self {
            words,
            copied: context.new_event(None).map_err(driver_error)?,
        })
    }

    /// The words, once the last copy is through.
    pub(super) fn words(&mut self) -> Result<&mut [u32]> {
        self.copied.synchronize().map_err(driver_error)?;
        self.words.as_mut_slice().map_err(driver_error)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The device may still read. Where it cannot be asked, it does so no more.
        let _ = self.copied.synchronize();
    }
}
