//! `farthing price`: what a request costs at a vendor, and which prices are known.

use anyhow::{Context, bail};
use farthing_economics::{
    CacheCounting, GpuPrice, PriceBook, RateCard, RequestCost, TokenPrice, Usage, shown_usd,
};
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use super::price_source::{PriceSourceArgs, shown_source};
use crate::clock::today;

/// Flags of `price`.
#[derive(Clone, Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct PriceArgs {
    /// Rates as JSON in US dollars per million tokens: {"inp": 3, "cache_read": 0.3, "out": 15}
    #[arg(long, value_name = "JSON", required_unless_present_any = ["model", "list"])]
    pub rates: Option<String>,
    /// A model of the price book instead
    #[arg(long, value_name = "MODEL", conflicts_with = "rates")]
    pub model: Option<String>,
    /// The usage object of a vendor's answer
    #[arg(long, value_name = "JSON", required_unless_present = "list")]
    pub usage: Option<String>,
    /// Where cached tokens are counted: subset (inside the prompt tokens: OpenAI, Google, Mistral)
    /// or additive (beside them: Anthropic) [default: as the model's vendor does]
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<CacheCounting>,
    /// The price of a batch
    #[arg(long, requires = "model")]
    pub batch: bool,
    /// Show the prices that are known, all or those whose name holds this
    #[arg(
        long,
        value_name = "TEXT",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["rates", "model", "usage", "schema"]
    )]
    pub list: Option<String>,
    /// Which prices.
    #[command(flatten)]
    pub price_source: PriceSourceArgs,
    /// Print JSON, with every digit
    #[arg(long)]
    pub json: bool,
}

/// Reckons and prints.
///
/// # Errors
/// What is given is no rates or no usage, or a price is not known.
pub fn run(args: &PriceArgs) -> anyhow::Result<()> {
    if let Some(text) = &args.list {
        return list(&args.price_source, &text.to_lowercase(), args.json);
    }
    let priced = Priced::new(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&priced)?);
    } else {
        // The bare figure, for scripts.
        println!("{}", priced.cost.usd.normalize());
    }
    Ok(())
}

/// A request's cost and whose price it is.
#[derive(Serialize)]
struct Priced {
    #[serde(flatten)]
    cost: RequestCost,
    schema: CacheCounting,
    price: Option<TokenPrice>,
    /// Whether the price was read more than 30 days ago.
    stale: bool,
}

impl Priced {
    fn new(args: &PriceArgs) -> anyhow::Result<Self> {
        let usage = args.usage.as_deref().context("give --usage")?;
        if let Some(name) = &args.model {
            let book = args.price_source.book()?;
            let price = book.token_price(name, args.price_source.day())?;
            let card = match (args.batch, &price.batch) {
                (false, _) => &price.standard,
                (true, Some(batch)) => batch,
                (true, None) => bail!("{} has no known price of a batch", price.name()),
            };
            let schema = args.schema.unwrap_or(price.counting);
            return Ok(Self {
                cost: cost(card, usage, schema, Decimal::ONE)?,
                schema,
                stale: price.provenance.is_stale(today()),
                price: Some(price.clone()),
            });
        }
        let rates = args.rates.as_deref().context("give --rates or --model")?;
        let schema = args.schema.context(
            "say with --schema where cached tokens are counted: subset (inside the prompt tokens: \
             OpenAI, Google, Mistral) or additive (beside them: Anthropic)",
        )?;
        let (card, factor) = RateCard::from_json(rates)?;
        Ok(Self {
            cost: cost(&card, usage, schema, factor)?,
            schema,
            price: None,
            stale: false,
        })
    }
}

fn cost(
    card: &RateCard,
    usage: &str,
    schema: CacheCounting,
    factor: Decimal,
) -> anyhow::Result<RequestCost> {
    let usage = Usage::from_json(usage, schema)?;
    Ok(card.cost_of(&usage, factor)?)
}

#[derive(Serialize)]
struct Dated<T> {
    #[serde(flatten)]
    price: T,
    stale: bool,
}

#[derive(Serialize)]
struct List<'a> {
    day: Date,
    token_prices: Vec<Dated<&'a TokenPrice>>,
    gpu_prices: Vec<Dated<&'a GpuPrice>>,
}

fn list(source: &PriceSourceArgs, text: &str, json: bool) -> anyhow::Result<()> {
    let book: PriceBook = source.book()?;
    let (day, today) = (source.day(), today());
    let matches = |name: String| name.to_lowercase().contains(text);
    let list = List {
        day,
        token_prices: book
            .token_prices(day)
            .filter(|price| matches(price.name()))
            .map(|price| Dated {
                stale: price.provenance.is_stale(today),
                price,
            })
            .collect(),
        gpu_prices: book
            .gpu_prices(day)
            .filter(|price| matches(format!("{} {}", price.vendor, price.gpu)))
            .map(|price| Dated {
                stale: price.provenance.is_stale(today),
                price,
            })
            .collect(),
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    println!("US dollars per million tokens: input, cached input, output");
    for Dated { price, .. } in &list.token_prices {
        let rates = price.standard.rates;
        let [input, cached, output] = [rates.input, rates.cached_input, rates.output]
            .map(|rate| rate.map_or("-".to_owned(), shown_usd));
        println!(
            "{:48} {input:>8} {cached:>8} {output:>8}  {}",
            price.name(),
            shown_source(&price.provenance)
        );
    }
    println!("\nUS dollars an hour of a GPU");
    for Dated { price, .. } in &list.gpu_prices {
        println!(
            "{:48} {:>8}  {}",
            format!("{} {}", price.vendor, price.gpu),
            shown_usd(price.on_demand.usd()),
            shown_source(&price.provenance)
        );
    }
    Ok(())
}
