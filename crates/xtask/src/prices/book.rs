//! Writes rows as a price book in TOML.

use std::fmt::{self, Write};

use super::merge::Row;

const HEADER: &str = "\
# Written by `cargo xtask prices` from the catalogues that each row names (both under the MIT licence),
# where they agree. Change what is selected, not this file. What no catalogue dates holds from the day
# on which it was read.
";

pub(super) fn text(rows: &[Row]) -> String {
    let mut text = HEADER.to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        let _ = write_row(&mut text, row);
    }
    text
}

fn write_row(text: &mut String, row: &Row) -> fmt::Result {
    let model = &row.model;
    writeln!(text, "\n[[token_price]]")?;
    writeln!(text, "vendor = {:?}", model.vendor)?;
    writeln!(text, "model = {:?}", model.model)?;
    writeln!(text, "class = {:?}", model.class)?;
    writeln!(text, "counting = {:?}", model.counting)?;
    if let Some(tokenizer) = &model.tokenizer {
        writeln!(text, "tokenizer = {tokenizer:?}")?;
    }
    writeln!(text, "unit = \"usd_per_million_tokens\"")?;
    for (batch, kind) in [(false, "standard"), (true, "batch")] {
        let tiers = tiers(row, batch);
        let Some(base) = tiers.iter().find(|(above, _)| *above == 0) else {
            continue;
        };
        writeln!(text, "{kind}.rates = {{ {} }}", base.1)?;
        let tiers: Vec<_> = tiers
            .iter()
            .filter(|(above, _)| *above > 0)
            .map(|(above, rates)| {
                format!("{{ above_prompt_tokens = {above}, rates = {{ {rates} }} }}")
            })
            .collect();
        if !tiers.is_empty() {
            writeln!(text, "{kind}.tiers = [{}]", tiers.join(", "))?;
        }
    }
    write!(
        text,
        "provenance = {{ source = {:?}, read_on = \"{}\"",
        row.source, row.read_on
    )?;
    if let Some(day) = row.valid_from {
        write!(text, ", valid_from = \"{day}\"")?;
    }
    if let Some(day) = row.valid_to {
        write!(text, ", valid_to = \"{day}\"")?;
    }
    writeln!(text, ", catalogues = {:?} }}", row.catalogues)
}

/// The rates by threshold, starting with 0, as the inside of an inline table.
fn tiers(row: &Row, batch: bool) -> Vec<(u64, String)> {
    let mut tiers: Vec<(u64, String)> = Vec::new();
    for (key, usd) in row.rates.iter().filter(|(key, _)| key.batch == batch) {
        let rate = format!("{} = \"{usd}\"", key.class.key());
        match tiers.last_mut() {
            Some((above, rates)) if *above == key.above_prompt_tokens => {
                rates.push_str(", ");
                rates.push_str(&rate);
            }
            _ => tiers.push((key.above_prompt_tokens, rate)),
        }
    }
    tiers
}
