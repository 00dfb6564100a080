//! Traffic that was recorded somewhere.

mod azure;
mod mooncake;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// Requests as they came, the first at 0 s.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    requests: Vec<TraceRequest>,
}

/// A recorded request: its lengths, never its text.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRequest {
    /// Seconds after the first.
    pub at: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What each 512 tokens of the prompt are, where that was recorded: prompts that begin with
    /// the same blocks begin with the same text.
    pub blocks: Vec<u64>,
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFormat {
    /// Azure's CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// Mooncake's JSON lines: `timestamp` in milliseconds, `input_length`, `output_length`,
    /// `hash_ids`.
    Mooncake,
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot read the trace {path}: {error}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is written otherwise.
    #[error("line {line} of the trace is none of {format}: {problem}")]
    Line {
        /// From 1.
        line: u64,
        /// How lines have to be.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// It has no requests.
    #[error("the trace has no requests")]
    Empty,
}

/// Tokens of a block in Mooncake's traces.
pub(crate) const BLOCK_TOKENS: u64 = 512;

impl Trace {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no trace of this format.
    pub fn read(path: &Path, format: TraceFormat) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|error| TraceError::Io {
            path: path.display().to_string(),
            error,
        })?;
        Self::from_reader(BufReader::new(file), format)
    }

    /// Reads what a file would hold.
    ///
    /// # Errors
    /// It is no trace of this format.
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

    /// In the order in which they came.
    pub fn requests(&self) -> &[TraceRequest] {
        &self.requests
    }

    /// Shortens prompts and answers to what the server can take, and tells how many requests it
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
