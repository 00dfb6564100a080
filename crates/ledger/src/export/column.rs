//! The columns of an exported row.

use rust_decimal::Decimal;

use crate::LedgerError;
use crate::bill::Bill;
use crate::store::Row;

/// One column of an export.
pub(super) struct Column {
    pub name: &'static str,
    pub sql: &'static str,
    pub kind: Kind,
}

/// How a column is stored and exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text or null.
    OptionalText,
    Integer,
    /// Seconds or null.
    Real,
    /// Microseconds since 1970, exported as a timestamp in UTC.
    Moment,
    /// Picoseconds, exported as seconds.
    Picoseconds,
    /// A decimal or null, stored as text.
    Dollars,
    /// A bill or null, as its two integers with a colon between.
    Bill,
}

/// The columns of every file, in this order.
pub(super) const COLUMNS: [Column; 40] = [
    column("run", "run", Kind::Integer),
    column("request_id", "request_id", Kind::Text),
    column("started_at", "attempts.started_us", Kind::Moment),
    column("ended_at", "ended_us", Kind::Moment),
    column(
        "tenant",
        "CASE WHEN booked_to IS NULL THEN COALESCE(tenant, api_key, user_id) END",
        Kind::OptionalText,
    ),
    column("api_key", "api_key", Kind::OptionalText),
    column("user", "user_id", Kind::OptionalText),
    column("model", "attempts.model", Kind::Text),
    column("base_model", "runs.model", Kind::Text),
    column("adapter", "adapter", Kind::OptionalText),
    column(
        "adapter_generation",
        "adapter_generation",
        Kind::OptionalText,
    ),
    column("input_tokens", "input_tokens", Kind::Integer),
    column("cached_tokens", "cached_tokens", Kind::Integer),
    column("output_tokens", "output_tokens", Kind::Integer),
    column("device_seconds", "device_ps", Kind::Picoseconds),
    column("input_seconds", "input_ps", Kind::Picoseconds),
    column("cached_seconds", "cached_ps", Kind::Picoseconds),
    column("output_seconds", "output_ps", Kind::Picoseconds),
    column("cost_usd", "CAST(cost_usd AS TEXT)", Kind::Dollars),
    column(
        "price_per_hour_usd",
        "CAST(price_per_hour_usd AS TEXT)",
        Kind::Dollars,
    ),
    column("queue_seconds", "queue_seconds", Kind::Real),
    column("ttft_seconds", "ttft_seconds", Kind::Real),
    column("itl_p50_seconds", "itl_p50_seconds", Kind::Real),
    column("itl_p95_seconds", "itl_p95_seconds", Kind::Real),
    column("outcome", "outcome", Kind::Text),
    column("status", "status", Kind::Integer),
    column("prompt", "prompt", Kind::OptionalText),
    column("route", "route", Kind::OptionalText),
    column("role", "role", Kind::OptionalText),
    column("attempt", "COALESCE(attempt, 1)", Kind::Integer),
    column("arm", "arm", Kind::OptionalText),
    column("experiment", "experiment", Kind::OptionalText),
    column("assigned_arm", "assigned_arm", Kind::OptionalText),
    column("unit", "unit", Kind::OptionalText),
    column("booked_to", "booked_to", Kind::OptionalText),
    column("vendor", "vendor", Kind::OptionalText),
    column("vendor_model", "vendor_model", Kind::OptionalText),
    column("vendor_usage", "vendor_usage", Kind::OptionalText),
    column(
        "billed_usd",
        "CAST(billed_nanos AS TEXT) || ':' || CAST(billed_attos AS TEXT)",
        Kind::Bill,
    ),
    column("billed_basis", "basis", Kind::OptionalText),
];

const fn column(name: &'static str, sql: &'static str, kind: Kind) -> Column {
    Column { name, sql, kind }
}

/// Reads a column of [`Kind::Bill`].
pub(super) fn bill_usd(row: &dyn Row, column: usize) -> Result<Option<Decimal>, LedgerError> {
    let Some(text) = row.text(column)? else {
        return Ok(None);
    };
    let parts = text.split_once(':');
    let bill = parts.and_then(|(nanos, attos)| {
        Some(Bill {
            nanos: nanos.parse().ok()?,
            attos: attos.parse().ok()?,
        })
    });
    let bill = bill.ok_or_else(|| LedgerError::Corrupt(format!("the bill {text:?}")))?;
    Ok(Some(bill.usd()))
}
