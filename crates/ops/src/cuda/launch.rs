//! Kernel launches.

use candle_core::cuda_backend::cudarc::driver::{CudaStream, result};
use candle_core::{DType, Result, bail};

use super::arguments::Arguments;
use super::{Gpu, driver_error};

/// Number of blocks in each dimension, and dynamic shared memory per block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) blocks: [usize; 3],
    pub(crate) shared_bytes: usize,
}

impl Grid {
    pub(crate) fn new(x: usize, y: usize, z: usize) -> Self {
        Self {
            blocks: [x, y, z],
            shared_bytes: 0,
        }
    }

    pub(crate) fn shared(self, shared_bytes: usize) -> Self {
        Self {
            shared_bytes,
            ..self
        }
    }
}

impl Gpu {
    /// Launches the variant of a kernel for a 16-bit type and, if the kernel has such variants, for a
    /// head dimension. Does nothing if the grid is empty.
    ///
    /// # Safety
    /// The arguments must fit together as the comment at the top of the kernel's file says. The memory
    /// that they point to must live until the stream has completed the launch.
    pub(crate) unsafe fn launch<A: Arguments>(
        &self,
        element: Option<DType>,
        head_dim: usize,
        grid: Grid,
        arguments: &A,
    ) -> Result<()> {
        unsafe { self.launch_on(&self.stream, (element, head_dim), grid, arguments) }
    }

    /// Like [`launch`](Self::launch), but on the side stream. The kernel starts after the main
    /// stream's work so far and runs concurrently with its later work.
    ///
    /// # Safety
    /// As for `launch`. Until [`join`](Self::join), the caller must not launch another kernel on the
    /// side stream and must not access the memory that this kernel writes.
    pub(crate) unsafe fn launch_beside<A: Arguments>(
        &self,
        element: DType,
        grid: Grid,
        arguments: &A,
    ) -> Result<()> {
        self.side_stream.begin(&self.stream, |side| unsafe {
            self.launch_on(side, (Some(element), 0), grid, arguments)
        })
    }

    /// Makes the main stream wait for the last kernel on the side stream.
    pub(crate) fn join(&self) -> Result<()> {
        self.side_stream.end(&self.stream)
    }

    unsafe fn launch_on<A: Arguments>(
        &self,
        stream: &CudaStream,
        (element, head_dim): (Option<DType>, usize),
        grid: Grid,
        arguments: &A,
    ) -> Result<()> {
        /// The hardware's maximum number of blocks in each dimension of a grid.
        const MAX_BLOCKS: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        if grid
            .blocks
            .iter()
            .zip(MAX_BLOCKS)
            .any(|(blocks, max)| *blocks > max)
        {
            bail!(
                "{}: a grid of {:?} blocks is too large",
                A::KERNEL,
                grid.blocks
            );
        }
        let function = self.kernels.get((A::KERNEL, element, head_dim as u32))?;
        stream.context().bind_to_thread().map_err(driver_error)?;
        let [x, y, z] = grid.blocks.map(|blocks| blocks as u32);
        let launched = unsafe {
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                (A::THREADS, 1, 1),
                grid.shared_bytes as u32,
                stream.cu_stream(),
                arguments.pointers().as_mut(),
            )
        };
        launched.map_err(driver_error)
    }
}
