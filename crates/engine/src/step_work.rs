//! The work of the rows of a step.

use std::ops::{Add, AddAssign};

use farthing_scheduler::{AdapterId, BatchRow};

/// Amounts of each kind of work that takes time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepWork {
    /// New tokens.
    pub tokens: f64,
    /// Tokens whose logits are computed: to sample a token, or for the log-probability of the next
    /// prompt token.
    pub logits: f64,
    /// Keys read by the new tokens of rows with several of them, which share the reading.
    pub prompt_keys: f64,
    /// Keys read in rows with one new token.
    pub decode_keys: f64,
    /// Bytes of adapters times the tokens that use them.
    pub adapter_bytes: f64,
}

/// The work of one row, by class of token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowWork {
    /// The row's adapter; `None` for the base model.
    pub adapter: Option<AdapterId>,
    /// For prompt tokens that were not in the prefix cache.
    pub input: StepWork,
    /// For prompt tokens that were: only their keys and values are read.
    pub cached: StepWork,
    /// For generated tokens.
    pub output: StepWork,
}

/// What else the work of a row depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowContext {
    /// Tokens of the prompt that were found in the prefix cache.
    pub cached_tokens: usize,
    /// The attention window in tokens, if it is limited.
    pub sliding_window: Option<usize>,
    /// Size of the row's adapter.
    pub adapter_bytes: usize,
}

impl RowWork {
    /// Computes the work of a row.
    pub fn of(row: &BatchRow, context: RowContext) -> Self {
        let new = row.tokens.len();
        let prompt = row.prompt_tokens;
        let generated = new - prompt;
        let per_token = |tokens: usize| StepWork {
            tokens: tokens as f64,
            adapter_bytes: (tokens * context.adapter_bytes) as f64,
            ..StepWork::default()
        };
        let keys = |start: usize, tokens: usize| {
            let keys = keys_read(start, tokens, context.sliding_window);
            match new {
                1 => StepWork {
                    decode_keys: keys,
                    ..StepWork::default()
                },
                _ => StepWork {
                    prompt_keys: keys,
                    ..StepWork::default()
                },
            }
        };
        let logits = |tokens: usize| StepWork {
            logits: tokens as f64,
            ..StepWork::default()
        };
        let cached = context.cached_tokens.min(row.start);
        // What the new prompt tokens read of each other, as if nothing were cached.
        let fresh_keys = keys(row.start - cached, prompt);
        let all_keys = keys(row.start, prompt);
        let scored = match row.prompt_logprobs {
            None => 0,
            Some(_) if row.next_prompt_token.is_some() => prompt,
            Some(_) => prompt.saturating_sub(1),
        };
        Self {
            adapter: row.adapter,
            input: per_token(prompt) + logits(scored) + fresh_keys,
            cached: StepWork {
                prompt_keys: all_keys.prompt_keys - fresh_keys.prompt_keys,
                decode_keys: all_keys.decode_keys - fresh_keys.decode_keys,
                ..StepWork::default()
            },
            output: per_token(generated)
                + logits(usize::from(row.sample.is_some()))
                + keys(row.start + prompt, generated),
        }
    }

    /// The sum of all classes.
    pub fn total(&self) -> StepWork {
        self.input + self.cached + self.output
    }
}

impl Add for StepWork {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for StepWork {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.logits += other.logits;
        self.prompt_keys += other.prompt_keys;
        self.decode_keys += other.decode_keys;
        self.adapter_bytes += other.adapter_bytes;
    }
}

/// Sum of `min(p + 1, window)` over the positions `p` of `tokens` tokens from `start` on. Each
/// token reads itself and the tokens before it.
fn keys_read(start: usize, tokens: usize, window: Option<usize>) -> f64 {
    let sum_to = |end: usize| {
        let end = end as f64;
        match window.map(|window| window as f64) {
            Some(window) if end > window => window * (window + 1.0) / 2.0 + (end - window) * window,
            _ => end * (end + 1.0) / 2.0,
        }
    };
    sum_to(start + tokens) - sum_to(start)
}
