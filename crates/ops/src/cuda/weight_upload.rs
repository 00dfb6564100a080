//! Uploads a weight to the device in pieces.

use std::cell::RefCell;

use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use super::transfer::Pinned;
use super::{Address, Gpu, driver_error, tensor};
use crate::linear_weight::WeightElement;

/// Elements of a buffer: 8 MiB, which the bus transfers in about 300 µs.
const BUFFER_ELEMENTS: usize = 4 << 20;

/// A bf16 tensor that is filled from the beginning. The device copies one buffer while the host writes
/// the next. Each thread reuses its buffers, because page-locking memory takes longer than filling it.
#[derive(Debug)]
pub(crate) struct WeightUpload {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    /// Elements whose copy has been submitted.
    sent: usize,
    /// Elements in the current buffer.
    filled: usize,
}

/// The two buffers of a thread.
struct Buffers {
    pinned: [Pinned; 2],
    next: usize,
}

thread_local! {
    static BUFFERS: RefCell<Option<Buffers>> = const { RefCell::new(None) };
}

impl WeightUpload {
    /// Allocates `elements` elements on the device.
    ///
    /// # Errors
    /// The device is not a CUDA device, or memory ran out.
    pub(crate) fn new(elements: usize, device: &Device) -> Result<Self> {
        let on_device = Tensor::zeros(elements, DType::BF16, device)?;
        Ok(Self {
            gpu: Gpu::of(device.as_cuda_device()?)?,
            address: tensor("weight", &on_device)?.of("weight", DType::BF16)?,
            on_device,
            sent: 0,
            filled: 0,
        })
    }

    /// Appends elements.
    ///
    /// # Errors
    /// The tensor is too small, or the driver returns an error.
    pub(crate) fn push<E: WeightElement>(&mut self, mut elements: &[E]) -> Result<()> {
        let left = self.on_device.elem_count() - self.sent - self.filled;
        if elements.len() > left {
            bail!("{} elements for a weight that lacks {left}", elements.len());
        }
        while !elements.is_empty() {
            let count = elements.len().min(BUFFER_ELEMENTS - self.filled);
            let (now, later) = elements.split_at(count);
            with_buffers(self.gpu, |buffers| {
                let buffer = buffers.next()?;
                E::write_bf16(now, &mut buffer[self.filled..][..count]);
                Ok(())
            })?;
            self.filled += count;
            elements = later;
            if self.filled == BUFFER_ELEMENTS {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Returns the tensor. All pushed elements arrive before any later work on the device starts.
    ///
    /// # Errors
    /// The driver returns an error.
    pub(crate) fn finish(mut self) -> Result<Tensor> {
        self.flush()?;
        Ok(self.on_device)
    }

    /// Submits the copy of the current buffer.
    fn flush(&mut self) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let stream = self.gpu.stream();
        let to = self.address + (self.sent * size_of::<bf16>()) as Address;
        with_buffers(self.gpu, |buffers| {
            stream.context().bind_to_thread().map_err(driver_error)?;
            let from = &buffers.next()?[..self.filled];
            // SAFETY: the buffer does not change until the copy is complete (`next` waits for that), and
            // the tensor is large enough.
            unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) }
                .map_err(driver_error)?;
            let current = &buffers.pinned[buffers.next];
            current.copied.record(stream).map_err(driver_error)?;
            buffers.next = 1 - buffers.next;
            Ok(())
        })?;
        self.sent += self.filled;
        self.filled = 0;
        Ok(())
    }
}

impl Buffers {
    fn new(gpu: &Gpu) -> Result<Self> {
        let words = BUFFER_ELEMENTS * size_of::<bf16>() / size_of::<u32>();
        Ok(Self {
            pinned: [Pinned::new(gpu, words)?, Pinned::new(gpu, words)?],
            next: 0,
        })
    }

    /// The next buffer. Waits until the device has read its earlier content.
    fn next(&mut self) -> Result<&mut [bf16]> {
        let words = self.pinned[self.next].words()?;
        let len = size_of_val(words) / size_of::<bf16>();
        // SAFETY: every bit pattern is a valid bf16, and u32 words are aligned for it.
        Ok(unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) })
    }
}

/// Calls `f` with this thread's buffers.
fn with_buffers<R>(gpu: &Gpu, f: impl FnOnce(&mut Buffers) -> Result<R>) -> Result<R> {
    BUFFERS.with_borrow_mut(|buffers| match buffers {
        Some(buffers) => f(buffers),
        None => f(buffers.insert(Buffers::new(gpu)?)),
    })
}
