//! The flags of `tco`.

use rust_decimal::Decimal;

use crate::cli::figure::{amount, figure, share};
use crate::cli::fleet_args::FleetArgs;
use crate::cli::price_source::PriceSourceArgs;

/// Flags of `tco`. Those that the wanted figures do not need may be left out.
#[derive(Clone, Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct TcoArgs {
    /// Tokens per day, prompts and answers together
    #[arg(long, value_name = "TOKENS", value_parser = figure)]
    pub tokens_per_day: Option<Decimal>,
    /// Prompt tokens as a share of all tokens, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.75", value_parser = share)]
    pub input_share: Decimal,
    /// Cached tokens of the vendor as a share of the prompt tokens, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub cached_share: Decimal,
    /// Factor on the API's list price: 0.5 for batches at half the price
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
    /// Model of the price book, instead of prices, for example gpt-4o; see `farthing price --list`
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with_all = ["price_in", "price_out", "price_cached"],
        help_heading = "API"
    )]
    pub against: Option<String>,
    /// Monthly bill in US dollars, for which to compute the price per million; may be repeated
    /// [default: 3000 and 7000]
    #[arg(long = "api-bill", value_name = "USD", value_parser = amount, help_heading = "API")]
    pub api_bills: Vec<Decimal>,

    /// The own fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// The prices.
    #[command(flatten)]
    pub price_source: PriceSourceArgs,
    /// Print all figures as JSON, with every digit
    #[arg(long)]
    pub json: bool,
}
