//! The observations of one metric in one arm, summed by assignment unit.

use std::collections::BTreeMap;

use crate::error::{ExperimentError, finite};
use crate::estimate::Estimate;
use crate::sample_size::SampleSize;

/// The sums of one unit: a user, a session, a key or a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct UnitSums {
    /// For example its dollars, its errors, or its accepted answers.
    pub numerator: f64,
    /// For example its requests, or its accepted answers.
    pub denominator: f64,
}

/// One metric of one arm: for each unit the sum of the numerator and of the denominator.
///
/// Requests of one user resemble each other, so the unit that was assigned is also the unit of the
/// statistics. Its memory grows with the units, not with the rows. The units are ordered, so that
/// the same rows give the same bits in any order of arms that are merged without splitting a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm<K: Ord> {
    units: BTreeMap<K, UnitSums>,
}

impl<K: Ord> Default for Arm<K> {
    fn default() -> Self {
        Self {
            units: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Arm<K> {
    /// An arm without observations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row, or the sums of many rows, to its unit. Nothing changes if it fails.
    ///
    /// # Errors
    /// A figure or a sum is not finite.
    pub fn add(
        &mut self,
        unit: K,
        numerator: f64,
        denominator: f64,
    ) -> Result<(), ExperimentError> {
        let old = self.units.get(&unit).copied().unwrap_or_default();
        let sums = UnitSums {
            numerator: finite(old.numerator + numerator)?,
            denominator: finite(old.denominator + denominator)?,
        };
        self.units.insert(unit, sums);
        Ok(())
    }

    /// Adds the sums of another part of the same arm. A unit may be in both parts.
    ///
    /// # Errors
    /// A sum is not finite. This arm is then useless.
    pub fn merge(&mut self, other: Self) -> Result<(), ExperimentError> {
        for (unit, sums) in other.units {
            self.add(unit, sums.numerator, sums.denominator)?;
        }
        Ok(())
    }

    /// The number of units.
    pub fn units(&self) -> u64 {
        self.units.len() as u64
    }

    /// The sums of each unit, in the units' order.
    pub fn sums(&self) -> impl Iterator<Item = (&K, UnitSums)> {
        self.units.iter().map(|(unit, sums)| (unit, *sums))
    }

    /// The sum over all units.
    pub fn total(&self) -> UnitSums {
        let mut total = UnitSums::default();
        for sums in self.units.values() {
            total.numerator += sums.numerator;
            total.denominator += sums.denominator;
        }
        total
    }

    /// `Σ numerator / Σ denominator`, with the error of the delta method clustered on the unit
    /// (Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018).
    ///
    /// # Errors
    /// There are fewer than two units, the denominators add up to zero, or a sum is not finite.
    pub fn ratio(&self) -> Result<Estimate, ExperimentError> {
        let units = self.units();
        let rests = self.rests(1.0)?;
        let squares: f64 = rests.values().map(|rest| rest * rest).sum();
        let count = units as f64;
        let total = self.total();
        Ok(Estimate {
            value: finite(total.numerator / total.denominator)?,
            standard_error: finite((squares * count / (count - 1.0)).sqrt())?,
            size: SampleSize::of_arm(units),
        })
    }

    /// How much each unit moves the ratio, times `slope`: its `numerator - ratio × denominator` as
    /// a part of all denominators. The mean of these is zero, so their squares give the ratio's
    /// variance: the textbook's three moments in one, without their cancellation.
    pub(crate) fn rests(&self, slope: f64) -> Result<BTreeMap<&K, f64>, ExperimentError> {
        let units = self.units();
        if units == 0 {
            return Err(ExperimentError::EmptyArm);
        }
        if units < 2 {
            return Err(ExperimentError::TooFewUnits { units, least: 2 });
        }
        let total = self.total();
        if total.denominator == 0.0 {
            return Err(ExperimentError::ZeroDenominator);
        }
        let ratio = finite(total.numerator / total.denominator)?;
        let rest = |sums: &UnitSums| {
            let product = finite(ratio * sums.denominator)?;
            let rest = sums.numerator - product;
            // What rounding leaves of equal figures is no variance.
            let rounding = ROUNDING * (sums.numerator.abs() + product.abs());
            let rest = if rest.abs() > rounding { rest } else { 0.0 };
            finite(slope * rest / total.denominator)
        };
        let rests = self
            .units
            .iter()
            .map(|(unit, sums)| Ok((unit, rest(sums)?)));
        rests.collect()
    }

    /// A [`ratio`](Self::ratio) of a binary metric: errors, empty answers or accepted answers of
    /// all answers.
    ///
    /// If all units agree, their variance is zero, but the share isn't exactly 0 or 1. So the
    /// variance is at least that of units of which one more differs: see `least_share_error`.
    ///
    /// # Errors
    /// As [`ratio`](Self::ratio), or a unit's numerator is below zero or above its denominator.
    pub fn share(&self) -> Result<Estimate, ExperimentError> {
        self.check_share()?;
        let mut estimate = self.ratio()?;
        let least = least_share_error(estimate.size);
        estimate.standard_error = estimate.standard_error.max(least);
        Ok(estimate)
    }

    pub(crate) fn check_share(&self) -> Result<(), ExperimentError> {
        let is_share =
            |sums: &UnitSums| sums.numerator >= 0.0 && sums.numerator <= sums.denominator;
        if self.units.values().all(is_share) {
            return Ok(());
        }
        Err(ExperimentError::NoShare)
    }
}

/// The relative error of a sum and a product of a million rows.
const ROUNDING: f64 = 1e-13;

/// The error of a share of n units of which one more differs: p(1-p)/(n+2) at p = 1/(n+2), after
/// Agresti and Caffo (2000).
pub(crate) fn least_share_error(size: SampleSize) -> f64 {
    let count = size.units as f64 + 2.0;
    (count - 1.0).sqrt() / (count * count.sqrt())
}
