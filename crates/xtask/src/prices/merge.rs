//! Merges the prices of both catalogues into rows, or lists their disagreements.

use anyhow::Result;
use jiff::civil::Date;

use super::genai::{Genai, Period};
use super::litellm::{LiteLlm, LiteLlmPrice};
use super::rates::RateTable;
use super::selection::SelectedModel;

/// A price of a model for a period.
#[derive(Debug)]
pub(super) struct Row {
    pub model: SelectedModel,
    pub rates: RateTable,
    pub valid_from: Option<Date>,
    pub valid_to: Option<Date>,
    pub source: String,
    pub read_on: Date,
    pub catalogues: Vec<String>,
}

pub(super) enum Merged {
    Rows(Vec<Row>),
    Conflicts(Vec<String>),
    Absent,
}

pub(super) fn merge(model: &SelectedModel, litellm: &LiteLlm, genai: &Genai) -> Result<Merged> {
    let flat = match &model.litellm {
        Some(key) => litellm.price(key)?,
        None => None,
    };
    // A model that was retired before the date of the catalogue has no price.
    let flat = flat.filter(|price| {
        price
            .ends_on
            .is_none_or(|end| end > litellm.edition.read_on)
    });
    let dated = match &model.genai {
        Some(name) => genai.price(name)?,
        None => None,
    };
    let Some(dated) = dated else {
        return Ok(match flat {
            Some(flat) => Merged::Rows(vec![flat_row(model, flat, litellm)]),
            None => Merged::Absent,
        });
    };
    let current = current_period(&dated.periods, litellm.edition.read_on);
    if let (Some(flat), Some(current)) = (&flat, current) {
        let conflicts = conflicts(model, litellm, flat, genai, &dated.periods[current]);
        if !conflicts.is_empty() {
            return Ok(Merged::Conflicts(conflicts));
        }
    }
    let mut rows = Vec::new();
    let next_days: Vec<_> = dated.periods.iter().skip(1).map(|it| it.from).collect();
    for (place, Period { from, rates }) in dated.periods.into_iter().enumerate() {
        let next = next_days.get(place).copied().flatten();
        let mut row = Row {
            model: model.clone(),
            rates,
            valid_from: from,
            valid_to: next.map(|day| day.yesterday()).transpose()?,
            source: dated
                .source
                .clone()
                .unwrap_or_else(|| genai.edition.name.clone()),
            read_on: genai.edition.read_on,
            catalogues: vec![genai.edition.name.clone()],
        };
        if Some(place) == current {
            // The start is unknown, so the price is valid from the date on which it was read.
            if place == 0 {
                row.valid_from = from.or(Some(genai.edition.read_on));
            }
            if let Some(flat) = &flat {
                row.rates.extend(&flat.rates);
                row.source = flat.source.clone().unwrap_or(row.source);
                row.read_on = row.read_on.min(litellm.edition.read_on);
                row.catalogues.insert(0, litellm.edition.name.clone());
                row.valid_to = row.valid_to.or(flat.ends_on);
            }
        }
        rows.push(row);
    }
    Ok(Merged::Rows(rows))
}

fn flat_row(model: &SelectedModel, flat: LiteLlmPrice, litellm: &LiteLlm) -> Row {
    Row {
        model: model.clone(),
        rates: flat.rates,
        valid_from: Some(litellm.edition.read_on),
        valid_to: flat.ends_on,
        source: flat.source.unwrap_or_else(|| litellm.edition.name.clone()),
        read_on: litellm.edition.read_on,
        catalogues: vec![litellm.edition.name.clone()],
    }
}

/// The last period that has started.
fn current_period(periods: &[Period], day: Date) -> Option<usize> {
    periods
        .iter()
        .rposition(|period| period.from.is_none_or(|from| from <= day))
}

fn conflicts(
    model: &SelectedModel,
    litellm: &LiteLlm,
    flat: &LiteLlmPrice,
    genai: &Genai,
    period: &Period,
) -> Vec<String> {
    let differing = flat.rates.iter().filter_map(|(key, usd)| {
        let other = period.rates.get(key)?;
        (other != usd).then(|| {
            let batch = if key.batch { "batch " } else { "" };
            let above = match key.above_prompt_tokens {
                0 => String::new(),
                tokens => format!(" above {tokens} prompt tokens"),
            };
            format!(
                "{}: {batch}{}{above} is {usd} in {} and {other} in {}",
                model.name(),
                key.class.key(),
                litellm.edition.name,
                genai.edition.name
            )
        })
    });
    differing.collect()
}
