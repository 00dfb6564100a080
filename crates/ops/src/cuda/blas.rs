//! Matrix multiplications with cublasLt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard};

use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream};
use candle_core::{Context, DType, Error, Result, bail};

use super::{Address, address, driver_error};

/// `out [m, n] (+)= x [m, k] · weightᵀ` with the weight `[n, k]`. All matrices are row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Type of `x` and the weight: `BF16` or `F16`.
    pub(crate) element: DType,
    /// Type of `out`: equal to `element`, or `F32`.
    pub(crate) out: DType,
    pub(crate) add: bool,
}

/// The addresses of a product's matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrices {
    pub(crate) x: Address,
    pub(crate) weight: Address,
    pub(crate) out: Address,
}

/// cublasLt, its workspace, and a cache of the algorithms of all products so far. The cache exists
/// because a query for an algorithm takes as long as a small multiplication. All multiplications are on
/// one stream, so they can share the workspace.
pub(crate) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    plans: Mutex<HashMap<(Product, Alignment), Plan>>,
}

/// Whether all operands are aligned to 256 bytes, which is best for cublasLt.
type Alignment = bool;

// SAFETY: any thread may use cublasLt's handles and descriptors. Descriptors that change may only be
// used by one thread at a time, and a plan does not change.
unsafe impl Send for Blas {}
unsafe impl Sync for Blas {}

impl Blas {
    pub(super) fn new(stream: &Arc<CudaStream>, workspace_bytes: usize) -> Result<Self> {
        // SAFETY: the workspace is never read before it is written.
        let workspace = unsafe { stream.alloc::<u8>(workspace_bytes) }.map_err(driver_error)?;
        Ok(Self {
            handle: result::create_handle().map_err(blas_error)?,
            workspace,
            stream: stream.clone(),
            plans: Mutex::default(),
        })
    }

    /// Times the algorithms that cublasLt recommends for a product and keeps the fastest. Does nothing
    /// if the product has been timed before. The content of `out` is undefined afterwards.
    ///
    /// # Safety
    /// As for [`Self::multiply`].
    pub(crate) unsafe fn plan(&self, product: Product, matrices: Matrices) -> Result<()> {
        if product.m == 0 || product.n == 0 {
            return Ok(());
        }
        let aligned = matrices.are_aligned();
        let mut plans = self.plans()?;
        if let Entry::Vacant(new) = plans.entry((product, aligned)) {
            let mut plan = self.new_plan(product, aligned)?;
            // SAFETY: the caller guarantees it.
            unsafe { plan.keep_fastest(self, matrices)? };
            new.insert(plan);
        }
        Ok(())
    }

    /// Starts a multiplication.
    ///
    /// # Safety
    /// The matrices must have the product's shapes and types. `out` must not overlap the other two. All
    /// must live until the stream has completed the multiplication.
    pub(crate) unsafe fn multiply(&self, product: Product, matrices: Matrices) -> Result<()> {
        if product.m == 0 || product.n == 0 {
            return Ok(());
        }
        let aligned = matrices.are_aligned();
        let mut plans = self.plans()?;
        let plan = match plans.entry((product, aligned)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.new_plan(product, aligned)?),
        };
        let started = unsafe { plan.run(self, matrices, &plan.algorithms[0]) };
        started.map_err(blas_error)
    }

    /// The plans so far. Makes the device's context current on this thread.
    fn plans(&self) -> Result<MutexGuard<'_, HashMap<(Product, Alignment), Plan>>> {
        let context = self.stream.context();
        context.bind_to_thread().map_err(driver_error)?;
        let plans = self.plans.lock();
        plans.map_err(|_| Error::msg("cublasLt failed before"))
    }

    fn new_plan(&self, product: Product, aligned: Alignment) -> Result<Plan> {
        Plan::new(self, product, aligned)
            .with_context(|| format!("cublasLt has no way to compute {product:?}"))
    }
}

impl Matrices {
    fn are_aligned(self) -> Alignment {
        let best = u64::from(Plan::BEST_ALIGNMENT);
        [self.x, self.weight, self.out]
            .iter()
            .all(|address| address.is_multiple_of(best))
    }
}

/// The cublasLt descriptors of a product, and its algorithms. cublasLt's matrices are column-major. A
/// row-major matrix is a transposed column-major one, so cublasLt computes `outᵀ = weight · xᵀ`.
struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    /// Never empty. The first algorithm is used.
    algorithms: Vec<sys::cublasLtMatmulAlgo_t>,
    beta: f32,
}

impl Plan {
    const BEST_ALIGNMENT: u32 = 256;
    const LEAST_ALIGNMENT: u32 = 16;

    fn new(blas: &Blas, product: Product, aligned: Alignment) -> Result<Self> {
        let Product { m, n, k, .. } = product;
        let (element, out) = (data_type(product.element)?, data_type(product.out)?);
        let matrix = |of, rows: usize, columns: usize| {
            result::create_matrix_layout(of, rows as u64, columns as u64, rows as i64)
                .map_err(blas_error)
        };
        let operation = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )
        .map_err(blas_error)?;
        let transposed = cublasOperation_t::CUBLAS_OP_T;
        // SAFETY: the attribute is read from this variable, which has the attribute's type.
        unsafe {
            result::set_matmul_desc_attribute(
                operation,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of_val(&transposed),
            )
        }
        .map_err(blas_error)?;
        let mut plan = Self {
            operation,
            weight: matrix(element, k, n)?,
            x: matrix(element, k, m)?,
            out: matrix(out, n, m)?,
            algorithms: Vec::new(),
            beta: if product.add { 1.0 } else { 0.0 },
        };
        let alignment = match aligned {
            true => Self::BEST_ALIGNMENT,
            false => Self::LEAST_ALIGNMENT,
        };
        plan.algorithms = plan.find_algorithms(blas, alignment)?;
        Ok(plan)
    }

    /// Times each algorithm and keeps the fastest.
    unsafe fn keep_fastest(&mut self, blas: &Blas, matrices: Matrices) -> Result<()> {
        const RUNS: usize = 3;
        if let [_] = self.algorithms.as_slice() {
            return Ok(());
        }
        let context = blas.stream.context();
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let (started, stopped) = (
            event().map_err(driver_error)?,
            event().map_err(driver_error)?,
        );
        let mut fastest = None;
        for algorithm in &self.algorithms {
            // The first run may include setup. An algorithm that does not support the product is
            // skipped.
            if unsafe { self.run(blas, matrices, algorithm) }.is_err() {
                continue;
            }
            started.record(&blas.stream).map_err(driver_error)?;
            for _ in 0..RUNS {
                unsafe { self.run(blas, matrices, algorithm) }.map_err(blas_error)?;
            }
            stopped.record(&blas.stream).map_err(driver_error)?;
            let milliseconds = started.elapsed_ms(&stopped).map_err(driver_error)?;
            if fastest.is_none_or(|(least, _)| milliseconds < least) {
                fastest = Some((milliseconds, *algorithm));
            }
        }
        let (_, algorithm) = fastest.context("no algorithm of cublasLt runs")?;
        self.algorithms = vec![algorithm];
        Ok(())
    }

    /// The algorithms that cublasLt expects to be fast, fastest first. At least one.
    fn find_algorithms(
        &self,
        blas: &Blas,
        alignment: u32,
    ) -> Result<Vec<sys::cublasLtMatmulAlgo_t>> {
        const WANTED: usize = 8;
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref().map_err(blas_error)?;
        let workspace_bytes = blas.workspace.len();
        // SAFETY: each attribute is read from a variable of its type, and all descriptors are alive.
        let chosen = unsafe {
            let set = |attribute, value: *const c_void, size| {
                result::set_matmul_pref_attribute(preference, attribute, value, size)
            };
            set(
                Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace_bytes).cast(),
                size_of_val(&workspace_bytes),
            )
            .and_then(|()| {
                [
                    Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                    Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                    Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                    Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                ]
                .into_iter()
                .try_for_each(|attribute| {
                    set(
                        attribute,
                        (&raw const alignment).cast(),
                        size_of_val(&alignment),
                    )
                })
            })
            .and_then(|()| {
                let mut found = [MaybeUninit::uninit(); WANTED];
                let mut count = 0;
                sys::cublasLtMatmulAlgoGetHeuristic(
                    blas.handle,
                    self.operation,
                    self.weight,
                    self.x,
                    self.out,
                    self.out,
                    preference,
                    WANTED as i32,
                    found.as_mut_ptr().cast(),
                    &mut count,
                )
                .result()?;
                let count = usize::try_from(count).unwrap_or(0).min(WANTED);
                // SAFETY: the library has initialized the first `count` entries.
                let found = found[..count].iter().map(|it| it.assume_init());
                let found: Vec<sys::cublasLtMatmulHeuristicResult_t> = found.collect();
                Ok(found)
            })
        };
        // SAFETY: nothing refers to the preference any more.
        unsafe { result::destroy_matmul_pref(preference) }.map_err(blas_error)?;
        let usable = chosen.map_err(blas_error)?.into_iter();
        let usable = usable.filter(|it| it.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        let algorithms: Vec<_> = usable.map(|it| it.algo).collect();
        match algorithms.is_empty() {
            true => Err(blas_error(CublasError(
                sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
            ))),
            false => Ok(algorithms),
        }
    }

    unsafe fn run(
        &self,
        blas: &Blas,
        matrices: Matrices,
        algorithm: &sys::cublasLtMatmulAlgo_t,
    ) -> std::result::Result<(), CublasError> {
        let alpha = 1.0_f32;
        let out = matrices.out as usize as *mut c_void;
        unsafe {
            result::matmul(
                blas.handle,
                self.operation,
                (&raw const alpha).cast(),
                (&raw const self.beta).cast(),
                matrices.weight as usize as *const c_void,
                self.weight,
                matrices.x as usize as *const c_void,
                self.x,
                out,
                self.out,
                out,
                self.out,
                algorithm,
                address(&blas.workspace, &blas.stream) as usize as *mut c_void,
                blas.workspace.len(),
                blas.stream.cu_stream().cast(),
            )
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan created these descriptors and nothing else refers to them. A failure only
        // leaks a descriptor.
        unsafe {
            let _ = result::destroy_matmul_desc(self.operation);
            for layout in [self.weight, self.x, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

fn data_type(dtype: DType) -> Result<sys::cudaDataType_t> {
    match dtype {
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        DType::F16 => Ok(sys::cudaDataType_t::CUDA_R_16F),
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        other => bail!("matrices are multiplied as BF16 or F16, not as {other:?}"),
    }
}

fn blas_error(error: CublasError) -> Error {
    Error::Cuda(Box::new(error)).bt()
}
