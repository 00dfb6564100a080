//! `AzureLLMInferenceTrace_*.csv` of Azure's public data set.

use std::io::BufRead;

use csv::{ReaderBuilder, StringRecord};
use jiff::civil::{DateTime, date};

use super::{TraceError, TraceRequest};

const FORMAT: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

pub(super) fn read(from: impl BufRead) -> Result<Vec<TraceRequest>, TraceError> {
    let mut reader = ReaderBuilder::new().from_reader(from);
    let header = reader.headers().map_err(|error| fault(1, error))?.clone();
    let column = |name: &str| {
        let place = header.iter().position(|it| it.trim() == name);
        place.ok_or_else(|| fault(1, format!("column {name} is missing")))
    };
    let (at, prompt, output) = (
        column("TIMESTAMP")?,
        column("ContextTokens")?,
        column("GeneratedTokens")?,
    );
    let mut requests = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| fault(error.position().map_or(0, |it| it.line()), &error))?;
        let line = row.position().map_or(0, |it| it.line());
        requests.push(TraceRequest {
            at: seconds(&row, at, line)?,
            prompt_tokens: tokens(&row, prompt, line)?,
            output_tokens: tokens(&row, output, line)?,
            blocks: Vec::new(),
        });
    }
    Ok(requests)
}

/// Seconds since 1970.
fn seconds(row: &StringRecord, column: usize, line: u64) -> Result<f64, TraceError> {
    let text = row.get(column).unwrap_or_default().trim();
    let at: DateTime = text.parse().map_err(|_| {
        fault(
            line,
            format!("{text:?} is not a time such as 2023-11-16 18:17:03.97"),
        )
    })?;
    let since = at.duration_since(date(1970, 1, 1).at(0, 0, 0, 0));
    Ok(since.as_secs_f64())
}

/// A number of tokens; at least one.
fn tokens(row: &StringRecord, column: usize, line: u64) -> Result<u64, TraceError> {
    let text = row.get(column).unwrap_or_default().trim();
    let tokens: u64 = text
        .parse()
        .map_err(|_| fault(line, format!("{text:?} is not a number of tokens")))?;
    Ok(tokens.max(1))
}

fn fault(line: u64, problem: impl ToString) -> TraceError {
    TraceError::Line {
        line,
        format: FORMAT,
        problem: problem.to_string(),
    }
}
