//! Vector instructions, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`]. [`dispatch`] compiles it for every level and
//! calls the best one that the CPU supports. Only the few methods of the trait differ between
//! levels.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_bf16;
mod portable;

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use candle_core::bail;
use half::bf16;

use self::portable::Portable;

/// Lanes of a vector: the output rows of one weight panel.
pub(crate) const LANES: usize = 16;

/// A level of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimdLevel {
    /// Plain Rust, vectorised by the compiler for the build's target.
    Portable,
    /// x86-64 AVX2 and FMA: f32 arithmetic on bf16 or f32 weights.
    Avx2,
    /// x86-64 AVX-512: f32 arithmetic on bf16 or f32 weights.
    Avx512,
    /// x86-64 AVX-512 with the bf16 dot product. Activations are rounded to bf16 if weights are
    /// bf16.
    Avx512Bf16,
    /// aarch64 NEON: f32 arithmetic on bf16 or f32 weights.
    Neon,
    /// aarch64 NEON with the bf16 dot product. Activations are rounded to bf16 if weights are bf16.
    NeonBf16,
}

/// The level of this process, once it is chosen.
static LEVEL: OnceLock<SimdLevel> = OnceLock::new();

thread_local! {
    static FORCED: Cell<Option<SimdLevel>> = const { Cell::new(None) };
}

impl SimdLevel {
    const ALL: [Self; 6] = [
        Self::Portable,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Neon,
        Self::NeonBf16,
    ];

    /// The levels that this CPU supports, best last.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") {
                levels.push(Self::Avx2);
                if has!("avx512f") && has!("avx512bw") && has!("avx512vl") {
                    levels.push(Self::Avx512);
                    if has!("avx512bf16") {
                        levels.push(Self::Avx512Bf16);
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("neon") {
                levels.push(Self::Neon);
                if has!("bf16") {
                    levels.push(Self::NeonBf16);
                }
            }
        }
        levels
    }

    /// The level of operations called from this thread: the best that this CPU supports, unless
    /// [`use_simd_level`] or [`with_simd_level`] chose another.
    pub fn current() -> Self {
        let best = || Self::available().last().copied().unwrap_or(Self::Portable);
        FORCED.get().unwrap_or_else(|| *LEVEL.get_or_init(best))
    }

    /// Whether activations are rounded to bf16 if weights are bf16.
    pub fn rounds_activations(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::NeonBf16)
    }

    /// The name on command lines and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Neon => "neon",
            Self::NeonBf16 => "neon-bf16",
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SimdLevel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown SIMD level `{name}`: expected one of {names}")
        })
    }
}

/// Limits every operation of this process to `level`, so that levels can be compared on one
/// machine. Must be called before the first operation.
///
/// # Errors
/// The CPU does not support `level`, or operations have run at another one.
pub fn use_simd_level(level: SimdLevel) -> candle_core::Result<()> {
    let available = SimdLevel::available();
    if !available.contains(&level) {
        let names: Vec<_> = available.into_iter().map(SimdLevel::name).collect();
        bail!(
            "this CPU lacks SIMD level {level}: it has {}",
            names.join(", ")
        );
    }
    let used = *LEVEL.get_or_init(|| level);
    if used != level {
        bail!("SIMD level {level} was chosen too late: operations have run at {used}");
    }
    Ok(())
}

/// Calls `body` with every operation on this thread limited to `level`. For tests and benchmarks,
/// which compare the levels.
///
/// # Panics
/// The CPU does not support `level`.
pub fn with_simd_level<R>(level: SimdLevel, body: impl FnOnce() -> R) -> R {
    assert!(
        SimdLevel::available().contains(&level),
        "this CPU lacks {level:?}"
    );
    let before = FORCED.replace(Some(level));
    let result = body();
    FORCED.set(before);
    result
}

/// The operations of every level. Methods are unsafe because the CPU must support the level: call
/// them only from within [`Kernel::run`].
pub(crate) trait Simd: Dot<bf16> + Dot<f32> {}

impl<S: Dot<bf16> + Dot<f32>> Simd for S {}

/// A vector of 16 f32.
pub(crate) trait Lanes: Copy {
    /// `a * b + c` of single values, fused if that is one instruction.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
    /// The vector.
    type F32: Copy;
    /// All zeros.
    unsafe fn zero() -> Self::F32;
    /// Reads 16 values.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// Writes 16 values.
    unsafe fn store(to: *mut f32, value: Self::F32);
    /// Adds lane by lane.
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32;
    /// Multiplies every lane by `factor`.
    unsafe fn scale(a: Self::F32, factor: f32) -> Self::F32;
}

/// Maximum number of rows of a tile.
pub(crate) const MAX_TILE_ROWS: usize = 6;

/// Multiplies pairs of inputs with 16 output rows of `W`, packed as in [`crate::LinearWeight`]. A
/// pair is processed in `STEPS` steps: both inputs at once, or first the even, then the odd one.
pub(crate) trait Dot<W>: Lanes {
    /// The type to which activations are rounded.
    type X: Activation;
    /// Weights or activations of one step.
    type Operand: Copy;
    /// Number of steps per pair.
    const STEPS: usize;
    /// Number of panels of a tile, by its number of rows. The accumulators hide the latency of the
    /// multiplication and fit the registers. Each panel is a separate stream, of which the hardware
    /// prefetches several.
    const TILE_PANELS: [usize; MAX_TILE_ROWS + 1];
    /// The weights of a step; `pair` is the address of the pair's 32 weights.
    unsafe fn weights(pair: *const W, step: usize) -> Self::Operand;
    /// The activation of a step in every lane; `pair` is the address of the pair's two activations.
    unsafe fn broadcast(pair: *const Self::X, step: usize) -> Self::Operand;
    /// With at least this many sums, a tile has no registers for the weights of both steps of a
    /// pair.
    const FENCED_SUMS: usize;
    /// Prefetches the cache lines of a pair. Any address is allowed.
    unsafe fn prefetch_pair(pair: *const W);
    /// `sum + weights · activation`.
    unsafe fn dot(sum: Self::F32, weights: Self::Operand, activation: Self::Operand) -> Self::F32;
}

/// A type that activations are computed in.
pub(crate) trait Activation: Copy {
    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn from_f32(value: f32) -> Self;
}

impl Activation for f32 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Activation for bf16 {
    // Unlike `bf16::from_f32` this has no branch, so loops over it are vectorised.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        bf16::from_bits(if value.is_nan() { quiet_nan } else { rounded } as u16)
    }
}

/// A computation that is compiled once for each level.
pub(crate) trait Kernel {
    /// The result.
    type Output;
    /// The computation. Implementations are `#[inline(always)]`, and so are all functions that they
    /// call with `S`. Only then is the code compiled with the level's instructions.
    ///
    /// # Safety
    /// The CPU supports the level of `S`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Runs a kernel at a level, which must come from [`SimdLevel::current`].
#[inline]
pub(crate) fn dispatch<K: Kernel>(level: SimdLevel, kernel: K) -> K::Output {
    // SAFETY: `current` returns only levels that the CPU supports.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => avx2::run(kernel),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => avx512::run(kernel),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512Bf16 => avx512_bf16::run(kernel),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => neon::run(kernel),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::NeonBf16 => neon_bf16::run(kernel),
            // Levels of other architectures never occur here.
            _ => kernel.run::<Portable>(),
        }
    }
}

/// `e^x` with a relative error below 2.4e-7 (2 ulp). Results below 2e-38, near the end of f32's
/// range, are 0; larger ones than f32's range are infinite.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, a degree-6 polynomial for `e^r` (Cephes' `expf`,
/// Moshier 1989), and `n` added to the exponent. There is no branch, so loops over it are
/// vectorised.
#[inline(always)]
pub(crate) fn exp<S: Lanes>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2_HI: f32 = 0.693_359_375;
    const LN_2_LO: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-86.9, 88.72);
    let shifted = S::mul_add(clamped, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = S::mul_add(n, -LN_2_LO, S::mul_add(n, -LN_2_HI, clamped));
    let mut p = 1.987_569_1e-4;
    p = S::mul_add(p, r, 1.398_199_9e-3);
    p = S::mul_add(p, r, 8.333_452e-3);
    p = S::mul_add(p, r, 4.166_579_6e-2);
    p = S::mul_add(p, r, 1.666_666_6e-1);
    p = S::mul_add(p, r, 5e-1);
    let p = S::mul_add(p * r, r, r + 1.0);
    // n can be 128, and 2^128 is not an f32, so the scale is a product of two factors.
    let half_scale = f32::from_bits(shifted.to_bits().wrapping_add(126) << 23);
    let result = p * half_scale * 2.0;
    if x < -86.9 {
        0.0
    } else if x > 88.72 {
        f32::INFINITY
    } else {
        result
    }
}

#[cfg(test)]
mod tests;
