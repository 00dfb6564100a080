//! An arm's values in order, each with its group of units.

use farthing_economics::statistics::SplitMix64;

use crate::unit_values::UnitValues;

/// An arm prepared for the quantiles of many resamples.
///
/// A resample's quantile is almost always near the arm's own. So each group's values below a window
/// around it are counted once, and a resample's walk begins at the window.
pub(super) struct SortedValues {
    /// The values, in ascending order.
    values: Vec<f64>,
    /// For each value: its group.
    groups: Vec<u32>,
    /// The place where the window begins.
    window: usize,
    /// For each group: its values, and those below the window.
    counts: Vec<Counts>,
    q: f64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    all: u64,
    below: u64,
}

/// More groups than this would make the interval no better, only slower.
const MOST_GROUPS: usize = 4096;
/// How far below the quantile the window begins, in standard errors of the quantile's rank.
const WINDOW: f64 = 6.0;

impl SortedValues {
    pub(super) fn new<K: Ord>(arm: &UnitValues<K>, q: f64) -> Self {
        let units = arm.by_unit().enumerate();
        let mut pairs: Vec<(f64, u32)> = units
            .flat_map(|(unit, values)| {
                let group = (unit % MOST_GROUPS) as u32;
                values.iter().map(move |value| (*value, group))
            })
            .collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (values, groups): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let mut counts = vec![Counts::default(); (arm.units() as usize).min(MOST_GROUPS)];
        for group in &groups {
            counts[*group as usize].all += 1;
        }
        let place = rank(q, values.len() as u64) as usize - 1;
        let reach = (WINDOW * rank_error(&groups[..=place], &counts, q)).ceil() as usize;
        let window = place.saturating_sub(reach);
        for group in &groups[..window] {
            counts[*group as usize].below += 1;
        }
        Self {
            values,
            groups,
            window,
            counts,
            q,
        }
    }

    /// The arm's own quantile.
    pub(super) fn quantile(&self) -> f64 {
        self.values[rank(self.q, self.values.len() as u64) as usize - 1]
    }

    /// The quantile of as many groups as there are, drawn with replacement.
    pub(super) fn resample(&self, random: &mut SplitMix64) -> f64 {
        let mut times = vec![0_u64; self.counts.len()];
        for _ in 0..times.len() {
            times[random.below(self.counts.len())] += 1;
        }
        let (mut all, mut below) = (0, 0);
        for (times, counts) in times.iter().zip(&self.counts) {
            all += times * counts.all;
            below += times * counts.below;
        }
        let rank = rank(self.q, all);
        let (start, mut seen) = if below < rank {
            (self.window, below)
        } else {
            (0, 0)
        };
        for place in start..self.values.len() {
            seen += times[self.groups[place] as usize];
            if seen >= rank {
                return self.values[place];
            }
        }
        // Not reached: the last value of a resample has the rank `all`.
        self.values[self.values.len() - 1]
    }
}

/// The rank from 1 of the least value that a share `q` of `values` values does not exceed.
fn rank(q: f64, values: u64) -> u64 {
    ((q * values as f64).ceil() as u64).clamp(1, values)
}

/// The standard error of the number of values that are at most the quantile.
fn rank_error(at_most: &[u32], counts: &[Counts], q: f64) -> f64 {
    let mut rests: Vec<f64> = counts.iter().map(|group| -q * group.all as f64).collect();
    for group in at_most {
        rests[*group as usize] += 1.0;
    }
    rests.iter().map(|rest| rest * rest).sum::<f64>().sqrt()
}
