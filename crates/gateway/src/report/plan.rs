//! How many units are still needed.

use farthing_experiment::{Estimate, ExperimentError, Inference, Looks, Planner, UnitSpread};
use serde::Serialize;

use super::metrics::{ArmPairRows, OwnCost};
use super::{ReportError, Split};
use crate::{Design, ExperimentSpec};

/// How many units are still needed at the variance that was observed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PlanReport {
    /// Units of the smaller need of both arms to show that the quality is not lower by the margin,
    /// if it is the same in truth.
    quality_units_per_arm: Option<u64>,
    /// Units of the baseline to show the cost difference that was observed.
    cost_units_per_arm: Option<u64>,
    /// How many more than there are.
    more_units_per_arm: Option<u64>,
    /// In a sentence.
    pub(super) words: String,
}

/// The chance of showing what is there.
const POWER: f64 = 0.8;

impl PlanReport {
    pub(super) fn of(
        pair: &ArmPairRows,
        spec: &ExperimentSpec,
        split: &Split,
    ) -> Result<Self, ReportError> {
        let ratio = match spec.design {
            Design::Split => split.weights[1] / split.weights[0],
            Design::Shadow => 1.0,
        };
        let planner = Planner {
            power: POWER,
            confidence: spec.confidence,
            looks: match spec.inference {
                Inference::AlwaysValid { .. } => Looks::Any,
                Inference::FixedHorizon { .. } => Looks::Once,
            },
            ratio,
        };
        let quality = quality_units(pair, spec, &planner);
        let cost = cost_units(pair, &planner);
        let [quality, cost] = [quality.ok(), cost.ok()];
        let have = pair.rated_units()[0];
        let more = quality
            .into_iter()
            .chain(cost)
            .max()
            .map(|need| need.saturating_sub(have));
        let words = match more {
            None => "How many units are needed is not known yet.".to_owned(),
            Some(0) => "The units that are there are enough at the observed variance.".to_owned(),
            Some(more) => {
                format!("About {more} more units per arm are needed at the observed variance.")
            }
        };
        Ok(Self {
            quality_units_per_arm: quality,
            cost_units_per_arm: cost,
            more_units_per_arm: more,
            words,
        })
    }
}

fn quality_units(
    pair: &ArmPairRows,
    spec: &ExperimentSpec,
    planner: &Planner,
) -> Result<u64, ExperimentError> {
    let [baseline, candidate] = match spec.design {
        Design::Split => {
            let share = |arm| UnitSpread::of(&pair.quality(arm)?.share()?);
            [share(0)?, share(1)?]
        }
        // The spread of a pair is that of its difference.
        Design::Shadow => {
            let difference = pair.share_difference(|arm| pair.quality(arm))?;
            let nothing = UnitSpread {
                mean: 0.0,
                variance: 0.0,
            };
            [UnitSpread::of(&difference)?, nothing]
        }
    };
    let as_good = UnitSpread {
        mean: baseline.mean,
        ..candidate
    };
    Ok(planner
        .for_non_inferiority(baseline, as_good, spec.margin)?
        .baseline)
}

/// The least relative difference in cost that is planned for.
const LEAST_EFFECT: f64 = 0.02;

fn cost_units(pair: &ArmPairRows, planner: &Planner) -> Result<u64, ExperimentError> {
    let cost = |arm| pair.usd_per_accepted(arm, OwnCost::Loaded);
    let effect: Estimate = pair.relative_difference(cost)?;
    let size = effect.value.abs().max(LEAST_EFFECT);
    let spread = UnitSpread::of(&cost(0)?.ratio()?)?;
    let effect = size.copysign(effect.value).max(-0.99);
    Ok(planner.for_relative_difference(spread, effect)?.baseline)
}
