//! Device addresses of tensors.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr, sys};
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::{DType, Layout, Result, Storage, Tensor, bail};

/// An address in device memory.
pub(crate) type Address = sys::CUdeviceptr;

/// Bytes that a thread loads at once.
const VECTOR_BYTES: Address = 16;

/// A contiguous tensor in device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) address: Address,
    pub(crate) dtype: DType,
    /// Number of elements from the tensor's first element to the end of its storage.
    pub(crate) elements: usize,
}

impl Operand {
    /// The address. Fails if the operand has another type.
    pub(crate) fn of(self, name: &str, dtype: DType) -> Result<Address> {
        if self.dtype != dtype {
            bail!("{name} must be {dtype:?}, it is {:?}", self.dtype);
        }
        Ok(self.address)
    }

    /// The operand's 16-bit type, which selects the kernel's variant. Fails if the type is not a
    /// 16-bit type or the address is not aligned as the kernels require.
    pub(crate) fn element(self, name: &str) -> Result<DType> {
        if !self.address.is_multiple_of(VECTOR_BYTES) {
            bail!("{name} must begin at a multiple of {VECTOR_BYTES} bytes");
        }
        match self.dtype {
            DType::BF16 | DType::F16 => Ok(self.dtype),
            other => bail!("{name} must be BF16 or F16 on a GPU, it is {other:?}"),
        }
    }
}

/// The operand of a storage and a contiguous layout with any offset.
///
/// # Errors
/// The layout is strided, or no kernel reads the type.
pub(crate) fn operand(name: &str, storage: &CudaStorage, layout: &Layout) -> Result<Operand> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!(
            "{name} must be contiguous, its shape is {:?} with strides {:?}: narrow only its first dimension",
            layout.shape(),
            layout.stride()
        );
    };
    let stream = storage.device.cuda_stream();
    let (base, len) = match &storage.slice {
        CudaStorageSlice::BF16(slice) => (address(slice, &stream), slice.len()),
        CudaStorageSlice::F16(slice) => (address(slice, &stream), slice.len()),
        CudaStorageSlice::F32(slice) => (address(slice, &stream), slice.len()),
        CudaStorageSlice::U32(slice) => (address(slice, &stream), slice.len()),
        _ => bail!("{name}: no kernel reads {:?}", storage.dtype()),
    };
    let dtype = storage.dtype();
    Ok(Operand {
        address: base + (start * dtype.size_in_bytes()) as Address,
        dtype,
        elements: len - start,
    })
}

/// The operand of a tensor. Used for the operands that candle does not pass as storage.
pub(crate) fn tensor(name: &str, tensor: &Tensor) -> Result<Operand> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => operand(name, storage, layout),
        _ => bail!("{name} is on another device"),
    }
}

/// The address of a slice. All work is on one stream, so no synchronization is needed.
pub(crate) fn address<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> Address {
    slice.device_ptr(stream).0
}
