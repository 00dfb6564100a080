//! Compares a small model with random weights with its reference on the CPU.
//!
//! One scheduler plans the steps, both sides compute each step, and the scheduler continues with
//! the reference's tokens. So both sides get the same input at every step, and one difference does
//! not cause more.

mod case;
mod script;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use farthing_model::{
    Checkpoint, ComputeType, DeviceKind, DummyAdapter, DummyTargets, Llama, ModelConfig,
    ModelError, ModelRunner, RunnerConfig, graph_sizes,
};
use farthing_scheduler::{Batch, BatchRow, SampledToken, SequenceId};
use serde_json::json;

pub use self::case::ModelCheck;
use self::case::{Case, Observation};
use self::script::{Kind, Script};
use crate::side::Side;

/// Maximum number of sequences per step. Graphs are recorded for 1, 2, 4 and 6 rows, so that 3 and
/// 5 leave a row unused.
const MAX_ROWS: usize = 6;
/// Maximum number of tokens per step. Most prompts take several steps.
const MAX_STEP_TOKENS: usize = 40;
/// Maximum number of tokens of a sequence.
const MAX_MODEL_LEN: usize = 128;
/// Too few for six long sequences: some are preempted and get other blocks.
const NUM_BLOCKS: usize = 28;
/// Fewer than there are adapters, so that slots are reused.
const ADAPTER_SLOTS: usize = 2;
/// Large enough for uneven attention and distinct logits.
const STANDARD_DEVIATION: f32 = 0.1;

const SHAPE: &str = "4 layers, 4 heads and 2 kv heads of 64";

/// The adapters of the script. The last one is used only if the device supports it.
const ADAPTERS: [(&str, DummyAdapter); 4] = [
    ("adapter of rank 4", adapter(1, 4, DummyTargets::All)),
    (
        "adapter of rank 16, q and v",
        adapter(2, 16, DummyTargets::QueryAndValue),
    ),
    (
        "adapter of rank 32",
        adapter(3, MAX_RANK, DummyTargets::All),
    ),
    (
        "adapter with DoRA's gains",
        DummyAdapter {
            has_gains: true,
            ..adapter(4, 8, DummyTargets::All)
        },
    ),
];
const MAX_RANK: usize = 32;

const fn adapter(seed: u8, rank: usize, targets: DummyTargets) -> DummyAdapter {
    DummyAdapter {
        rank,
        seed,
        standard_deviation: STANDARD_DEVIATION,
        targets,
        has_gains: false,
    }
}

/// Runs the model in every type that the device supports and reports each case as soon as it is
/// known.
pub(super) fn run(
    device: DeviceKind,
    say: &mut dyn FnMut(String),
) -> Result<Vec<ModelCheck>, ModelError> {
    let types: &[ComputeType] = match device {
        DeviceKind::Cpu => &[ComputeType::Bf16, ComputeType::F32],
        DeviceKind::Cuda(_) => &[ComputeType::Bf16],
    };
    let mut checks = Vec::new();
    for compute_type in types {
        say(format!(
            "\nmodel of {SHAPE}, {compute_type}\n{}",
            ModelCheck::HEADING
        ));
        let pair = Pair::new(device, *compute_type)?;
        for check in pair.compare(|runner, batch| runner.execute(batch))? {
            say(check.to_string());
            checks.push(check);
        }
    }
    Ok(checks)
}

/// The same model on both sides.
struct Pair {
    compute_type: ComputeType,
    tested: (Side, ModelRunner),
    twin: (Side, ModelRunner),
    has_gains: bool,
}

impl Pair {
    fn new(device: DeviceKind, compute_type: ComputeType) -> Result<Self, ModelError> {
        let load = |side: Side| {
            let runner = side.compute(|| runner(side.kind, compute_type))?;
            Ok::<_, ModelError>((side, runner))
        };
        let mut pair = Self {
            compute_type,
            tested: load(Side::tested(device)?)?,
            twin: load(Side::twin())?,
            has_gains: device == DeviceKind::Cpu,
        };
        for (side, runner) in [&mut pair.tested, &mut pair.twin] {
            for (_, adapter) in adapters(pair.has_gains) {
                let adapter = adapter.make(&config()?, compute_type, side.kind)?;
                runner.add_adapter(adapter);
            }
        }
        Ok(pair)
    }

    /// Runs the script; `compute` computes a step on the tested side.
    fn compare(
        mut self,
        mut compute: impl FnMut(&mut ModelRunner, &Batch) -> Result<Vec<SampledToken>, ModelError>,
    ) -> Result<Vec<ModelCheck>, ModelError> {
        let mut script = Script::new(self.has_gains)?;
        let mut cases = Cases::new(self.compute_type, self.has_gains);
        let (tested, runner) = &mut self.tested;
        let (twin, twin_runner) = &mut self.twin;
        while let Some(batch) = script.scheduler.schedule() {
            let expected = twin.compute(|| twin_runner.execute(&batch))?;
            let found = tested.compute(|| compute(runner, &batch))?;
            cases.observe(&script, &batch, &found, &expected);
            script.commit(batch, expected);
        }
        Ok(cases.finish())
    }
}

fn adapters(has_gains: bool) -> impl Iterator<Item = (&'static str, DummyAdapter)> {
    ADAPTERS
        .into_iter()
        .filter(move |(_, adapter)| has_gains || !adapter.has_gains)
}

/// All cases of the script with their observations.
struct Cases {
    cases: Vec<Case>,
    seen: HashSet<SequenceId>,
    with_hits: HashSet<SequenceId>,
}

const PROMPT: &str = "prompts";
const CHUNK: &str = "chunked prompts";
const MIXED: &str = "prompts and decodes in one step";
const FULL_DECODE: &str = "decode, all rows of a graph";
const PART_DECODE: &str = "decode, fewer rows than the graph";
const HITS: &str = "prefix hits";
const BASE: &str = "no adapter beside adapters";

impl Cases {
    fn new(compute_type: ComputeType, has_gains: bool) -> Self {
        let steps = [PROMPT, CHUNK, MIXED, FULL_DECODE, PART_DECODE, HITS, BASE];
        let adapters = adapters(has_gains).map(|(name, _)| name);
        let kinds = Kind::all().into_iter().map(|kind| kind.name);
        let names = steps.into_iter().chain(adapters).chain(kinds);
        Self {
            cases: names.map(|name| Case::new(name, compute_type)).collect(),
            seen: HashSet::new(),
            with_hits: HashSet::new(),
        }
    }

    fn observe(
        &mut self,
        script: &Script,
        batch: &Batch,
        found: &[SampledToken],
        expected: &[SampledToken],
    ) {
        for ((row, found), expected) in batch.rows.iter().zip(found).zip(expected) {
            let kind = script.kind_of(row.sequence);
            let observation = Observation::new(found, expected, kind.is_greedy());
            for name in self
                .names(batch, row)
                .into_iter()
                .flatten()
                .chain([kind.name])
            {
                if let Some(case) = self.cases.iter_mut().find(|case| case.name() == name) {
                    case.add(&observation);
                }
            }
        }
    }

    /// The cases that a row belongs to, besides its sampling parameters.
    fn names(&mut self, batch: &Batch, row: &BatchRow) -> [Option<&'static str>; 5] {
        let is_new = self.seen.insert(row.sequence);
        if is_new && row.start > 0 {
            self.with_hits.insert(row.sequence);
        }
        let is_decode = |row: &BatchRow| row.tokens.len() == 1;
        let all_decode = batch.rows.iter().all(is_decode);
        let rows = batch.rows.len();
        let size = graph_sizes(MAX_ROWS).find(|size| *size >= rows);
        let whole = is_new && row.start == 0 && row.sample.is_some();
        let adapter = row.adapter.and_then(|id| {
            let mut adapters = adapters(true);
            adapters.find(|(_, adapter)| id.0[0] == adapter.seed)
        });
        let step = match () {
            () if all_decode && size == Some(rows) => FULL_DECODE,
            () if all_decode => PART_DECODE,
            () if whole => PROMPT,
            () => CHUNK,
        };
        let is_mixed = !all_decode && batch.rows.iter().any(is_decode);
        let is_beside = row.adapter.is_none() && batch.rows.iter().any(|row| row.adapter.is_some());
        [
            Some(step),
            is_mixed.then_some(MIXED),
            self.with_hits.contains(&row.sequence).then_some(HITS),
            is_beside.then_some(BASE),
            adapter.map(|(name, _)| name),
        ]
    }

    fn finish(self) -> Vec<ModelCheck> {
        self.cases.into_iter().map(Case::finish).collect()
    }
}

/// A head size and grouped query heads as in real models; otherwise small.
fn config() -> Result<ModelConfig, ModelError> {
    ModelConfig::from_hf_json(&json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "vocab_size": script::VOCAB, "max_position_embeddings": MAX_MODEL_LEN,
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    }))
}

fn runner(device: DeviceKind, compute_type: ComputeType) -> Result<ModelRunner, ModelError> {
    let checkpoint = Checkpoint::random(config()?, 13, STANDARD_DEVIATION);
    let model = Llama::load(&checkpoint, MAX_MODEL_LEN, compute_type, device)?;
    let limits = RunnerConfig {
        num_blocks: NUM_BLOCKS,
        max_num_seqs: MAX_ROWS,
        max_num_batched_tokens: MAX_STEP_TOKENS,
        max_adapters: ADAPTER_SLOTS,
        max_lora_rank: MAX_RANK,
        compute_type,
        device,
    };
    ModelRunner::new(model, limits)
}
