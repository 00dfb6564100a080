//! Limits that a good answer keeps.

use std::str::FromStr;

use serde::Serialize;

use crate::record::Record;

/// Limits for a single request, named as in vLLM's `--goodput`. An absent limit does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slo {
    /// Time to first text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Time per output token after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    /// Time to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2el_ms: Option<f64>,
}

/// One limit in the form `ttft:500`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloLimit {
    metric: SloMetric,
    milliseconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SloMetric {
    Ttft,
    Tpot,
    E2el,
}

impl FromStr for SloLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = || format!("invalid limit {text:?}: expected ttft:MS, tpot:MS or e2el:MS");
        let (metric, milliseconds) = text.split_once(':').ok_or_else(help)?;
        let metric = match metric {
            "ttft" => SloMetric::Ttft,
            "tpot" => SloMetric::Tpot,
            "e2el" => SloMetric::E2el,
            _ => return Err(help()),
        };
        match milliseconds.parse::<f64>() {
            Ok(milliseconds) if milliseconds > 0.0 && milliseconds.is_finite() => Ok(Self {
                metric,
                milliseconds,
            }),
            _ => Err(help()),
        }
    }
}

impl FromIterator<SloLimit> for Slo {
    fn from_iter<T: IntoIterator<Item = SloLimit>>(limits: T) -> Self {
        let mut slo = Self::default();
        for limit in limits {
            match limit.metric {
                SloMetric::Ttft => slo.ttft_ms = Some(limit.milliseconds),
                SloMetric::Tpot => slo.tpot_ms = Some(limit.milliseconds),
                SloMetric::E2el => slo.e2el_ms = Some(limit.milliseconds),
            }
        }
        slo
    }
}

impl Slo {
    /// Whether a request was answered within all limits. An answer of one token has no time per
    /// token and keeps any such limit, as in vLLM.
    pub fn is_kept_by(&self, record: &Record) -> bool {
        let within = |seconds: Option<f64>, limit_ms: Option<f64>| {
            seconds
                .zip(limit_ms)
                .is_none_or(|(seconds, limit)| seconds * 1000.0 <= limit)
        };
        record.outcome.is_ok()
            && within(record.ttft(), self.ttft_ms)
            && within(record.tpot(), self.tpot_ms)
            && within(record.e2e(), self.e2el_ms)
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits = [
            ("TTFT", self.ttft_ms),
            ("TPOT", self.tpot_ms),
            ("E2E", self.e2el_ms),
        ];
        let texts: Vec<_> = limits
            .into_iter()
            .filter_map(|(name, limit)| Some(format!("{name} ≤ {} ms", limit?)))
            .collect();
        f.write_str(&texts.join(", "))
    }
}
