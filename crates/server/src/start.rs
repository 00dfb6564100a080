//! From a config to a running engine: resolve, plan, load, calibrate, spawn.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use farthing_engine::{Calibration, EngineCore, EngineHandle, EngineLimits, Meter, StepModel};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, Llama, LoraAdapter, LoraBase, MemoryPlan, MemoryRequest,
    ModelConfig, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{Scheduler, SchedulerConfig};

use crate::config::{Config, Limits};
use crate::models::{self, ModelRequest, ResolvedModel};
use crate::step_model::{self, Circumstances, Origin};
use crate::text::Text;
use crate::{Local, ServedAdapter, ServedModels, free_memory};

/// An engine at work, and what it is made of.
pub(crate) struct Started {
    pub local: Local,
    pub engine: EngineHandle,
    pub model: ModelConfig,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    pub memory: MemoryPlan,
    pub step_model: StepModel,
    pub step_model_origin: Origin,
}

/// The weights of a dummy model; any number would do, the same each time is what matters.
const DUMMY_SEED: u64 = 0;

/// Loads the model and starts the engine thread. `say` is given a line for each thing worth
/// knowing on the way.
pub(crate) fn start(
    config: &Config,
    process_began: Instant,
    say: &dyn Fn(&str),
) -> anyhow::Result<Started> {
    let choice = &config.model;
    let request = ModelRequest {
        model: &choice.model,
        revision: choice.revision.as_deref(),
        load_format: choice.load_format,
    };
    let resolved = models::resolve(request, say)?;
    let names = match choice.served_names.is_empty() {
        true => vec![resolved.name.clone()],
        false => choice.served_names.clone(),
    };
    if let Some(adapter) = config
        .adapters
        .iter()
        .find(|adapter| names.contains(&adapter.name))
    {
        bail!(
            "the adapter {:?} has the name of the model itself: rename it",
            adapter.name
        );
    }
    let checkpoint = resolved.open(choice.load_format, DUMMY_SEED)?;
    let text = Text::load(&resolved, &checkpoint)?;
    let compute_type = choice
        .compute_type
        .or(resolved.compute_type)
        .unwrap_or(ComputeType::Bf16);
    let max_model_len = max_model_len(&config.limits, &resolved, checkpoint.config())?;

    let adapters = load_adapters(config, &checkpoint, compute_type)?;
    let adapter_bytes = adapters
        .iter()
        .map(|(_, adapter)| adapter.size_bytes())
        .sum();
    let memory = plan(
        &config.limits,
        checkpoint.config(),
        compute_type,
        max_model_len,
        adapter_bytes,
    )?;

    let model = Llama::load(&checkpoint, max_model_len, compute_type, choice.device)?;
    let Limits {
        max_num_seqs,
        max_num_batched_tokens,
        max_queued_sequences,
        ..
    } = config.limits;
    let mut runner = ModelRunner::new(
        model,
        RunnerConfig {
            num_blocks: memory.num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            compute_type,
            device: choice.device,
        },
    )?;
    let served: Vec<_> = adapters.iter().map(|(served, _)| served.clone()).collect();
    let sliding_window = checkpoint.config().sliding_window;
    let calibration = Calibration {
        num_blocks: memory.num_blocks,
        max_num_seqs,
        max_num_batched_tokens,
        max_model_len,
        sliding_window,
        adapters: adapters
            .iter()
            .map(|(_, adapter)| (adapter.id(), adapter.size_bytes()))
            .collect(),
    };
    for (_, adapter) in adapters {
        runner.add_adapter(adapter);
    }
    let circumstances = Circumstances::new(
        choice.device,
        compute_type,
        checkpoint.config(),
        &calibration,
    );
    let (step_model, step_model_origin) =
        step_model::find_or_measure(&mut runner, &calibration, circumstances, config.recalibrate)?;
    let mut meter = Meter::new(step_model, sliding_window, process_began);
    for &(id, size_bytes) in &calibration.adapters {
        meter.add_adapter(id, size_bytes);
    }
    let scheduler = Scheduler::new(SchedulerConfig {
        block_size: BLOCK_SIZE,
        num_blocks: memory.num_blocks,
        max_num_seqs,
        max_num_batched_tokens,
        max_model_len,
        max_adapters: served.len(),
    })?;
    let limits = EngineLimits {
        max_model_len,
        max_queued_sequences,
        eos_token_ids: eos_token_ids(checkpoint.config(), &text),
    };
    let (engine, _thread) =
        EngineCore::spawn(scheduler, runner, meter, limits, text.tokenizer.clone())
            .context("cannot start the engine thread")?;

    let served_models = ServedModels::new(names, choice.model.clone(), served, max_model_len);
    let local = Local {
        backend: Arc::new(engine.clone()),
        vocab_size: text
            .tokenizer
            .vocab_size()
            .min(checkpoint.config().vocab_size),
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        models: Arc::new(served_models),
        price: config.price.per_hour(),
        slo_tokens_per_second: config.slo_tokens_per_second,
    };
    let model = checkpoint.config().clone();
    Ok(Started {
        local,
        engine,
        model,
        compute_type,
        max_model_len,
        memory,
        step_model,
        step_model_origin,
    })
}

fn max_model_len(
    limits: &Limits,
    resolved: &ResolvedModel,
    model: &ModelConfig,
) -> anyhow::Result<usize> {
    let trained = model.max_position_embeddings;
    let Some(asked) = limits.max_model_len else {
        return Ok(resolved.max_model_len.unwrap_or(trained).min(trained));
    };
    ensure!(
        asked <= trained,
        "--max-model-len {asked} is more than the {trained} tokens that this model was made for"
    );
    Ok(asked)
}

fn load_adapters(
    config: &Config,
    checkpoint: &Checkpoint,
    compute_type: ComputeType,
) -> anyhow::Result<Vec<(ServedAdapter, LoraAdapter)>> {
    let load = |arg: &crate::args::AdapterArg| {
        let base = LoraBase {
            checkpoint,
            compute_type,
            device: config.model.device,
        };
        let adapter = LoraAdapter::load(&arg.directory, base)
            .with_context(|| format!("cannot serve the adapter {:?}", arg.name))?;
        let root = arg.directory.display().to_string();
        Ok((
            ServedAdapter {
                name: arg.name.clone(),
                root,
                id: adapter.id(),
            },
            adapter,
        ))
    };
    config.adapters.iter().map(load).collect()
}

/// Divides the memory before any of it is taken.
fn plan(
    limits: &Limits,
    model: &ModelConfig,
    compute_type: ComputeType,
    max_model_len: usize,
    adapter_bytes: usize,
) -> anyhow::Result<MemoryPlan> {
    let free = free_memory::bytes();
    let plan_with = |kv_cache_bytes| {
        let request = MemoryRequest {
            kv_cache_bytes,
            max_model_len,
            max_num_seqs: limits.max_num_seqs,
            max_num_batched_tokens: limits.max_num_batched_tokens,
            compute_type,
        };
        MemoryPlan::new(model, request).map(|plan| MemoryPlan {
            adapter_bytes,
            ..plan
        })
    };
    let full_contexts =
        |n: usize| MemoryPlan::kv_cache_bytes_for(model, compute_type, n * max_model_len);
    let plan = match limits.kv_cache_bytes {
        Some(bytes) => plan_with(bytes)?,
        None => {
            let smallest = plan_with(full_contexts(1))?;
            let rest = smallest.total_bytes() - smallest.kv_cache_bytes;
            let half_of_free = free.map_or(usize::MAX, |free| free.saturating_sub(rest) / 2);
            let wanted = full_contexts(8).min(4 << 30).min(half_of_free);
            plan_with(wanted.max(full_contexts(1)))?
        }
    };
    if let Some(free) = free {
        let mib = |bytes: usize| bytes >> 20;
        ensure!(
            plan.total_bytes() <= free,
            "this needs {plan}, but only {} MiB of memory are free: lower --max-model-len (now \
             {max_model_len}) or --kv-cache-memory, or serve a smaller model",
            mib(free)
        );
    }
    Ok(plan)
}

/// The tokens that end an answer; a config that names none leaves it to the tokenizer.
fn eos_token_ids(model: &ModelConfig, text: &Text) -> Arc<[u32]> {
    match model.eos_token_ids.is_empty() {
        true => text.tokenizer.eos_id().into_iter().collect(),
        false => model.eos_token_ids.clone().into(),
    }
}
