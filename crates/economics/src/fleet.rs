//! Own GPUs: their capacity and their cost.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

use crate::decimal_text::{exact, exact_or_null};
use crate::workload::MILLION;
use crate::{HOURS_PER_MONTH, HourlyPrice, TcoError, Workload};

/// An own fleet, given by its number of GPUs or by the traffic that it has to carry.
#[derive(Clone, Copy, Debug)]
pub struct FleetInputs {
    /// The number of GPUs; `None` for as many as the traffic needs.
    pub gpus: Option<u64>,
    /// The price of a GPU per hour.
    pub per_gpu_hour: Option<HourlyPrice>,
    /// US dollars per month that do not depend on the number of GPUs: staff, fine-tuning, storage.
    pub fixed_usd_per_month: Decimal,
    /// Tokens per day that one GPU carries at the highest rate that keeps the SLO.
    pub slo_tokens_per_day: Option<Decimal>,
    /// Traffic of the busiest hour divided by the mean; at least 1.
    pub peak_to_mean: Decimal,
    /// Spare GPUs.
    pub redundancy: u64,
}

/// The capacity of one GPU inside its SLO.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GpuCapacity {
    /// Tokens per day.
    #[serde(serialize_with = "exact")]
    pub tokens_per_day: Decimal,
    /// Millions of tokens per day.
    #[serde(serialize_with = "exact")]
    pub million_tokens_per_day: Decimal,
    /// Tokens per second.
    #[serde(serialize_with = "exact")]
    pub tokens_per_second: Decimal,
    /// US dollars per million tokens at full load.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_million_at_full_load: Option<Decimal>,
}

/// The cost of an own fleet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OwnBill {
    /// The number of GPUs.
    pub gpus: u64,
    /// GPUs that this traffic needs, peak and redundancy included.
    pub gpus_needed: Option<u64>,
    /// US dollars per GPU-hour.
    #[serde(serialize_with = "exact")]
    pub usd_per_gpu_hour: Decimal,
    /// US dollars per month for all GPUs.
    #[serde(serialize_with = "exact")]
    pub gpu_usd_per_month: Decimal,
    /// US dollars per month for everything else.
    #[serde(serialize_with = "exact")]
    pub fixed_usd_per_month: Decimal,
    /// US dollars per month.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
    /// US dollars per million tokens of this traffic.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_million: Option<Decimal>,
    /// Traffic divided by the capacity of all GPUs inside their SLO.
    #[serde(serialize_with = "exact_or_null")]
    pub utilisation: Option<Decimal>,
    /// Average tokens per day that the fleet carries at this peak and with these spare GPUs.
    #[serde(serialize_with = "exact_or_null")]
    pub carries_tokens_per_day: Option<Decimal>,
}

const SECONDS_PER_DAY: Decimal = Decimal::from_parts(86_400, 0, 0, false, 0);
const HOURS_PER_DAY: Decimal = Decimal::from_parts(24, 0, 0, false, 0);

impl FleetInputs {
    /// The GPUs that carry this traffic: `ceil(T·peak/θ) + redundancy`.
    pub(crate) fn gpus_needed(&self, tokens_per_day: Decimal) -> Option<u64> {
        let busy = tokens_per_day
            .checked_mul(self.peak_to_mean)?
            .checked_div(self.slo_tokens_per_day?)?
            .ceil();
        busy.to_u64()?.checked_add(self.redundancy)
    }

    /// Average tokens per day of each GPU, if the peak has to stay inside the SLO.
    pub(crate) fn carried_per_gpu(&self) -> Option<Decimal> {
        self.slo_tokens_per_day?.checked_div(self.peak_to_mean)
    }

    /// US dollars per month for this number of GPUs and everything else.
    pub(crate) fn usd_per_month(&self, gpus: u64) -> Option<Decimal> {
        let hourly = self.per_gpu_hour?.usd();
        let gpu_usd = Decimal::from(gpus)
            .checked_mul(hourly)?
            .checked_mul(HOURS_PER_MONTH)?;
        gpu_usd.checked_add(self.fixed_usd_per_month)
    }

    /// The capacity of one GPU; `None` if it is not given.
    pub(crate) fn capacity(&self) -> Result<Option<GpuCapacity>, TcoError> {
        let Some(tokens_per_day) = self.slo_tokens_per_day else {
            return Ok(None);
        };
        let millions = tokens_per_day / MILLION;
        let at_full_load = self.per_gpu_hour.map(|price| {
            let usd_per_day = price.usd() * HOURS_PER_DAY;
            usd_per_day.checked_div(millions).ok_or(TcoError::Overflow)
        });
        Ok(Some(GpuCapacity {
            tokens_per_day,
            million_tokens_per_day: millions,
            tokens_per_second: tokens_per_day / SECONDS_PER_DAY,
            usd_per_million_at_full_load: at_full_load.transpose()?,
        }))
    }
}

impl OwnBill {
    /// The cost of the fleet at this traffic; `None` if no fleet is given.
    pub(crate) fn new(fleet: &FleetInputs, workload: &Workload) -> Result<Option<Self>, TcoError> {
        let tokens_per_day = workload.tokens_per_day;
        let gpus_needed = match (fleet.slo_tokens_per_day, tokens_per_day) {
            (Some(_), Some(tokens)) => Some(fleet.gpus_needed(tokens).ok_or(TcoError::Overflow)?),
            _ => None,
        };
        let Some(gpus) = fleet.gpus.or(gpus_needed) else {
            // A price per hour without a number of GPUs is useful if the capacity of a GPU is
            // known.
            let wants_fleet = fleet.per_gpu_hour.is_some() && fleet.slo_tokens_per_day.is_none();
            let has_fixed = !fleet.fixed_usd_per_month.is_zero();
            return if wants_fleet || has_fixed {
                Err(TcoError::MissingGpus)
            } else {
                Ok(None)
            };
        };
        let Some(price) = fleet.per_gpu_hour else {
            return match fleet.gpus {
                Some(_) => Err(TcoError::MissingGpuPrice),
                None if fleet.fixed_usd_per_month.is_zero() => Ok(None),
                None => Err(TcoError::MissingGpuPrice),
            };
        };
        let usd_per_month = fleet.usd_per_month(gpus).ok_or(TcoError::Overflow)?;
        let millions = workload.millions_per_month();
        let on_duty = Decimal::from(gpus.saturating_sub(fleet.redundancy));
        let all_carry = fleet
            .slo_tokens_per_day
            .map(|slo| slo * Decimal::from(gpus));
        Ok(Some(Self {
            gpus,
            gpus_needed,
            usd_per_gpu_hour: price.usd(),
            gpu_usd_per_month: usd_per_month - fleet.fixed_usd_per_month,
            fixed_usd_per_month: fleet.fixed_usd_per_month,
            usd_per_month,
            usd_per_million: millions.and_then(|millions| usd_per_month.checked_div(millions)),
            utilisation: tokens_per_day.and_then(|tokens| tokens.checked_div(all_carry?)),
            carries_tokens_per_day: fleet.carried_per_gpu().map(|carried| carried * on_duty),
        }))
    }
}
