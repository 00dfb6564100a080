//! NEON with bf16: one instruction multiplies and adds a pair.

use std::arch::aarch64::*;
use std::arch::asm;

use half::bf16;

use super::neon::{Neon, prefetch};
use super::{Dot, Kernel, MAX_TILE_ROWS};

/// Compiles the kernel with this level's instructions.
///
/// # Safety
/// The CPU supports NEON and bf16.
#[target_feature(enable = "neon,bf16")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Neon<true>>() }
}

impl Dot<bf16> for Neon<true> {
    type X = bf16;
    type Operand = [uint32x4_t; 4];
    const STEPS: usize = 1;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = <Self as Dot<f32>>::TILE_PANELS;
    const FENCED_SUMS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, _step: usize) -> Self::Operand {
        unsafe {
            let pair: *const u32 = pair.cast();
            [
                vld1q_u32(pair),
                vld1q_u32(pair.add(4)),
                vld1q_u32(pair.add(8)),
                vld1q_u32(pair.add(12)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const bf16, _step: usize) -> Self::Operand {
        unsafe { [vdupq_n_u32(pair.cast::<u32>().read_unaligned()); 4] }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe {
            [
                bfdot(sum[0], weights[0], x[0]),
                bfdot(sum[1], weights[1], x[1]),
                bfdot(sum[2], weights[2], x[2]),
                bfdot(sum[3], weights[3], x[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(pair: *const bf16) {
        unsafe { prefetch(pair) }
    }
}

/// `sum + a · b` of four pairs. Denormals count as zero, and sums are rounded to odd.
#[inline(always)]
unsafe fn bfdot(mut sum: float32x4_t, a: uint32x4_t, b: uint32x4_t) -> float32x4_t {
    // Rust has no intrinsic for it yet.
    unsafe {
        asm!(
            ".arch_extension bf16",
            "bfdot {sum:v}.4s, {a:v}.8h, {b:v}.8h",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
