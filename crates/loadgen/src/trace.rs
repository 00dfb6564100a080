//! Recorded traffic.

mod azure;
mod mooncake;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// Requests in the order of arrival, starting at 0 s.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    requests: Vec<TraceRequest>,
}

/// A recorded request: its lengths, without text.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRequest {
    /// Seconds after the first request.
    pub at: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Ids of the 512-token blocks of the prompt, if recorded. Prompts that start with the same
    /// blocks start with the same text.
    pub blocks: Vec<u64>,
}

/// The file format of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// Azure's CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// Mooncake's JSON lines: `timestamp` in milliseconds, `input_length`, `output_length`,
    /// `hash_ids`.
    Mooncake,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read the trace {path}: {error}")]
    Io {
        /// The path of the file.
        path: String,
        /// The I/O error.
        error: io::Error,
    },
    /// A line has another format.
    #[error("line {line} of the trace is not in the format {format}: {problem}")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// The expected format.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The trace is empty.
    #[error("the trace has no requests")]
    Empty,
}

/// Tokens per block in Mooncake's traces.
pub(crate) const BLOCK_TOKENS: u64 = 512;

impl Trace {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read or has another format.
    pub fn read(path: &Path, format: TraceFormat) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|error| TraceError::Io {
            path: path.display().to_string(),
            error,
        })?;
        Self::from_reader(BufReader::new(file), format)
    }

    /// Reads the content of a trace file.
    ///
    /// # Errors
    /// The content has another format.
    pub fn from_reader(from: impl io::BufRead, format: TraceFormat) -> Result<Self, TraceError> {
        let mut requests = match format {
            TraceFormat::Azure => azure::read(from)?,
            TraceFormat::Mooncake => mooncake::read(from)?,
        };
        requests.sort_by(|one, other| one.at.total_cmp(&other.at));
        let first = requests.first().ok_or(TraceError::Empty)?.at;
        for request in &mut requests {
            request.at -= first;
        }
        Ok(Self { requests })
    }

    /// In the order of arrival.
    pub fn requests(&self) -> &[TraceRequest] {
        &self.requests
    }

    /// Shortens prompts and answers to the server's limits, and returns how many requests were
    /// shortened.
    pub fn shorten(&mut self, max_prompt_tokens: u64, max_output_tokens: u64) -> usize {
        let mut shortened = 0;
        for request in &mut self.requests {
            let is_long = request.prompt_tokens > max_prompt_tokens
                || request.output_tokens > max_output_tokens;
            shortened += usize::from(is_long);
            request.prompt_tokens = request.prompt_tokens.min(max_prompt_tokens);
            request.output_tokens = request.output_tokens.min(max_output_tokens);
        }
        shortened
    }
}

#[cfg(test)]
mod tests;
