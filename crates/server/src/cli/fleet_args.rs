//! Flags of an own fleet: rented or bought GPUs, staff, capacity.

use anyhow::{Context, bail, ensure};
use farthing_economics::{FleetInputs, HourlyPrice, OwnedHardware};
use rust_decimal::Decimal;

use crate::cli::figure::{amount, figure};

/// Cost and capacity of own GPUs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Own fleet")]
pub struct FleetArgs {
    /// Number of GPUs [default: as many as the traffic needs, if the capacity of a GPU is given]
    #[arg(long, value_name = "NUMBER")]
    pub gpus: Option<u64>,
    /// Price of a GPU-hour in US dollars
    #[arg(long, value_name = "USD", conflicts_with = "capital")]
    pub gpu_hour: Option<HourlyPrice>,
    /// Fixed cost in US dollars per month
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount)]
    pub fixed_monthly: Decimal,
    /// Cost of staff in US dollars per month; added to --fixed-monthly
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount)]
    pub staff_monthly: Decimal,
    /// Cost of fine-tuning and its evaluation in US dollars per month; added to --fixed-monthly
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount)]
    pub fine_tuning_monthly: Decimal,

    /// Tokens per day that one GPU carries at the highest rate that keeps the SLO
    #[arg(long, value_name = "TOKENS", value_parser = figure)]
    pub slo_tokens_per_day: Option<Decimal>,
    /// The same in tokens per second
    #[arg(long, value_name = "TOKENS", value_parser = figure, conflicts_with = "slo_tokens_per_day")]
    pub slo_tokens_per_second: Option<Decimal>,
    /// The same in requests per second, of --tokens-per-request tokens each
    #[arg(
        long,
        value_name = "REQUESTS",
        value_parser = figure,
        requires = "tokens_per_request",
        conflicts_with_all = ["slo_tokens_per_day", "slo_tokens_per_second"]
    )]
    pub slo_requests_per_second: Option<Decimal>,
    /// Tokens per request, prompt and answer together
    #[arg(long, value_name = "TOKENS", value_parser = figure)]
    pub tokens_per_request: Option<Decimal>,
    /// Traffic of the busiest hour divided by the mean
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = figure)]
    pub peak_to_mean: Decimal,
    /// Number of spare GPUs
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub redundancy: u64,

    /// Purchase price of a GPU with its share of the server, in US dollars
    #[arg(long, value_name = "USD", value_parser = amount, requires = "life_months")]
    pub capital: Option<Decimal>,
    /// Its resale price in US dollars
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount, requires = "capital")]
    pub residual: Decimal,
    /// Months between purchase and resale
    #[arg(long, value_name = "MONTHS", value_parser = figure, requires = "capital")]
    pub life_months: Option<Decimal>,
    /// Its power with its share of the server, in kilowatts
    #[arg(long, value_name = "KW", default_value = "0", value_parser = amount, requires = "capital")]
    pub power_kw: Decimal,
    /// Power usage effectiveness: power at the meter divided by power at the machine
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = figure, requires = "capital")]
    pub pue: Decimal,
    /// Price of a kilowatt-hour in US dollars
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount, requires = "capital")]
    pub usd_per_kwh: Decimal,
    /// Colocation in US dollars per month
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount, requires = "capital")]
    pub colocation_monthly: Decimal,
    /// Support and spare parts in US dollars per month
    #[arg(long, value_name = "USD", default_value = "0", value_parser = amount, requires = "capital")]
    pub support_monthly: Decimal,
}

const SECONDS_PER_DAY: Decimal = Decimal::from_parts(86_400, 0, 0, false, 0);

impl FleetArgs {
    /// The fleet, as far as it is given.
    pub(crate) fn inputs(&self) -> anyhow::Result<FleetInputs> {
        let fixed = [
            self.fixed_monthly,
            self.staff_monthly,
            self.fine_tuning_monthly,
        ];
        let fixed = fixed
            .iter()
            .try_fold(Decimal::ZERO, |sum, usd| sum.checked_add(*usd))
            .context("the fixed cost per month is too large")?;
        Ok(FleetInputs {
            gpus: self.gpus,
            per_gpu_hour: self.per_gpu_hour()?,
            fixed_usd_per_month: fixed,
            slo_tokens_per_day: self.slo_tokens_per_day()?,
            peak_to_mean: self.peak_to_mean,
            redundancy: self.redundancy,
        })
    }

    fn per_gpu_hour(&self) -> anyhow::Result<Option<HourlyPrice>> {
        let (Some(capital_usd), Some(life_months)) = (self.capital, self.life_months) else {
            return Ok(self.gpu_hour);
        };
        let hardware = OwnedHardware {
            capital_usd,
            residual_usd: self.residual,
            life_months,
            power_kw: self.power_kw,
            pue: self.pue,
            usd_per_kwh: self.usd_per_kwh,
            colocation_usd_per_month: self.colocation_monthly,
            support_usd_per_month: self.support_monthly,
        };
        Ok(Some(hardware.per_hour()?))
    }

    fn slo_tokens_per_day(&self) -> anyhow::Result<Option<Decimal>> {
        let per_second = match (self.slo_tokens_per_second, self.slo_requests_per_second) {
            (Some(tokens), _) => tokens,
            (None, Some(requests)) => {
                let Some(tokens) = self.tokens_per_request else {
                    bail!("--slo-requests-per-second needs --tokens-per-request");
                };
                requests
                    .checked_mul(tokens)
                    .context("--slo-requests-per-second is too large")?
            }
            (None, None) => return Ok(self.slo_tokens_per_day),
        };
        ensure!(
            per_second > Decimal::ZERO,
            "the capacity of a GPU inside its SLO must be above 0"
        );
        let per_day = per_second.checked_mul(SECONDS_PER_DAY);
        Ok(Some(per_day.context("the capacity of a GPU is too large")?))
    }
}
