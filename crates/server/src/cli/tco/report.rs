//! The report of `farthing tco`.

use std::fmt;

use anyhow::Context;
use farthing_economics::{
    ApiBill, Holds, OwnBill, Provenance, Rates, SavingVolumes, Tco, TcoError, TcoInputs,
    TokenClass, Volume, Workload, shown, shown_millions, shown_percent, shown_usd,
};
use rust_decimal::Decimal;
use serde::Serialize;

use super::args::TcoArgs;
use crate::cli::price_source::{shown_source, token_price};
use crate::clock::today;

/// The article's "$3–7k".
const CLAIMED_BILLS_USD: [i64; 2] = [3_000, 7_000];

/// All figures and their assumptions.
#[derive(Serialize)]
pub(super) struct Report {
    /// The API's prices.
    prices: Option<Prices>,
    #[serde(flatten)]
    tco: Tco,
    /// What the figures assume.
    assumptions: Vec<String>,
    /// Whether the user asked about bills of their own.
    #[serde(skip)]
    asked_bills: bool,
}

#[derive(Serialize)]
struct Prices {
    /// `None` for prices given by flags.
    model: Option<String>,
    #[serde(flatten)]
    rates: Rates,
    provenance: Option<Provenance>,
    /// Whether the price was read more than 30 days ago.
    stale: bool,
}

impl Report {
    pub(super) fn new(args: &TcoArgs) -> anyhow::Result<Self> {
        let mut assumptions = Vec::new();
        let prices = Prices::new(args, &mut assumptions)?;
        let inputs = TcoInputs {
            workload: Workload {
                tokens_per_day: args.tokens_per_day,
                input_share: args.input_share,
                cached_share: args.cached_share,
                batch_factor: args.batch_factor,
            },
            rates: prices
                .as_ref()
                .map(|prices| prices.rates)
                .unwrap_or_default(),
            fleet: args.fleet.inputs()?,
            bills_usd: match args.api_bills.as_slice() {
                [] => CLAIMED_BILLS_USD.map(Decimal::from).to_vec(),
                bills => bills.to_vec(),
            },
        };
        let tco = Tco::new(&inputs).map_err(with_flags)?;
        let has_figures = tco.api.is_some()
            || tco.own.is_some()
            || tco.capacity.is_some()
            || !tco.blended_price_needed.is_empty();
        has_figures.then_some(()).context(
            "inputs missing: pass --tokens-per-day with --against MODEL (or --price-in and --price-out) \
             for the API, --gpus with --gpu-hour for a fleet",
        )?;
        if let (Some(own), true) = (tco.own, inputs.fleet.fixed_usd_per_month.is_zero()) {
            assumptions.push(format!(
                "nobody is paid to run {} (--staff-monthly)",
                gpus(own.gpus)
            ));
        }
        if tco.own.is_some() && inputs.fleet.peak_to_mean == Decimal::ONE {
            assumptions.push("the traffic is the same at every hour (--peak-to-mean)".to_owned());
        }
        if tco.own.is_some() && inputs.fleet.redundancy == 0 && args.fleet.gpus.is_none() {
            assumptions.push("no GPU stands by for one that fails (--redundancy)".to_owned());
        }
        Ok(Self {
            prices,
            tco,
            assumptions,
            asked_bills: !args.api_bills.is_empty(),
        })
    }
}

impl Prices {
    fn new(args: &TcoArgs, assumptions: &mut Vec<String>) -> anyhow::Result<Option<Self>> {
        let Some(name) = &args.against else {
            let rates = Rates {
                input: args.price_in,
                cached_input: args.price_cached,
                output: args.price_out,
                ..Rates::default()
            };
            return Ok((rates != Rates::default()).then_some(Self {
                model: None,
                rates,
                provenance: None,
                stale: false,
            }));
        };
        let book = args.price_source.book()?;
        let price = token_price(&book, name, args.price_source.day())?;
        let mut rates = price.standard.rates;
        if rates.cached_input.is_none() && !args.cached_share.is_zero() {
            assumptions.push(format!(
                "{} has no known price of cached tokens: they count as others",
                price.name()
            ));
            rates.cached_input = rates.input;
        }
        if !price.standard.tiers.is_empty() {
            let above = price.standard.tiers[0].above_prompt_tokens;
            assumptions.push(format!(
                "no prompt is longer than {above} tokens, where prices rise"
            ));
        }
        Ok(Some(Self {
            model: Some(price.name()),
            rates,
            provenance: Some(price.provenance.clone()),
            stale: price.provenance.is_stale(today()),
        }))
    }
}

/// The error, with the flag that is missing.
fn with_flags(error: TcoError) -> anyhow::Error {
    let flag = match &error {
        TcoError::MissingRate(TokenClass::Input) => "--price-in",
        TcoError::MissingRate(TokenClass::CachedInput) => {
            "--price-cached (the price of --price-in, if there is no discount)"
        }
        TcoError::MissingRate(_) => "--price-out",
        TcoError::MissingGpuPrice => "--gpu-hour, or --capital with --life-months",
        TcoError::MissingGpus => "--gpus, or --slo-tokens-per-day with --tokens-per-day",
        TcoError::OutOfRange { .. } | TcoError::Overflow => return error.into(),
    };
    anyhow::anyhow!("{error}: pass {flag}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tco, .. } = self;
        let workload = &tco.workload;
        if let Some(tokens) = workload.tokens_per_day {
            writeln!(
                f,
                "Traffic     {} tokens a day: {} of prompts, {} of these cached",
                shown_millions(tokens),
                shown_percent(workload.input_share),
                shown_percent(workload.cached_share)
            )?;
        }
        if let (Some(prices), Some(api)) = (&self.prices, &tco.api) {
            write_api(f, prices, api)?;
        }
        for needed in tco.blended_price_needed.iter().filter(|_| self.asked_bills) {
            writeln!(
                f,
                "            {} a month would take {} per million",
                shown_usd(needed.usd_per_month),
                shown_usd(needed.usd_per_million)
            )?;
        }
        if let Some(capacity) = &tco.capacity {
            write!(
                f,
                "A GPU       carries {} tokens a day inside its SLO ({} a second)",
                shown_millions(capacity.tokens_per_day),
                shown(capacity.tokens_per_second, 0)
            )?;
            match capacity.usd_per_million_at_full_load {
                Some(usd) => writeln!(f, ": {} per million, always busy", shown_usd(usd))?,
                None => writeln!(f)?,
            }
        }
        if let Some(own) = &tco.own {
            write_own(f, own)?;
        }
        if let Some(saving) = &tco.saving {
            let share = saving.share.map(shown_percent).unwrap_or_default();
            writeln!(
                f,
                "Saving      {share}, {} a month",
                shown_usd(saving.usd_per_month)
            )?;
        }
        if let Some(thresholds) = &tco.thresholds {
            write_volumes(f, "This fleet  ", &thresholds.fixed_fleet)?;
            if let Some(growing) = &thresholds.growing_fleet {
                write_volumes(f, "Sized fleet ", growing)?;
            }
        }
        if !tco.claims.is_empty() {
            writeln!(f, "\nCommon claims")?;
        }
        for claim in &tco.claims {
            let holds = match claim.holds {
                Holds::Yes => "holds ",
                Holds::Partly => "partly",
                Holds::No => "no    ",
            };
            writeln!(f, "  {holds}  {}:\n          {}.", claim.claim, claim.why)?;
        }
        if !self.assumptions.is_empty() {
            writeln!(f, "\nAssumptions: {}.", self.assumptions.join("; "))?;
        }
        Ok(())
    }
}

fn write_api(f: &mut fmt::Formatter<'_>, prices: &Prices, api: &ApiBill) -> fmt::Result {
    let name = prices.model.as_deref().unwrap_or("prices as given");
    write!(
        f,
        "API         {} per million, {name}",
        shown_usd(api.blended_usd_per_million)
    )?;
    if let Some(provenance) = &prices.provenance {
        write!(f, " ({})", shown_source(provenance))?;
    }
    writeln!(f)?;
    if let (Some(bill), Some(lowest), Some(highest)) = (
        api.usd_per_month,
        api.lowest_usd_per_month_at_any_mix,
        api.highest_usd_per_month_at_any_mix,
    ) {
        writeln!(
            f,
            "            {} a month; {} to {} at any mix",
            shown_usd(bill),
            shown_usd(lowest),
            shown_usd(highest)
        )?;
    }
    Ok(())
}

fn write_own(f: &mut fmt::Formatter<'_>, own: &OwnBill) -> fmt::Result {
    write!(
        f,
        "Own fleet   {} at {} an hour",
        gpus(own.gpus),
        shown_usd(own.usd_per_gpu_hour)
    )?;
    if !own.fixed_usd_per_month.is_zero() {
        write!(f, " and {} a month", shown_usd(own.fixed_usd_per_month))?;
    }
    write!(f, ": {} a month", shown_usd(own.usd_per_month))?;
    if let Some(usd) = own.usd_per_million {
        write!(f, ", {} per million", shown_usd(usd))?;
    }
    writeln!(f)?;
    if let (Some(utilisation), Some(carries)) = (own.utilisation, own.carries_tokens_per_day) {
        writeln!(
            f,
            "            {} busy; carries {} tokens a day",
            shown_percent(utilisation),
            shown_millions(carries)
        )?;
    }
    match own.gpus_needed {
        Some(needed) if needed > own.gpus => {
            writeln!(
                f,
                "            TOO SMALL: this traffic needs {}",
                gpus(needed)
            )
        }
        _ => Ok(()),
    }
}

fn write_volumes(f: &mut fmt::Formatter<'_>, title: &str, volumes: &SavingVolumes) -> fmt::Result {
    let at = |volume: Option<Volume>| match volume {
        None => "never".to_owned(),
        Some(volume) => {
            let beyond = match volume.reachable {
                Some(false) => " (more than it carries)",
                _ => "",
            };
            format!("at {} a day{beyond}", shown_millions(volume.tokens_per_day))
        }
    };
    writeln!(
        f,
        "{title}breaks even {}, saves 40 % {}, 60 % {}",
        at(volumes.break_even),
        at(volumes.saving_40_percent),
        at(volumes.saving_60_percent)
    )
}

fn gpus(number: u64) -> String {
    match number {
        1 => "1 GPU".to_owned(),
        number => format!("{number} GPUs"),
    }
}
