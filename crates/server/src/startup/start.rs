//! From a config to a running engine: resolve, plan, load, calibrate, spawn.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use farthing_engine::{Calibration, EngineCore, EngineHandle, EngineLimits, Meter, StepModel};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, Llama, LoraAdapter, MemoryPlan, ModelConfig,
    ModelRunner, RunnerConfig,
};
use farthing_scheduler::{Scheduler, SchedulerConfig};

use super::free_memory;
use super::step_model_cache::{self, Circumstances, Origin, StepModelKeeper};
use crate::adapters::{AdapterLoader, AdapterSources, Adapters, AdaptersConfig, HostCapacity};
use crate::models::{self, HubAdapters, LocalAdapter, ModelRequest, ResolvedModel};
use crate::request::backend::Backend;
use crate::request::local::Local;
use crate::served_models::ServedModels;
use crate::startup::config::{AdapterChoice, Config, Limits};
use crate::startup::memory::{Memory, Weights};
use crate::startup::text::Text;

/// An engine at work, and what it is made of.
pub(crate) struct Started {
    pub local: Local,
    pub engine: EngineHandle,
    /// Ends when the last handle is gone.
    pub engine_thread: JoinHandle<()>,
    pub model: ModelConfig,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    pub memory: MemoryPlan,
    pub step_model: StepModel,
    pub step_model_origin: Origin,
    pub step_model_keeper: StepModelKeeper,
}

/// The weights of a dummy model; any number would do, the same each time is what matters.
const DUMMY_SEED: u64 = 0;

/// Enough to tell what another one in a step takes from what its rows take.
const DUMMY_ADAPTERS: usize = 2;
const DUMMY_ADAPTER_RANK: usize = 16;

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
    let wanted = wanted_adapters(&config.adapters, &resolved);
    if let Some(adapter) = wanted.iter().find(|adapter| names.contains(&adapter.name)) {
        bail!(
            "the adapter {:?} has the name of the model itself: rename it",
            adapter.name
        );
    }
    let checkpoint = Arc::new(resolved.open(choice.load_format, DUMMY_SEED)?);
    let text = Text::load(&resolved, &checkpoint)?;
    let compute_type = choice
        .compute_type
        .or(resolved.compute_type)
        .unwrap_or(ComputeType::Bf16);
    let max_model_len = max_model_len(&config.limits, &resolved, checkpoint.config())?;

    let loader = AdapterLoader {
        base: checkpoint.clone(),
        compute_type,
        device: choice.device,
        max_rank: config.adapters.max_rank,
    };
    let named = read_adapters(&wanted, &loader)?;
    let capacity = adapter_capacity(config, &named);
    let max_adapters = match config.adapters_may_change() {
        true => config.adapters.max_on_device,
        false => config.adapters.max_on_device.min(named.len()),
    };
    let adapter_bytes = match choice.device {
        DeviceKind::Cpu => capacity.bytes,
        // The host's memory is another's; the GPU has slots of one size.
        DeviceKind::Cuda(_) => {
            let slot_bytes =
                MemoryPlan::adapter_slot_bytes(checkpoint.config(), config.adapters.max_rank);
            max_adapters * slot_bytes
        }
    };
    let memory = Memory {
        device: choice.device,
        limits: &config.limits,
        model: checkpoint.config(),
        compute_type,
        max_model_len,
        adapter_bytes,
    };
    let planned = memory.plan(Weights::OnDisk)?;
    let model = Llama::load(&checkpoint, max_model_len, compute_type, choice.device)?;
    let memory = match choice.device {
        DeviceKind::Cpu => planned,
        // What is left beside the weights is known better now.
        DeviceKind::Cuda(_) => memory.plan(Weights::Loaded)?,
    };
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
            max_adapters,
            max_lora_rank: config.adapters.max_rank,
            compute_type,
            device: choice.device,
        },
    )?;
    if let Some(gpu) = choice.device.gpu()? {
        let left_mib = gpu.free_bytes >> 20;
        say(&format!("{} has {left_mib} MiB left", choice.device));
    }
    let sliding_window = checkpoint.config().sliding_window;
    let timed = timed_adapters(&named, max_adapters, config, &checkpoint, compute_type)?;
    let calibration = Calibration {
        num_blocks: memory.num_blocks,
        max_num_seqs,
        max_num_batched_tokens,
        max_model_len,
        sliding_window,
        adapters: timed
            .iter()
            .map(|adapter| (adapter.id(), adapter.size_bytes()))
            .collect(),
    };
    for adapter in &timed {
        runner.add_adapter(adapter.clone());
    }
    let circumstances = Circumstances::new(
        choice.device,
        compute_type,
        checkpoint.config(),
        &calibration,
    );
    let (step_model, step_model_origin) = step_model_cache::find_or_measure(
        &mut runner,
        &calibration,
        &circumstances,
        config.recalibrate,
    )?;
    let meter = Meter::new(step_model, sliding_window, process_began);
    for adapter in timed {
        runner.release_adapter(adapter.id());
        if named.is_empty() {
            runner.retire_adapter(adapter.id());
        }
    }
    let scheduler = Scheduler::new(SchedulerConfig {
        block_size: BLOCK_SIZE,
        num_blocks: memory.num_blocks,
        max_num_seqs,
        max_num_batched_tokens,
        max_model_len,
        max_adapters,
    })?;
    let limits = EngineLimits {
        max_model_len,
        max_queued_sequences,
        serves_adapters: max_adapters > 0,
        eos_token_ids: eos_token_ids(checkpoint.config(), &text),
    };
    let (engine, engine_thread) =
        EngineCore::spawn(scheduler, runner, meter, limits, text.tokenizer.clone())
            .context("cannot start the engine thread")?;

    let backend: Arc<dyn Backend> = Arc::new(engine.clone());
    let paths = wanted.iter().map(|it| &*it.directory);
    let mut sources = AdapterSources::new(config.adapters.directory.as_deref(), paths)
        .context("--adapter-dir")?;
    if config.adapters.from_hub {
        sources = sources.with_hub(HubAdapters::from_env()?);
    }
    let adapters = Adapters::new(AdaptersConfig {
        engine: backend.clone(),
        loader,
        sources,
        capacity,
        max_waiting: max_queued_sequences,
    })
    .context("cannot start the thread that reads adapters")?;
    for (arg, adapter) in named {
        adapters.adopt(&arg.name, &arg.directory, adapter)?;
    }
    let served_models =
        ServedModels::new(names, choice.model.clone(), Some(adapters), max_model_len);
    let local = Local {
        backend,
        vocab_size: text
            .tokenizer
            .vocab_size()
            .min(checkpoint.config().vocab_size),
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        models: Arc::new(served_models),
    };
    let model = checkpoint.config().clone();
    Ok(Started {
        local,
        engine,
        engine_thread,
        model,
        compute_type,
        max_model_len,
        memory,
        step_model,
        step_model_origin,
        step_model_keeper: StepModelKeeper::new(circumstances, step_model),
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

/// The adapters of the command line, and those that come with the model but for names taken.
fn wanted_adapters(choice: &AdapterChoice, resolved: &ResolvedModel) -> Vec<LocalAdapter> {
    let mut wanted = choice.named.clone();
    if choice.max_on_device > 0 {
        let own = resolved
            .adapters
            .iter()
            .filter(|own| choice.named.iter().all(|named| named.name != own.name));
        wanted.extend(own.cloned());
    }
    wanted
}

fn read_adapters<'a>(
    wanted: &'a [LocalAdapter],
    loader: &AdapterLoader,
) -> anyhow::Result<Vec<(&'a LocalAdapter, Arc<LoraAdapter>)>> {
    let read = |arg: &'a LocalAdapter| {
        let adapter = loader.load(&arg.name, &arg.directory)?;
        Ok((arg, Arc::new(adapter)))
    };
    wanted.iter().map(read).collect()
}

/// The adapters that steps are timed with, as many as a batch may have. Where none is named and some may
/// come later, dummies tell what they will take.
fn timed_adapters(
    named: &[(&LocalAdapter, Arc<LoraAdapter>)],
    max_adapters: usize,
    config: &Config,
    checkpoint: &Checkpoint,
    compute_type: ComputeType,
) -> anyhow::Result<Vec<Arc<LoraAdapter>>> {
    if !named.is_empty() {
        let timed = named.iter().take(max_adapters);
        return Ok(timed.map(|(_, adapter)| adapter.clone()).collect());
    }
    let rank = DUMMY_ADAPTER_RANK.min(config.adapters.max_rank);
    let dummy = |seed| {
        let model = checkpoint.config();
        LoraAdapter::dummy(model, rank, seed, compute_type, config.model.device).map(Arc::new)
    };
    let dummies = (0..DUMMY_ADAPTERS.min(max_adapters)).map(|seed| dummy(seed as u8));
    Ok(dummies.collect::<Result<_, _>>()?)
}

/// What host memory may hold of adapters. Where none can come later, it is what is there.
fn adapter_capacity(config: &Config, named: &[(&LocalAdapter, Arc<LoraAdapter>)]) -> HostCapacity {
    let named_bytes = named.iter().map(|(_, adapter)| adapter.size_bytes()).sum();
    let bytes = match (config.adapters.host_bytes, config.adapters_may_change()) {
        (Some(bytes), _) => bytes,
        (None, false) => named_bytes,
        (None, true) => {
            let quarter = free_memory::bytes().map_or(usize::MAX, |free| free / 4);
            quarter.min(4 << 30).max(named_bytes)
        }
    };
    HostCapacity {
        adapters: config.adapters.max_in_host_memory,
        bytes,
    }
}

/// The tokens that end an answer; a config that names none leaves it to the tokenizer.
fn eos_token_ids(model: &ModelConfig, text: &Text) -> Arc<[u32]> {
    match model.eos_token_ids.is_empty() {
        true => text.tokenizer.eos_id().into_iter().collect(),
        false => model.eos_token_ids.clone().into(),
    }
}
