//! The flags of `tco`.

use rust_decimal::Decimal;

use crate::cli::figure::{amount, figure, share};
use crate::cli::fleet_args::FleetArgs;
use crate::cli::price_source::PriceSourceArgs;

/// Flags of `tco`. Everything may be left out that the figures in question do not need.
#[derive(Clone, Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct TcoArgs {
    /// Tokens a day, prompts and answers together
    #[arg(long, value_name = "TOKENS", value_parser = figure)]
    pub tokens_per_day: Option<Decimal>,
    /// Which part of all tokens is of prompts, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.75", value_parser = share)]
    pub input_share: Decimal,
    /// Which part of the prompt tokens comes from the vendor's cache, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub cached_share: Decimal,
    /// What the API's list price is multiplied by: 0.5 for batches at half the price
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = amount)]
    pub batch_factor: Decimal,

    /// The API's price of prompt tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, help_heading = "API")]
    pub price_in: Option<Decimal>,
    /// The API's price of answer tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, help_heading = "API")]
    pub price_out: Option<Decimal>,
    /// The API's price of cached prompt tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, help_heading = "API")]
    pub price_cached: Option<Decimal>,
    /// A model of the price book instead, for example gpt-4o; see `farthing price --list`
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with_all = ["price_in", "price_out", "price_cached"],
        help_heading = "API"
    )]
    pub against: Option<String>,
    /// A monthly bill in US dollars, for which to tell the price per million that it would take; may
    /// be repeated [default: 3000 and 7000]
    #[arg(long = "api-bill", value_name = "USD", value_parser = amount, help_heading = "API")]
    pub api_bills: Vec<Decimal>,

    /// The own fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Which prices.
    #[command(flatten)]
    pub price_source: PriceSourceArgs,
    /// Print all figures as JSON, with every digit
    #[arg(long)]
    pub json: bool,
}
