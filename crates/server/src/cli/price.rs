//! `farthing price`: the cost of a request at a vendor, and the known prices.

use anyhow::{Context, bail};
use farthing_economics::{
    CacheCounting, GpuPrice, PriceBook, RateCard, ReportedUsage, RequestCost, TokenPrice, shown_usd,
};
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use super::output;
use super::price_source::{PriceSourceArgs, shown_source, token_price};
use crate::clock::today;

/// Flags of `price`.
#[derive(Clone, Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct PriceArgs {
    /// Rates as JSON in US dollars per million tokens: {"inp": 3, "cache_read": 0.3, "out": 15}; or an
    /// entry of LiteLLM's price file, in US dollars per token
    #[arg(long, value_name = "JSON")]
    pub rates: Option<String>,
    /// Model of the price book, instead of --rates [default: the model that the response names]
    #[arg(long, value_name = "MODEL", conflicts_with = "rates")]
    pub model: Option<String>,
    /// A vendor's response, or the usage object in it
    #[arg(long, value_name = "JSON", required_unless_present = "list")]
    pub usage: Option<String>,
    /// How cached tokens are counted: subset (inside the prompt tokens: OpenAI, Google, Mistral) or
    /// additive (beside them: Anthropic) [default: as the response or the model's vendor does]
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<CacheCounting>,
    /// Use the price of a batch
    #[arg(long, conflicts_with = "rates")]
    pub batch: bool,
    /// List the known prices, or those whose name contains TEXT
    #[arg(
        long,
        value_name = "TEXT",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["rates", "model", "usage", "schema"]
    )]
    pub list: Option<String>,
    /// The prices.
    #[command(flatten)]
    pub price_source: PriceSourceArgs,
    /// Print JSON, with every digit
    #[arg(long)]
    pub json: bool,
}

/// Computes and prints the cost.
///
/// # Errors
/// Rates or usage are invalid, or a price is unknown.
pub fn run(args: &PriceArgs) -> anyhow::Result<()> {
    if let Some(text) = &args.list {
        return list(&args.price_source, &text.to_lowercase(), args.json);
    }
    let priced = Priced::new(args)?;
    if args.json {
        output::print_line(serde_json::to_string_pretty(&priced)?)?;
    } else {
        // Only the figure, for scripts.
        output::print_line(priced.cost.usd.normalize())?;
    }
    Ok(())
}

/// The cost of a request, and the price that it is based on.
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
        let usage = args
            .usage
            .as_deref()
            .context("usage missing: pass --usage")?;
        let reported = ReportedUsage::from_json(usage)?;
        match &args.rates {
            Some(rates) => Self::at_rates(args, rates, &reported),
            None => Self::at_model(args, &reported),
        }
    }

    fn at_model(args: &PriceArgs, reported: &ReportedUsage) -> anyhow::Result<Self> {
        let name = args.model.as_deref().or(reported.model.as_deref());
        let name = name.context(
            "price missing: pass --rates, --model, or a whole response that names its model",
        )?;
        if reported.is_batch && !args.batch {
            bail!("the request was answered in a batch: pass --batch");
        }
        let book = args.price_source.book()?;
        let price = token_price(&book, name, args.price_source.day())?;
        if price.model != name && price.name() != name {
            output::tell(&format!(
                "this is the price of {}, for {name:?}",
                price.name()
            ));
        }
        let card = match (args.batch, &price.batch) {
            (false, _) => &price.standard,
            (true, Some(batch)) => batch,
            (true, None) => bail!("{} has no known batch price", price.name()),
        };
        let schema = args.schema.or(reported.counting).unwrap_or(price.counting);
        Ok(Self {
            cost: card.cost_of(&reported.usage(schema)?, Decimal::ONE)?,
            schema,
            stale: price.provenance.is_stale(today()),
            price: Some(price.clone()),
        })
    }

    fn at_rates(args: &PriceArgs, rates: &str, reported: &ReportedUsage) -> anyhow::Result<Self> {
        // Without cached tokens, both ways of counting are the same.
        let same = (!reported.has_cache()).then_some(CacheCounting::Subset);
        let schema = args.schema.or(reported.counting).or(same).context(
            "schema missing: pass --schema subset (cached tokens are counted inside the prompt tokens: \
             OpenAI, Google, Mistral) or additive (beside them: Anthropic)",
        )?;
        let (card, factor) = RateCard::from_json(rates)?;
        Ok(Self {
            cost: card.cost_of(&reported.usage(schema)?, factor)?,
            schema,
            price: None,
            stale: false,
        })
    }
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
        return output::print_line(serde_json::to_string_pretty(&list)?);
    }
    output::print_line("US dollars per million tokens: input, cached input, output")?;
    for Dated { price, .. } in &list.token_prices {
        let rates = price.standard.rates;
        let [input, cached, output] = [rates.input, rates.cached_input, rates.output]
            .map(|rate| rate.map_or("-".to_owned(), shown_usd));
        output::print_line(format_args!(
            "{:48} {input:>8} {cached:>8} {output:>8}  {}",
            price.name(),
            shown_source(&price.provenance)
        ))?;
    }
    output::print_line("\nUS dollars per GPU-hour")?;
    for Dated { price, .. } in &list.gpu_prices {
        output::print_line(format_args!(
            "{:48} {:>8}  {}",
            format!("{} {}", price.vendor, price.gpu),
            shown_usd(price.on_demand.usd()),
            shown_source(&price.provenance)
        ))?;
    }
    Ok(())
}
