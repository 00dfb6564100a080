//! The metrics of both arms, clustered by unit.

use farthing_experiment::{Arm, ArmPair, Estimate, ExperimentError, SampleSize, UnitValues};

use super::arm_rows::{ArmRows, UnitRow};
use crate::Design;

/// The baseline and the candidate.
pub(super) struct ArmPairRows {
    pub(super) arms: [ArmRows; 2],
    /// A number for each unit of each arm: the same unit has the same number.
    ids: [Vec<u32>; 2],
    /// Units in both arms.
    shared: usize,
    pub(super) design: Design,
    /// Loaded cost = busy cost × this.
    factor: Option<f64>,
}

/// How our own device time is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnCost {
    /// Only the time in which the engine computed for the requests.
    Busy,
    /// With its share of all other device time.
    Loaded,
    /// Not at all: vendors' bills only.
    None,
}

type Estimated = Result<Estimate, ExperimentError>;

impl ArmPairRows {
    pub(super) fn new(arms: [ArmRows; 2], design: Design, factor: Option<f64>) -> Self {
        let (ids, shared) = number_units(&arms);
        Self {
            arms,
            ids,
            shared,
            design,
            factor,
        }
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let is_moved = self.design == Design::Split && self.shared > 0;
        let moved = is_moved.then(|| {
            format!(
                "{} units are in both arms, although each should be in one: the assignment changed, \
                 or the unit is not stable.",
                self.shared
            )
        });
        let none_accepted = self.is_only_candidate_accepted().then(|| {
            "The baseline has no accepted answer: its cost per accepted answer is computed as if it \
             had half of one."
                .to_owned()
        });
        moved.into_iter().chain(none_accepted)
    }

    /// The units to which requests were assigned.
    pub(super) fn assigned_units(&self) -> [u64; 2] {
        self.each(|arm| {
            arm.units
                .iter()
                .filter(|(_, unit)| unit.requests > 0)
                .count() as u64
        })
    }

    /// The units with a rated answer.
    pub(super) fn rated_units(&self) -> [u64; 2] {
        self.each(|arm| arm.units.iter().filter(|(_, unit)| unit.rated > 0).count() as u64)
    }

    fn each<T>(&self, of: impl Fn(&ArmRows) -> T) -> [T; 2] {
        [of(&self.arms[0]), of(&self.arms[1])]
    }

    /// What a unit cost.
    pub(super) fn usd(&self, unit: &UnitRow, own: OwnCost) -> f64 {
        unit.vendor_usd
            + match own {
                OwnCost::Busy => unit.busy_usd,
                OwnCost::Loaded => unit.busy_usd * self.factor.unwrap_or(1.0),
                OwnCost::None => 0.0,
            }
    }

    /// A ratio by unit. Units without a denominator have no part in it.
    fn ratio_arm(
        &self,
        arm: usize,
        of: impl Fn(&UnitRow) -> (f64, f64),
    ) -> Result<Arm<u32>, ExperimentError> {
        let mut sums = Arm::new();
        for ((_, unit), id) in self.arms[arm].units.iter().zip(&self.ids[arm]) {
            let (numerator, denominator) = of(unit);
            if denominator != 0.0 {
                sums.add(*id, numerator, denominator)?;
            }
        }
        Ok(sums)
    }

    /// The share of accepted answers among those that were rated.
    pub(super) fn quality(&self, arm: usize) -> Result<Arm<u32>, ExperimentError> {
        self.ratio_arm(arm, |it| (it.accepted.into(), it.rated.into()))
    }

    /// The share of requests that failed after all attempts.
    pub(super) fn failures(&self, arm: usize) -> Result<Arm<u32>, ExperimentError> {
        self.ratio_arm(arm, |it| (it.failed.into(), it.attempted.into()))
    }

    /// The share of answers that are empty.
    pub(super) fn empty(&self, arm: usize) -> Result<Arm<u32>, ExperimentError> {
        self.ratio_arm(arm, |it| (it.empty.into(), it.answered.into()))
    }

    /// Output tokens per answer.
    pub(super) fn output_tokens(&self, arm: usize) -> Result<Arm<u32>, ExperimentError> {
        self.ratio_arm(arm, |it| (it.output_tokens, it.answered.into()))
    }

    /// Dollars per request, our own device loaded.
    pub(super) fn usd_per_request(&self, arm: usize) -> Result<Arm<u32>, ExperimentError> {
        self.ratio_arm(arm, |it| {
            (self.usd(it, OwnCost::Loaded), it.attempted.into())
        })
    }

    /// A figure per accepted answer: `of` per answer, over the share of accepted answers among those
    /// that were rated. If all answers are rated, it is their sum over the accepted ones.
    ///
    /// It has four sums, so the arm holds each unit's part of the linear figure: the mean of these
    /// is the figure, and their spread gives its error (the delta method).
    pub(super) fn per_accepted(
        &self,
        arm: usize,
        of: impl Fn(&UnitRow) -> f64,
    ) -> Result<Arm<u32>, ExperimentError> {
        let rows = &self.arms[arm];
        if rows.units.is_empty() {
            return Err(ExperimentError::EmptyArm);
        }
        let figure = rows.sum(&of);
        let [answered, rated, accepted] = [
            rows.sum(|it| it.answered.into()),
            rows.sum(|it| it.rated.into()),
            rows.sum(|it| it.accepted.into()),
        ];
        if answered == 0.0 || accepted == 0.0 {
            return Err(ExperimentError::ZeroDenominator);
        }
        let value = figure / answered * (rated / accepted);
        let count = rows.units.len() as f64;
        let mut parts = Arm::new();
        for ((_, unit), id) in rows.units.iter().zip(&self.ids[arm]) {
            let of_figure = match figure {
                0.0 => 0.0,
                figure => of(unit) / figure,
            };
            let rest = of_figure - f64::from(unit.answered) / answered
                + f64::from(unit.rated) / rated
                - f64::from(unit.accepted) / accepted;
            parts.add(*id, value + value * rest * count, 1.0)?;
        }
        Ok(parts)
    }

    /// Dollars per accepted answer.
    pub(super) fn usd_per_accepted(
        &self,
        arm: usize,
        own: OwnCost,
    ) -> Result<Arm<u32>, ExperimentError> {
        self.per_accepted(arm, |unit| self.usd(unit, own))
    }

    /// The candidate's dollars per accepted answer relative to the baseline's.
    ///
    /// A baseline without an accepted answer counts as if it had half of one, with the error of such a
    /// count (the correction of Haldane and Anscombe): it is as expensive as nothing is, and no more.
    pub(super) fn relative_cost(&self, own: OwnCost) -> Estimated {
        if !self.is_only_candidate_accepted() {
            return self.relative_difference(|arm| self.usd_per_accepted(arm, own));
        }
        const ACCEPTED: f64 = 0.5;
        let rows = &self.arms[0];
        let [usd, answered, rated] = [
            rows.sum(|it| self.usd(it, own)),
            rows.sum(|it| it.answered.into()),
            rows.sum(|it| it.rated.into()),
        ];
        let baseline = usd / answered * (rated / ACCEPTED);
        let candidate = self.usd_per_accepted(1, own)?.ratio()?;
        if baseline <= 0.0 || candidate.value <= 0.0 {
            return Err(ExperimentError::ZeroBaseline);
        }
        let ratio = candidate.value / baseline;
        let spread = (candidate.standard_error / candidate.value).powi(2) + 1.0 / ACCEPTED;
        Ok(Estimate {
            value: ratio - 1.0,
            standard_error: ratio * spread.sqrt(),
            size: self.share_difference(|arm| self.quality(arm))?.size,
        })
    }

    /// Whether the baseline has rated answers but no accepted one, and the candidate has one.
    fn is_only_candidate_accepted(&self) -> bool {
        let [baseline, candidate] = &self.arms;
        let accepted = |rows: &ArmRows| rows.sum(|it| it.accepted.into());
        let is_rated = baseline.sum(|it| it.rated.into()) > 0.0;
        is_rated && accepted(baseline) == 0.0 && accepted(candidate) > 0.0
    }

    /// The candidate's share minus the baseline's.
    pub(super) fn share_difference(
        &self,
        of: impl Fn(usize) -> Result<Arm<u32>, ExperimentError>,
    ) -> Estimated {
        let [baseline, candidate] = [of(0)?, of(1)?];
        match self.design {
            Design::Split => Estimate::difference(&baseline.share()?, &candidate.share()?),
            Design::Shadow => pair(&baseline, &candidate).share_difference(),
        }
    }

    /// The candidate's ratio minus the baseline's.
    pub(super) fn difference(
        &self,
        of: impl Fn(usize) -> Result<Arm<u32>, ExperimentError>,
    ) -> Estimated {
        let [baseline, candidate] = [of(0)?, of(1)?];
        match self.design {
            Design::Split => Estimate::difference(&baseline.ratio()?, &candidate.ratio()?),
            Design::Shadow => pair(&baseline, &candidate).difference(),
        }
    }

    /// The candidate's ratio relative to the baseline's.
    pub(super) fn relative_difference(
        &self,
        of: impl Fn(usize) -> Result<Arm<u32>, ExperimentError>,
    ) -> Estimated {
        let [baseline, candidate] = [of(0)?, of(1)?];
        match self.design {
            Design::Split => Estimate::relative_difference(&baseline.ratio()?, &candidate.ratio()?),
            Design::Shadow => pair(&baseline, &candidate).relative_difference(),
        }
    }

    /// Seconds to the first token.
    pub(super) fn ttft(&self, arm: usize) -> Result<UnitValues<u32>, ExperimentError> {
        let mut values = UnitValues::new();
        for ((_, unit), id) in self.arms[arm].units.iter().zip(&self.ids[arm]) {
            for ttft in &unit.ttft_seconds {
                values.add(*id, *ttft)?;
            }
        }
        Ok(values)
    }
}

fn pair<'a>(baseline: &'a Arm<u32>, candidate: &'a Arm<u32>) -> ArmPair<'a, u32> {
    ArmPair {
        baseline,
        candidate,
    }
}

/// The figure without an error: what a sum is known to be.
pub(super) fn known(value: f64, units: u64) -> Estimate {
    Estimate {
        value,
        standard_error: 0.0,
        size: SampleSize::of_arm(units),
    }
}

/// Numbers the units of both arms, and counts those in both.
fn number_units(arms: &[ArmRows; 2]) -> ([Vec<u32>; 2], usize) {
    let mut ids = [Vec::new(), Vec::new()];
    let mut shared = 0;
    let [base, other] = [&arms[0].units, &arms[1].units];
    let mut next = 0;
    while ids[0].len() < base.len() || ids[1].len() < other.len() {
        let names = [base.get(ids[0].len()), other.get(ids[1].len())];
        let order = match names {
            [Some(one), Some(another)] => one.0.cmp(&another.0),
            [Some(_), None] => std::cmp::Ordering::Less,
            [None, _] => std::cmp::Ordering::Greater,
        };
        if order.is_le() {
            ids[0].push(next);
        }
        if order.is_ge() {
            ids[1].push(next);
        }
        shared += usize::from(order.is_eq());
        next += 1;
    }
    (ids, shared)
}
