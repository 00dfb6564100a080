//! Quantiles and their differences, by resampling whole units.

mod sorted_values;

use farthing_economics::statistics::{Interval, SplitMix64, quantile};

use crate::error::{ExperimentError, finite, open_probability};
use crate::estimate::Estimate;
use crate::sample_size::SampleSize;
use crate::unit_values::UnitValues;
use sorted_values::SortedValues;

/// The parameters of the resampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusteredBootstrap {
    /// The number of resamples: about 1,000 for an interval.
    pub resamples: usize,
    /// The same seed gives the same result.
    pub seed: u64,
}

/// A quantile of both arms and its difference.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct QuantileDifference {
    /// The baseline's quantile.
    pub baseline: f64,
    /// The candidate's quantile.
    pub candidate: f64,
    /// `candidate - baseline`, with the resamples' standard deviation as its standard error. A
    /// sample quantile is asymptotically a mean (Bahadur, 1966), so that always-valid intervals
    /// hold for it, too.
    pub difference: Estimate,
    /// The percentile interval of the difference. It holds at one look only.
    pub interval: Interval,
}

/// A quantile needs about this many values beyond it.
const LEAST_BEYOND: f64 = 10.0;

impl ClusteredBootstrap {
    /// The difference of the arms' `q`-quantiles (the least value that at least that share of the
    /// values does not exceed: Hyndman and Fan's type 1).
    ///
    /// Units beyond 4,096 in an arm are dealt into 4,096 groups, in their order, and groups are
    /// resampled instead. So the time is bounded for a million units, and groups of independent
    /// units are independent, too.
    ///
    /// # Errors
    /// An arm has fewer than two units or fewer than ten values beyond the quantile, or a parameter
    /// is out of range.
    pub fn quantile_difference<K: Ord>(
        &self,
        baseline: &UnitValues<K>,
        candidate: &UnitValues<K>,
        q: f64,
        confidence: f64,
    ) -> Result<QuantileDifference, ExperimentError> {
        open_probability("the quantile", q)?;
        open_probability("the confidence", confidence)?;
        if self.resamples < 2 {
            return Err(ExperimentError::Parameter {
                name: "the number of resamples",
                range: "at least 2",
            });
        }
        for arm in [baseline, candidate] {
            check_size(arm, q)?;
        }
        let arms = [
            SortedValues::new(baseline, q),
            SortedValues::new(candidate, q),
        ];
        let mut random = SplitMix64::new(self.seed);
        let mut differences = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            let [base, other] = [arms[0].resample(&mut random), arms[1].resample(&mut random)];
            differences.push(finite(other - base)?);
        }
        let [base, other] = [arms[0].quantile(), arms[1].quantile()];
        let sizes = [baseline, candidate].map(|arm| SampleSize::of_arm(arm.units()));
        differences.sort_by(f64::total_cmp);
        let outside = (1.0 - confidence) / 2.0;
        Ok(QuantileDifference {
            baseline: base,
            candidate: other,
            difference: Estimate {
                value: finite(other - base)?,
                standard_error: finite(standard_deviation(&differences))?,
                // The error is of both arms together, so they weigh the same.
                size: SampleSize::of_two(sizes, [1.0, 1.0]),
            },
            interval: Interval {
                low: quantile(&differences, outside),
                high: quantile(&differences, 1.0 - outside),
            },
        })
    }
}

fn check_size<K: Ord>(arm: &UnitValues<K>, q: f64) -> Result<(), ExperimentError> {
    let (units, values) = (arm.units(), arm.values());
    if units == 0 {
        return Err(ExperimentError::EmptyArm);
    }
    if units < 2 {
        return Err(ExperimentError::TooFewUnits { units, least: 2 });
    }
    let least = (LEAST_BEYOND / q.min(1.0 - q)).ceil();
    if (values as f64) < least {
        let least = least as u64;
        return Err(ExperimentError::TooFewValues { values, least });
    }
    Ok(())
}

fn standard_deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}
