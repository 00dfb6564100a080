//! Figures as people read them.

use farthing_economics::shown_usd;
use farthing_economics::statistics::Interval;
use rust_decimal::Decimal;

use super::arm_report::{ArmCost, ArmReport};
use super::measured::Measured;

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A share, as a percentage.
    Share,
    /// A difference of shares, in percentage points.
    Points,
    /// A relative difference, as a signed percentage.
    Relative,
    Usd,
    Seconds,
    Number,
}

/// Three significant digits, or all of the whole part.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let place = size.log10().floor() as i32;
    let decimals = usize::try_from(2 - place).unwrap_or(0).min(12);
    format!("{value:.decimals$}")
}

pub(super) fn figure(value: f64, kind: Kind) -> String {
    match kind {
        Kind::Share => format!("{} %", digits(value * 100.0)),
        Kind::Points => format!("{} points", signed(value * 100.0)),
        Kind::Relative => format!("{} %", signed(value * 100.0)),
        Kind::Usd if value < 0.0 => format!("-${}", digits(-value)),
        Kind::Usd => format!("${}", digits(value)),
        Kind::Seconds => format!("{} s", digits(value)),
        Kind::Number => digits(value),
    }
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", digits(value))
}

pub(super) fn interval(interval: Interval, kind: Kind) -> String {
    let (low, high) = (figure(interval.low, kind), figure(interval.high, kind));
    format!("{low} to {high}")
}

/// A figure with its interval, or why there is none.
pub(super) fn measured(it: &Measured, kind: Kind) -> String {
    let because = it.missing_because.as_deref().unwrap_or_default();
    match (it.value, it.interval) {
        (Some(value), Some(range)) => {
            format!("{} ({})", figure(value, kind), interval(range, kind))
        }
        (Some(value), None) => format!("{} (no interval: {because})", figure(value, kind)),
        (None, _) => format!("unknown: {because}"),
    }
}

/// An amount of money, with what is unknown of it.
pub(super) fn usd(usd: Option<Decimal>, is_at_least: bool) -> String {
    let least = if is_at_least { "at least " } else { "" };
    usd.map_or_else(
        || "unknown".to_owned(),
        |usd| format!("{least}{}", shown_usd(usd)),
    )
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |it| figure(it, Kind::Seconds))
}

/// The rows of an arm's table: what, and its figure.
pub(super) fn arm_rows(arm: &ArmReport) -> Vec<(&'static str, String)> {
    let ArmCost {
        own_busy_usd,
        own_loaded_usd,
        total_busy_usd,
        total_loaded_usd,
        is_at_least,
        ..
    } = arm.cost;
    let cost = &arm.cost;
    let mut rows = vec![
        ("units", arm.units.to_string()),
        ("requests", arm.requests.to_string()),
        (
            "without an attempt yet",
            arm.requests_without_attempt.to_string(),
        ),
        ("failed", arm.failed_requests.to_string()),
        ("caller left", arm.aborted_requests.to_string()),
        ("empty answers", arm.empty_answers.to_string()),
        (
            "attempts",
            format!(
                "{} ({} failed, {} retries, {} fallbacks)",
                arm.attempts, arm.failed_attempts, arm.retries, arm.fallbacks
            ),
        ),
        ("served by", served_by(arm)),
        (
            "tokens",
            format!(
                "{} in ({} cached), {} out",
                arm.input_tokens, arm.cached_tokens, arm.output_tokens
            ),
        ),
        (
            "own device",
            format!(
                "{} busy, {} loaded",
                usd(own_busy_usd, false),
                usd(own_loaded_usd, false)
            ),
        ),
        (
            "vendors",
            format!(
                "{} ({} attempts: {} estimated, {} unknown)",
                usd(Some(cost.vendor_usd), cost.unknown_bills > 0),
                cost.vendor_attempts,
                cost.estimated_bills,
                cost.unknown_bills
            ),
        ),
        (
            "together",
            format!(
                "{} busy, {} loaded",
                usd(total_busy_usd, is_at_least),
                usd(total_loaded_usd, is_at_least)
            ),
        ),
        (
            "first token",
            format!(
                "{} median, {} p95",
                seconds(arm.ttft_p50_seconds),
                seconds(arm.ttft_p95_seconds)
            ),
        ),
        (
            "accepted",
            format!(
                "{} of {} rated: {}",
                arm.accepted_requests,
                arm.rated_requests,
                measured(&arm.accepted_share, Kind::Share)
            ),
        ),
        (
            "$ per accepted, busy",
            measured(&arm.usd_per_accepted_busy, Kind::Usd),
        ),
        (
            "$ per accepted, loaded",
            measured(&arm.usd_per_accepted_loaded, Kind::Usd),
        ),
    ];
    for adapter in &arm.by_adapter {
        let name = adapter.adapter.as_deref().unwrap_or("the base model");
        rows.push((
            "adapter",
            format!(
                "{name}: {} attempts, {} tokens, {} busy, {} loaded",
                adapter.attempts,
                adapter.tokens,
                usd(adapter.busy_usd, false),
                usd(adapter.loaded_usd, false)
            ),
        ));
    }
    rows
}

fn served_by(arm: &ArmReport) -> String {
    let served = arm.requests_served_by.iter();
    let served: Vec<_> = served
        .map(|(arm, requests)| format!("{arm} {requests}"))
        .collect();
    served.join(", ")
}

/// The figures that compare the arms: what, the figure, and how it is written.
pub(super) fn compared(report: &super::Report) -> Vec<(String, &Measured, Kind)> {
    let it = &report.comparison;
    let mut rows = vec![
        (
            "accepted answers".to_owned(),
            &it.quality_difference,
            Kind::Points,
        ),
        (
            "$ per accepted answer, loaded".to_owned(),
            &it.usd_per_accepted_loaded_relative,
            Kind::Relative,
        ),
        (
            "$ per accepted answer, busy".to_owned(),
            &it.usd_per_accepted_busy_relative,
            Kind::Relative,
        ),
    ];
    for metric in &it.secondary {
        let (name, kind) = match metric.metric {
            "failed_requests_share" => ("failed requests", Kind::Points),
            "empty_answers_share" => ("empty answers", Kind::Points),
            "output_tokens_per_answer" => ("output tokens per answer", Kind::Number),
            "usd_per_request_loaded" => ("$ per request, loaded", Kind::Usd),
            "ttft_p50_seconds" => ("first token, median", Kind::Seconds),
            _ => ("first token, p95", Kind::Seconds),
        };
        let p_value = metric.holm_p_value.map_or_else(String::new, |p_value| {
            format!(" [{}]", p_value_text(p_value))
        });
        rows.push((format!("{name}{p_value}"), &metric.difference, kind));
    }
    rows
}

/// A p-value: its small values are only called small.
fn p_value_text(p_value: f64) -> String {
    if p_value < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {p_value:.3}")
    }
}

/// What the figures rest on.
pub(super) fn conditions(report: &super::Report) -> Vec<String> {
    let spec = &report.spec;
    let load = &report.load;
    let confidence = spec.confidence * 100.0;
    let holds = match spec.inference {
        farthing_experiment::Inference::AlwaysValid { .. } => {
            "hold at any number of looks".to_owned()
        }
        farthing_experiment::Inference::FixedHorizon { units_per_arm } => {
            format!("hold at one look, with {units_per_arm} rated units in each arm")
        }
    };
    let mut lines = vec![
        format!("Intervals have {confidence} % confidence and {holds}. The unit is what was assigned."),
        "Results are read by the assigned arm, whichever arm served. p is adjusted for all secondary \
         metrics together (Holm)."
            .to_owned(),
        match load.factor {
            Some(factor) => format!(
                "Loaded = busy × {factor:.4}: {:.0} s of device time in the period, over {:.0} s of \
                 steps.",
                load.window_device_seconds, load.step_device_seconds
            ),
            None => "Loaded costs are unknown: our device computed nothing in the period.".to_owned(),
        },
    ];
    if let Some(judge) = report.judge_usd.filter(|usd| !usd.is_zero()) {
        lines.push(format!("Judges cost {} beside.", usd(Some(judge), false)));
    }
    lines.extend(report.notes.iter().cloned());
    lines
}
