//! What metering a step costs beside the step: a batch of 32 decodes, base model and context as served.
//!
//! ```text
//! cargo bench -p farthing-benches --bench meter -- MODEL
//! ```
//!
//! MODEL is a GGUF file or a directory of safetensors. Prints both times and their ratio, and fails
//! where it is above 1 %.

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use farthing_engine::{Calibration, Fit, Meter, StepModel};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, Llama, LoadFormat, ModelError, ModelRunner,
    RunnerConfig,
};
use farthing_scheduler::{Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId};

const ROWS: usize = 32;
const CONTEXT: usize = 256;
const LIMIT: f64 = 0.01;

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench` on.
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
    let step_model = calibration.run(|batch: &Batch| {
        let started = Instant::now();
        runner.execute(batch)?;
        Ok::<_, ModelError>(started.elapsed().as_secs_f64())
    })?;
    let batch = decodes();
    let step_seconds = fastest(20, || runner.execute(&batch).map(drop))?;
    // Charged by the model, whatever its fit on a noisy machine: that is the longer way.
    let fit = Fit {
        r_squared: 1.0,
        ..step_model.fit
    };
    let meter = Meter::new(StepModel { fit, ..step_model }, None, Instant::now());
    let metering_seconds = fastest(2000, || {
        let works: Vec<_> = batch.rows.iter().map(|row| meter.work(row, 64)).collect();
        black_box(meter.split(black_box(&works), step_seconds));
        Ok::<_, ModelError>(())
    })?;
    let share = metering_seconds / step_seconds;
    println!(
        "a step of {ROWS} decodes takes {:.2} ms, metering it {:.2} µs: {:.4} %",
        1e3 * step_seconds,
        1e6 * metering_seconds,
        1e2 * share
    );
    ensure!(share <= LIMIT, "metering takes more than 1 % of the step");
    Ok(())
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

/// Seconds of the fastest of so many runs.
fn fastest<E>(runs: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut fastest = f64::INFINITY;
    for _ in 0..runs {
        let started = Instant::now();
        run()?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    Ok(fastest)
}
