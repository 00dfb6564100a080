//! Warnings that readers of the report should know about.

use crate::load_report::Measured;
use crate::preflight::Preflight;
use crate::record::Record;
use crate::traffic::{Arrivals, Lengths, Traffic};

/// Warnings about the requested load.
pub(crate) fn warnings(
    measured: &Measured,
    traffic: &Traffic,
    preflight: &Preflight,
) -> Vec<String> {
    let mut warnings = measured.report.health.warnings();
    warnings.extend(about_load(measured, traffic));
    warnings.extend(about_counts(measured, traffic, preflight));
    warnings.extend(about_meter(measured));
    warnings
}

fn about_load(measured: &Measured, traffic: &Traffic) -> Vec<String> {
    let figures = &measured.report.figures;
    let mut warnings = Vec::new();
    for failure in &figures.failures {
        let sent = figures.completed + figures.failed;
        warnings.push(format!(
            "{} of {sent} requests failed, {}: {}",
            failure.count, failure.kind, failure.example
        ));
    }
    if figures.includes_drain {
        warnings.push(
            "all requests were sent within the time of one answer, so there was no steady load and \
             the rates include the drain: send more requests"
                .to_owned(),
        );
    }
    let sent = figures.completed + figures.failed;
    let is_open = traffic.max_concurrency.is_none() && traffic.arrivals != Arrivals::AtOnce;
    if is_open
        && !figures.includes_drain
        && (figures.completed_in_window as f64) < 0.9 * figures.completed as f64
    {
        warnings.push(format!(
            "the server could not keep up: {} answers ended while {sent} requests were sent",
            figures.completed_in_window
        ));
    }
    if let Lengths::Trace(trace) = &traffic.lengths {
        let wanted = traffic.requests + traffic.warm_up_requests;
        let has = trace.requests().len();
        if traffic.duration_seconds.is_none() && has < wanted {
            warnings.push(format!(
                "the trace has {has} requests, fewer than the {wanted} requested"
            ));
        }
    }
    warnings
}

fn about_counts(measured: &Measured, traffic: &Traffic, preflight: &Preflight) -> Vec<String> {
    let figures = &measured.report.figures;
    let mut warnings = Vec::new();
    if !preflight.tells_usage {
        warnings.push(
            "the server's streams report no usage: each piece of text counts as a token, and \
             prompts count by their words"
                .to_owned(),
        );
    }
    let has_no_prompt =
        |record: &Record| record.usage().is_some_and(|it| it.prompt_tokens.is_none());
    if measured.log.records.iter().any(has_no_prompt) {
        warnings.push(
            "the server's streams report no prompt tokens: each prompt counts by its requested length"
                .to_owned(),
        );
    }
    if !preflight.is_fit_measured {
        warnings.push(
            "the server reports no prompt tokens: each word counts as one, and a chat template as \
             none"
                .to_owned(),
        );
    }
    warnings.extend(about_pieces(measured));
    let answered = || measured.log.records.iter().filter(|it| it.outcome.is_ok());
    let sum = |tokens: fn(&Record) -> u64| answered().map(tokens).sum::<u64>() as f64;
    let outputs = sum(Record::output_tokens) / sum(|record| record.output_tokens_asked);
    if outputs < 0.98 {
        warnings.push(format!(
            "answers had {:.0} % of the requested length, because the model ended them: ask the \
             server to ignore end-of-sequence tokens",
            outputs * 100.0
        ));
    }
    let prompts = sum(Record::prompt_tokens) / sum(|record| record.prompt_tokens_asked);
    if (prompts - 1.0).abs() > 0.05 {
        warnings.push(format!(
            "prompts had {:.0} % of the requested length, by the server's count",
            prompts * 100.0
        ));
    }
    let is_shared = match &traffic.lengths {
        Lengths::Random(lengths) => lengths.prefix > 0,
        Lengths::Trace(trace) => trace.requests().iter().any(|it| !it.blocks.is_empty()),
    };
    let cached = figures.total_cached_tokens / figures.total_input_tokens.max(1.0);
    // A chat template is always cached. A repeated prompt is cached as a whole.
    if !is_shared && cached > 0.5 {
        warnings.push(format!(
            "{:.0} % of the prompts' tokens were in the server's cache: it has seen them before, so \
             use another seed",
            cached * 100.0
        ));
    }
    warnings
}

/// Inter-token latency is between pieces of text; time per output token is by the server's count.
fn about_pieces(measured: &Measured) -> Option<String> {
    let answered = || {
        measured
            .log
            .records
            .iter()
            .filter(|it| it.usage().is_some())
    };
    let tokens: u64 = answered().map(Record::output_tokens).sum();
    let pieces: u64 = answered().map(Record::pieces).sum();
    let tokens_per_piece = tokens as f64 / pieces as f64;
    if (0.9..=1.1).contains(&tokens_per_piece) || pieces == 0 {
        return None;
    }
    Some(format!(
        "the server counts {tokens_per_piece:.2} tokens for each piece of text that it sent (several \
         at once, or thoughts that it does not send, if above 1): inter-token latency is the time \
         between pieces, time per output token is per token"
    ))
}

fn about_meter(measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    let readings = &measured.log.readings;
    if let [first, .., last] = readings.as_slice() {
        let metered = last.step_seconds - first.step_seconds;
        let answered: Option<f64> = measured
            .log
            .records
            .iter()
            .filter(|record| record.outcome.is_ok())
            .map(|record| record.usage()?.device_seconds)
            .sum();
        if let Some(answered) = answered.filter(|it| *it < 0.97 * metered) {
            warnings.push(format!(
                "these answers took {:.0} % of the time that the server metered: it had other \
                 requests, or requests failed",
                answered / metered * 100.0
            ));
        }
    }
    if let Some(cost) = measured
        .report
        .cost
        .as_ref()
        .filter(|it| it.residual > 0.01)
    {
        warnings.push(format!(
            "prices times tokens differ from the window's cost by {:.1} %",
            cost.residual * 100.0
        ));
    }
    warnings
}
