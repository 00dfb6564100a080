//! The tables that sums are read from.

use std::ops::Range;

use crate::Window;
use crate::picosecond_sum::sum_sql;
use crate::window::MICROS;

/// The tables that sums are read from.
pub(super) enum Source {
    /// Rows that ended in this range of microseconds.
    Rows(Range<i64>),
    /// Daily sums of this range of days.
    Days(Range<i64>),
}

const DAY_S: i64 = 86_400;
const DAY_US: i64 = DAY_S * MICROS;

impl Source {
    /// Daily sums for whole days within a period, and rows for the rest.
    pub(super) fn all(window: Window, stretch_s: i64) -> Vec<Self> {
        let (start, end) = (window.start(), window.end());
        let days = start.div_euclid(DAY_S) + i64::from(start % DAY_S != 0)..end / DAY_S;
        let is_one_stretch = stretch_s >= end - start;
        let are_stretches_of_days = start % DAY_S == 0 && stretch_s % DAY_S == 0;
        if days.is_empty() || !(is_one_stretch || are_stretches_of_days) {
            return vec![Self::Rows(window.start_us()..window.end_us())];
        }
        let before = window.start_us()..days.start * DAY_US;
        let after = days.end * DAY_US..window.end_us();
        let rows = [before, after].into_iter().filter(|it| !it.is_empty());
        rows.map(Self::Rows).chain([Self::Days(days)]).collect()
    }

    /// The SQL expression of each of [`GroupBy`]'s fields.
    pub(super) fn group_columns(&self) -> [&'static str; 5] {
        match self {
            Self::Rows(_) => [
                "model",
                "adapter",
                "CASE WHEN booked_to IS NULL THEN COALESCE(tenant, api_key, user_id) END",
                "CASE WHEN booked_to IS NULL THEN user_id END",
                "CASE WHEN booked_to IS NULL THEN api_key END",
            ],
            Self::Days(_) => [
                "model",
                "NULLIF(adapter, '')",
                "COALESCE(NULLIF(tenant, ''), NULLIF(api_key, ''), NULLIF(user_id, ''))",
                "NULLIF(user_id, '')",
                "NULLIF(api_key, '')",
            ],
        }
    }

    /// The SQL expressions of the experiment that pays, of the vendor, and of its model.
    pub(super) fn vendor_columns(&self) -> [&'static str; 3] {
        match self {
            Self::Rows(_) => ["booked_to", "vendor", "vendor_model"],
            Self::Days(_) => [
                "NULLIF(booked_to, '')",
                "NULLIF(vendor, '')",
                "NULLIF(vendor_model, '')",
            ],
        }
    }

    pub(super) fn table(&self) -> &'static str {
        match self {
            Self::Rows(_) => "attempts",
            Self::Days(_) => "attempt_days",
        }
    }

    pub(super) fn moment_us(&self) -> String {
        match self {
            Self::Rows(_) => "ended_us".to_owned(),
            Self::Days(_) => format!("day * {DAY_US}"),
        }
    }

    pub(super) fn range(&self) -> String {
        match self {
            Self::Rows(Range { start, end }) => format!("ended_us >= {start} AND ended_us < {end}"),
            Self::Days(Range { start, end }) => format!("day >= {start} AND day < {end}"),
        }
    }

    /// SQL for requests, tokens, the four times in the form of [`read_sum`], and the bills.
    pub(super) fn sums(&self) -> String {
        let sum = |column: &str| format!("CAST(SUM({column}) AS BIGINT)");
        let tokens = ["input_tokens", "cached_tokens", "output_tokens"].map(sum);
        let (requests, times, counts) = match self {
            Self::Rows(_) => (
                "COUNT(*)".to_owned(),
                ["device_ps", "input_ps", "cached_ps", "output_ps"].map(sum_sql),
                [
                    "COUNT(vendor)".to_owned(),
                    "COUNT(CASE WHEN basis = 'estimated' THEN 1 END)".to_owned(),
                    "COUNT(CASE WHEN basis = 'unknown' THEN 1 END)".to_owned(),
                ],
            ),
            Self::Days(_) => {
                let both = |kind: &str| {
                    let (high, low) = (sum(&format!("{kind}_ms")), sum(&format!("{kind}_ps")));
                    format!("{high}, {low}")
                };
                let times = ["device", "input", "cached", "output"].map(both);
                let counts = ["bills", "estimated_bills", "unknown_bills"].map(sum);
                (sum("requests"), times, counts)
            }
        };
        let bills = ["billed_nanos", "billed_attos"]
            .map(|column| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"));
        format!(
            "{requests}, {}, {}, {}, {}",
            tokens.join(", "),
            times.join(", "),
            counts.join(", "),
            bills.join(", ")
        )
    }
}
