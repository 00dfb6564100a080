//! Learns what a step's duration depends on by timing steps of known content.

use std::{sync::Arc, time::Instant};

use farthing_model::{BLOCK_SIZE, ModelError, ModelRunner};
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId,
};

use crate::{Meter, meter::StepFeatures};

/// Limits that the timed steps keep to.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationLimits {
    /// Blocks of the KV cache; the steps write into them, so nothing may be cached yet.
    pub num_blocks: usize,
    /// Sequences of a batch.
    pub max_num_seqs: usize,
    /// New tokens of a batch.
    pub max_num_batched_tokens: usize,
    /// Tokens of a sequence.
    pub max_model_len: usize,
}

/// Rows of the same shape, as many as a timed step has.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    new_tokens: usize,
    start: usize,
    with_adapter: bool,
}

/// Prompts and decodes, short and long contexts: enough to tell the kinds of work apart.
const SHAPES: [Shape; 8] = [
    Shape {
        rows: 1,
        new_tokens: 16,
        start: 0,
        with_adapter: false,
    },
    Shape {
        rows: 1,
        new_tokens: 64,
        start: 0,
        with_adapter: false,
    },
    Shape {
        rows: 2,
        new_tokens: 48,
        start: 0,
        with_adapter: false,
    },
    Shape {
        rows: 1,
        new_tokens: 64,
        start: 960,
        with_adapter: false,
    },
    Shape {
        rows: 1,
        new_tokens: 1,
        start: 64,
        with_adapter: false,
    },
    Shape {
        rows: 8,
        new_tokens: 1,
        start: 64,
        with_adapter: false,
    },
    Shape {
        rows: 16,
        new_tokens: 1,
        start: 64,
        with_adapter: false,
    },
    Shape {
        rows: 8,
        new_tokens: 1,
        start: 1000,
        with_adapter: false,
    },
];

/// The same work with an adapter, where there is one.
const ADAPTER_SHAPES: [Shape; 2] = [
    Shape {
        rows: 1,
        new_tokens: 64,
        start: 0,
        with_adapter: true,
    },
    Shape {
        rows: 8,
        new_tokens: 1,
        start: 64,
        with_adapter: true,
    },
];

/// Each shape is timed this often; the fastest run has the least of the machine's noise in it.
const REPEATS: usize = 2;

impl Meter {
    /// Times steps on the idle runner and fits a meter to them.
    ///
    /// # Errors
    /// A step failed.
    pub fn calibrate(
        runner: &mut ModelRunner,
        limits: CalibrationLimits,
        adapter: Option<AdapterId>,
    ) -> Result<Self, ModelError> {
        let adapter_shapes = adapter.iter().flat_map(|_| ADAPTER_SHAPES);
        let mut samples = Vec::new();
        for shape in SHAPES.into_iter().chain(adapter_shapes) {
            let Some(batch) = shape.batch(limits, adapter) else {
                continue;
            };
            let mut features = [0.0; 5];
            features[0] = 1.0;
            for row in &batch.rows {
                let row = StepFeatures::of(row).as_array();
                features[1..]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += value);
            }
            let mut fastest_seconds = f64::INFINITY;
            for _ in 0..REPEATS {
                let started = Instant::now();
                runner.execute(&batch)?;
                fastest_seconds = fastest_seconds.min(started.elapsed().as_secs_f64());
            }
            samples.push((features, fastest_seconds));
        }
        let [_fixed, prompt, decode, kv, adapter] = non_negative_least_squares(&samples);
        Ok(Meter::new(StepFeatures::from_array([
            prompt, decode, kv, adapter,
        ])))
    }
}

impl Shape {
    /// The step; none where it does not fit the limits.
    fn batch(self, limits: CalibrationLimits, adapter: Option<AdapterId>) -> Option<Batch> {
        let len = self.start + self.new_tokens;
        let blocks = len.div_ceil(BLOCK_SIZE);
        let fits = self.rows <= limits.max_num_seqs
            && self.rows * self.new_tokens <= limits.max_num_batched_tokens
            && len <= limits.max_model_len
            && self.rows * blocks <= limits.num_blocks;
        let adapter = if self.with_adapter { adapter } else { None };
        let params = Arc::new(SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        });
        let row = |index: usize| BatchRow {
            sequence: SequenceId(index as u64),
            tokens: vec![0; self.new_tokens],
            start: self.start,
            prompt_tokens: self.new_tokens,
            block_table: (0..blocks)
                .map(|b| BlockId((index * blocks + b) as u32))
                .collect(),
            adapter,
            sample: Some(SampleRow {
                params: params.clone(),
                history: Vec::new(),
                history_prompt_tokens: 0,
                position: 0,
            }),
            prompt_logprobs: None,
            next_prompt_token: None,
        };
        fits.then(|| Batch {
            rows: (0..self.rows).map(row).collect(),
        })
    }
}

/// Least squares with coefficients ≥ 0, by cyclic coordinate descent on the normal equations
/// (Franc, Hlaváč and Navara 2005). Residuals are relative, so that short steps count as much as
/// long ones.
fn non_negative_least_squares<const N: usize>(samples: &[([f64; N], f64)]) -> [f64; N] {
    let mut gram = [[0.0; N]; N];
    let mut moment = [0.0; N];
    for (features, seconds) in samples {
        let features = features.map(|feature| feature / seconds);
        for i in 0..N {
            moment[i] += features[i];
            for j in 0..N {
                gram[i][j] += features[i] * features[j];
            }
        }
    }
    let mut x = [0.0; N];
    for _ in 0..20_000 {
        for i in 0..N {
            let residual: f64 = moment[i] - (0..N).map(|j| gram[i][j] * x[j]).sum::<f64>();
            if gram[i][i] > 0.0 {
                x[i] = (x[i] + residual / gram[i][i]).max(0.0);
            }
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::non_negative_least_squares;

    /// Values by `scipy.optimize.nnls` (1.17) on the same rows divided by their seconds.
    #[test]
    fn finds_the_coefficients_of_exact_samples() {
        let truth = [0.004, 0.0005, 0.0008];
        let rows = [
            [1.0, 16.0, 0.0],
            [1.0, 64.0, 0.0],
            [1.0, 0.0, 1.0],
            [1.0, 0.0, 16.0],
        ];
        let samples: Vec<_> = rows
            .iter()
            .map(|row| (*row, row.iter().zip(truth).map(|(a, b)| a * b).sum()))
            .collect();
        let found = non_negative_least_squares(&samples);
        for (found, truth) in found.iter().zip(truth) {
            assert!(
                (found - truth).abs() < 1e-6 * truth,
                "{found} is not {truth}"
            );
        }
    }

    #[test]
    fn never_goes_below_zero() {
        let samples = [([1.0, 0.0], 2.0), ([1.0, 1.0], 1.0), ([1.0, 2.0], 0.5)];
        let found = non_negative_least_squares(&samples);
        assert_eq!(found[1], 0.0);
    }
}
