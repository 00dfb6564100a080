//! Times prompts, one at a time.

use std::fmt;

use farthing_scheduler::Batch;
use serde::Serialize;

use super::{MAX_STEP_TOKENS, Milliseconds, Model, StepSeconds, blocks_of};
use farthing_model::ModelError;

/// Time from a prompt to its first token.
#[derive(Clone, Debug, Serialize)]
pub struct PrefillTime {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Number of steps.
    pub steps: usize,
    /// Total time of all steps.
    pub seconds: StepSeconds,
    /// Minimum time: all products computed, or all weights read once per step.
    pub floor_seconds: f64,
}

const HEADING: &str =
    "prompt                     device         host        floor    share    tokens/s";

impl fmt::Display for PrefillTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = Milliseconds {
            seconds: self.seconds,
            floor_seconds: self.floor_seconds,
        };
        let per_second = self.tokens as f64 / self.seconds.host;
        write!(
            f,
            "{:>4} tokens, {} steps {times} {per_second:>11.0}",
            self.tokens, self.steps
        )
    }
}

impl Model<'_> {
    pub(super) fn prefill(
        &mut self,
        say: &mut dyn FnMut(String),
    ) -> Result<Vec<PrefillTime>, ModelError> {
        say(format!("\n{HEADING}"));
        let mut times = Vec::new();
        for &tokens in self.sizes.prompts {
            let steps = self.prompt_steps(tokens);
            let time = PrefillTime {
                tokens,
                steps: steps.len(),
                seconds: self.time(&steps)?,
                floor_seconds: self.prefill_floor(tokens, steps.len()),
            };
            say(time.to_string());
            times.push(time);
        }
        Ok(times)
    }

    /// The steps of a prompt. A token is sampled after the last one.
    fn prompt_steps(&self, tokens: usize) -> Vec<Batch> {
        let step = |start: usize| {
            let end = tokens.min(start + MAX_STEP_TOKENS);
            let mut row = self.row(0, start..end, blocks_of(tokens));
            row.prompt_tokens = end - start;
            row.sample = row.sample.filter(|_| end == tokens);
            Batch { rows: vec![row] }
        };
        (0..tokens).step_by(MAX_STEP_TOKENS).map(step).collect()
    }

    /// `max(weight bytes · steps / bandwidth, (2 · parameters of the layers · tokens + 2 · tokens²
    /// · heads · head_dim · layers) / FLOP/s)`: half of all pairs of tokens are visible. Logits are
    /// computed for the last token only.
    fn prefill_floor(&self, tokens: usize, steps: usize) -> f64 {
        let config = &self.config;
        let parameters = self.layer_parameters() as f64;
        let tokens = tokens as f64;
        let attention = tokens * tokens * (config.q_size() * config.num_hidden_layers) as f64;
        self.limits.least_seconds(
            2.0 * parameters * steps as f64,
            2.0 * (parameters * tokens + attention),
        )
    }
}
