//! Matrix multiplications by cublasLt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream};
use candle_core::{Context, DType, Error, Result, bail};

use super::{Address, address, driver_error};

/// `out [m, n] (+)= x [m, k] · weightᵀ`, the weight `[n, k]`, all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Of `x` and the weight: `BF16` or `F16`.
    pub(crate) element: DType,
    /// Of `out`: the same, or `F32`.
    pub(crate) out: DType,
    pub(crate) add: bool,
}

/// Where the matrices of a product lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrices {
    pub(crate) x: Address,
    pub(crate) weight: Address,
    pub(crate) out: Address,
}

/// cublasLt, its workspace, and an algorithm for every product so far: asking for one takes as
/// long as a small multiplication. All on one stream, so that they can share the workspace.
pub(crate) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    plans: Mutex<HashMap<(Product, Alignment), Plan>>,
}

/// Whether all operands lie at multiples of 256 bytes, which cublasLt likes best.
type Alignment = bool;

// SAFETY: cublasLt's handles and descriptions may be used from any thread, one at a time for
// those that change, and a plan does not change.
unsafe impl Send for Blas {}
unsafe impl Sync for Blas {}

impl Blas {
    pub(super) fn new(stream: &Arc<CudaStream>, workspace_bytes: usize) -> Result<Self> {
        // SAFETY: the workspace's content is never read before it is written.
        let workspace = unsafe { stream.alloc::<u8>(workspace_bytes) }.map_err(driver_error)?;
        Ok(Self {
            handle: result::create_handle().map_err(blas_error)?,
            workspace,
            stream: stream.clone(),
            plans: Mutex::default(),
        })
    }

    /// Starts a multiplication.
    ///
    /// # Safety
    /// The matrices have the product's shapes and types, `out` overlaps neither other, and they
    /// live until the stream has passed it.
    pub(crate) unsafe fn multiply(&self, product: Product, matrices: Matrices) -> Result<()> {
        if product.m == 0 || product.n == 0 {
            return Ok(());
        }
        let aligned = [matrices.x, matrices.weight, matrices.out]
            .iter()
            .all(|address| address.is_multiple_of(u64::from(Plan::BEST_ALIGNMENT)));
        let mut plans = self
            .plans
            .lock()
            .map_err(|_| Error::msg("cublasLt failed before"))?;
        let plan = match plans.entry((product, aligned)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let plan = Plan::new(self, product, aligned)
                    .with_context(|| format!("cublasLt has no way to compute {product:?}"))?;
                new.insert(plan)
            }
        };
        unsafe { plan.run(self, matrices) }
    }
}

/// A product as cublasLt describes it, and how it is computed. cublasLt counts in columns, so
/// that it computes `outᵀ = weight · xᵀ`, where every row-major matrix is a transposed
/// column-major one.
struct Plan {
    operation: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
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
        // SAFETY: the attribute is read from this variable, which has its type.
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
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
            beta: if product.add { 1.0 } else { 0.0 },
        };
        let alignment = match aligned {
            true => Self::BEST_ALIGNMENT,
            false => Self::LEAST_ALIGNMENT,
        };
        plan.algorithm = plan.choose_algorithm(blas, alignment)?;
        Ok(plan)
    }

    fn choose_algorithm(&self, blas: &Blas, alignment: u32) -> Result<sys::cublasLtMatmulAlgo_t> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref().map_err(blas_error)?;
        let workspace_bytes = blas.workspace.len();
        // SAFETY: each attribute is read from a variable of its type, and all descriptions are
        // alive.
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
                result::get_matmul_algo_heuristic(
                    blas.handle,
                    self.operation,
                    self.weight,
                    self.x,
                    self.out,
                    self.out,
                    preference,
                )
            })
        };
        // SAFETY: nothing refers to it any more.
        unsafe { result::destroy_matmul_pref(preference) }.map_err(blas_error)?;
        Ok(chosen.map_err(blas_error)?.algo)
    }

    unsafe fn run(&self, blas: &Blas, matrices: Matrices) -> Result<()> {
        let alpha = 1.0_f32;
        let out = matrices.out as usize as *mut c_void;
        blas.stream
            .context()
            .bind_to_thread()
            .map_err(driver_error)?;
        let started = unsafe {
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
                &self.algorithm,
                address(&blas.workspace, &blas.stream) as usize as *mut c_void,
                blas.workspace.len(),
                blas.stream.cu_stream().cast(),
            )
        };
        started.map_err(blas_error)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each was made with the plan and goes with it. A failure leaves a description
        // behind, no more.
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
