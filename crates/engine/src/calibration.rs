//! Fits a step model to steps that are timed at start.

use std::sync::Arc;

use farthing_model::BLOCK_SIZE;
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId,
};

use crate::{
    Fit, RowContext, RowWork, StepFeatures, StepModel,
    robust_fit::{TimedStep, fit_robustly, median},
    step_features::{FEATURES, TOKEN_KNOTS},
};

/// Which steps to time.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// Blocks of the KV cache. The steps overwrite them, so nothing may be cached yet.
    pub num_blocks: usize,
    /// Maximum number of sequences in a batch.
    pub max_num_seqs: usize,
    /// Maximum number of new tokens in a batch.
    pub max_num_batched_tokens: usize,
    /// Maximum number of tokens in a sequence.
    pub max_model_len: usize,
    /// The attention window in tokens, if it is limited.
    pub sliding_window: Option<usize>,
    /// Adapters that rows may use, with their sizes in bytes.
    pub adapters: Vec<(AdapterId, usize)>,
}

/// Result of a calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// The fitted step model.
    pub step_model: StepModel,
    /// A step that took far longer than computing its tokens one by one, if there was one. Then
    /// some operation is slow on this machine.
    pub slow_step: Option<SlowStep>,
}

/// A step in which a token takes longer than in a step of its own, although the tokens share the
/// reading of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStep {
    /// New tokens of the step.
    pub tokens: usize,
    /// Seconds per token of this step, divided by the seconds of a step with one token.
    pub ratio: f64,
}

/// Steps of equal rows. If there are adapters, the rows use them in turn.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    new_tokens: usize,
    start: usize,
    adapters: usize,
}

/// Steps of growing size. On a slow device only the first ones are timed.
struct Ladder {
    at_least: usize,
    shapes: Vec<Shape>,
}

/// The times measured for a step.
struct Sample {
    shape: Shape,
    times: Vec<f64>,
}

impl Sample {
    /// The median. Other load on the machine affects some of the times, and will affect served
    /// steps too.
    fn seconds(&self) -> f64 {
        median(self.times.clone())
    }

    /// Relative uncertainty of the median, estimated from the differences of the times. Infinite
    /// for a single time.
    fn spread(&self) -> f64 {
        let seconds = self.seconds();
        let off = self.times.iter().map(|time| (time - seconds).abs());
        let deviation = median(off.collect()) / seconds;
        match self.times.len() {
            1 => f64::INFINITY,
            times => deviation / (times as f64).sqrt(),
        }
    }
}

/// Seconds after which no step is timed again, if the times are stable.
const BUDGET_SECONDS: f64 = 6.0;
const PASSES: usize = 9;
/// The same if the times are not stable, on a busy machine.
const BUSY_BUDGET_SECONDS: f64 = 15.0;
const BUSY_PASSES: usize = 25;
/// The machine counts as busy if the median uncertainty exceeds this.
const BUSY_SPREAD: f64 = 0.02;
/// A step is reported as slow if a token takes this many times as long as alone. On a busy machine
/// the ratio can exceed 1 a little.
const SLOW_RATIO: f64 = 1.5;
/// A ladder ends with the first step that takes longer than this, after its minimum number of
/// steps.
const LONG_STEP_SECONDS: f64 = 0.1;

impl Calibration {
    /// Times steps with `time`, which returns seconds, and fits a model to them.
    ///
    /// # Errors
    /// The first error of `time`.
    pub fn run<E>(&self, mut time: impl FnMut(&Batch) -> Result<f64, E>) -> Result<Calibrated, E> {
        let mut samples = Vec::new();
        let mut spent_seconds = 0.0;
        for ladder in self.ladders() {
            let steps = ladder
                .shapes
                .into_iter()
                .filter_map(|shape| Some((shape, self.batch(shape)?)));
            for (i, (shape, batch)) in steps.enumerate() {
                if samples.is_empty() {
                    time(&batch)?; // The first step finds cold caches.
                }
                let is_last = i + 1 >= ladder.at_least;
                let mut times = vec![time(&batch)?];
                if is_last && times[0] > LONG_STEP_SECONDS {
                    // Other load may have slowed it down; that must not end the ladder.
                    times.push(time(&batch)?);
                }
                spent_seconds += times.iter().sum::<f64>();
                let fastest_seconds = times.iter().copied().fold(f64::INFINITY, f64::min);
                samples.push(Sample { shape, times });
                if is_last && fastest_seconds > LONG_STEP_SECONDS {
                    break;
                }
            }
        }
        for pass in 1..BUSY_PASSES {
            let spread = median(samples.iter().map(Sample::spread).collect());
            let (passes, budget_seconds) = if spread > BUSY_SPREAD {
                (BUSY_PASSES, BUSY_BUDGET_SECONDS)
            } else {
                (PASSES, BUDGET_SECONDS)
            };
            if pass >= passes || spent_seconds >= budget_seconds {
                break;
            }
            for sample in &mut samples {
                let batch = self.batch(sample.shape);
                let Some(batch) = batch.filter(|_| spent_seconds < budget_seconds) else {
                    continue;
                };
                let seconds = time(&batch)?;
                sample.times.push(seconds);
                spent_seconds += seconds;
            }
        }
        Ok(Calibrated {
            step_model: self.fit(&samples),
            slow_step: slow_step(&samples),
        })
    }

    /// Whether an earlier model still predicts the time of a short step, within the noise of one
    /// measurement.
    ///
    /// # Errors
    /// The first error of `time`.
    pub fn still_holds<E>(
        &self,
        model: &StepModel,
        mut time: impl FnMut(&Batch) -> Result<f64, E>,
    ) -> Result<bool, E> {
        let shape = Shape {
            rows: 1,
            new_tokens: 1,
            start: 0,
            adapters: 0,
        };
        let (Some(batch), Some(works)) = (self.batch(shape), self.works(shape)) else {
            return Ok(false);
        };
        let mut fastest_seconds = f64::INFINITY;
        for _ in 0..3 {
            fastest_seconds = fastest_seconds.min(time(&batch)?);
        }
        let ratio = fastest_seconds / model.expect(&works);
        Ok((0.7..1.4).contains(&ratio))
    }

    /// Prompts and decodes of several sizes, with short and long contexts, with and without
    /// adapters. Together they separate the kinds of work.
    fn ladders(&self) -> Vec<Ladder> {
        let doubling = |from: usize| std::iter::successors(Some(from), |n| Some(n * 2)).take(12);
        let shape = |rows, new_tokens, start| Shape {
            rows,
            new_tokens,
            start,
            adapters: 0,
        };
        let short = 64.min(self.max_model_len / 2);
        let long = 1000.min(self.max_model_len * 7 / 8);
        let ladder = |at_least, shapes| Ladder { at_least, shapes };
        let mut ladders = vec![
            ladder(2, doubling(1).map(|rows| shape(rows, 1, short)).collect()),
            ladder(2, doubling(8).map(|tokens| shape(1, tokens, 0)).collect()),
            ladder(2, [1, 4, 16].map(|rows| shape(rows, 1, long)).into()),
            ladder(1, [16, 64].map(|tokens| shape(1, tokens, long)).into()),
        ];
        if !self.adapters.is_empty() {
            let all = self.adapters.len().min(4);
            let with = |shape, adapters| Shape { adapters, ..shape };
            let decodes = [
                with(shape(1, 1, short), 1),
                with(shape(8, 1, short), 1),
                with(shape(8, 1, short), all),
            ];
            let prompts = [with(shape(1, 16, 0), 1), with(shape(1, 64, 0), 1)];
            ladders.push(ladder(2, decodes.into()));
            ladders.push(ladder(1, prompts.into()));
        }
        ladders
    }

    /// The batch of a step; `None` if it exceeds the limits.
    fn batch(&self, shape: Shape) -> Option<Batch> {
        let len = shape.start + shape.new_tokens;
        let blocks = len.div_ceil(BLOCK_SIZE);
        let fits = shape.rows <= self.max_num_seqs
            && shape.rows * shape.new_tokens <= self.max_num_batched_tokens
            && len <= self.max_model_len
            && shape.rows * blocks <= self.num_blocks;
        let params = Arc::new(SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        });
        let row = |index: usize| BatchRow {
            sequence: SequenceId(index as u64),
            tokens: vec![0; shape.new_tokens],
            start: shape.start,
            prompt_tokens: shape.new_tokens,
            block_table: (0..blocks)
                .map(|b| BlockId((index * blocks + b) as u32))
                .collect(),
            adapter: self.adapter(shape, index).map(|(id, _)| id),
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
            rows: (0..shape.rows).map(row).collect(),
        })
    }

    fn adapter(&self, shape: Shape, row: usize) -> Option<(AdapterId, usize)> {
        let turn = row.checked_rem(shape.adapters)?;
        self.adapters.get(turn).copied()
    }

    /// The work of each row of the step.
    fn works(&self, shape: Shape) -> Option<Vec<RowWork>> {
        let batch = self.batch(shape)?;
        let work = |(index, row)| {
            let context = RowContext {
                cached_tokens: 0,
                sliding_window: self.sliding_window,
                adapter_bytes: self.adapter(shape, index).map_or(0, |(_, bytes)| bytes),
            };
            RowWork::of(row, context)
        };
        Some(batch.rows.iter().enumerate().map(work).collect())
    }

    fn fit(&self, samples: &[Sample]) -> StepModel {
        let works: Vec<_> = samples.iter().filter_map(|s| self.works(s.shape)).collect();
        let tokens = |rows: &Vec<RowWork>| rows.iter().map(|row| row.total().tokens).sum();
        let most_tokens = works.iter().map(tokens).fold(0.0, f64::max);
        // A segment needs a step at its far end. Beyond the last such segment the slope continues.
        let knots: Vec<f64> = TOKEN_KNOTS
            .into_iter()
            .filter(|knot| 2.0 * knot <= most_tokens)
            .collect();
        let timed = |(rows, sample): (&Vec<RowWork>, &Sample)| TimedStep {
            features: StepFeatures::with_knots(rows, &knots),
            seconds: sample.seconds(),
        };
        let steps: Vec<_> = works.iter().zip(samples).map(timed).collect();
        let mut model = StepModel::from_coefficients(fit_robustly(&steps, None));
        let known = model.seconds_per_token[knots.len()];
        model.seconds_per_token[knots.len()..].fill(known);
        let seconds: Vec<_> = samples.iter().map(Sample::seconds).collect();
        let expected: Vec<_> = works.iter().map(|rows| model.expect(rows)).collect();
        model.fit = Fit::of_calibration(&seconds, &expected, fitted_coefficients(&steps));
        model
    }
}

/// The step with the highest time per token, if it is slow compared with the first step, which has
/// one token. Steps with adapters or long contexts are ignored.
fn slow_step(samples: &[Sample]) -> Option<SlowStep> {
    let alone = samples.first()?;
    let ratio = |sample: &Sample| SlowStep {
        tokens: sample.shape.rows * sample.shape.new_tokens,
        ratio: sample.seconds()
            / (sample.shape.rows * sample.shape.new_tokens) as f64
            / alone.seconds(),
    };
    samples
        .iter()
        .filter(|it| it.shape.adapters == 0 && it.shape.start <= alone.shape.start)
        .map(ratio)
        .filter(|step| step.ratio > SLOW_RATIO)
        .max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

/// Number of coefficients that are not zero in all steps.
fn fitted_coefficients(steps: &[TimedStep]) -> usize {
    let is_covered = |kind: &usize| steps.iter().any(|step| step.features.0[*kind] != 0.0);
    (0..FEATURES).filter(is_covered).count()
}
