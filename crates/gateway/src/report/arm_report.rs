//! The figures of one arm.

use std::collections::BTreeMap;

use farthing_economics::statistics::quantile;
use rust_decimal::Decimal;
use serde::Serialize;

use super::ReportError;
use super::adapter_costs::{AdapterCosts, by_adapter};
use super::arm_rows::ArmRows;
use super::measured::Measured;
use super::metrics::{ArmPairRows, OwnCost};
use super::time::Load;
use crate::{Design, ExperimentSpec};

/// One arm, by the requests that were assigned to it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ArmReport {
    /// The arm, with the generation of its adapter if it is pinned to one.
    pub(super) arm: String,
    pub(super) units: u64,
    pub(super) requests: u64,
    /// Requests that still run, or were lost with their process.
    pub(super) requests_without_attempt: u64,
    pub(super) answered_requests: u64,
    /// Requests that failed after all of their attempts.
    pub(super) failed_requests: u64,
    /// Requests whose caller left. They count as answered.
    pub(super) aborted_requests: u64,
    pub(super) empty_answers: u64,
    pub(super) attempts: u64,
    pub(super) failed_attempts: u64,
    pub(super) retries: u64,
    pub(super) fallbacks: u64,
    /// Requests by the arm that served their last attempt.
    pub(super) requests_served_by: BTreeMap<String, u64>,
    pub(super) input_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cost: ArmCost,
    pub(super) ttft_p50_seconds: Option<f64>,
    pub(super) ttft_p95_seconds: Option<f64>,
    pub(super) rated_requests: u64,
    pub(super) accepted_requests: u64,
    /// Accepted answers of those that were rated.
    pub(super) accepted_share: Measured,
    pub(super) usd_per_accepted_busy: Measured,
    pub(super) usd_per_accepted_loaded: Measured,
    /// Our own engine's part, by adapter.
    pub(super) by_adapter: Vec<AdapterCosts>,
}

/// What an arm cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ArmCost {
    /// The time of our own device.
    #[serde(serialize_with = "farthing_economics::exact")]
    pub(super) device_seconds: Decimal,
    /// That time at its price; `None` if the price is unknown.
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) own_busy_usd: Option<Decimal>,
    /// With its share of the device's other time.
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) own_loaded_usd: Option<Decimal>,
    /// The known bills of vendors.
    #[serde(serialize_with = "farthing_economics::exact")]
    pub(super) vendor_usd: Decimal,
    pub(super) vendor_attempts: u64,
    pub(super) estimated_bills: u64,
    pub(super) unknown_bills: u64,
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) total_busy_usd: Option<Decimal>,
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    pub(super) total_loaded_usd: Option<Decimal>,
    /// The true cost is higher than the totals, because something is unknown.
    pub(super) is_at_least: bool,
}

impl ArmReport {
    /// Of arms that are not compared.
    pub(super) fn of_others(
        arms: impl Iterator<Item = ArmRows>,
        load: &Load,
        spec: &ExperimentSpec,
    ) -> Result<Vec<Self>, ReportError> {
        arms.map(|rows| {
            let alone = [rows, ArmRows::default()];
            Self::of(
                &ArmPairRows::new(alone, Design::Split, load.factor),
                0,
                load,
                spec,
            )
        })
        .collect()
    }

    /// Of one arm of a pair.
    pub(super) fn of(
        pair: &ArmPairRows,
        arm: usize,
        load: &Load,
        spec: &ExperimentSpec,
    ) -> Result<Self, ReportError> {
        let rows = &pair.arms[arm];
        let totals = &rows.totals;
        let own_busy_usd = totals.own.busy_usd();
        let own_loaded_usd = own_busy_usd.and_then(|busy| load.loaded(busy));
        let mut ttft: Vec<f64> = rows
            .units
            .iter()
            .flat_map(|(_, unit)| unit.ttft_seconds.iter().copied())
            .collect();
        ttft.sort_unstable_by(f64::total_cmp);
        let ttft_at = |q| (!ttft.is_empty()).then(|| quantile(&ttft, q));
        let per_accepted = |own| match own_busy_usd {
            Some(_) => Measured::of(
                pair.usd_per_accepted(arm, own).and_then(|arm| arm.ratio()),
                spec,
            ),
            None => Ok(Measured::missing("the price of our machine is not known")),
        };
        let share = pair.quality(arm).and_then(|arm| arm.share());
        Ok(Self {
            arm: rows.name.clone(),
            units: rows.units.len() as u64,
            requests: rows.count(|it| it.requests.max(it.attempted)),
            requests_without_attempt: rows.count(|it| it.requests.saturating_sub(it.attempted)),
            answered_requests: rows.count(|it| it.answered),
            failed_requests: rows.count(|it| it.failed),
            aborted_requests: totals.aborted,
            empty_answers: rows.count(|it| it.empty),
            attempts: totals.attempts,
            failed_attempts: totals.failed_attempts,
            retries: totals.retries,
            fallbacks: totals.fallbacks,
            requests_served_by: totals.served_by.clone(),
            input_tokens: totals.input_tokens,
            cached_tokens: totals.cached_tokens,
            output_tokens: totals.output_tokens,
            cost: ArmCost {
                device_seconds: totals.own.time().seconds(),
                own_busy_usd,
                own_loaded_usd,
                vendor_usd: totals.vendor_usd,
                vendor_attempts: totals.vendor_attempts,
                estimated_bills: totals.estimated_bills,
                unknown_bills: totals.unknown_bills,
                total_busy_usd: own_busy_usd.map(|usd| usd + totals.vendor_usd),
                total_loaded_usd: own_loaded_usd.map(|usd| usd + totals.vendor_usd),
                is_at_least: rows.is_at_least(),
            },
            ttft_p50_seconds: ttft_at(0.5),
            ttft_p95_seconds: ttft_at(0.95),
            rated_requests: rows.count(|it| it.rated),
            accepted_requests: rows.count(|it| it.accepted),
            accepted_share: Measured::of(share, spec)?,
            usd_per_accepted_busy: per_accepted(OwnCost::Busy)?,
            usd_per_accepted_loaded: per_accepted(OwnCost::Loaded)?,
            by_adapter: by_adapter(rows, load),
        })
    }
}
