//! AVX2 and FMA: 16 lanes are two registers. A shift or a mask converts bf16 to f32.

use std::arch::x86_64::*;

use half::bf16;

use super::{Dot, Kernel, Lanes, MAX_TILE_ROWS};

/// A CPU with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU supports AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx2>() }
}

impl Lanes for Avx2 {
    type F32 = [__m256; 2];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F32 {
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::F32, factor: f32) -> Self::F32 {
        unsafe {
            let factor = _mm256_set1_ps(factor);
            [_mm256_mul_ps(a[0], factor), _mm256_mul_ps(a[1], factor)]
        }
    }
}

impl Dot<f32> for Avx2 {
    type X = f32;
    type Operand = [__m256; 2];
    const STEPS: usize = 2;
    /// At most 12 of the 16 registers are accumulators. Eight hide the latency: two multiplications
    /// start each cycle and take four. Three rows have only six, since two panels of them spill. One
    /// row goes through one panel at a time, which memory delivers fastest.
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 1, 2, 1, 1, 1, 1];
    const FENCED_SUMS: usize = 6;

    #[inline(always)]
    unsafe fn weights(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { Self::load(pair.add(step * 16)) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { [_mm256_broadcast_ss(&*pair.add(step)); 2] }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe {
            [
                _mm256_fmadd_ps(weights[0], x[0], sum[0]),
                _mm256_fmadd_ps(weights[1], x[1], sum[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const f32) {
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(pair.cast());
            _mm_prefetch::<_MM_HINT_T0>(pair.wrapping_add(16).cast());
        }
    }
}

impl Dot<bf16> for Avx2 {
    type X = f32;
    type Operand = [__m256; 2];
    const STEPS: usize = 2;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = <Self as Dot<f32>>::TILE_PANELS;
    const FENCED_SUMS: usize = <Self as Dot<f32>>::FENCED_SUMS;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, step: usize) -> Self::Operand {
        unsafe {
            let low = _mm256_loadu_si256(pair.cast());
            let high = _mm256_loadu_si256(pair.add(16).cast());
            if step == 0 {
                [
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
                ]
            } else {
                let odd = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                [
                    _mm256_castsi256_ps(_mm256_and_si256(low, odd)),
                    _mm256_castsi256_ps(_mm256_and_si256(high, odd)),
                ]
            }
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
