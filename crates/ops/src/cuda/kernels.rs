//! Our kernels on a device, each looked up once.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaStream, sys};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{Context, DType, Result};

use super::driver_error;

/// The kernels' parameters as structs, generated from `kernels/*.cu`.
pub(crate) mod arguments {
    use std::ffi::c_void;

    use candle_core::DType;

    use super::Function;
    use crate::cuda::Address;

    /// What a kernel is called with.
    pub(crate) trait Arguments {
        /// The kernel's name without its variant.
        const KERNEL: &'static str;
        /// Threads of a block.
        const THREADS: u32;
        /// One a parameter.
        type Pointers: AsMut<[*mut c_void]>;

        /// Where each argument lies, in the kernel's order.
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

/// A kernel's name, the 16-bit type that it computes with, and the head dimension it is made for.
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

/// Allows a function all the shared memory that a block can have: what a launch asks for depends on
/// the model, and more than 48 KiB, the function's own variables included, needs leave.
fn allow_shared_memory(function: &CudaFunction, most_bytes: i32) -> Result<()> {
    let own_bytes = function.shared_size_bytes().map_err(driver_error)?;
    function
        .set_attribute(
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            most_bytes - own_bytes,
        )
        .map_err(driver_error)
}
