//! Vectors as arrays, vectorised by the compiler.

use half::bf16;

use super::{Dot, LANES, Lanes, MAX_TILE_ROWS};

/// Any CPU.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type F32 = [f32; LANES];

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F32 {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        unsafe { from.cast::<Self::F32>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        unsafe { to.cast::<Self::F32>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn add(mut a: Self::F32, b: Self::F32) -> Self::F32 {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
        a
    }

    #[inline(always)]
    unsafe fn scale(mut a: Self::F32, factor: f32) -> Self::F32 {
        for a in &mut a {
            *a *= factor;
        }
        a
    }
}

impl Dot<f32> for Portable {
    type X = f32;
    type Operand = [f32; LANES];
    const STEPS: usize = 2;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = [0, 1, 1, 1, 1, 1, 1];
    const FENCED_SUMS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn weights(pair: *const f32, step: usize) -> Self::Operand {
        unsafe { Self::load(pair.add(step * LANES)) }
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        [unsafe { *pair.add(step) }; LANES]
    }

    #[inline(always)]
    unsafe fn dot(mut sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        for lane in 0..LANES {
            sum[lane] += weights[lane] * x[lane];
        }
        sum
    }

    #[inline(always)]
    unsafe fn prefetch_pair(_pair: *const f32) {}
}

impl Dot<bf16> for Portable {
    type X = f32;
    type Operand = [f32; LANES];
    const STEPS: usize = 2;
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1] = <Self as Dot<f32>>::TILE_PANELS;
    const FENCED_SUMS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn weights(pair: *const bf16, step: usize) -> Self::Operand {
        // Little-endian pairs read as one word: the even input is in its low half. The odd one is
        // in its high half, where bf16 has the upper bits of an f32.
        let words = unsafe { pair.cast::<[u32; LANES]>().read_unaligned() };
        let mut weights = [0.0; LANES];
        for lane in 0..LANES {
            let word = u32::from_le(words[lane]);
            let bits = if step == 0 {
                word << 16
            } else {
                word & 0xffff_0000
            };
            weights[lane] = f32::from_bits(bits);
        }
        weights
    }

    #[inline(always)]
    unsafe fn broadcast(pair: *const f32, step: usize) -> Self::Operand {
        [unsafe { *pair.add(step) }; LANES]
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, x: Self::Operand) -> Self::F32 {
        unsafe { <Self as Dot<f32>>::dot(sum, weights, x) }
    }

    #[inline(always)]
    unsafe fn prefetch_pair(_pair: *const bf16) {}
}
