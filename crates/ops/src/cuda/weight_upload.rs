//! A weight on its way to the device, a piece at a time.

use std::cell::RefCell;

use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use super::transfer::Pinned;
use super::{Address, Gpu, driver_error, tensor};
use crate::linear_weight::WeightElement;

/// Elements of a buffer: 8 MiB, which takes the bus some 300 µs.
const BUFFER_ELEMENTS: usize = 4 << 20;

/// A tensor of bf16 that is filled from its beginning: the device copies one buffer while the next is
/// written. Buffers are the thread's, since to lock memory takes longer than to fill it.
#[derive(Debug)]
pub(crate) struct WeightUpload {
    gpu: &'static Gpu,
    on_device: Tensor,
    address: Address,
    /// Elements on their way or there.
    sent: usize,
    /// Elements in the buffer whose turn it is.
    filled: usize,
}

/// Two buffers of one thread.
struct Buffers {
    pinned: [Pinned; 2],
    next: usize,
}

thread_local! {
    static BUFFERS: RefCell<Option<Buffers>> = const { RefCell::new(None) };
}

impl WeightUpload {
    /// Room for so many elements on the device.
    ///
    /// # Errors
    /// It is no CUDA device, or memory ran out.
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
    /// There is no room for them, or the device refused.
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

    /// The tensor; what was pushed is there before any later work of the device.
    ///
    /// # Errors
    /// The device refused.
    pub(crate) fn finish(mut self) -> Result<Tensor> {
        self.flush()?;
        Ok(self.on_device)
    }

    /// Sends what is in the buffer.
    fn flush(&mut self) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let stream = self.gpu.stream();
        let to = self.address + (self.sent * size_of::<bf16>()) as Address;
        with_buffers(self.gpu, |buffers| {
            stream.context().bind_to_thread().map_err(driver_error)?;
            let from = &buffers.next()?[..self.filled];
            // SAFETY: the buffer stays as it is until the copy is through (`next` waits for that), and
            // the tensor has room.
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

    /// The buffer whose turn it is, once the device has read what it held.
    fn next(&mut self) -> Result<&mut [bf16]> {
        let words = self.pinned[self.next].words()?;
        let len = size_of_val(words) / size_of::<bf16>();
        // SAFETY: any bits are a bf16, and words are aligned for it.
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
