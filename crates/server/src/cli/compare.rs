//! `farthing compare`: the own cost beside dated vendor prices, for the same work.

mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use farthing_economics::{
    Comparison, DEFAULT_OFFERS, GpuPrice, HourlyPrice, MeasuredCost, Offer, PriceBook, TcoError,
    TextKind, TokenizerFamily, Work,
};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::figure::{amount, figure, share};
use super::fleet_args::FleetArgs;
use super::output;
use super::price_source::{PriceSourceArgs, token_price};
use crate::clock::today;

/// Flags of `compare`.
#[derive(Clone, Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct CompareArgs {
    /// Tokens per day, prompts and answers together, counted by the own tokenizer
    #[arg(long, value_name = "TOKENS", value_parser = figure)]
    pub tokens_per_day: Decimal,
    /// Prompt tokens per request, cached ones included [default: the benchmark's, else 512]
    #[arg(long, value_name = "TOKENS", value_parser = amount)]
    pub prompt_tokens: Option<Decimal>,
    /// Of these, cached tokens [default: the benchmark's, else 0]
    #[arg(long, value_name = "TOKENS", value_parser = amount)]
    pub cached_tokens: Option<Decimal>,
    /// Answer tokens per request [default: the benchmark's, else 256]
    #[arg(long, value_name = "TOKENS", value_parser = amount)]
    pub output_tokens: Option<Decimal>,
    /// The own tokenizer [default: the benchmark's]
    #[arg(long, value_name = "TOKENIZER", value_parser = tokenizers())]
    pub tokenizer: Option<TokenizerFamily>,
    /// Kind of text: the ratio between tokenizers depends on it
    #[arg(long, value_name = "KIND", default_value = "english", value_parser = text_kinds())]
    pub text: TextKind,

    /// JSON report of a benchmark with the measured own cost
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["own_price_in", "own_price_cached", "own_price_out"]
    )]
    pub bench: Option<PathBuf>,
    /// Measured own cost of prompt tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, requires = "own_price_out")]
    pub own_price_in: Option<Decimal>,
    /// Measured own cost of cached prompt tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, requires = "own_price_in")]
    pub own_price_cached: Option<Decimal>,
    /// Measured own cost of answer tokens, in US dollars per million
    #[arg(long, value_name = "USD", value_parser = amount, requires = "own_price_in")]
    pub own_price_out: Option<Decimal>,

    /// Model to compare with; may be repeated [default: a large and a small model of a vendor, and
    /// two hosted open models]
    #[arg(long, value_name = "MODEL")]
    pub against: Vec<String>,
    /// Dedicated endpoint to compare with, by a part of its name; may be repeated [default: the
    /// cheapest]
    #[arg(long, value_name = "NAME")]
    pub endpoint: Vec<String>,
    /// In a hybrid split, the share of own answers that is requested again at the API, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub escalated: Decimal,

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

const PROMPT_TOKENS: Decimal = Decimal::from_parts(512, 0, 0, false, 0);
const OUTPUT_TOKENS: Decimal = Decimal::from_parts(256, 0, 0, false, 0);

/// Computes and prints the comparison.
///
/// # Errors
/// A figure is impossible, a price is unknown, or the own cost is not given.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let measured = args.measured()?;
    let mut fleet = args.fleet.inputs()?;
    if let Some(measured) = &measured {
        fleet.slo_tokens_per_day = fleet.slo_tokens_per_day.or(measured.slo_tokens_per_day);
        if let (None, Some(usd)) = (fleet.per_gpu_hour, measured.usd_per_gpu_hour)
            && (fleet.gpus.is_some() || fleet.slo_tokens_per_day.is_some())
        {
            fleet.per_gpu_hour = Some(HourlyPrice::new(usd)?);
        }
    }
    let book = args.price_source.book()?;
    let offers = args.offers(&book, args.price_source.day())?;
    let work = args.work(measured.as_ref());
    let comparison = Comparison::new(&work, &fleet, measured.as_ref(), &offers, today());
    let comparison = comparison.map_err(with_flags)?;
    if args.json {
        output::print_line(serde_json::to_string_pretty(&comparison)?)?;
    } else {
        output::print(table::Table(&comparison))?;
    }
    Ok(())
}

impl CompareArgs {
    fn measured(&self) -> anyhow::Result<Option<MeasuredCost>> {
        if let Some(path) = &self.bench {
            let report = fs::read_to_string(path);
            let report = report.with_context(|| format!("cannot read {}", path.display()))?;
            let measured = MeasuredCost::from_report(&report);
            return Ok(Some(measured.with_context(|| path.display().to_string())?));
        }
        let (Some(input), Some(output)) = (self.own_price_in, self.own_price_out) else {
            return Ok(None);
        };
        Ok(Some(MeasuredCost {
            usd_per_million_input: input,
            usd_per_million_cached_input: self.own_price_cached,
            usd_per_million_output: output,
            mean_prompt_tokens: self.prompt_tokens.unwrap_or(PROMPT_TOKENS),
            mean_cached_tokens: self.cached_tokens.unwrap_or_default(),
            mean_output_tokens: self.output_tokens.unwrap_or(OUTPUT_TOKENS),
            usd_per_gpu_hour: None,
            slo_tokens_per_day: None,
            tokenizer: self.tokenizer,
        }))
    }

    fn work(&self, measured: Option<&MeasuredCost>) -> Work {
        let mean = |mean: fn(&MeasuredCost) -> Decimal, otherwise| measured.map_or(otherwise, mean);
        Work {
            tokens_per_day: self.tokens_per_day,
            prompt_tokens: self
                .prompt_tokens
                .unwrap_or_else(|| mean(|it| it.mean_prompt_tokens, PROMPT_TOKENS)),
            cached_tokens: self
                .cached_tokens
                .unwrap_or_else(|| mean(|it| it.mean_cached_tokens, Decimal::ZERO)),
            output_tokens: self
                .output_tokens
                .unwrap_or_else(|| mean(|it| it.mean_output_tokens, OUTPUT_TOKENS)),
            tokenizer: self.tokenizer.or(measured.and_then(|it| it.tokenizer)),
            text: self.text,
            escalated: self.escalated,
        }
    }

    fn offers<'a>(&self, book: &'a PriceBook, day: Date) -> anyhow::Result<Vec<Offer<'a>>> {
        let names: Vec<&str> = match self.against.as_slice() {
            [] => DEFAULT_OFFERS.to_vec(),
            names => names.iter().map(String::as_str).collect(),
        };
        let mut offers = Vec::new();
        for name in names {
            offers.push(Offer::Tokens(token_price(book, name, day)?));
        }
        if self.endpoint.is_empty() {
            offers.extend(book.cheapest_endpoint(day).map(Offer::Endpoint));
        }
        for name in &self.endpoint {
            let named = |price: &&GpuPrice| {
                let full = format!("{} {}", price.vendor, price.gpu).to_lowercase();
                full.contains(&name.to_lowercase())
            };
            let found: Vec<_> = book
                .endpoints(day)
                .filter(named)
                .map(Offer::Endpoint)
                .collect();
            if found.is_empty() {
                let known: Vec<_> = book
                    .endpoints(day)
                    .map(|it| format!("{} {}", it.vendor, it.gpu))
                    .collect();
                bail!(
                    "unknown endpoint {name:?}: expected a part of {}",
                    known.join(", ")
                );
            }
            offers.extend(found);
        }
        ensure!(
            !offers.is_empty(),
            "nothing to compare with: pass --against MODEL"
        );
        Ok(offers)
    }
}

/// The error, with the flags that are missing.
fn with_flags(error: TcoError) -> anyhow::Error {
    match error {
        TcoError::MissingGpus => anyhow::anyhow!(
            "own cost missing: pass --gpus (or --slo-tokens-per-day) with --gpu-hour, or --bench FILE, \
             or --own-price-in with --own-price-out"
        ),
        TcoError::MissingGpuPrice => anyhow::anyhow!("{error}: pass --gpu-hour"),
        error => error.into(),
    }
}

fn tokenizers() -> impl TypedValueParser<Value = TokenizerFamily> {
    let names = PossibleValuesParser::new(TokenizerFamily::ALL.map(TokenizerFamily::name));
    names.try_map(|name| {
        let found = TokenizerFamily::ALL
            .into_iter()
            .find(|family| family.name() == name);
        found.ok_or("no such tokenizer")
    })
}

fn text_kinds() -> impl TypedValueParser<Value = TextKind> {
    let names = PossibleValuesParser::new(TextKind::ALL.map(TextKind::name));
    names.try_map(|name| {
        let found = TextKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or("no such kind of text")
    })
}
