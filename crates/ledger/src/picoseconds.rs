//! Exact device time.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

/// Device time in whole picoseconds. Sums are exact in any order, so that both databases agree to
/// the last digit, and the unit is finer than any clock that measures it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Picoseconds(i128);

const PER_SECOND: f64 = 1e12;

impl Picoseconds {
    /// Decimal places of the seconds.
    pub const SECONDS_SCALE: u32 = 12;

    /// From whole picoseconds.
    pub const fn new(picoseconds: i128) -> Self {
        Self(picoseconds)
    }

    /// The nearest to a measured time. NaN becomes 0.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * PER_SECOND).round() as i128)
    }

    /// Whole picoseconds.
    pub const fn get(self) -> i128 {
        self.0
    }

    /// In seconds, exact. A value beyond the range of decimals (more than a billion years) becomes
    /// the largest decimal.
    pub fn seconds(self) -> Decimal {
        Decimal::try_from_i128_with_scale(self.0, Self::SECONDS_SCALE).unwrap_or(Decimal::MAX)
    }

    /// In seconds, as the nearest float.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / PER_SECOND
    }

    /// The cost of this time in US dollars.
    pub fn usd(self, price: HourlyPrice) -> Decimal {
        price.usd_for(self.seconds())
    }

    /// The stored value. A single value of more than 106 days becomes the maximum.
    pub(crate) fn stored(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl Add for Picoseconds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Picoseconds {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for Picoseconds {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Picoseconds {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), Add::add)
    }
}
