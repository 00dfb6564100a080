//! Reads a model's weights from a checkpoint.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{LinearWeight, LinearWeightBuilder, RopeFactors, RopeTable};

use super::{DecoderLayer, Llama, Residual};
use crate::{Checkpoint, Layers, ModelConfig, ModelError, config::LinearShape};

/// Moves tensors from a checkpoint to the device.
pub(super) struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    dtype: DType,
    device: &'a Device,
    /// Number of loading threads. Conversion limits the loading speed.
    threads: usize,
}

/// Maximum number of loading threads. More would wait for the disk or the memory.
const MAX_THREADS: usize = 8;

impl<'a> Loader<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, dtype: DType, device: &'a Device) -> Self {
        Self {
            checkpoint,
            dtype,
            device,
            threads: thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)),
        }
    }

    pub(super) fn llama(&self, max_positions: usize) -> Result<Llama, ModelError> {
        let config = self.checkpoint.config().clone();
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
            norm: self.vector("model.norm.weight", 1.0 / config.factors.logits_divisor)?,
            lm_head,
            rope: self.rope(&config, max_positions)?,
            no_rope: match config.unrotated_layers {
                Layers::None => None,
                _ => Some(RopeTable::still(
                    config.head_dim,
                    max_positions,
                    self.device,
                )?),
            },
            residual: Residual::of(&config),
            config,
        })
    }

    fn rope(&self, config: &ModelConfig, max_positions: usize) -> Result<RopeTable, ModelError> {
        let rope = &config.rope;
        let of_query = rope
            .query_scaling
            .map(|scaling| move |position| scaling.at(position));
        let factors = RopeFactors {
            all: rope.attention_factor(),
            queries: of_query.as_ref().map(|of| of as &dyn Fn(usize) -> f32),
        };
        let inv_freq = rope.inv_freq(max_positions);
        Ok(RopeTable::new(
            &inv_freq,
            max_positions,
            factors,
            self.device,
        )?)
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
        let config = self.checkpoint.config();
        let residual = Residual::of(config).factor;
        let weight = |layers: &[LinearShape]| {
            let names = layers.iter().map(|(name, _)| format!("{prefix}.{name}"));
            let names: Vec<_> = names.map(|name| format!("{name}.weight")).collect();
            self.linear(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let bias = |layers: &[LinearShape], is_there: bool, factor: f32| {
            let names = layers
                .iter()
                .map(|(name, _)| format!("{prefix}.{name}.bias"));
            is_there.then(|| self.vectors(names, factor)).transpose()
        };
        let norm = |name: &str| self.vector(&format!("{prefix}.{name}.weight"), 1.0);
        let (qkv, gate_up) = (config.qkv_layers(), config.gate_up_layers());
        let o = [("self_attn.o_proj", config.hidden_size)];
        let down = [("mlp.down_proj", config.hidden_size)];
        Ok(DecoderLayer {
            input_norm: norm("input_layernorm")?,
            qkv_proj: weight(&qkv)?,
            qkv_bias: bias(&qkv, config.biases.qkv, 1.0)?,
            head_norms: match config.has_head_norms {
                true => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
                false => None,
            },
            o_proj: weight(&o)?,
            o_bias: bias(&o, config.biases.o, residual)?,
            post_attention_norm: norm("post_attention_layernorm")?,
            gate_up_proj: weight(&gate_up)?,
            gate_up_bias: bias(&gate_up, config.biases.mlp, 1.0)?,
            down_proj: weight(&down)?,
            down_bias: bias(&down, config.biases.mlp, residual)?,
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

    fn vector(&self, name: &str, factor: f32) -> Result<Tensor, ModelError> {
        self.vectors([name.to_owned()], factor)
    }

    /// Concatenates vectors, times a factor.
    fn vectors(
        &self,
        names: impl IntoIterator<Item = String>,
        factor: f32,
    ) -> Result<Tensor, ModelError> {
        let mut values = Vec::new();
        for name in names {
            self.checkpoint.read_rows(&name, 0..1, &mut values)?;
        }
        values.iter_mut().for_each(|value| *value *= factor);
        Ok(Tensor::new(values, self.device)?)
    }
}
