//! LoRA adapters (Hu et al. 2021) and their variants, as PEFT saves them: `y = g ⊙ W x + s · B (A
//! x) + b`.

mod config;
mod dummy;
mod files;
mod loader;
mod magnitude;
mod names;
mod report;
mod target_modules;

use std::{fmt, path::Path};

use candle_core::{Device, Tensor};
use farthing_ops::{LinearWeight, LinearWeightBuilder, LoraSegment, LoraWeight, embed, lora};
use farthing_scheduler::AdapterId;

pub use self::dummy::{DummyAdapter, DummyTargets};
pub use self::report::AdapterReport;
use self::{config::LoraConfig, files::AdapterFiles, loader::Loader};
use crate::{Checkpoint, ComputeType, DeviceKind, ModelError};

/// An adapter, packed for the device.
pub struct LoraAdapter {
    id: AdapterId,
    rank: usize,
    layers: Vec<LoraLayer>,
    embed_tokens: LoraEmbedding,
    lm_head: LoraHead,
    size_bytes: usize,
    changes_nothing: bool,
}

/// The base model that an adapter is loaded for.
#[derive(Clone, Copy, Debug)]
pub struct LoraBase<'a> {
    /// The base model's weights, needed for DoRA's gains and saved embeddings.
    pub checkpoint: &'a Checkpoint,
    /// Type of the adapter's weights.
    pub compute_type: ComputeType,
    /// The device.
    pub device: DeviceKind,
}

/// The adapter's weights in one decoder layer, fused like the base model's weights. `None` where
/// the adapter changes nothing.
#[derive(Default)]
pub(crate) struct LoraLayer {
    qkv_proj: Option<LoraWeight>,
    o_proj: Option<LoraWeight>,
    gate_up_proj: Option<LoraWeight>,
    down_proj: Option<LoraWeight>,
}

/// The adapter's change of the embedding.
#[derive(Default)]
struct LoraEmbedding {
    /// Replaces the base model's table: `[vocab, hidden]`.
    table: Option<LinearWeight>,
    delta: Option<EmbeddingDelta>,
}

/// The `s · B A` of an embedding. Columns of A are looked up by token, so A is kept as a table, and
/// the looked-up rows are multiplied by B.
struct EmbeddingDelta {
    a: LinearWeight, // [vocab, rank]
    /// B, as a LoRA weight whose shrink is the identity.
    b: LoraWeight,
}

/// The adapter's change of the output projection.
#[derive(Default)]
pub(crate) struct LoraHead {
    /// Replaces the base model's weight: `[vocab, hidden]`.
    pub weight: Option<LinearWeight>,
    pub delta: Option<LoraWeight>,
}

/// The fused weights that adapters can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projection {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Projection {
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];
}

impl LoraLayer {
    /// The adapter's weight at a projection, if it changes it.
    pub(crate) fn get(&self, projection: Projection) -> Option<&LoraWeight> {
        match projection {
            Projection::Qkv => self.qkv_proj.as_ref(),
            Projection::O => self.o_proj.as_ref(),
            Projection::GateUp => self.gate_up_proj.as_ref(),
            Projection::Down => self.down_proj.as_ref(),
        }
    }
}

impl LoraAdapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors` from a directory.
    ///
    /// # Errors
    /// The adapter cannot be served exactly as PEFT computes it: a field of the config is not
    /// supported, a tensor is missing or unexpected, a shape does not fit the base model, or a
    /// value is not finite.
    pub fn load(directory: &Path, base: LoraBase<'_>) -> Result<Self, ModelError> {
        let files = AdapterFiles::read(directory)?;
        let config = LoraConfig::parse(files.config()).map_err(|e| files.refused(e))?;
        Loader::new(files, config, base)?.load()
    }

    /// A number of bytes that the adapter in a directory takes at least on the device. Only the header
    /// of its weights is read.
    ///
    /// # Errors
    /// There are no weights, or their header does not fit their size.
    pub fn least_bytes(directory: &Path, compute_type: ComputeType) -> Result<usize, ModelError> {
        let elements = files::count_elements(directory)?;
        Ok(elements.saturating_mul(compute_type.dtype().size_in_bytes()))
    }

    /// The hash of its config and weights.
    pub fn id(&self) -> AdapterId {
        self.id
    }

    /// The largest rank of its factors.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Size on the device.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Whether all of its weights are zero or the base model's, so that it answers as the base model
    /// does. Any other one changes the output of at least one module, and thereby the logits.
    pub fn changes_nothing(&self) -> bool {
        self.changes_nothing
    }

    /// Whether it only has A and B on the decoder's projections, which is what a GPU supports.
    fn is_plain(&self) -> bool {
        let of_layer = |layer: &'_ LoraLayer| {
            Projection::ALL.into_iter().all(|projection| {
                let weight = layer.get(projection);
                weight.is_none_or(|weight| weight.gain.is_none() && weight.bias.is_none())
            })
        };
        self.layers.iter().all(of_layer)
            && !self.changes_embeddings()
            && self.lm_head.weight.is_none()
            && self.lm_head.delta.is_none()
    }

    pub(crate) fn layer(&self, index: usize) -> &LoraLayer {
        &self.layers[index]
    }

    pub(crate) fn lm_head(&self) -> &LoraHead {
        &self.lm_head
    }

    /// Whether it changes the embedding.
    pub(crate) fn changes_embeddings(&self) -> bool {
        self.embed_tokens.table.is_some() || self.embed_tokens.delta.is_some()
    }

    /// Embeds tokens that use this adapter. `hidden [rows, hidden]` holds the base model's
    /// embedding of `token_ids [rows]`. `scratch` has room for `rank` values per row.
    pub(crate) fn embed(
        &self,
        hidden: &Tensor,
        token_ids: &Tensor,
        scratch: &Tensor,
    ) -> Result<(), ModelError> {
        let LoraEmbedding { table, delta } = &self.embed_tokens;
        if let Some(table) = table {
            embed(hidden, token_ids, table)?;
        }
        if let Some(EmbeddingDelta { a, b }) = delta {
            let rows = token_ids.elem_count();
            let shape = (rows, a.in_features());
            let shrunk = scratch.flatten_all()?.narrow(0, 0, shape.0 * shape.1)?;
            let shrunk = shrunk.reshape(shape)?;
            embed(&shrunk, token_ids, a)?;
            let segment = LoraSegment {
                rows: 0..rows,
                weight: b,
            };
            lora(hidden, &shrunk, &[segment])?;
        }
        Ok(())
    }
}

/// Packs one factor (A or B) of an adapter. For the CPU it is packed for its kernels. For a GPU it
/// stays in host memory until the adapter is copied to a slot.
///
/// # Errors
/// There is too little memory.
pub fn adapter_factor(
    rows: &[f32],
    out_features: usize,
    compute_type: ComputeType,
    device: DeviceKind,
) -> Result<LinearWeight, ModelError> {
    let (in_features, dtype) = (rows.len() / out_features, compute_type.dtype());
    let mut weight = match device {
        DeviceKind::Cpu => {
            LinearWeightBuilder::new(out_features, in_features, dtype, &Device::Cpu)?
        }
        DeviceKind::Cuda(_) => LinearWeightBuilder::staged(out_features, in_features, dtype)?,
    };
    weight.push_rows(rows)?;
    Ok(weight.finish()?)
}

impl fmt::Debug for LoraAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoraAdapter({}, rank {})", self.id, self.rank)
    }
}
