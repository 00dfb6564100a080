//! Measures what metering costs per step: a batch of 32 decodes, base model and context as in
//! serving.
//!
//! ```text
//! cargo bench -p farthing-benches --bench meter -- MODEL
//! ```
//!
//! MODEL is a GGUF file or a directory of safetensors. Prints both times and their ratio, and the
//! time of a fit of the step model with full memory. Fails if one of them is above 1 %.

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use farthing_engine::{
    Calibration, Fit, Meter, RowWork, StepFeatures, StepLearner, StepModel, StepWork,
};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, Llama, LoadFormat, ModelError, ModelRunner,
    RunnerConfig,
};
use farthing_scheduler::{Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId};

const ROWS: usize = 32;
const CONTEXT: usize = 256;
const LIMIT: f64 = 0.01;
/// How often the meter refits, in step seconds.
const LOOK_EVERY_SECONDS: f64 = 5.0;

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let path = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let path = PathBuf::from(path.context("name a GGUF file or a directory of safetensors")?);
    let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0)?;
    let (compute_type, device) = (ComputeType::Bf16, DeviceKind::Cpu);
    let model = Llama::load(&checkpoint, CONTEXT, compute_type, device)?;
    let num_blocks = ROWS * CONTEXT.div_ceil(BLOCK_SIZE);
    let config = RunnerConfig {
        num_blocks,
        max_num_seqs: ROWS,
        max_num_batched_tokens: ROWS,
        max_adapters: 0,
        max_lora_rank: 0,
        compute_type,
        device,
    };
    let mut runner = ModelRunner::new(model, config)?;
    let calibration = Calibration {
        num_blocks,
        max_num_seqs: ROWS,
        max_num_batched_tokens: ROWS,
        max_model_len: CONTEXT,
        ..Calibration::default()
    };
    let calibrated = calibration.run(|batch: &Batch| {
        let started = Instant::now();
        runner.execute(batch)?;
        Ok::<_, ModelError>(started.elapsed().as_secs_f64())
    })?;
    let step_model = calibrated.step_model;
    let batch = decodes();
    let step_seconds = fastest(20, || runner.execute(&batch).map(drop))?;
    // The step model charges the steps, even if its fit on a noisy machine is poor: this is slower.
    let fit = Fit {
        r_squared: 1.0,
        reach: StepFeatures::UNLIMITED,
        ..step_model.fit
    };
    let step_model = StepModel { fit, ..step_model };
    let meter = Meter::new(step_model, None, Instant::now());
    let mut learner = StepLearner::default();
    let metering_seconds = fastest(2000, || {
        let works: Vec<_> = batch.rows.iter().map(|row| meter.work(row, 64)).collect();
        black_box(meter.split(black_box(&works), step_seconds));
        learner.observe(StepFeatures::of(&works), step_seconds);
        Ok::<_, ModelError>(())
    })?;
    let look_seconds = fastest(50, || {
        let mut learner = full_learner(&step_model);
        black_box(learner.look(&step_model));
        Ok::<_, ModelError>(())
    })? - fastest(50, || {
        black_box(full_learner(&step_model));
        Ok::<_, ModelError>(())
    })?;
    let share = metering_seconds / step_seconds;
    println!(
        "a step of {ROWS} decodes takes {:.2} ms, metering it {:.2} µs: {:.4} %",
        1e3 * step_seconds,
        1e6 * metering_seconds,
        1e2 * share
    );
    let look_share = look_seconds / LOOK_EVERY_SECONDS;
    println!(
        "a new fit, every {LOOK_EVERY_SECONDS} s of steps, takes {:.0} µs: {:.4} %",
        1e6 * look_seconds,
        1e2 * look_share
    );
    ensure!(share <= LIMIT, "metering takes more than 1 % of the step");
    ensure!(look_share <= LIMIT, "fits take more than 1 % of the steps");
    Ok(())
}

/// A learner with full memory: it has the maximum number of classes, and enough steps in each.
fn full_learner(step_model: &StepModel) -> StepLearner {
    let mut learner = StepLearner::default();
    for round in 0..40 {
        if round == 20 {
            // From here on, the learner also evaluates a candidate.
            learner.look(step_model);
        }
        for class in 0..64 {
            let tokens = f64::from(2 << (class % 8));
            let row = RowWork {
                input: StepWork {
                    tokens,
                    prompt_keys: 16f64.powi(class / 8) * tokens,
                    ..StepWork::default()
                },
                output: StepWork {
                    logits: 1.0 + f64::from(round),
                    ..StepWork::default()
                },
                ..RowWork::default()
            };
            let seconds = step_model.expect(&[row]).clamp(0.01, 0.05);
            learner.observe(StepFeatures::of(&[row]), seconds);
        }
    }
    learner
}

fn decodes() -> Batch {
    let params = Arc::new(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    let blocks = CONTEXT / BLOCK_SIZE;
    let row = |index: usize| BatchRow {
        sequence: SequenceId(index as u64),
        tokens: vec![5],
        start: CONTEXT - 1,
        prompt_tokens: 0,
        block_table: (0..blocks)
            .map(|block| BlockId((index * blocks + block) as u32))
            .collect(),
        adapter: None,
        sample: Some(SampleRow {
            params: params.clone(),
            history: Vec::new(),
            history_prompt_tokens: 0,
            position: 0,
        }),
        prompt_logprobs: None,
        next_prompt_token: None,
    };
    Batch {
        rows: (0..ROWS).map(row).collect(),
    }
}

/// Seconds of the fastest of `runs` runs.
fn fastest<E>(runs: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut fastest = f64::INFINITY;
    for _ in 0..runs {
        let started = Instant::now();
        run()?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
