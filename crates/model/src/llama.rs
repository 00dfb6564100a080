//! Llama's weights and forward pass. The other families use the same code with another
//! configuration.
//!
//! Touvron et al. 2023 (Llama), Jiang et al. 2023 (Mistral). The computation follows the
//! `modeling_*.py` of HF transformers.

mod loader;

use std::ops::Range;

use candle_core::Tensor;
use farthing_ops::{
    Accumulate, LinearWeight, LoraSegment, RopeTable, add_bias, add_scaled, embed, gather_rows,
    head_norm, linear, lora, move_together, paged_attention, plan_linear, planned_rows, read_ahead,
    rms_norm, rope_and_cache, silu_mul,
};

use crate::{
    Checkpoint, ComputeType, DeviceKind, KvCache, LoraAdapter, ModelConfig, ModelError,
    error::room_for,
    input::{LayerAdapters, ModelInput},
    llama::loader::Loader,
    lora::Projection,
    workspace::{TokenRows, Workspace},
};

/// A decoder-only transformer. It holds the weights and no state of requests.
pub struct Llama {
    config: ModelConfig,
    embed_tokens: LinearWeight, // [vocab, hidden]
    layers: Vec<DecoderLayer>,
    norm: Tensor,                  // [hidden], divided by the divisor of logits
    lm_head: Option<LinearWeight>, // [vocab, hidden]; `None` if tied to `embed_tokens`
    rope: RopeTable,
    /// The table of layers without rotary position embeddings, if there are any.
    no_rope: Option<RopeTable>,
    residual: Residual,
}

/// How the residual stream is kept. It is that of transformers divided by the factor of embeddings,
/// which a model of one factor has in common with one of none: RMSNorm is the same for both, but for
/// its epsilon.
struct Residual {
    /// RMSNorm's epsilon.
    eps: f32,
    /// Factor of what a layer adds.
    factor: f32,
}

struct DecoderLayer {
    input_norm: Tensor,              // [hidden]
    qkv_proj: LinearWeight,          // [(heads + 2 kv_heads) * head_dim, hidden]
    qkv_bias: Option<Tensor>,        // [(heads + 2 kv_heads) * head_dim]
    head_norms: Option<[Tensor; 2]>, // [head_dim] of queries and of keys
    o_proj: LinearWeight,            // [hidden, heads * head_dim]
    o_bias: Option<Tensor>,          // [hidden], times the residual factor
    post_attention_norm: Tensor,     // [hidden]
    gate_up_proj: LinearWeight,      // [2 * intermediate, hidden]
    gate_up_bias: Option<Tensor>,    // [2 * intermediate]
    down_proj: LinearWeight,         // [hidden, intermediate]
    down_bias: Option<Tensor>,       // [hidden], times the residual factor
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
        let device = device.open()?;
        let loader = Loader::new(checkpoint, compute_type.dtype(), &device);
        let mut llama = room_for("the weights", loader.llama(max_positions))?;
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

        embed(&w.hidden, &input.token_ids, &self.embed_tokens)?;
        input.embed_adapted(&w.hidden, &w.gate_up)?;
        for (i, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            rms_norm(&w.normed, &w.hidden, &layer.input_norm, self.residual.eps)?;
            let adapters = input.adapters(i, Projection::Qkv);
            adapters.begin(&w.normed)?;
            read_ahead(&layer.o_proj);
            linear(&w.qkv, &w.normed, &layer.qkv_proj, Accumulate::Overwrite)?;
            adapters.add(&w.qkv, &w.normed)?;
            add_bias_of(&layer.qkv_bias, &w.qkv)?;
            if let Some([query, key]) = &layer.head_norms {
                let (heads, eps) = (config.num_attention_heads, config.rms_norm_eps);
                head_norm(&w.qkv, query, key, heads, eps)?;
            }
            rope_and_cache(
                &w.qkv,
                self.rope_of(i),
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
                config.factors.attention,
                config.window_of(i),
            )?;
            let adapters = input.adapters(i, Projection::O);
            read_ahead(&layer.gate_up_proj);
            self.add_projected(&w.hidden, &w.attention, &layer.o_proj, &adapters, &w.normed)?;
            add_bias_of(&layer.o_bias, &w.hidden)?;

            let norm = &layer.post_attention_norm;
            rms_norm(&w.normed, &w.hidden, norm, self.residual.eps)?;
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
            add_bias_of(&layer.gate_up_bias, &w.gate_up)?;
            silu_mul(&w.activated, &w.gate_up)?;
            let adapters = input.adapters(i, Projection::Down);
            read_ahead(self.after_layer(i));
            self.add_projected(
                &w.hidden,
                &w.activated,
                &layer.down_proj,
                &adapters,
                &w.normed,
            )?;
            add_bias_of(&layer.down_bias, &w.hidden)?;
        }
        Ok(w.hidden)
    }

    /// The rotation of a layer.
    fn rope_of(&self, layer: usize) -> &RopeTable {
        let no_rope = self.no_rope.as_ref();
        let is_unrotated = self.config.unrotated_layers.contains(layer);
        no_rope.filter(|_| is_unrotated).unwrap_or(&self.rope)
    }

    /// Adds a projection and its adapters' part to the residual stream. Where that needs a factor,
    /// or an adapter scales the projection, it is computed in `scratch` first.
    fn add_projected(
        &self,
        residual: &Tensor,
        x: &Tensor,
        weight: &LinearWeight,
        adapters: &LayerAdapters<'_>,
        scratch: &Tensor,
    ) -> Result<(), ModelError> {
        let factor = self.residual.factor;
        adapters.begin(x)?;
        if factor != 1.0 || adapters.have_gains() {
            linear(scratch, x, weight, Accumulate::Overwrite)?;
            adapters.add(scratch, x)?;
            add_scaled(residual, scratch, factor)?;
        } else {
            linear(residual, x, weight, Accumulate::Add)?;
            adapters.add(residual, x)?;
        }
        Ok(())
    }

    /// Plans the matrix products of all step sizes, so that none is planned while requests wait.
    /// Overwrites the workspace.
    pub(crate) fn plan_products(&self, workspace: &Workspace) -> Result<(), ModelError> {
        use Accumulate::Overwrite;
        for rows in planned_sizes(workspace.max_tokens()?) {
            let w = workspace.rows(rows)?;
            // All layers have the same shape.
            if let Some(layer) = self.layers.first() {
                plan_linear(&w.qkv, &w.normed, &layer.qkv_proj, Overwrite)?;
                let (added, into) = self.residual.projection(&w);
                plan_linear(into, &w.attention, &layer.o_proj, added)?;
                plan_linear(&w.gate_up, &w.normed, &layer.gate_up_proj, Overwrite)?;
                plan_linear(into, &w.activated, &layer.down_proj, added)?;
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
        rms_norm(&w.normed, &w.hidden, &self.norm, self.residual.eps)?;

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

impl Residual {
    fn of(config: &ModelConfig) -> Self {
        let embedding = config.factors.embedding;
        Self {
            eps: config.rms_norm_eps / (embedding * embedding),
            factor: config.factors.residual / embedding,
        }
    }

    /// How [`linear`] computes a projection that is added to the stream, and into what.
    fn projection<'a>(&self, rows: &'a TokenRows) -> (Accumulate, &'a Tensor) {
        if self.factor == 1.0 {
            (Accumulate::Add, &rows.hidden)
        } else {
            (Accumulate::Overwrite, &rows.normed)
        }
    }
}

fn add_bias_of(bias: &Option<Tensor>, out: &Tensor) -> Result<(), ModelError> {
    if let Some(bias) = bias {
        add_bias(out, bias)?;
    }
    Ok(())
}
