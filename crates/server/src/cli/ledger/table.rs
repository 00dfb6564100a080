//! An invoice as a table and as JSON.

use std::fmt::Write;

use chrono::DateTime;
use farthing_ledger::{
    Charge, GroupKey, Invoice, InvoiceLine, Item, Usage, VendorBills, VendorLine,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::visible::visible;

/// Digits after the point of amounts of money in the table.
const DIGITS: u32 = 9;

const HEADINGS: [&str; 8] = [
    "item", "requests", "in", "cached", "out", "device s", "USD", "share",
];
const VENDOR_HEADINGS: [&str; 8] = [
    "vendor",
    "attempts",
    "in",
    "cached",
    "out",
    "estimated",
    "unknown",
    "USD",
];

pub(super) fn text(invoice: &Invoice) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(invoice.lines.iter().map(|line| row(line, invoice)));
    let mut total = cells(&sum(&invoice.lines), invoice);
    total[0] = "total".to_owned();
    rows.push(total);

    let mut text = format!(
        "{} to {} UTC\n\n",
        moment(invoice.window.start()),
        moment(invoice.window.end())
    );
    put_table(&mut text, &rows);
    if !invoice.vendors.is_empty() {
        put(&mut text, format_args!("\n"));
        put_table(&mut text, &vendor_rows(invoice));
        put(&mut text, format_args!("\n{}\n", sums(invoice)));
    }
    put(&mut text, format_args!("\n{}\n", check(invoice)));
    for (what, per_million) in unit_prices(&invoice.lines) {
        put(
            &mut text,
            format_args!("{what}: {per_million} USD per million tokens\n"),
        );
    }
    text
}

pub(super) fn json(invoice: &Invoice) -> Value {
    let charge = |charge: &Charge| {
        json!({"device_seconds": charge.time.seconds().normalize().to_string(),
               "usd": charge.usd.map(|usd| usd.to_string())})
    };
    let bills = |bills: VendorBills| {
        json!({"usd": bills.usd.to_string(), "attempts": bills.attempts,
               "estimated_bills": bills.estimated, "unknown_bills": bills.unknown})
    };
    let vendor = |line: &VendorLine| {
        json!({
            "vendor": line.vendor,
            "vendor_model": line.model,
            "tenant": line.key.tenant,
            "model": line.key.model,
            "user": line.key.user,
            "api_key": line.key.api_key,
            "experiment": line.key.experiment,
            "input_tokens": line.usage.input_tokens,
            "cached_tokens": line.usage.cached_tokens,
            "output_tokens": line.usage.output_tokens,
            "bills": bills(line.usage.vendor),
        })
    };
    let line = |line: &InvoiceLine| {
        let usage = &line.usage;
        json!({
            "item": line.item.as_str(),
            "tenant": line.key.tenant,
            "model": line.key.model,
            "adapter": line.key.adapter,
            "user": line.key.user,
            "api_key": line.key.api_key,
            "experiment": line.key.experiment,
            "requests": usage.requests,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "total": charge(&usage.device),
            "input": charge(&usage.input),
            "cached": charge(&usage.cached),
            "output": charge(&usage.output),
        })
    };
    json!({
        "start_time": invoice.window.start(),
        "end_time": invoice.window.end(),
        "window": charge(&invoice.total),
        "lines": invoice.lines.iter().map(line).collect::<Vec<_>>(),
        "vendors": invoice.vendors.iter().map(vendor).collect::<Vec<_>>(),
        "vendor_total": bills(invoice.vendor_total()),
        "total_usd": invoice.total_usd().map(|usd| usd.to_string()),
        "residual": {
            "device_seconds": invoice.residual_time().seconds().normalize().to_string(),
            "usd": invoice.residual_usd().map(|usd| usd.to_string()),
        },
    })
}

fn row(line: &InvoiceLine, invoice: &Invoice) -> [String; 8] {
    let mut cells = cells(&line.usage, invoice);
    cells[0] = line.item.as_str().to_owned() + &groups(&line.key);
    cells
}

/// What the group has in common, after the name of the line.
fn groups(key: &GroupKey) -> String {
    let GroupKey {
        model,
        adapter,
        tenant,
        user,
        api_key,
        experiment,
    } = key;
    let groups = [experiment, tenant, model, adapter, user, api_key];
    let groups = groups.into_iter().flatten();
    groups.map(|group| format!(" {}", visible(group))).collect()
}

fn vendor_rows(invoice: &Invoice) -> Vec<[String; 8]> {
    let row = |name: String, usage: &Usage| {
        let bills = usage.vendor;
        let mut counts = [
            bills.attempts,
            usage.input_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            bills.estimated,
            bills.unknown,
        ]
        .into_iter();
        let mut row: [String; 8] =
            std::array::from_fn(|_| counts.next().map_or_else(String::new, |it| it.to_string()));
        row.rotate_right(1);
        row[0] = name;
        row[7] = usd(Some(bills.usd));
        row
    };
    let mut all = Usage::default();
    let mut rows = vec![VENDOR_HEADINGS.map(str::to_owned)];
    for line in &invoice.vendors {
        all += &line.usage;
        let beside = match line.key.experiment {
            Some(_) => " experiment",
            None => "",
        };
        let (vendor, model) = (visible(&line.vendor), visible(&line.model));
        let name = format!("{vendor} {model}{beside}{}", groups(&line.key));
        rows.push(row(name, &line.usage));
    }
    rows.push(row("total".to_owned(), &all));
    rows
}

/// Our own device and the vendors together.
fn sums(invoice: &Invoice) -> String {
    let bills = invoice.vendor_total();
    let at_least = match bills.unknown {
        0 => String::new(),
        unknown => format!(" at least, because {unknown} bills are unknown"),
    };
    format!(
        "own device {} USD + vendors {} USD = {} USD{at_least}",
        usd(invoice.total.usd),
        usd(Some(bills.usd)),
        usd(invoice.total_usd()),
    )
}

fn put_table(text: &mut String, rows: &[[String; 8]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 8] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in rows {
        let first = widths[0];
        put(text, format_args!("{:first$}", row[0]));
        for (cell, width) in row.iter().zip(widths).skip(1) {
            put(text, format_args!("  {cell:>width$}"));
        }
        put(text, format_args!("\n"));
    }
}

fn cells(usage: &Usage, invoice: &Invoice) -> [String; 8] {
    let count = |count: u64| match usage.requests {
        0 => String::new(),
        _ => count.to_string(),
    };
    let seconds = usage.device.time.seconds();
    let total = invoice.total.time.seconds();
    let share = (!total.is_zero()).then(|| seconds / total * Decimal::ONE_HUNDRED);
    [
        String::new(),
        count(usage.requests),
        count(usage.input_tokens),
        count(usage.cached_tokens),
        count(usage.output_tokens),
        format!("{:.6}", rounded(seconds, 6)),
        usd(usage.device.usd),
        share.map_or_else(String::new, |share| format!("{:.2} %", rounded(share, 2))),
    ]
}

fn usd(usd: Option<Decimal>) -> String {
    usd.map_or_else(
        || "?".to_owned(),
        |usd| format!("{:.9}", rounded(usd, DIGITS)),
    )
}

/// Rounds, without a minus sign before zero.
fn rounded(value: Decimal, digits: u32) -> Decimal {
    let rounded = value.round_dp(digits);
    if rounded.is_zero() {
        Decimal::ZERO
    } else {
        rounded
    }
}

fn sum(lines: &[InvoiceLine]) -> Usage {
    let mut sum = Usage::default();
    lines.iter().for_each(|line| sum += &line.usage);
    sum
}

/// Compares the sum of the lines with the window.
fn check(invoice: &Invoice) -> String {
    let hours = invoice.total.time.seconds() / Decimal::from(3600);
    let window = format!("window: {hours:.9} device-hours");
    match (invoice.total.usd, invoice.residual_usd()) {
        (Some(total), Some(residual)) => format!(
            "{window} = {} USD; the lines differ from it by {} s and {} USD",
            usd(Some(total)),
            invoice.residual_time().seconds().normalize(),
            residual.normalize(),
        ),
        _ => {
            format!("{window}; no total, because a part of it has no price (--price-per-hour)")
        }
    }
}

/// The cost of a million tokens of each class in served requests.
fn unit_prices(lines: &[InvoiceLine]) -> Vec<(&'static str, String)> {
    let served = lines.iter().filter(|line| line.item == Item::Served);
    let mut usage = Usage::default();
    served.for_each(|line| usage += &line.usage);
    let computed = usage.input_tokens - usage.cached_tokens;
    let kinds = [
        ("input", usage.input, computed),
        ("cached input", usage.cached, usage.cached_tokens),
        ("output", usage.output, usage.output_tokens),
    ];
    let price = |(what, charge, tokens): (_, Charge, u64)| {
        let usd = charge.usd.filter(|_| tokens > 0)?;
        let per_million = usd * Decimal::from(1_000_000) / Decimal::from(tokens);
        Some((what, format!("{per_million:.6}")))
    };
    kinds.into_iter().filter_map(price).collect()
}

fn moment(seconds: i64) -> String {
    let moment = DateTime::from_timestamp(seconds, 0);
    moment.map_or_else(
        || seconds.to_string(),
        |moment| moment.format("%F %R").to_string(),
    )
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("a string takes all that is written to it");
}

#[cfg(test)]
mod tests;
