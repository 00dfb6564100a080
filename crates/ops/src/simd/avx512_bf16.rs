//! AVX-512 with bf16: 16 lanes are one register, and one instruction multiplies and adds a pair.

use std::arch::x86_64::*;

use half::bf16;

use super::{Dot, Kernel, Lanes};

/// A CPU with AVX-512 F, BW, VL and BF16.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16;

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and BF16, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx512Bf16>() }
}

impl Lanes for Avx512Bf16 {
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

    /// 24 of the 32 registers accumulate at most, four hold weights.
    #[inline(always)]
    fn panels(_rows: usize) -> usize {
        4
    }
}

impl Dot<f32> for Avx512Bf16 {
    type X = f32;
    type Operand = __m512;
    const STEPS: usize = 2;

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
    unsafe fn prefetch(pair: *const f32) {
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(pair.cast());
            _mm_prefetch::<_MM_HINT_T0>(pair.wrapping_add(16).cast());
        }
    }
}

impl Dot<bf16> for Avx512Bf16 {
    type X = bf16;
    type Operand = __m512i;
    const STEPS: usize = 1;

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
        // The intrinsic's vector of bf16 has no cast of its own; the bits are the same.
        unsafe {
            let weights = std::mem::transmute::<__m512i, __m512bh>(weights);
            let x = std::mem::transmute::<__m512i, __m512bh>(x);
            _mm512_dpbf16_ps(sum, weights, x)
        }
    }

    #[inline(always)]
    unsafe fn prefetch(pair: *const bf16) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pair.cast()) }
    }
}
