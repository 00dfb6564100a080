//! Figures of a load, with the names of vLLM's benchmark.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::distribution::Distribution;
use crate::record::{FailureKind, Record};
use crate::slo::Slo;
use crate::window::Window;

/// Figures of a load. Latencies are those of the requests sent in the measured window, also if they
/// were answered later. Throughputs count what arrived in the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Seconds of the measured window.
    pub duration: f64,
    /// There was no steady load, so the window includes the drain, up to the end of the last
    /// answer.
    pub includes_drain: bool,
    /// Requests sent in the window that were answered.
    pub completed: usize,
    /// Requests sent in the window that failed.
    pub failed: usize,
    /// Answers that ended in the window.
    pub completed_in_window: usize,
    /// Prompt tokens of requests whose first text arrived in the window.
    pub total_input_tokens: f64,
    /// The part of these from the server's cache.
    pub total_cached_tokens: f64,
    /// Output tokens that arrived in the window.
    pub total_output_tokens: f64,
    /// Mean number of prompt tokens, including cached ones.
    pub mean_input_tokens: f64,
    /// Mean number of cached prompt tokens.
    pub mean_cached_tokens: f64,
    /// Mean number of output tokens.
    pub mean_output_tokens: f64,
    /// Answers per second that ended in the window and kept the SLO.
    pub request_goodput: Option<f64>,
    /// Maximum output tokens in one second.
    pub max_output_tokens_per_s: f64,
    /// Maximum number of concurrent requests.
    pub max_concurrent_requests: usize,
    /// Time to first token.
    pub ttft: Option<Distribution>,
    /// Time per output token after the first, one value per request.
    pub tpot: Option<Distribution>,
    /// Inter-token latency: all gaps between consecutive pieces of text.
    pub itl: Option<Distribution>,
    /// End-to-end latency.
    pub e2el: Option<Distribution>,
    /// Failures by kind.
    pub failures: Vec<FailureCount>,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureCount {
    /// The kind.
    pub kind: String,
    /// The number of failures.
    pub count: usize,
    /// One of the messages.
    pub example: String,
}

impl Figures {
    /// Figures of the records of a load, which include the warm-up.
    pub(crate) fn of(
        records: &[Record],
        warm_up_requests: usize,
        window: &Window,
        slo: Option<&Slo>,
        percentiles: &[f64],
    ) -> Self {
        let measured: Vec<&Record> = records
            .iter()
            .filter(|record| record.number >= warm_up_requests)
            .collect();
        let answered: Vec<&Record> = measured
            .iter()
            .copied()
            .filter(|record| record.outcome.is_ok())
            .collect();
        let mean = |tokens: fn(&Record) -> u64| {
            let sum: u64 = answered.iter().map(|record| tokens(record)).sum();
            sum as f64 / answered.len().max(1) as f64
        };
        let duration = window.seconds();
        let completed_in_window = || {
            let answered = records.iter().filter(|it| it.outcome.is_ok());
            answered.filter(|it| window.holds(it.ended_at()))
        };
        let good = slo.map(|slo| {
            completed_in_window()
                .filter(|it| slo.is_kept_by(it))
                .count()
        });
        let gaps = answered.iter().flat_map(|record| {
            let text_at = record.outcome.as_ref().map_or(&[][..], |it| &it.text_at);
            text_at.windows(2).map(|pair| pair[1] - pair[0])
        });
        let prompts = || records.iter().filter(|it| first_text_in(it, window));
        let distribution = |seconds: fn(&Record) -> Option<f64>| {
            let seconds = answered.iter().filter_map(|record| seconds(record));
            Distribution::of_seconds(seconds, percentiles)
        };
        Self {
            duration,
            includes_drain: window.includes_drain,
            completed: answered.len(),
            failed: measured.len() - answered.len(),
            completed_in_window: completed_in_window().count(),
            total_input_tokens: prompts().map(|it| it.prompt_tokens() as f64).sum(),
            total_cached_tokens: prompts().map(|it| it.cached_tokens() as f64).sum(),
            total_output_tokens: output_tokens(records)
                .filter(|(at, _)| window.holds(*at))
                .map(|(_, tokens)| tokens)
                .sum(),
            mean_input_tokens: mean(Record::prompt_tokens),
            mean_cached_tokens: mean(Record::cached_tokens),
            mean_output_tokens: mean(Record::output_tokens),
            request_goodput: good.map(|good| good as f64 / duration),
            max_output_tokens_per_s: most_in_a_second(records, window),
            max_concurrent_requests: most_at_once(records),
            ttft: distribution(Record::ttft),
            tpot: distribution(Record::tpot),
            itl: Distribution::of_seconds(gaps, percentiles),
            e2el: distribution(Record::e2e),
            failures: failures(&measured),
        }
    }

    /// Answers per second.
    pub fn request_throughput(&self) -> f64 {
        self.completed_in_window as f64 / self.duration
    }

    /// Output tokens per second.
    pub fn output_throughput(&self) -> f64 {
        self.total_output_tokens / self.duration
    }

    /// Input and output tokens per second.
    pub fn total_token_throughput(&self) -> f64 {
        (self.total_input_tokens + self.total_output_tokens) / self.duration
    }

    /// The latencies with vLLM's names.
    pub fn latencies(&self) -> [(&'static str, Option<&Distribution>); 4] {
        [
            ("ttft", self.ttft.as_ref()),
            ("tpot", self.tpot.as_ref()),
            ("itl", self.itl.as_ref()),
            ("e2el", self.e2el.as_ref()),
        ]
    }
}

fn first_text_in(record: &Record, window: &Window) -> bool {
    record.outcome.as_ref().is_ok_and(|answer| {
        let first = answer.text_at.first();
        first.is_some_and(|first| window.holds(*first))
    })
}

/// The time of each piece of text, and its share of the answer's tokens.
pub(crate) fn output_tokens(records: &[Record]) -> impl Iterator<Item = (f64, f64)> + '_ {
    records.iter().flat_map(|record| {
        let text_at = record.outcome.as_ref().map_or(&[][..], |it| &it.text_at);
        let each = record.output_tokens() as f64 / text_at.len().max(1) as f64;
        text_at.iter().map(move |at| (*at, each))
    })
}

fn most_in_a_second(records: &[Record], window: &Window) -> f64 {
    let mut seconds: BTreeMap<i64, f64> = BTreeMap::new();
    for (at, tokens) in output_tokens(records).filter(|(at, _)| window.holds(*at)) {
        *seconds.entry((at - window.from) as i64).or_default() += tokens;
    }
    seconds.into_values().fold(0.0, f64::max)
}

fn most_at_once(records: &[Record]) -> usize {
    let begins = records.iter().map(|record| (record.sent_at, 1));
    let ends = records.iter().map(|record| (record.ended_at(), -1));
    let mut changes: Vec<(f64, i64)> = begins.chain(ends).collect();
    // A request that ends makes room for one that starts at the same time.
    changes.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let mut now = 0;
    let counts = changes.into_iter().map(|(_, change)| {
        now += change;
        now
    });
    counts.max().unwrap_or(0).max(0) as usize
}

fn failures(measured: &[&Record]) -> Vec<FailureCount> {
    let mut kinds: BTreeMap<FailureKind, (usize, &str)> = BTreeMap::new();
    for record in measured {
        if let Err(failure) = &record.outcome {
            let (count, _) = kinds.entry(failure.kind).or_insert((0, &failure.message));
            *count += 1;
        }
    }
    let counts = kinds
        .into_iter()
        .map(|(kind, (count, example))| FailureCount {
            kind: kind.to_string(),
            count,
            example: example.to_owned(),
        });
    counts.collect()
}

impl Serialize for Figures {
    /// Flat, like the output of vLLM's `--save-result`: `mean_ttft_ms`, `p99_tpot_ms`, ….
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("duration", &self.duration)?;
        map.serialize_entry("includes_drain", &self.includes_drain)?;
        map.serialize_entry("completed", &self.completed)?;
        map.serialize_entry("failed", &self.failed)?;
        map.serialize_entry("completed_in_window", &self.completed_in_window)?;
        map.serialize_entry("total_input_tokens", &self.total_input_tokens)?;
        map.serialize_entry("total_cached_tokens", &self.total_cached_tokens)?;
        map.serialize_entry("total_output_tokens", &self.total_output_tokens)?;
        map.serialize_entry("mean_input_tokens", &self.mean_input_tokens)?;
        map.serialize_entry("mean_cached_tokens", &self.mean_cached_tokens)?;
        map.serialize_entry("mean_output_tokens", &self.mean_output_tokens)?;
        map.serialize_entry("request_throughput", &self.request_throughput())?;
        map.serialize_entry("request_goodput", &self.request_goodput)?;
        map.serialize_entry("output_throughput", &self.output_throughput())?;
        map.serialize_entry("total_token_throughput", &self.total_token_throughput())?;
        map.serialize_entry("max_output_tokens_per_s", &self.max_output_tokens_per_s)?;
        map.serialize_entry("max_concurrent_requests", &self.max_concurrent_requests)?;
        for (name, distribution) in self.latencies() {
            let Some(distribution) = distribution else {
                continue;
            };
            map.serialize_entry(&format!("mean_{name}_ms"), &distribution.mean_ms)?;
            map.serialize_entry(&format!("median_{name}_ms"), &distribution.median_ms)?;
            map.serialize_entry(&format!("std_{name}_ms"), &distribution.std_ms)?;
            for (percentile, value) in &distribution.percentiles_ms {
                map.serialize_entry(&format!("p{percentile}_{name}_ms"), value)?;
            }
        }
        map.serialize_entry("failures", &self.failures)?;
        map.end()
    }
}

#[cfg(test)]
mod tests;
