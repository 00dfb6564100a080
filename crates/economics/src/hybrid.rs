//! A part of the traffic on one's own GPUs, the rest at an API.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::FleetInputs;
use crate::decimal_text::exact;

/// How the traffic is split, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HybridSplit {
    /// Which part of the traffic one's own GPUs answer first; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub own_share: Decimal,
    /// How many GPUs that takes; 0 is no fleet at all.
    pub gpus: u64,
    /// US dollars a month for the fleet.
    #[serde(serialize_with = "exact")]
    pub own_usd_per_month: Decimal,
    /// US dollars a month for the API, requests that it answers again included.
    #[serde(serialize_with = "exact")]
    pub api_usd_per_month: Decimal,
    /// US dollars a month for both.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
}

impl HybridSplit {
    /// The cheapest split: `min over N of own(N) + (1−f)·API + e·f·API`, where `N` GPUs carry the
    /// part `f` of the traffic and the part `e` of that goes to the API as well, because their
    /// answer was not good enough. A fleet of a given size is kept as it is, or given up.
    ///
    /// `None` where nobody says what a GPU costs or carries, or the figures overflow.
    pub fn cheapest(
        fleet: &FleetInputs,
        tokens_per_day: Decimal,
        api_usd_per_month: Decimal,
        escalated: Decimal,
    ) -> Option<Self> {
        let all = fleet.gpus_needed(tokens_per_day)?;
        // The cost is linear in N until the last GPU, which may carry less than the others: so one
        // of these is the cheapest.
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
