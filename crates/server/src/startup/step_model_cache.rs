//! Keeps the step model from one start to the next, and measures it if there is none.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Context;
use farthing_engine::{Calibrated, Calibration, SlowStep, StepModel};
use farthing_model::{ComputeType, DeviceKind, ModelConfig, ModelError, ModelRunner};
use farthing_scheduler::Batch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::models;

/// Everything beside the batch that the time of a step depends on. A saved model is used only if
/// all of it is equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Circumstances {
    /// The version and build of Farthing.
    build: String,
    device: String,
    compute_type: String,
    /// The model's config. The values of the weights do not matter.
    model: String,
    limits: [usize; 4],
    adapter_bytes: Vec<usize>,
}

/// The origin of a step model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Origin {
    /// Measured at this start, in this many seconds.
    Measured(f64),
    /// Saved by an earlier run.
    Kept,
}

/// Saves what the engine learns from served steps, for the next start.
#[derive(Clone, Debug)]
pub(crate) struct StepModelKeeper {
    circumstances: Circumstances,
    last: StepModel,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    circumstances: Circumstances,
    step_model: StepModel,
}

impl Circumstances {
    pub(crate) fn new(
        device: DeviceKind,
        compute_type: ComputeType,
        model: &ModelConfig,
        calibration: &Calibration,
    ) -> Self {
        Self {
            build: build(),
            device: device.describe(),
            compute_type: compute_type.to_string(),
            model: format!("{model:?}"),
            limits: [
                calibration.num_blocks,
                calibration.max_num_seqs,
                calibration.max_num_batched_tokens,
                calibration.max_model_len,
            ],
            adapter_bytes: calibration
                .adapters
                .iter()
                .map(|(_, bytes)| *bytes)
                .collect(),
        }
    }

    /// The path of the saved model.
    fn path(&self) -> anyhow::Result<PathBuf> {
        let digest = Sha256::digest(serde_json::to_vec(self)?);
        let name: String = digest[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let directory = models::cache_directory("calibration")?;
        Ok(directory.join(format!("{name}.json")))
    }
}

impl StepModelKeeper {
    /// `step_model` is the model that the engine started with.
    pub(crate) fn new(circumstances: Circumstances, step_model: StepModel) -> Self {
        let last = step_model;
        Self {
            circumstances,
            last,
        }
    }

    /// Saves the model if it is new and explains enough. This blocks.
    pub(crate) fn keep(&mut self, step_model: StepModel) {
        if step_model == self.last || !step_model.fit.is_good() {
            return;
        }
        self.last = step_model;
        keep_for_next_start(self.circumstances.clone(), step_model);
    }
}

/// Finds or measures the step model. The runner must be idle and its cache empty. A model that
/// explains too little is not saved, so that later starts do not rely on it.
///
/// # Errors
/// A step failed.
pub(crate) fn find_or_measure(
    runner: &mut ModelRunner,
    calibration: &Calibration,
    circumstances: &Circumstances,
    measure_anew: bool,
) -> Result<(StepModel, Origin), ModelError> {
    let started = Instant::now();
    let mut time = |batch: &Batch| {
        let started = Instant::now();
        runner.execute(batch)?;
        let on_host = started.elapsed().as_secs_f64();
        Ok::<_, ModelError>(runner.device_seconds().unwrap_or(on_host))
    };
    if !measure_anew
        && let Some(kept) = find(circumstances)
        && calibration.still_holds(&kept, &mut time)?
    {
        return Ok((kept, Origin::Kept));
    }
    let Calibrated {
        step_model,
        slow_step,
    } = calibration.run(time)?;
    if let Some(SlowStep { tokens, ratio }) = slow_step {
        tracing::warn!(
            "a step of {tokens} tokens takes {ratio:.1} times as long as its tokens one by one: \
             `farthing selftest --only rates` shows which operation is slow on this machine"
        );
    }
    let seconds = started.elapsed().as_secs_f64();
    if step_model.fit.is_good() {
        keep_for_next_start(circumstances.clone(), step_model);
    }
    Ok((step_model, Origin::Measured(seconds)))
}

fn find(circumstances: &Circumstances) -> Option<StepModel> {
    let json = fs::read(circumstances.path().ok()?).ok()?;
    let kept: Kept = serde_json::from_slice(&json).ok()?;
    let is_usable = kept.circumstances == *circumstances && kept.step_model.fit.is_good();
    is_usable.then_some(kept.step_model)
}

fn keep_for_next_start(circumstances: Circumstances, step_model: StepModel) {
    let kept = Kept {
        circumstances,
        step_model,
    };
    if let Err(error) = keep(&kept) {
        tracing::warn!(
            "cannot save the step model, so the next start measures steps again: {error:#}"
        );
    }
}

fn keep(kept: &Kept) -> anyhow::Result<()> {
    let path = kept.circumstances.path()?;
    let directory = path.parent().context("it has no directory")?;
    let mut file = NamedTempFile::new_in(directory)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.flush()?;
    file.persist(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Identifies this build, also among builds of the same version.
fn build() -> String {
    let executable = std::env::current_exe().and_then(fs::metadata);
    let stamp = executable.ok().and_then(|file| {
        let modified = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!(
            " of {} bytes, {} ms",
            file.len(),
            modified.as_millis()
        ))
    });
    concat!("farthing ", env!("CARGO_PKG_VERSION")).to_owned() + &stamp.unwrap_or_default()
}
