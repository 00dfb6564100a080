//! Steps on a GPU: sending inputs, launching the work, collecting results.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use farthing_ops::{
    DeviceSampler, Graph, ListCapacity, LoraRows, LoraScratch, SampleResult, SampleSpec, Stopwatch,
    Upload, max_lora_tiles,
};
use farthing_scheduler::AdapterId;

use crate::{
    KvCache, Llama, ModelError, RunnerConfig, flat_batch::FlatBatch, input::ModelInput,
    lora_stacks::LoraStacks, step_layout::StepLayout, workspace::Workspace,
};

/// OpenAI's limit of logit biases per request.
const MAX_LOGIT_BIASES: usize = 300;

/// Limit on the histories of rows with penalties, in tokens of all rows together.
const MAX_HISTORY_TOKENS: usize = 4 << 20;

/// Everything that a step needs besides its batch. It is allocated once, so that a step allocates
/// nothing and a decode step is one launch of a graph.
pub(crate) struct GpuSteps {
    device: Device,
    upload: Upload,
    sampler: DeviceSampler,
    stopwatch: Stopwatch,
    /// Buffers between the two halves of the adapters' products.
    lora_scratch: LoraScratch,
    /// Graphs of decode steps, by number of rows and whether there are adapters.
    graphs: BTreeMap<(usize, bool), Graph>,
    table_width: usize,
    max_rows: usize,
    max_adapters: usize,
}

/// The inputs of a step besides the batch.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub model: &'a Llama,
    pub cache: &'a KvCache,
    pub workspace: &'a Workspace,
    /// The adapter slots, if adapters are served.
    pub stacks: Option<&'a LoraStacks>,
}

impl GpuSteps {
    pub(crate) fn new(
        model: &Llama,
        config: RunnerConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let RunnerConfig {
            max_num_seqs: max_rows,
            max_num_batched_tokens: max_tokens,
            max_adapters,
            ..
        } = config;
        let table_width = model.max_positions().div_ceil(crate::BLOCK_SIZE);
        let largest = StepLayout {
            tokens: max_tokens,
            rows: max_rows,
            samples: max_rows,
            lora_tiles: max_lora_tiles(max_tokens, max_adapters),
            table_width,
        };
        let capacity = ListCapacity {
            history: (max_rows * model.max_positions()).min(MAX_HISTORY_TOKENS),
            bias: max_rows * MAX_LOGIT_BIASES,
        };
        let vocab = model.config().vocab_size;
        Ok(Self {
            upload: Upload::new(largest.words(), device)?,
            sampler: DeviceSampler::new(max_rows, vocab, capacity, device)?,
            stopwatch: Stopwatch::new(device)?,
            lora_scratch: LoraStacks::scratch(model.config(), config, largest.lora_tiles, device)?,
            graphs: BTreeMap::new(),
            device: device.clone(),
            table_width,
            max_rows,
            max_adapters,
        })
    }

    /// Records a graph for every size of decode step. Each step runs once before, because the
    /// initialisation of a first run cannot be recorded.
    pub(crate) fn record_graphs(&mut self, parts: Parts<'_>) -> Result<(), ModelError> {
        parts.model.plan_products(parts.workspace)?;
        for rows in graph_sizes(self.max_rows) {
            let layout = self.layout(rows, rows, rows);
            // No row is live, so the content of the words doesn't matter.
            self.upload.words()?[..layout.words()].fill(0);
            self.upload.send(layout.words())?;
            for with_adapters in [false, true] {
                if with_adapters && parts.stacks.is_none() {
                    continue;
                }
                let live = layout.tensors(self.upload.tensor(), 1)?.live;
                let decode = || -> candle_core::Result<()> {
                    self.compute(parts, layout, 1, with_adapters)
                        .map(drop)
                        .map_err(|error| match error {
                            ModelError::Tensor(source) => source,
                            other => candle_core::Error::wrap(other),
                        })
                };
                Graph::rehearse(&live, decode)?;
                self.device.synchronize()?;
                let graph = Graph::capture(&self.device, &live, decode)?;
                self.graphs.insert((rows, with_adapters), graph);
            }
        }
        Ok(())
    }

    /// Computes a step and samples. `slot_of` returns the slot of an adapter.
    pub(crate) fn step(
        &mut self,
        parts: Parts<'_>,
        flat: &FlatBatch<'_>,
        slot_of: impl Fn(AdapterId) -> Result<usize, ModelError>,
        last_tokens: &[u32],
        specs: &[SampleSpec<'_>],
    ) -> Result<(Tensor, Vec<SampleResult>), ModelError> {
        let (tokens, rows) = (flat.token_ids.len(), flat.row_tokens.len());
        let adapter_slots = flat.adapters.iter().map(|(id, _)| slot_of(*id));
        let adapter_slots = adapter_slots.collect::<Result<Vec<_>, _>>()?;
        let with_adapters = !flat.adapters.is_empty();
        let is_decode = tokens == rows && last_tokens.len() == rows;
        let size = graph_sizes(self.max_rows).find(|size| *size >= rows);
        let size =
            size.filter(|size| is_decode && self.graphs.contains_key(&(*size, with_adapters)));
        let layout = match size {
            Some(size) => self.layout(size, size, size),
            None => self.layout(tokens, rows, last_tokens.len()),
        };

        let words = self.upload.words()?;
        layout.write(words, flat, &adapter_slots, last_tokens);
        self.sampler.stage(specs, &mut words[layout.parameters()])?;
        self.upload.send_with_table(layout.block_table(flat))?;
        self.stopwatch.start()?;
        let graph = size.and_then(|size| self.graphs.get(&(size, with_adapters)));
        let hidden = match graph {
            Some(graph) => {
                graph.launch()?;
                parts.workspace.rows(tokens)?.hidden
            }
            None => self.compute(parts, layout, flat.max_queries, with_adapters)?,
        };
        self.stopwatch.stop()?;
        let sampled = match specs {
            [] => Vec::new(),
            _ => self.sampler.collect(specs)?,
        };
        Ok((hidden, sampled))
    }

    /// Device seconds of the last step. Waits until it has finished.
    pub(crate) fn seconds(&self) -> Result<f64, ModelError> {
        Ok(self.stopwatch.seconds()?)
    }

    /// Launches all work of a step on the device.
    fn compute(
        &self,
        parts: Parts<'_>,
        layout: StepLayout,
        max_queries: usize,
        with_adapters: bool,
    ) -> Result<Tensor, ModelError> {
        let Parts {
            model,
            cache,
            workspace,
            stacks,
        } = parts;
        let words = layout.tensors(self.upload.tensor(), max_queries)?;
        let (last_tokens, parameters) = (words.last_tokens.clone(), words.parameters.clone());
        let rows = LoraRows {
            tiles: words.lora_tiles.clone(),
            scratch: self.lora_scratch.clone(),
        };
        let adapters = stacks
            .filter(|_| with_adapters)
            .map(|stacks| (stacks, rows));
        let input = ModelInput::on_gpu(words, adapters);
        let hidden = model.forward(&input, cache, workspace)?;
        if layout.samples > 0 {
            let logits = model.logits(&hidden, &last_tokens, Vec::new(), workspace)?;
            self.sampler.launch(&logits, &parameters)?;
        }
        Ok(hidden)
    }

    fn layout(&self, tokens: usize, rows: usize, samples: usize) -> StepLayout {
        StepLayout {
            tokens,
            rows,
            samples,
            lora_tiles: max_lora_tiles(tokens, self.max_adapters),
            table_width: self.table_width,
        }
    }
}

/// The numbers of rows for which decode graphs are recorded, ascending: 1, 2, 4, then every
/// multiple of 8 up to 64, of 16 up to 256, of 32 beyond, and `max_rows`.
pub fn graph_sizes(max_rows: usize) -> impl Iterator<Item = usize> {
    let steps = [1, 2, 4]
        .into_iter()
        .chain((8..64).step_by(8))
        .chain((64..256).step_by(16))
        .chain((256..).step_by(32));
    steps
        .take_while(move |rows| *rows < max_rows)
        .chain([max_rows])
}
