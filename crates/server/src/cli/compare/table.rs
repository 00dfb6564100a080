//! The comparison as a table.

use std::fmt;

use farthing_economics::{
    Comparison, HybridSplit, OfferSide, SameCost, shown, shown_millions, shown_percent, shown_usd,
};

use rust_decimal::Decimal;

use crate::cli::price_source::shown_source;

/// One line for the own cost and for each offer, then sources and assumptions.
pub(super) struct Table<'a>(pub &'a Comparison);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(comparison) = self;
        let (work, own) = (&comparison.work, &comparison.own);
        writeln!(
            f,
            "{} tokens a day: {} prompt tokens a request, {} of them cached, and {} answer tokens\n",
            shown_millions(work.tokens_per_day),
            shown(work.prompt_tokens, 0),
            shown(work.cached_tokens, 0),
            shown(work.output_tokens, 0)
        )?;
        let names: Vec<_> = comparison.offers.iter().map(offer_name).collect();
        let width = names
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max(OWN_WIDTH);
        writeln!(
            f,
            "{:width$} {:>12} {:>12} {:>14} {:>10}  own fleet breaks even",
            "", "a request", "a million", "a month", "own saves"
        )?;
        if let Some(cost) = &own.fleet {
            let gpus = own.gpus.unwrap_or(0);
            let busy = own
                .utilisation
                .map(|it| format!(", {} busy", shown_percent(it)));
            let name = format!("own fleet ({gpus} GPUs{})", busy.unwrap_or_default());
            writeln!(f, "{name:width$} {}", costs(cost))?;
        }
        if let Some(cost) = &own.measured {
            writeln!(f, "{:width$} {}", "own, at the measured cost", costs(cost))?;
        }
        for (offer, name) in comparison.offers.iter().zip(&names) {
            writeln!(f, "{name:width$} {}", offer_costs(offer))?;
        }
        writeln!(f)?;
        for offer in &comparison.offers {
            writeln!(f, "{}: {}", offer.name, shown_source(&offer.provenance))?;
            if let Some(ratio) = offer.tokens_per_own_token {
                writeln!(f, "    {} of its tokens per own token", shown(ratio, 2))?;
            }
            for assumption in &offer.assumptions {
                writeln!(f, "    {assumption}")?;
            }
            if let Some(hybrid) = &offer.hybrid {
                writeln!(f, "    cheapest: {}", split(hybrid))?;
            }
        }
        Ok(())
    }
}

/// The width of the names on the own side.
const OWN_WIDTH: usize = 32;

fn costs(cost: &SameCost) -> String {
    format!(
        "{:>12} {:>12} {:>14}",
        shown_usd(cost.usd_per_request),
        shown_usd(cost.usd_per_million),
        shown_usd(cost.usd_per_month)
    )
}

fn offer_name(offer: &OfferSide) -> String {
    let stale = if offer.stale { " (stale)" } else { "" };
    format!("{}: {}{stale}", offer.kind, offer.name)
}

fn offer_costs(offer: &OfferSide) -> String {
    let saves = offer
        .saving
        .and_then(|saving| saving.share)
        .map(shown_percent);
    let mut line = format!("{} {:>10}", costs(&offer.cost), saves.unwrap_or_default());
    if let Some(volume) = &offer.break_even {
        line.push_str(&format!(
            "  at {} a day",
            shown_millions(volume.tokens_per_day)
        ));
        match (volume.utilisation, volume.reachable) {
            (_, Some(false)) => line.push_str(", more than it carries"),
            (Some(utilisation), _) => {
                line.push_str(&format!(", {} busy", shown_percent(utilisation)));
            }
            (None, _) => {}
        }
    }
    line
}

fn split(hybrid: &HybridSplit) -> String {
    let total = shown_usd(hybrid.usd_per_month);
    match hybrid.gpus {
        0 => format!("all of it there, {total} a month"),
        gpus if hybrid.own_share == Decimal::ONE && hybrid.api_usd_per_month.is_zero() => {
            format!("all of it on {gpus} own GPUs, {total} a month")
        }
        gpus => format!(
            "{} on {gpus} own GPUs for {}, the rest there for {}: {total} a month",
            shown_percent(hybrid.own_share),
            shown_usd(hybrid.own_usd_per_month),
            shown_usd(hybrid.api_usd_per_month)
        ),
    }
}
