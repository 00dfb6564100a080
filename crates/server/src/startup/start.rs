//! From a config to a running engine: open, plan, load, calibrate, spawn.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use farthing_economics::TokenizerFamily;
use farthing_engine::{Calibration, EngineCore, EngineHandle, EngineLimits, Meter, StepModel};
use farthing_model::{
    BLOCK_SIZE, ComputeType, DeviceKind, Llama, MemoryPlan, ModelConfig, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{Scheduler, SchedulerConfig};

use super::config::{Config, Limits};
use super::memory::{Memory, Weights};
use super::opened_model::OpenedModel;
use super::start_adapters::StartAdapters;
use super::step_model_cache::{self, Circumstances, Origin, StepModelKeeper};
use crate::lanes::Lanes;
use crate::request::backend::Backend;
use crate::request::local::Local;
use crate::served_models::ServedModels;

/// Limit on generated tokens that wait for callers to read them: a token takes 100 to 500 bytes.
const MAX_UNREAD_BYTES: usize = 256 << 20;

/// A running engine and what it consists of.
pub(crate) struct Started {
    pub local: Local,
    pub engine: EngineHandle,
    /// Ends after the last handle is dropped.
    pub engine_thread: JoinHandle<()>,
    pub model: ModelConfig,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    pub tokenizer: Option<TokenizerFamily>,
    pub text: TextLines,
    pub memory: MemoryPlan,
    pub step_model: StepModel,
    pub step_model_origin: Origin,
    pub step_model_keeper: StepModelKeeper,
}

/// What the start says about text.
pub(crate) struct TextLines {
    pub tokenizer: String,
    pub chat_template: String,
    pub end_tokens: String,
    pub sampling: String,
    /// Whether chats can be asked.
    pub takes_chats: bool,
}

impl TextLines {
    fn of(model: &OpenedModel) -> Self {
        let text = &model.text;
        Self {
            tokenizer: text.tokenizer_origin.clone(),
            chat_template: text.template_origin.clone(),
            end_tokens: model.end_tokens().describe(&text.tokenizer),
            sampling: model.sampling_origin.clone(),
            takes_chats: text.chat_template.is_some(),
        }
    }
}

/// Loads the model and starts the engine thread. `say` gets one line per step that a user may want to
/// know about.
pub(crate) fn start(
    config: &Config,
    process_began: Instant,
    say: &dyn Fn(&str),
) -> anyhow::Result<Started> {
    let model = OpenedModel::open(config, say)?;
    let adapters = StartAdapters::read(config, &model)?;
    let parts = Parts {
        config,
        model: &model,
        adapters: &adapters,
    };
    let (memory, mut runner) = parts.load(say)?;
    let calibrated = parts.calibrate(&memory, &mut runner)?;
    let meter = Meter::new(
        calibrated.step_model,
        model.config().window_of_all(),
        process_began,
    );
    let scheduler = parts.scheduler(&memory)?;
    let limits = parts.engine_limits();
    let tokenizer = model.text.tokenizer.clone();
    let (engine, engine_thread) = EngineCore::spawn(scheduler, runner, meter, limits, tokenizer)
        .context("cannot start the engine thread")?;
    Ok(Started {
        local: local(config, &model, adapters, &engine)?,
        engine,
        engine_thread,
        model: model.config().clone(),
        compute_type: model.compute_type,
        max_model_len: model.max_model_len,
        tokenizer: model.tokenizer,
        text: TextLines::of(&model),
        memory,
        step_model: calibrated.step_model,
        step_model_origin: calibrated.origin,
        step_model_keeper: StepModelKeeper::new(calibrated.circumstances, calibrated.step_model),
    })
}

/// What the steps of the start work with.
struct Parts<'a> {
    config: &'a Config,
    model: &'a OpenedModel,
    adapters: &'a StartAdapters,
}

/// What the meter needs to know about steps.
struct CalibratedSteps {
    step_model: StepModel,
    origin: Origin,
    circumstances: Circumstances,
}

impl Parts<'_> {
    /// Plans the memory and loads the weights.
    fn load(&self, say: &dyn Fn(&str)) -> anyhow::Result<(MemoryPlan, ModelRunner)> {
        let Self {
            config,
            model,
            adapters,
        } = *self;
        let device = config.model.device;
        let memory = Memory {
            device,
            limits: &config.limits,
            model: model.config(),
            compute_type: model.compute_type,
            max_model_len: model.max_model_len,
            adapter_bytes: adapters.reserved_bytes(config, model),
        };
        let planned = memory.plan(Weights::OnDisk)?;
        let weights = Llama::load(
            &model.checkpoint,
            model.max_model_len,
            model.compute_type,
            device,
        )?;
        let memory = match device {
            DeviceKind::Cpu => planned,
            // What is left beside the loaded weights can be measured now.
            DeviceKind::Cuda(_) => memory.plan(Weights::Loaded)?,
        };
        let Limits {
            max_num_seqs,
            max_num_batched_tokens,
            ..
        } = config.limits;
        let runner = RunnerConfig {
            num_blocks: memory.num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            max_adapters: adapters.max_on_device,
            max_lora_rank: config.adapters.max_rank,
            compute_type: model.compute_type,
            device,
        };
        let runner = ModelRunner::new(weights, runner)?;
        if let Some(gpu) = device.gpu()? {
            let left_mib = gpu.free_bytes >> 20;
            say(&format!("{device} has {left_mib} MiB left"));
        }
        Ok((memory, runner))
    }

    /// Finds out how long steps take: from an earlier start, or by measuring them.
    fn calibrate(
        &self,
        memory: &MemoryPlan,
        runner: &mut ModelRunner,
    ) -> anyhow::Result<CalibratedSteps> {
        let Self {
            config,
            model,
            adapters,
        } = *self;
        let timed = adapters.to_time(config, model)?;
        let sizes = timed.iter().map(|it| (it.id(), it.size_bytes()));
        let calibration = Calibration {
            num_blocks: memory.num_blocks,
            max_num_seqs: config.limits.max_num_seqs,
            max_num_batched_tokens: config.limits.max_num_batched_tokens,
            max_model_len: model.max_model_len,
            sliding_window: model.config().window_of_all(),
            adapters: sizes.collect(),
        };
        for adapter in &timed {
            runner.add_adapter(adapter.clone());
        }
        let circumstances = Circumstances::new(
            config.model.device,
            model.compute_type,
            model.config(),
            &calibration,
        );
        let (step_model, origin) = step_model_cache::find_or_measure(
            runner,
            &calibration,
            &circumstances,
            config.recalibrate,
        )?;
        for adapter in timed {
            runner.release_adapter(adapter.id());
            if adapters.are_dummies_timed() {
                runner.retire_adapter(adapter.id());
            }
        }
        Ok(CalibratedSteps {
            step_model,
            origin,
            circumstances,
        })
    }

    fn scheduler(&self, memory: &MemoryPlan) -> anyhow::Result<Scheduler> {
        let Self {
            config,
            model,
            adapters,
        } = *self;
        Ok(Scheduler::new(SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks: memory.num_blocks,
            max_num_seqs: config.limits.max_num_seqs,
            max_num_batched_tokens: config.limits.max_num_batched_tokens,
            max_model_len: model.max_model_len,
            max_adapters: adapters.max_on_device,
        })?)
    }

    fn engine_limits(&self) -> EngineLimits {
        EngineLimits {
            max_model_len: self.model.max_model_len,
            max_queued_sequences: self.config.limits.max_queued_sequences,
            serves_adapters: self.adapters.max_on_device > 0,
            max_unread_bytes: MAX_UNREAD_BYTES,
            eos_token_ids: self.model.end_tokens().ids(),
        }
    }
}

/// The provider that answers requests with this engine.
fn local(
    config: &Config,
    model: &OpenedModel,
    adapters: StartAdapters,
    engine: &EngineHandle,
) -> anyhow::Result<Local> {
    let backend: Arc<dyn Backend> = Arc::new(engine.clone());
    let adapters = adapters.serve(config, backend.clone())?;
    let models = ServedModels::new(
        model.names.clone(),
        config.model.model.clone(),
        Some(adapters),
        model.max_model_len,
    );
    Ok(Local {
        backend,
        tokenizer: model.text.tokenizer.clone(),
        chat_template: model.text.chat_template.clone(),
        sampling: model.sampling.clone(),
        models: Arc::new(models),
        vocab_size: model.vocab_size(),
        lanes: Lanes::default(),
    })
}
