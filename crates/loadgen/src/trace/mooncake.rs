//! Mooncake's traces: one JSON object per line.

use std::io::BufRead;

use serde::Deserialize;

use super::{TraceError, TraceRequest};

const FORMAT: &str = r#"{"timestamp": …, "input_length": …, "output_length": …, "hash_ids": […]}"#;

#[derive(Deserialize)]
struct Line {
    /// In milliseconds.
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

pub(super) fn read(from: impl BufRead) -> Result<Vec<TraceRequest>, TraceError> {
    let mut requests = Vec::new();
    for (number, line) in (1..).zip(from.lines()) {
        let fault = |problem: String| TraceError::Line {
            line: number,
            format: FORMAT,
            problem,
        };
        let line = line.map_err(|error| fault(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).map_err(|error| fault(error.to_string()))?;
        requests.push(TraceRequest {
            at: line.timestamp / 1000.0,
            prompt_tokens: line.input_length.max(1),
            output_tokens: line.output_length.max(1),
            blocks: line.hash_ids,
        });
    }
    Ok(requests)
}
