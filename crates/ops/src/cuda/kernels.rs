//! The loaded kernels of a device. Each function is looked up once.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaStream, sys};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{Context, DType, Result};

use super::driver_error;

/// The kernels' parameters as structs, generated from `kernels/*.cu` by the build script.
pub(crate) mod arguments {
    use std::ffi::c_void;

    use candle_core::DType;

    use super::Function;
    use crate::cuda::Address;

    /// The arguments of a kernel.
    pub(crate) trait Arguments {
        /// The kernel's name without the variant.
        const KERNEL: &'static str;
        /// Threads per block.
        const THREADS: u32;
        /// An array with one pointer per parameter.
        type Pointers: AsMut<[*mut c_void]>;

        /// A pointer to each argument, in the order of the kernel's parameters.
        fn pointers(&self) -> Self::Pointers;
    }

    include!(concat!(env!("OUT_DIR"), "/arguments.rs"));
}

static MODULES: &[&[u8]] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// An entry point.
pub(crate) struct Function {
    module: usize,
    name: &'static str,
    kernel: &'static str,
    element: Option<DType>,
    head_dim: u32,
}

/// A kernel's name, its 16-bit type if any, and its head dimension or 0.
type Key = (&'static str, Option<DType>, u32);

pub(crate) struct Kernels {
    functions: HashMap<Key, CudaFunction>,
}

impl Kernels {
    pub(super) fn load(stream: &Arc<CudaStream>) -> Result<Self> {
        let modules = MODULES
            .iter()
            .map(|image| {
                stream
                    .context()
                    .load_module(Ptx::from_binary(image.to_vec()))
            })
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(driver_error)
            .context("our kernels are made for compute capability 8.0 and newer")?;
        let most_shared_bytes = stream
            .context()
            .attribute(
                sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )
            .map_err(driver_error)?;
        let mut functions = HashMap::new();
        for it in arguments::FUNCTIONS {
            let function = modules[it.module]
                .load_function(it.name)
                .map_err(driver_error)
                .with_context(|| format!("kernel {}", it.name))?;
            allow_shared_memory(&function, most_shared_bytes)?;
            functions.insert((it.kernel, it.element, it.head_dim), function);
        }
        Ok(Self { functions })
    }

    pub(super) fn get(&self, key: Key) -> Result<&CudaFunction> {
        self.functions.get(&key).with_context(|| {
            let (kernel, element, head_dim) = key;
            format!("there is no kernel {kernel} for {element:?} and heads of {head_dim}")
        })
    }
}

/// Sets a function's limit of dynamic shared memory to the maximum per block. The size that a launch
/// needs depends on the model, and more than 48 KiB, static shared memory included, must be enabled
/// explicitly.
fn allow_shared_memory(function: &CudaFunction, most_bytes: i32) -> Result<()> {
    let own_bytes = function.shared_size_bytes().map_err(driver_error)?;
    function
        .set_attribute(
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            most_bytes - own_bytes,
        )
        .map_err(driver_error)
}
