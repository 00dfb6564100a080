//! The weight at which a filter cuts a distribution.

use crate::simd::{Kernel, LANES, Simd, SimdLevel, dispatch};

/// What a filter keeps: tokens with more than `weight`, and the first `ties` of those with exactly
/// `weight`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) weight: f32,
    pub(super) ties: usize,
}

/// What the target of a cut measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// The number of kept tokens.
    Count,
    /// The total weight of the kept tokens.
    Mass,
}

/// Bits of a weight that one pass determines.
const DIGIT_BITS: u32 = 10;

const BINS: usize = 1 << DIGIT_BITS;

/// Partial sums per bin. Neighbouring tokens often fall into one bin, and separate sums avoid
/// waiting for each other.
const PARTS: usize = 4;

impl Cut {
    /// Keeps every token with a weight.
    pub(super) const ALL: Self = Self {
        weight: 0.0,
        ties: 0,
    };

    /// Keeps the tokens with at least this weight.
    pub(super) fn at_least(weight: f32) -> Self {
        Self {
            weight,
            ties: usize::MAX,
        }
    }

    /// Keeps what both keep.
    pub(super) fn and(self, other: Self) -> Self {
        match self.weight.total_cmp(&other.weight) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                weight: self.weight,
                ties: self.ties.min(other.ties),
            },
        }
    }

    /// The tightest cut that keeps at least `target` of the weights, which are from 0 to 1. The
    /// caller knows that the cut is not below `least`.
    ///
    /// This is a radix select from the highest bits of the weights down: it sums bins and does not
    /// sort.
    pub(super) fn select(
        level: SimdLevel,
        weights: &[f32],
        measure: Measure,
        target: f64,
        least: f32,
    ) -> Self {
        let mut prefix = 0;
        let mut above = 0.0;
        for shift in [2 * DIGIT_BITS, DIGIT_BITS, 0] {
            let bins = dispatch(
                level,
                Histogram {
                    weights,
                    measure,
                    prefix,
                    shift,
                    least: least.max(f32::MIN_POSITIVE),
                },
            );
            let mut reached = (0, above);
            let mut sum = above;
            for (bin, parts) in bins.iter().enumerate().rev() {
                let amount: f64 = parts.iter().sum();
                if amount > 0.0 {
                    // A rounding error may leave the total below the target. Then the lowest
                    // non-empty bin is the answer.
                    reached = (bin, sum);
                    sum += amount;
                    if sum >= target {
                        break;
                    }
                }
            }
            let (bin, before) = reached;
            prefix |= (bin as u32) << shift;
            above = before;
        }
        let weight = f32::from_bits(prefix);
        let ties = ((target - above) / measure.of(weight)).ceil();
        Self {
            weight,
            ties: ties.max(1.0) as usize,
        }
    }
}

impl Measure {
    #[inline(always)]
    fn of(self, weight: f32) -> f64 {
        match self {
            Self::Count => 1.0,
            Self::Mass => f64::from(weight),
        }
    }
}

/// The amounts of the weights that begin with `prefix`, by the digit at `shift`.
struct Histogram<'a> {
    weights: &'a [f32],
    measure: Measure,
    prefix: u32,
    shift: u32,
    /// Lighter tokens are ignored.
    least: f32,
}

impl Kernel for Histogram<'_> {
    type Output = Box<[[f64; PARTS]; BINS]>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let mut bins = Box::new([[0.0; PARTS]; BINS]);
        // Weights are not negative, so their bits are ordered like integers.
        let least = self.least.to_bits();
        let (chunks, rest) = self.weights.as_chunks::<LANES>();
        for chunk in chunks {
            let mut any = 0;
            for lane in 0..LANES {
                any |= self.contains(chunk[lane].to_bits(), least);
            }
            if any != 0 {
                self.add(chunk, least, &mut bins);
            }
        }
        self.add(rest, least, &mut bins);
        bins
    }
}

impl Histogram<'_> {
    /// 1 for a weight that has the prefix and is not too light, else 0.
    #[inline(always)]
    fn contains(&self, bits: u32, least: u32) -> u32 {
        let is_prefixed = (bits ^ self.prefix) >> (self.shift + DIGIT_BITS) == 0;
        u32::from(is_prefixed) & u32::from(bits as i32 >= least as i32)
    }

    #[inline(always)]
    fn add(&self, weights: &[f32], least: u32, bins: &mut [[f64; PARTS]; BINS]) {
        for (lane, weight) in weights.iter().enumerate() {
            let bits = weight.to_bits();
            if self.contains(bits, least) != 0 {
                let bin = (bits >> self.shift) as usize % BINS;
                bins[bin][lane % PARTS] += self.measure.of(*weight);
            }
        }
    }
}
