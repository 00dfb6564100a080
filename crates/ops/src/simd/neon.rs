//! NEON: 16 lanes are four registers. Without bf16 arithmetic, a shift or a mask converts bf16 to
//! f32.

use std::arch::aarch64::*;
use std::arch::asm;

use half::bf16;

use super::{Dot, Kernel, Lanes, MAX_TILE_ROWS};

/// A CPU with NEON; with `BF16` also the bf16 dot product.
#[derive(Clone, Copy)]
pub(super) struct Neon<const BF16: bool>;

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU supports NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Neon<false>>() }
}

/// Prefetches a cache line. Any address is allowed.
#[inline(always)]
pub(super) unsafe fn prefetch<T>(address: *const T) {
    // The intrinsic isn't stable yet.
    unsafe {
        asm!(
            "prfm pldl1keep, [{}]",
            in(reg) address,
            options(nomem, nostack, preserves_flags)
        );
    }
}

impl<const BF16: bool> Lanes for Neon<BF16> {
    type F32 = [float32x4_t; 4];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F32 {
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        unsafe {
            [
                vaddq_f32(a[0], b[0]),
                vaddq_f32(a[1], b[1]),
                vaddq_f32(a[2], b[2]),
                vaddq_f32(a[3], b[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn scale(a: Self::F32, factor: f32) -> Self::F32 {
        unsafe {
            [
                vmulq_n_f32(a[0], factor),
                vmulq_n_f32(a[1], factor),
                vmulq_n_f32(a[2], factor),
                vmulq_n_f32(a[3], factor),
            ]
        }
    }
}

impl<const BF16: bool> Dot<f32> for Neon<BF16> {
    type X = f32;
    type Operand = [float32x4_t; 4];
    const STEPS: usize = 2;
    /// At most 24 of the 32 registers are accumulators, beside the four of a panel's weights, an
    /// activation and a mask. Three rows have only twelve, since they would hold the weights of two
    /// panels, and spill.
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 1, 2, 1, 1, 1, 1];
    const FENCED_SUMS: usize = 6;

    #[inline(always)]
    unsafe fn weights(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { Self::load(pair.add(step * 16)) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { [vld1q_dup_f32(pair.add(step)); 4] }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe {
            [
                vfmaq_f32(sum[0], weights[0], x[0]),
                vfmaq_f32(sum[1], weights[1], x[1]),
                vfmaq_f32(sum[2], weights[2], x[2]),
                vfmaq_f32(sum[3], weights[3], x[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const f32) {
        unsafe {
            prefetch(pair);
            prefetch(pair.wrapping_add(16));
        }
    }
}

impl Dot<bf16> for Neon<false> {
    type X = f32;
    type Operand = [float32x4_t; 4];
    const STEPS: usize = 2;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = <Self as Dot<f32>>::TILE_PANELS;
    const FENCED_SUMS: usize = <Self as Dot<f32>>::FENCED_SUMS;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, step: usize) -> Self::Operand {
        unsafe {
            let pair: *const u32 = pair.cast();
            [
                one_of_each_pair(vld1q_u32(pair), step),
                one_of_each_pair(vld1q_u32(pair.add(4)), step),
                one_of_each_pair(vld1q_u32(pair.add(8)), step),
                one_of_each_pair(vld1q_u32(pair.add(12)), step),
            ]
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
        unsafe { prefetch(pair) }
    }
}

/// The even or the odd weight of four pairs as f32.
#[inline(always)]
unsafe fn one_of_each_pair(pairs: uint32x4_t, step: usize) -> float32x4_t {
    unsafe {
        vreinterpretq_f32_u32(if step == 0 {
            vshlq_n_u32::<16>(pairs)
        } else {
            vandq_u32(pairs, vdupq_n_u32(0xffff_0000))
        })
    }
}
