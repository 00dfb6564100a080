//! A tiny random model behind a real engine thread.

#![allow(dead_code, reason = "each test file takes the half it needs")]

use std::{
    collections::VecDeque,
    fs,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use farthing_engine::{
    Calibration, EngineCore, EngineHandle, EngineLimits, GenerationEvent, GenerationRequest,
    GenerationStream, GenerationUsage, Meter, Runner, Tokenizer, byte_level_alphabet,
};
use farthing_model::{
    AdapterPoolStats, BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, GgufTokenizer, Llama,
    LoadFormat, LoraAdapter, LoraBase, ModelError, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{
    AdapterId, Batch, FinishReason, SampledToken, SamplingParams, Scheduler, SchedulerConfig,
};
use farthing_testkit::RandomAdapter;

/// The engine's capacity. Small values force chunks and preemptions.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) num_blocks: usize,
    pub(crate) max_num_seqs: usize,
    pub(crate) max_num_batched_tokens: usize,
    pub(crate) max_queued_sequences: usize,
    pub(crate) max_unread_bytes: usize,
    pub(crate) max_adapters: usize,
    /// Equal to the maximum per batch, unless steps are meant to fail.
    pub(crate) adapter_slots: usize,
}

pub(crate) const WIDE: Room = Room {
    num_blocks: 512,
    max_num_seqs: 32,
    max_num_batched_tokens: 256,
    max_queued_sequences: 1000,
    max_unread_bytes: 64 << 20,
    max_adapters: 4,
    adapter_slots: 4,
};

/// The engine runs on another thread, so whether it preempts, or is still busy when a caller
/// leaves, is a race. Tests of these cases try this often; what has to hold holds each time.
pub(crate) const ATTEMPTS: usize = 50;

pub(crate) const MAX_MODEL_LEN: usize = 256;
const VOCAB_SIZE: usize = 259;
const EOS: u32 = 257;

pub(crate) struct Engine {
    pub(crate) handle: EngineHandle,
    pub(crate) adapter: Arc<LoraAdapter>,
    thread: JoinHandle<()>,
}

impl Engine {
    pub(crate) fn start(room: Room) -> Self {
        let checkpoint = checkpoint();
        let (compute_type, device) = (ComputeType::F32, DeviceKind::Cpu);
        let model = Llama::load(&checkpoint, MAX_MODEL_LEN, compute_type, device).unwrap();
        let Room {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            adapter_slots,
            ..
        } = room;
        let runner = RunnerConfig {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            max_adapters: adapter_slots,
            max_lora_rank: 64,
            compute_type,
            device,
        };
        let mut runner = ModelRunner::new(model, runner).unwrap();
        let adapter = adapter(0);
        runner.add_adapter(adapter.clone());
        let calibration = Calibration {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            max_model_len: MAX_MODEL_LEN,
            sliding_window: None,
            adapters: vec![(adapter.id(), adapter.size_bytes())],
        };
        let calibrated = calibration.run(|batch: &Batch| {
            let started = Instant::now();
            runner.execute(batch)?;
            Ok::<_, ModelError>(started.elapsed().as_secs_f64())
        });
        let meter = Meter::new(calibrated.unwrap().step_model, None, Instant::now());
        runner.release_adapter(adapter.id());
        runner.retire_adapter(adapter.id());
        Self::with_runner(runner, meter, room)
    }

    /// An engine whose steps are computed by something else.
    pub(crate) fn with_runner(runner: impl Runner + 'static, meter: Meter, room: Room) -> Self {
        let Room {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            max_adapters,
            ..
        } = room;
        let scheduler = Scheduler::new(SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            max_model_len: MAX_MODEL_LEN,
            max_adapters,
        })
        .unwrap();
        let limits = EngineLimits {
            max_model_len: MAX_MODEL_LEN,
            max_queued_sequences: room.max_queued_sequences,
            serves_adapters: false,
            max_unread_bytes: room.max_unread_bytes,
            eos_token_ids: Arc::new([EOS]),
        };
        let (handle, thread) =
            EngineCore::spawn(scheduler, runner, meter, limits, tokenizer()).unwrap();
        Self {
            handle,
            adapter: adapter(0),
            thread,
        }
    }

    /// Waits until no sequence runs or waits.
    pub(crate) async fn idle(&self) {
        while self.handle.stats().running + self.handle.stats().waiting > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Reads a stream to its end, then stops.
    pub(crate) async fn stop_after(self, stream: GenerationStream) {
        collect(stream, 2).await;
        self.stop();
    }

    /// Ends the engine and waits for its thread.
    pub(crate) fn stop(self) {
        drop(self.handle);
        self.thread.join().unwrap();
    }
}

/// A device whose steps end as the script says, including after the end of the script.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) failures: VecDeque<Option<ModelError>>,
    /// The device's own time for each step. It has to pass, because no device can be busy for longer
    /// than the clock says.
    pub(crate) step: Option<Duration>,
}

impl Runner for Scripted {
    fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError> {
        let began = Instant::now();
        while self.step.is_some_and(|step| began.elapsed() < step) {
            std::hint::spin_loop();
        }
        if let Some(Some(failure)) = self.failures.pop_front() {
            return Err(failure);
        }
        let sampled = |token| SampledToken {
            token,
            ..SampledToken::default()
        };
        let rows = batch.rows.iter();
        Ok(rows
            .map(|row| sampled(row.sample.as_ref().map(|_| 65)))
            .collect())
    }

    fn device_seconds(&self) -> Option<f64> {
        self.step.map(|step| step.as_secs_f64())
    }

    fn add_adapter(&mut self, _: Arc<LoraAdapter>) {}

    fn release_adapter(&mut self, _: AdapterId) -> bool {
        true
    }

    fn prefetch_adapter(&mut self, _: Arc<LoraAdapter>) {}

    fn retire_adapter(&mut self, _: AdapterId) {}

    fn adapter_stats(&self) -> AdapterPoolStats {
        AdapterPoolStats::default()
    }
}

/// The same random model each time.
pub(crate) fn checkpoint() -> Checkpoint {
    let directory = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": MAX_MODEL_LEN,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "hidden_act": "silu",
        "bos_token_id": 256,
        "eos_token_id": EOS,
    });
    fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    Checkpoint::open(directory.path(), LoadFormat::Dummy, 7).unwrap()
}

/// A random adapter, a different one for each seed.
pub(crate) fn adapter(seed: u64) -> Arc<LoraAdapter> {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint();
    RandomAdapter::new(seed).write(directory.path(), checkpoint.config());
    let base = LoraBase {
        checkpoint: &checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    Arc::new(LoraAdapter::load(directory.path(), base).unwrap())
}

/// One token a byte, two special ones, and one merge, since a byte-level BPE has at least one.
fn tokenizer() -> Arc<Tokenizer> {
    let bytes = byte_level_alphabet().map(String::from).into_iter();
    let others = ["<bos>", "<eos>", "th"].map(str::to_owned);
    let gguf = GgufTokenizer {
        model: "gpt2".to_owned(),
        tokens: bytes.chain(others).collect(),
        merges: vec!["t h".to_owned()],
        token_types: [vec![1; 256], vec![3, 3, 1]].concat(),
        bos_token_id: Some(256),
        eos_token_id: Some(EOS),
        ..GgufTokenizer::default()
    };
    Arc::new(Tokenizer::from_gguf(&gguf).unwrap())
}

pub(crate) fn greedy(prompt: Vec<u32>, max_tokens: usize) -> GenerationRequest {
    GenerationRequest {
        prompt,
        adapter: None,
        n: 1,
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        max_tokens: Some(max_tokens),
        stop: Vec::new(),
        ignore_eos: true,
        prompt_logprobs: None,
        continues_text: true,
        budget: None,
        cache_salt: None,
        receipts: None,
    }
}

/// A prompt of bytes that depends on `seed` only.
pub(crate) fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i * 37 + seed * 101 + i * i * seed) % 256)
        .collect()
}

/// The result of one choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
    pub(crate) reason: Option<FinishReason>,
    pub(crate) usage: GenerationUsage,
}

/// Reads a stream to its end and returns one answer per choice.
pub(crate) async fn collect(mut stream: GenerationStream, n: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::default(); n];
    while let Some(event) = stream.next().await {
        match event {
            GenerationEvent::Prompt(_) => {}
            GenerationEvent::Delta {
                index,
                text,
                tokens,
            } => {
                answers[index].text += &text;
                answers[index]
                    .tokens
                    .extend(tokens.iter().map(|token| token.id));
            }
            GenerationEvent::Finished {
                index,
                reason,
                usage,
            } => {
                answers[index].reason = Some(reason);
                answers[index].usage = usage;
            }
            GenerationEvent::OverBudget => panic!("over budget"),
            GenerationEvent::Failed { message } => panic!("{message}"),
            GenerationEvent::CutOff => panic!("the request was cut off"),
        }
    }
    answers
}
