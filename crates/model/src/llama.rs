//! Llama's weights and forward pass. Mistral uses the same code with another configuration.
//!
//! Touvron et al. 2023 (Llama), Jiang et al. 2023 (Mistral). The computation follows
//! `modeling_llama.py` and `modeling_mistral.py` of HF transformers.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    Accumulate, LinearWeight, LinearWeightBuilder, LoraSegment, RopeTable, add, embed, gather_rows,
    linear, lora, move_together, paged_attention, plan_linear, planned_rows, read_ahead, rms_norm,
    rope_and_cache, silu_mul,
};

use crate::{
    Checkpoint, ComputeType, DeviceKind, KvCache, LoraAdapter, ModelConfig, ModelError,
    error::room_for,
    input::{LayerAdapters, ModelInput},
    lora::Projection,
    workspace::Workspace,
};

/// A decoder-only transformer. It holds the weights and no state of requests.
pub struct Llama {
    config: ModelConfig,
    embed_tokens: LinearWeight, // [vocab, hidden]
    layers: Vec<DecoderLayer>,
    norm: Tensor,                  // [hidden]
    lm_head: Option<LinearWeight>, // [vocab, hidden]; `None` if tied to `embed_tokens`
    rope: RopeTable,
}

struct DecoderLayer {
    input_norm: Tensor,          // [hidden]
    qkv_proj: LinearWeight,      // [(heads + 2 kv_heads) * head_dim, hidden]
    o_proj: LinearWeight,        // [hidden, heads * head_dim]
    post_attention_norm: Tensor, // [hidden]
    gate_up_proj: LinearWeight,  // [2 * intermediate, hidden]
    down_proj: LinearWeight,     // [hidden, intermediate]
}

impl DecoderLayer {
    /// In the order in which a step reads them.
    fn weights_mut(&mut self) -> [&mut LinearWeight; 4] {
        [
            &mut self.qkv_proj,
            &mut self.o_proj,
            &mut self.gate_up_proj,
            &mut self.down_proj,
        ]
    }
}

impl Llama {
    /// Reads the weights and packs them for the device. Peak memory is the weights plus
    /// a chunk of rows, or plus the small weights that are moved together at last.
    ///
    /// # Errors
    /// A tensor is missing, has the wrong shape or cannot be read.
    pub fn load(
        checkpoint: &Checkpoint,
        max_positions: usize,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<Self, ModelError> {
        let config = checkpoint.config().clone();
        let device = device.open()?;
        let loader = Loader {
            checkpoint,
            dtype: compute_type.dtype(),
            device: &device,
            threads: thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)),
        };
        let mut llama = room_for("the weights", loader.llama(config, max_positions))?;
        move_together(llama.layers.iter_mut().flat_map(DecoderLayer::weights_mut))?;
        Ok(llama)
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Maximum number of tokens of a sequence.
    pub(crate) fn max_positions(&self) -> usize {
        self.rope.max_positions()
    }

    /// Runs all layers over the new tokens and fills the cache. Returns the hidden states after the
    /// last layer, `[tokens, hidden]`, as a view of the workspace.
    pub(crate) fn forward(
        &self,
        input: &ModelInput<'_>,
        cache: &KvCache,
        workspace: &Workspace,
    ) -> Result<Tensor, ModelError> {
        let config = &self.config;
        let w = workspace.rows(input.num_tokens())?;
        let scale = 1.0 / (config.head_dim as f32).sqrt();

        embed(&w.hidden, &input.token_ids, &self.embed_tokens)?;
        input.embed_adapted(&w.hidden, &w.gate_up)?;
        for (i, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            rms_norm(&w.normed, &w.hidden, &layer.input_norm, config.rms_norm_eps)?;
            let adapters = input.adapters(i, Projection::Qkv);
            adapters.begin(&w.normed)?;
            read_ahead(&layer.o_proj);
            linear(&w.qkv, &w.normed, &layer.qkv_proj, Accumulate::Overwrite)?;
            adapters.add(&w.qkv, &w.normed)?;
            rope_and_cache(
                &w.qkv,
                &self.rope,
                &input.positions,
                &input.slots,
                cache,
                config.num_attention_heads,
            )?;
            paged_attention(
                &w.attention,
                &w.qkv,
                cache,
                &input.attention,
                config.num_attention_heads,
                scale,
                config.sliding_window,
            )?;
            let adapters = input.adapters(i, Projection::O);
            read_ahead(&layer.gate_up_proj);
            add_projected(&w.hidden, &w.attention, &layer.o_proj, &adapters, &w.normed)?;

            rms_norm(
                &w.normed,
                &w.hidden,
                &layer.post_attention_norm,
                config.rms_norm_eps,
            )?;
            let adapters = input.adapters(i, Projection::GateUp);
            adapters.begin(&w.normed)?;
            read_ahead(&layer.down_proj);
            linear(
                &w.gate_up,
                &w.normed,
                &layer.gate_up_proj,
                Accumulate::Overwrite,
            )?;
            adapters.add(&w.gate_up, &w.normed)?;
            silu_mul(&w.activated, &w.gate_up)?;
            let adapters = input.adapters(i, Projection::Down);
            read_ahead(self.after_layer(i));
            add_projected(
                &w.hidden,
                &w.activated,
                &layer.down_proj,
                &adapters,
                &w.normed,
            )?;
        }
        Ok(w.hidden)
    }

    /// Plans the matrix products of all step sizes, so that none is planned while requests wait.
    /// Overwrites the workspace.
    pub(crate) fn plan_products(&self, workspace: &Workspace) -> Result<(), ModelError> {
        use Accumulate::{Add, Overwrite};
        for rows in planned_sizes(workspace.max_tokens()?) {
            let w = workspace.rows(rows)?;
            // All layers have the same shape.
            if let Some(layer) = self.layers.first() {
                plan_linear(&w.qkv, &w.normed, &layer.qkv_proj, Overwrite)?;
                plan_linear(&w.hidden, &w.attention, &layer.o_proj, Add)?;
                plan_linear(&w.gate_up, &w.normed, &layer.gate_up_proj, Overwrite)?;
                plan_linear(&w.hidden, &w.activated, &layer.down_proj, Add)?;
            }
        }
        for rows in planned_sizes(workspace.max_logit_rows()) {
            let w = workspace.logit_rows(rows)?;
            plan_linear(&w.logits, &w.normed, self.output_layer(), Overwrite)?;
        }
        Ok(())
    }

    fn output_layer(&self) -> &LinearWeight {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// The first weight that is used after a layer.
    fn after_layer(&self, layer: usize) -> &LinearWeight {
        match self.layers.get(layer + 1) {
            Some(next) => &next.qkv_proj,
            None => self.output_layer(),
        }
    }

    /// Logits of some tokens. `tokens` is u32 `[n]`, ascending; the result is f32 `[n, vocab]`, a
    /// view of the workspace. `adapters` lists the tokens (by index in `tokens`) whose adapter may
    /// change the output layer.
    pub(crate) fn logits(
        &self,
        hidden: &Tensor,
        tokens: &Tensor,
        adapters: Vec<(Range<usize>, &LoraAdapter)>,
        workspace: &Workspace,
    ) -> Result<Tensor, ModelError> {
        let w = workspace.logit_rows(tokens.elem_count())?;
        gather_rows(&w.hidden, hidden, tokens)?;
        rms_norm(&w.normed, &w.hidden, &self.norm, self.config.rms_norm_eps)?;

        // One pass of the base weight over all rows is faster than one per range.
        let replaced = |(_, adapter): &&(_, &LoraAdapter)| adapter.lm_head().weight.is_some();
        let replaced_rows: usize = adapters
            .iter()
            .filter(replaced)
            .map(|(rows, _)| rows.len())
            .sum();
        if replaced_rows < w.logits.dim(0)? {
            let lm_head = self.output_layer();
            if let Some(first) = self.layers.first() {
                read_ahead(&first.qkv_proj);
            }
            linear(&w.logits, &w.normed, lm_head, Accumulate::Overwrite)?;
        }
        for (rows, adapter) in &adapters {
            if let Some(weight) = &adapter.lm_head().weight {
                let (start, len) = (rows.start, rows.len());
                let logits = w.logits.narrow(0, start, len)?;
                let normed = w.normed.narrow(0, start, len)?;
                linear(&logits, &normed, weight, Accumulate::Overwrite)?;
            }
        }
        let deltas = adapters.into_iter().filter_map(|(rows, adapter)| {
            let weight = adapter.lm_head().delta.as_ref()?;
            Some(LoraSegment { rows, weight })
        });
        lora(&w.logits, &w.normed, &deltas.collect::<Vec<_>>())?;
        Ok(w.logits)
    }
}

/// All numbers of rows that [`linear`] has a plan for, up to `max_rows`.
fn planned_sizes(max_rows: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), move |rows| {
        (*rows < max_rows).then(|| planned_rows(rows + 1).min(max_rows))
    })
}

/// Adds a projection and its adapters' part to the residual stream. If an adapter scales the
/// projection, it is computed in `scratch` first.
fn add_projected(
    residual: &Tensor,
    x: &Tensor,
    weight: &LinearWeight,
    adapters: &LayerAdapters<'_>,
    scratch: &Tensor,
) -> Result<(), ModelError> {
    adapters.begin(x)?;
    if adapters.have_gains() {
        linear(scratch, x, weight, Accumulate::Overwrite)?;
        adapters.add(scratch, x)?;
        add(residual, scratch)?;
    } else {
        linear(residual, x, weight, Accumulate::Add)?;
        adapters.add(residual, x)?;
    }
    Ok(())
}

/// Moves tensors from a checkpoint to the device.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    dtype: DType,
    device: &'a Device,
    /// Number of loading threads. Conversion limits the loading speed.
    threads: usize,
}

/// Maximum number of loading threads. More would wait for the disk or the memory.
const MAX_THREADS: usize = 8;

impl Loader<'_> {
    fn llama(&self, config: ModelConfig, max_positions: usize) -> Result<Llama, ModelError> {
        let (layers, vocabulary) = self.beside_layers(config.num_hidden_layers, || {
            let embed_tokens = self.linear(&["model.embed_tokens.weight"])?;
            let lm_head = if config.tie_word_embeddings {
                None
            } else {
                Some(self.linear(&["lm_head.weight"])?)
            };
            Ok((embed_tokens, lm_head))
        })?;
        let (embed_tokens, lm_head) = vocabulary;
        Ok(Llama {
            embed_tokens,
            layers,
            norm: self.vector("model.norm.weight")?,
            lm_head,
            rope: RopeTable::new(&config.rope.inv_freq(), max_positions, self.device)?,
            config,
        })
    }

    /// Loads all decoder layers on all threads. This thread joins in after `other`.
    fn beside_layers<T>(
        &self,
        num_layers: usize,
        other: impl FnOnce() -> Result<T, ModelError>,
    ) -> Result<(Vec<DecoderLayer>, T), ModelError> {
        let next = AtomicUsize::new(0);
        let load_some = || -> Result<Vec<_>, ModelError> {
            let mut loaded = Vec::new();
            loop {
                let layer = next.fetch_add(1, Ordering::Relaxed);
                if layer >= num_layers {
                    return Ok(loaded);
                }
                let weights = self.decoder_layer(&format!("model.layers.{layer}"));
                // Other threads finish the layers that they have begun, and begin no more.
                let weights = weights.inspect_err(|_| next.store(num_layers, Ordering::Relaxed))?;
                loaded.push((layer, weights));
            }
        };
        let (mut layers, other) = thread::scope(|scope| {
            let helpers: Vec<_> = (1..self.threads).map(|_| scope.spawn(load_some)).collect();
            let other = other();
            let mut layers = load_some()?;
            for helper in helpers {
                let loaded = helper.join().unwrap_or_else(|panic| resume_unwind(panic));
                layers.extend(loaded?);
            }
            Ok::<_, ModelError>((layers, other?))
        })?;
        layers.sort_unstable_by_key(|(layer, _)| *layer);
        Ok((
            layers.into_iter().map(|(_, weights)| weights).collect(),
            other,
        ))
    }

    fn decoder_layer(&self, prefix: &str) -> Result<DecoderLayer, ModelError> {
        let name = |suffix: &str| format!("{prefix}.{suffix}.weight");
        let linear = |suffixes: &[&str]| {
            let names: Vec<_> = suffixes.iter().map(|suffix| name(suffix)).collect();
            self.linear(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        Ok(DecoderLayer {
            input_norm: self.vector(&name("input_layernorm"))?,
            qkv_proj: linear(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])?,
            o_proj: linear(&["self_attn.o_proj"])?,
            post_attention_norm: self.vector(&name("post_attention_layernorm"))?,
            gate_up_proj: linear(&["mlp.gate_proj", "mlp.up_proj"])?,
            down_proj: linear(&["mlp.down_proj"])?,
        })
    }

    /// Concatenates matrices of the same width, so that one multiplication computes them all.
    fn linear(&self, names: &[&str]) -> Result<LinearWeight, ModelError> {
        /// Small enough to stay in the processor's cache between reading and packing: 512 KiB of
        /// f32, or half of that if the checkpoint has bf16.
        const CHUNK_ELEMENTS: usize = 128 << 10;
        /// Packing is fastest in whole panels.
        const CHUNK_ROWS: usize = 16;

        let mut out_features = 0;
        let mut in_features = 0;
        for name in names {
            let shape = self.checkpoint.shape(name)?;
            out_features += shape[0];
            in_features = shape[1];
        }
        let mut weight =
            LinearWeightBuilder::new(out_features, in_features, self.dtype, self.device)?;
        let chunk_rows = (CHUNK_ELEMENTS / in_features / CHUNK_ROWS).max(1) * CHUNK_ROWS;
        let (mut rows, mut bf16_rows) = (Vec::new(), Vec::new());
        for name in names {
            let height = self.checkpoint.shape(name)?[0];
            let is_bf16 = self.checkpoint.is_stored_as_bf16(name);
            for start in (0..height).step_by(chunk_rows) {
                let range = start..height.min(start + chunk_rows);
                if is_bf16 {
                    bf16_rows.clear();
                    self.checkpoint
                        .read_bf16_rows(name, range, &mut bf16_rows)?;
                    weight.push_rows(&bf16_rows)?;
                } else {
                    rows.clear();
                    self.checkpoint.read_rows(name, range, &mut rows)?;
                    weight.push_rows(&rows)?;
                }
            }
        }
        Ok(weight.finish()?)
    }

    fn vector(&self, name: &str) -> Result<Tensor, ModelError> {
        let mut values = Vec::new();
        self.checkpoint.read_rows(name, 0..1, &mut values)?;
        Ok(Tensor::new(values, self.device)?)
    }
}
