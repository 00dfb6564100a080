//! Each row's share of each step's measured device time.

use farthing_scheduler::BatchRow;

/// What a step's duration depends on, one value a kind of work. The same struct holds amounts of
/// work (counts) and their prices (seconds each).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepFeatures {
    /// Tokens computed without a token being sampled after them: prompts, and what a preemption
    /// threw away.
    pub prompt_tokens: f64,
    /// Rows that computed one new token to sample the next.
    pub decode_tokens: f64,
    /// Cached tokens that attention read, summed over the new tokens.
    pub kv_tokens_read: f64,
    /// New tokens of rows with an adapter.
    pub adapter_tokens: f64,
}

impl StepFeatures {
    /// The work of one row.
    pub fn of(row: &BatchRow) -> Self {
        let new = row.tokens.len() as f64;
        let start = row.start as f64;
        let decodes = row.tokens.len() == 1 && row.sample.is_some() && row.start > 0;
        Self {
            prompt_tokens: if decodes { 0.0 } else { new },
            decode_tokens: if decodes { 1.0 } else { 0.0 },
            // Token i of the row (from 0) sees start + i + 1 tokens, itself included.
            kv_tokens_read: new * start + new * (new + 1.0) / 2.0,
            adapter_tokens: if row.adapter.is_some() { new } else { 0.0 },
        }
    }

    /// Σ of each kind times the other's.
    pub fn dot(&self, other: &Self) -> f64 {
        self.as_array()
            .iter()
            .zip(other.as_array())
            .map(|(a, b)| a * b)
            .sum()
    }

    pub(crate) fn as_array(&self) -> [f64; 4] {
        [
            self.prompt_tokens,
            self.decode_tokens,
            self.kv_tokens_read,
            self.adapter_tokens,
        ]
    }

    pub(crate) fn from_array(values: [f64; 4]) -> Self {
        let [prompt_tokens, decode_tokens, kv_tokens_read, adapter_tokens] = values;
        Self {
            prompt_tokens,
            decode_tokens,
            kv_tokens_read,
            adapter_tokens,
        }
    }
}

/// Splits the time of steps by weights that were calibrated on this device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meter {
    seconds_each: StepFeatures,
}

impl Meter {
    /// A meter that charges each kind of work these seconds, up to a common factor.
    pub fn new(seconds_each: StepFeatures) -> Self {
        Self { seconds_each }
    }

    /// The seconds of each row. They add up to `step_seconds`: what a step costs whatever is in
    /// it (reading the weights, mostly) is shared in proportion to the rows' own work.
    pub fn split(&self, rows: &[BatchRow], step_seconds: f64) -> Vec<f64> {
        let weights: Vec<f64> = rows.iter().map(|row| self.weight(row)).collect();
        let total: f64 = weights.iter().sum();
        weights
            .into_iter()
            .map(|weight| step_seconds * weight / total)
            .collect()
    }

    fn weight(&self, row: &BatchRow) -> f64 {
        let weight = self.seconds_each.dot(&StepFeatures::of(row));
        // A calibration may find a kind of work too cheap to see; no row is free for that.
        weight.max(f64::MIN_POSITIVE.sqrt())
    }
}
