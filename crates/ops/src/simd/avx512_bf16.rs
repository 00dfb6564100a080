//! AVX-512 with bf16: one instruction multiplies and adds a pair.

use std::arch::x86_64::*;

use half::bf16;

use super::avx512::Avx512;
use super::{Dot, Kernel, MAX_TILE_ROWS};

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU supports AVX-512 F, BW, VL and BF16, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx512<true>>() }
}

impl Dot<bf16> for Avx512<true> {
    type X = bf16;
    type Operand = __m512i;
    const STEPS: usize = 1;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 1, 6, 6, 6, 4, 4];
    const FENCED_SUMS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, _step: usize) -> Self::Operand {
        unsafe { _mm512_loadu_si512(pair.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const bf16, _step: usize) -> Self::Operand {
        unsafe { _mm512_set1_epi32(pair.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        // The intrinsic's bf16 vector has no cast; the bits are the same.
        unsafe {
            let weights = std::mem::transmute::<__m512i, __m512bh>(weights);
            let x = std::mem::transmute::<__m512i, __m512bh>(x);
            _mm512_dpbf16_ps(sum, weights, x)
        }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const bf16) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pair.cast()) }
    }
}
