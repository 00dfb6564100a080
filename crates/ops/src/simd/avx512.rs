//! AVX-512: 16 lanes are one register. Without bf16 arithmetic, a shift or a mask converts bf16 to
//! f32.

use std::arch::x86_64::*;

use half::bf16;

use super::{Dot, Kernel, Lanes, MAX_TILE_ROWS};

/// A CPU with AVX-512 F, BW and VL; with `BF16` also the bf16 dot product.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const BF16: bool>;

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU supports AVX-512 F, BW and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx512<false>>() }
}

impl<const BF16: bool> Lanes for Avx512<BF16> {
    type F32 = __m512;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F32 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::F32, factor: f32) -> Self::F32 {
        unsafe { _mm512_mul_ps(a, _mm512_set1_ps(factor)) }
    }
}

impl<const BF16: bool> Dot<f32> for Avx512<BF16> {
    type X = f32;
    type Operand = __m512;
    const STEPS: usize = 2;
    /// f32 weights are used in tests only, so a few tile sizes are enough.
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 2, 2, 2, 2, 2, 2];
    const FENCED_SUMS: usize = 12;

    #[inline(always)]
    unsafe fn weights(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { _mm512_loadu_ps(pair.add(step * 16)) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { _mm512_set1_ps(*pair.add(step)) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe { _mm512_fmadd_ps(weights, x, sum) }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const f32) {
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(pair.cast());
            _mm_prefetch::<_MM_HINT_T0>(pair.wrapping_add(16).cast());
        }
    }
}

impl Dot<bf16> for Avx512<false> {
    type X = f32;
    type Operand = __m512;
    const STEPS: usize = 2;
    /// Accumulators, weights and both activations of a pair of every row fit the 32 registers: the
    /// compiler loads all activations first, and larger tiles spill. One row goes through one panel
    /// at a time, which memory delivers fastest.
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 1, 6, 6, 4, 2, 2];
    const FENCED_SUMS: usize = 12;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, step: usize) -> Self::Operand {
        unsafe {
            let words = _mm512_loadu_si512(pair.cast());
            _mm512_castsi512_ps(if step == 0 {
                _mm512_slli_epi32::<16>(words)
            } else {
                _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32))
            })
        }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { <Self as Dot<f32>>::broadcast(pair, step) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe { <Self as Dot<f32>>::dot(sum, weights, x) }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const bf16) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pair.cast()) }
    }
}
