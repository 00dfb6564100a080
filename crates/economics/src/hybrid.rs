//! A part of the traffic on own GPUs, the rest at an API.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::FleetInputs;
use crate::decimal_text::exact;

/// How the traffic is split, and the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HybridSplit {
    /// The share of the traffic that own GPUs answer first; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub own_share: Decimal,
    /// The number of GPUs; 0 for no fleet.
    pub gpus: u64,
    /// US dollars per month for the fleet.
    #[serde(serialize_with = "exact")]
    pub own_usd_per_month: Decimal,
    /// US dollars per month for the API, escalated requests included.
    #[serde(serialize_with = "exact")]
    pub api_usd_per_month: Decimal,
    /// US dollars per month for both.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
}

impl HybridSplit {
    /// The cheapest split: `min over N of own(N) + (1−f)·API + e·f·API`. `N` GPUs carry the share
    /// `f` of the traffic, and the share `e` of that is sent to the API as well, because its answer
    /// was not good enough. A fleet of a given size is either kept or given up.
    ///
    /// `None` if the price or the capacity of a GPU is not given, or the figures overflow.
    pub fn cheapest(
        fleet: &FleetInputs,
        tokens_per_day: Decimal,
        api_usd_per_month: Decimal,
        escalated: Decimal,
    ) -> Option<Self> {
        let all = fleet.gpus_needed(tokens_per_day)?;
        // The cost is linear in N except for the last GPU, which may carry less than the others. So
        // one of these is the cheapest.
        let first = fleet.redundancy.checked_add(1)?.min(all);
        let sizes = match fleet.gpus {
            Some(gpus) => [0, gpus, gpus, gpus],
            None => [0, first, all.saturating_sub(1).max(first), all],
        };
        let splits =
            sizes.map(|gpus| Self::new(fleet, gpus, tokens_per_day, api_usd_per_month, escalated));
        splits
            .into_iter()
            .flatten()
            .min_by_key(|split| split.usd_per_month)
    }

    fn new(
        fleet: &FleetInputs,
        gpus: u64,
        tokens_per_day: Decimal,
        api_usd: Decimal,
        escalated: Decimal,
    ) -> Option<Self> {
        let on_duty = Decimal::from(gpus.saturating_sub(fleet.redundancy));
        let carried = fleet.carried_per_gpu()?.checked_mul(on_duty)?;
        let own_share = if carried < tokens_per_day {
            carried.checked_div(tokens_per_day)?
        } else if gpus > 0 {
            Decimal::ONE
        } else {
            Decimal::ZERO
        };
        let own_usd_per_month = match gpus {
            0 => Decimal::ZERO,
            gpus => fleet.usd_per_month(gpus)?,
        };
        let at_api = Decimal::ONE - own_share + escalated * own_share;
        let api_usd_per_month = api_usd.checked_mul(at_api)?;
        Some(Self {
            own_share,
            gpus,
            own_usd_per_month,
            api_usd_per_month,
            usd_per_month: own_usd_per_month.checked_add(api_usd_per_month)?,
        })
    }
}
