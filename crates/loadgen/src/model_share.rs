//! Figures of each model or adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use farthing_economics::exact_or_null;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::distribution::Distribution;
use crate::record::Record;

/// The measured requests to one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelShare {
    /// The model's name.
    pub model: String,
    /// Requests answered.
    pub completed: usize,
    /// Requests failed.
    pub failed: usize,
    /// Prompt tokens, including cached ones.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Median time to first token.
    pub median_ttft_ms: Option<f64>,
    /// Median time per output token after the first.
    pub median_tpot_ms: Option<f64>,
    /// Device seconds of the answers, if the server meters them.
    pub device_seconds: Option<f64>,
    /// Their cost, as reported by the server in each answer.
    #[serde(serialize_with = "exact_or_null")]
    pub usd: Option<Decimal>,
}

impl ModelShare {
    pub(crate) fn of(records: &[Record], warm_up_requests: usize) -> Vec<Self> {
        let mut models: BTreeMap<&Arc<str>, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(|it| it.number >= warm_up_requests) {
            models.entry(&record.model).or_default().push(record);
        }
        let shares = models
            .into_iter()
            .map(|(model, records)| Self::of_model(model, &records));
        shares.collect()
    }

    fn of_model(model: &str, records: &[&Record]) -> Self {
        let answered = || records.iter().filter(|record| record.outcome.is_ok());
        let median = |seconds: fn(&Record) -> Option<f64>| {
            let seconds = records.iter().filter_map(|record| seconds(record));
            Some(Distribution::of_seconds(seconds, &[])?.median_ms)
        };
        let completed = answered().count();
        Self {
            model: model.to_string(),
            completed,
            failed: records.len() - completed,
            input_tokens: answered().map(|record| record.prompt_tokens()).sum(),
            output_tokens: answered().map(|record| record.output_tokens()).sum(),
            median_ttft_ms: median(Record::ttft),
            median_tpot_ms: median(Record::tpot),
            // `None` unless all answers report it: a partial sum would be too low.
            device_seconds: answered()
                .map(|record| record.usage()?.device_seconds)
                .sum(),
            usd: answered().map(|record| record.usage()?.usd).sum(),
        }
    }
}
