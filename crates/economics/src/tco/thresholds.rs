//! The traffic from which on own GPUs are cheaper, and by how much.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

use super::{TcoInputs, usd_per_month_of_a_daily_token};
use crate::decimal_text::{exact, exact_or_null};
use crate::workload::MILLION;
use crate::{FleetInputs, OwnBill};

/// The traffic from which on own GPUs save a given share of the API's bill.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Thresholds {
    /// With the fleet as it is: the cost is constant while the traffic grows.
    pub fixed_fleet: SavingVolumes,
    /// With as many GPUs as each traffic needs; `None` if the capacity of a GPU is not given. This
    /// is the lowest such traffic: just above it, another GPU may undo the saving for a while.
    pub growing_fleet: Option<SavingVolumes>,
}

/// The lowest traffic that saves this share; `None` if no traffic does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SavingVolumes {
    /// Equal cost.
    pub break_even: Option<Volume>,
    /// 40 % saved.
    pub saving_40_percent: Option<Volume>,
    /// 60 % saved.
    pub saving_60_percent: Option<Volume>,
}

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Volume {
    /// Tokens per day.
    #[serde(serialize_with = "exact")]
    pub tokens_per_day: Decimal,
    /// Millions of tokens per day.
    #[serde(serialize_with = "exact")]
    pub million_tokens_per_day: Decimal,
    /// GPUs of the fleet.
    pub gpus: u64,
    /// Traffic divided by the capacity of these GPUs inside their SLO.
    #[serde(serialize_with = "exact_or_null")]
    pub utilisation: Option<Decimal>,
    /// Whether they carry it, peak and redundancy included.
    pub reachable: Option<bool>,
}

const SAVINGS_PERCENT: [i64; 3] = [0, 40, 60];

impl Thresholds {
    pub(super) fn new(inputs: &TcoInputs, blended: Decimal, own: &OwnBill) -> Option<Self> {
        // The monthly cost of one token per day at a price that leaves this saving.
        let target = usd_per_month_of_a_daily_token(blended)?;
        let targets = SAVINGS_PERCENT.map(|saved| target * Decimal::new(100 - saved, 2));
        let fleet = &inputs.fleet;
        let growing_fleet = fleet
            .slo_tokens_per_day
            .map(|_| SavingVolumes::at(targets, |target| Volume::at_growing_fleet(fleet, target)));
        Some(Self {
            fixed_fleet: SavingVolumes::at(targets, |target| {
                Volume::at_fixed_fleet(fleet, own, target)
            }),
            growing_fleet,
        })
    }
}

impl SavingVolumes {
    fn at(targets: [Decimal; 3], volume: impl Fn(Decimal) -> Option<Volume>) -> Self {
        let [break_even, saving_40_percent, saving_60_percent] = targets.map(volume);
        Self {
            break_even,
            saving_40_percent,
            saving_60_percent,
        }
    }
}

impl Volume {
    /// The traffic at which the fleet costs `target` US dollars per month for each token per day:
    /// `T = own/(price·(1−S))`.
    fn at_fixed_fleet(fleet: &FleetInputs, own: &OwnBill, target: Decimal) -> Option<Self> {
        Self::new(fleet, own.usd_per_month.checked_div(target)?, own.gpus)
    }

    /// The lowest such traffic if the number of GPUs grows with it.
    ///
    /// `N` GPUs, `r` of them spare, carry `(N−r)·k` tokens per day and cost `N·c + F`. At full load
    /// they are worth it if `N·c + F ≤ target·k·(N−r)`, that is from `N = (F + r·q)/(q−c)` on, with
    /// `q = target·k`. One GPU less is not worth it even at full load, so the traffic is above what
    /// that would carry.
    fn at_growing_fleet(fleet: &FleetInputs, target: Decimal) -> Option<Self> {
        let worth = target.checked_mul(fleet.carried_per_gpu()?)?;
        let gpu_usd = fleet
            .usd_per_month(1)?
            .checked_sub(fleet.fixed_usd_per_month)?;
        let redundancy = Decimal::from(fleet.redundancy);
        let overhead = worth
            .checked_mul(redundancy)?
            .checked_add(fleet.fixed_usd_per_month)?;
        let gained = worth.checked_sub(gpu_usd)?;
        let gpus = match (gained > Decimal::ZERO, overhead.is_zero()) {
            (true, _) => overhead.checked_div(gained)?.ceil().to_u64()?,
            (false, true) if gained.is_zero() && !worth.is_zero() => 1,
            (false, _) => return None,
        };
        let gpus = gpus.max(fleet.redundancy.checked_add(1)?);
        Self::new(fleet, fleet.usd_per_month(gpus)?.checked_div(target)?, gpus)
    }

    fn new(fleet: &FleetInputs, tokens_per_day: Decimal, gpus: u64) -> Option<Self> {
        let on_duty = Decimal::from(gpus.saturating_sub(fleet.redundancy));
        let carried = match fleet.carried_per_gpu() {
            Some(carried) => Some(carried.checked_mul(on_duty)?),
            None => None,
        };
        let all = match fleet.slo_tokens_per_day {
            Some(slo) => Some(slo.checked_mul(Decimal::from(gpus))?),
            None => None,
        };
        Some(Self {
            tokens_per_day,
            million_tokens_per_day: tokens_per_day / MILLION,
            gpus,
            utilisation: all.and_then(|all| tokens_per_day.checked_div(all)),
            reachable: carried.map(|carried| tokens_per_day <= carried),
        })
    }
}
