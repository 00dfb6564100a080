//! Contiguous views of candle's CPU storage.

use candle_core::{CpuStorage, DType, Layout, Result, WithDType, bail};

/// The elements of a contiguous source, at any offset in the storage.
///
/// # Errors
/// The layout is strided, or the storage has another type.
pub(crate) fn source<'a, T: WithDType>(
    name: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    expect_dtype(name, storage, T::DTYPE)?;
    let elements = T::cpu_storage_as_slice(storage)?;
    let (start, end) = contiguous(name, layout)?;
    Ok(&elements[start..end])
}

/// The elements of a contiguous f32 destination, at any offset in the storage.
///
/// # Errors
/// The layout is strided, or the storage has another type.
pub(crate) fn destination<'a>(
    name: &str,
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    expect_dtype(name, storage, DType::F32)?;
    let (start, end) = contiguous(name, layout)?;
    match storage {
        CpuStorage::F32(elements) => Ok(&mut elements[start..end]),
        _ => bail!("{name} must be f32"),
    }
}

fn expect_dtype(name: &str, storage: &CpuStorage, expected: DType) -> Result<()> {
    use candle_core::backend::BackendStorage;
    let found = storage.dtype();
    if found != expected {
        bail!("{name} must be {expected:?}, it is {found:?}");
    }
    Ok(())
}

fn contiguous(name: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(offsets) => Ok(offsets),
        None => bail!(
            "{name} must be contiguous, its shape is {:?} with strides {:?}: narrow only its first dimension",
            layout.shape(),
            layout.stride()
        ),
    }
}
