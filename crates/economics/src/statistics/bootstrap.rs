//! The confidence interval of a ratio of sums, from a single run.
//!
//! Dollars per token are a ratio of two sums over time. Neighbouring slices of time are correlated,
//! so whole blocks of neighbours are resampled instead of single slices: the moving-block
//! bootstrap.

use super::{Interval, SplitMix64};

/// The parameters of the resampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovingBlockBootstrap {
    /// Slices per block: about as many as are correlated; 1 if none are.
    pub block_length: usize,
    /// The number of resamples.
    pub resamples: usize,
    /// The same seed gives the same result.
    pub seed: u64,
}

/// Why there is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The series have different lengths.
    #[error("series of different lengths: {numerators} numerators and {denominators} denominators")]
    Unpaired {
        /// Their number.
        numerators: usize,
        /// Their number.
        denominators: usize,
    },
    /// The series are shorter than a block.
    #[error(
        "{slices} slices of time are too few for blocks of {block_length}: take at least two blocks"
    )]
    TooFew {
        /// Their number.
        slices: usize,
        /// The length of a block.
        block_length: usize,
    },
    /// A figure is not finite, or the denominators add up to zero.
    #[error("a figure of these sums is not finite")]
    NotFinite,
    /// A parameter is out of range.
    #[error("the confidence must be between 0 and 1, and the resamples at least 1")]
    NoResamples,
}

impl MovingBlockBootstrap {
    /// The percentile interval of `Σ numerators / Σ denominators`. The two series hold one figure
    /// per slice of time.
    ///
    /// # Errors
    /// The series have different lengths or are too short, or a ratio is not finite.
    pub fn ratio_of_sums(
        &self,
        numerators: &[f64],
        denominators: &[f64],
        confidence: f64,
    ) -> Result<Interval, BootstrapError> {
        let ratio = |[above, below]: [f64; 2]| above / below;
        self.figure_of_sums([numerators, denominators], confidence, ratio)
    }

    /// The percentile interval of a `figure` that is computed from the sums of several series. They
    /// hold one figure per slice of time and are resampled together.
    ///
    /// # Errors
    /// The series have different lengths or are too short, or a figure is not finite.
    pub fn figure_of_sums<const SERIES: usize>(
        &self,
        series: [&[f64]; SERIES],
        confidence: f64,
        figure: impl Fn([f64; SERIES]) -> f64,
    ) -> Result<Interval, BootstrapError> {
        let slices = series.first().map_or(0, |first| first.len());
        if let Some(other) = series.iter().find(|other| other.len() != slices) {
            return Err(BootstrapError::Unpaired {
                numerators: slices,
                denominators: other.len(),
            });
        }
        if self.block_length == 0 || slices / 2 < self.block_length {
            return Err(BootstrapError::TooFew {
                slices,
                block_length: self.block_length,
            });
        }
        if self.resamples == 0 || !(confidence > 0.0 && confidence < 1.0) {
            return Err(BootstrapError::NoResamples);
        }
        let mut random = SplitMix64::new(self.seed);
        let mut starts = vec![0; slices.div_ceil(self.block_length)];
        let mut figures = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            for start in &mut starts {
                *start = random.below(slices - self.block_length + 1);
            }
            let sums = series.map(|series| resampled_sum(series, self.block_length, &starts));
            let figure = figure(sums);
            if !figure.is_finite() {
                return Err(BootstrapError::NotFinite);
            }
            figures.push(figure);
        }
        figures.sort_by(f64::total_cmp);
        let outside = (1.0 - confidence) / 2.0;
        Ok(Interval {
            low: quantile(&figures, outside),
            high: quantile(&figures, 1.0 - outside),
        })
    }
}

/// The sum of a resample: the blocks that begin at `starts`, concatenated and cut to the original
/// length.
pub fn resampled_sum(series: &[f64], block_length: usize, starts: &[usize]) -> f64 {
    let places = starts
        .iter()
        .flat_map(|start| *start..*start + block_length)
        .take(series.len());
    places.map(|place| series[place]).sum()
}

/// The `q`-quantile of sorted figures, interpolated linearly (Hyndman and Fan's type 7, numpy's
/// default); NaN if there are none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}
