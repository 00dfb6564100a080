//! Converts an adapter's files to weights on the device.

mod vocabulary;

use std::ops::Range;

use candle_core::{Device, Tensor};
use farthing_ops::{LinearWeight, LoraExpand, LoraWeight};

use super::{
    LoraAdapter, LoraBase, LoraLayer, adapter_factor,
    config::{LoraConfig, LoraScale},
    files::AdapterFiles,
    magnitude::Delta,
};
use crate::{DeviceKind, ModelError, config::LinearShape};

/// Takes the tensors from the files one by one. Tensors left at the end are an error.
pub(super) struct Loader<'a> {
    files: AdapterFiles,
    config: LoraConfig,
    base: LoraBase<'a>,
    /// The largest rank so far.
    rank: usize,
    size_bytes: usize,
    /// Modules that the adapter has weights for.
    modules: usize,
    /// Those whose weights change something.
    changed_modules: usize,
}

/// A linear layer that an adapter may change.
#[derive(Clone, Copy)]
struct Linear<'a> {
    module: &'a str,
    in_features: usize,
    out_features: usize,
    /// The base model's weight, if it is not the checkpoint's.
    weight: Option<&'a [f32]>,
}

/// The packed factors of a linear layer.
struct Factors {
    rank: usize,
    a: Vec<f32>,            // [rank, in_features]
    b: Vec<f32>,            // [out_features, rank], times scale and gain
    gain: Option<Vec<f32>>, // [out_features]
    bias: Option<Vec<f32>>, // [out_features]
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        files: AdapterFiles,
        config: LoraConfig,
        base: LoraBase<'a>,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            files,
            config,
            base,
            rank: 0,
            size_bytes: 0,
            modules: 0,
            changed_modules: 0,
        })
    }

    pub(super) fn load(mut self) -> Result<LoraAdapter, ModelError> {
        if self.base.checkpoint.config().has_vision {
            self.files.skip_images();
        }
        let layers = (0..self.base.checkpoint.config().num_hidden_layers)
            .map(|index| self.layer(index))
            .collect::<Result<_, _>>()?;
        let (embed_tokens, lm_head) = self.vocabulary()?;
        self.files.expect_all_taken()?;
        if self.modules == 0 {
            return Err(self.files.refused(
                "it has no weights for any module of this base model: target_modules and what \
                 narrows it (layers_to_transform, exclude_modules) match none"
                    .to_owned(),
            ));
        }
        let adapter = LoraAdapter {
            id: self.files.id(),
            rank: self.rank,
            layers,
            embed_tokens,
            lm_head,
            size_bytes: self.size_bytes,
            changes_nothing: self.changed_modules == 0,
        };
        if self.base.device != DeviceKind::Cpu && !adapter.is_plain() {
            return Err(self.files.refused(
                "DoRA, biases, and changes of the embedding or the output layer are \
                 supported on the CPU only"
                    .to_owned(),
            ));
        }
        Ok(adapter)
    }

    fn layer(&mut self, index: usize) -> Result<LoraLayer, ModelError> {
        let base = self.base.checkpoint.config();
        let (hidden, intermediate) = (base.hidden_size, base.intermediate_size);
        let (q, qkv, gate_up) = (base.q_size(), base.qkv_layers(), base.gate_up_layers());
        let mut fused = |in_features: usize, targets: &[LinearShape]| {
            let targets = targets
                .iter()
                .map(|(name, rows)| (format!("model.layers.{index}.{name}"), *rows));
            let targets: Vec<_> = targets.collect();
            let linears = targets.iter().map(|(module, out_features)| Linear {
                module,
                in_features,
                out_features: *out_features,
                weight: None,
            });
            self.fused(&linears.collect::<Vec<_>>())
        };
        Ok(LoraLayer {
            qkv_proj: fused(hidden, &qkv)?,
            o_proj: fused(q, &[("self_attn.o_proj", hidden)])?,
            gate_up_proj: fused(hidden, &gate_up)?,
            down_proj: fused(intermediate, &[("mlp.down_proj", hidden)])?,
        })
    }

    /// The adapter of layers that are one fused weight in the base model.
    fn fused(&mut self, linears: &[Linear<'_>]) -> Result<Option<LoraWeight>, ModelError> {
        let mut parts = Vec::new();
        let mut out_features = 0;
        for linear in linears {
            if self.is_target(linear.module)? {
                parts.push((out_features, self.factors(linear)?));
            }
            out_features += linear.out_features;
        }
        if parts.is_empty() {
            Ok(None)
        } else {
            Ok(Some(self.stack(parts, out_features)?))
        }
    }

    fn is_target(&self, module: &str) -> Result<bool, ModelError> {
        let targets = &self.config.targets;
        let contains = targets.contains(&self.files.trained_name(module));
        contains.map_err(|e| self.files.refused(e))
    }

    fn factors(&mut self, linear: &Linear<'_>) -> Result<Factors, ModelError> {
        let Linear {
            module,
            in_features,
            out_features,
            ..
        } = *linear;
        let scale = self.scale(module)?;
        let name = |part: &str| format!("{module}.lora_{part}");
        let a = self
            .files
            .take(&name("A.weight"), &[scale.rank, in_features])?;
        let b = self
            .files
            .take(&name("B.weight"), &[out_features, scale.rank])?;
        self.finish(linear, scale, a, b)
    }

    /// Adds the gain and bias of a layer, and precomputes what is constant.
    fn finish(
        &mut self,
        linear: &Linear<'_>,
        scale: LoraScale,
        a: Vec<f32>,
        b: Vec<f32>,
    ) -> Result<Factors, ModelError> {
        let Linear {
            module,
            out_features,
            ..
        } = *linear;
        let mut bias = None;
        if self.config.lora_bias {
            let name = format!("{module}.lora_B.bias");
            let mut values = self.files.take(&name, &[out_features])?;
            // What the output layer is multiplied with is divided already: see `Llama`.
            let divisor = match module {
                "lm_head" => self.base.checkpoint.config().factors.logits_divisor,
                _ => 1.0,
            };
            let factor = scale.scaling / divisor;
            values.iter_mut().for_each(|value| *value *= factor);
            bias = Some(values);
        }
        let mut gain = None;
        if let Some(magnitude) = self.magnitude(module, out_features)? {
            let delta = Delta::new(&a, &b, scale);
            let rows = |rows: Range<usize>, out: &mut Vec<f32>| match linear.weight {
                None => self.read_base_rows(module, rows, out),
                Some(own) => {
                    let (start, end) = (rows.start, rows.end);
                    out.extend(&own[start * linear.in_features..end * linear.in_features]);
                    Ok(())
                }
            };
            gain = Some(self.finite_gain(module, delta.gain(&magnitude, rows)?)?);
        }
        let mut factors = Factors {
            rank: scale.rank,
            a,
            b,
            gain,
            bias,
        };
        factors.scale_b(scale.scaling);
        self.expect_finite(module, scale, &factors)?;
        self.count(factors.changes_something());
        Ok(factors)
    }

    /// Refuses factors that the scale has made infinite: every answer would fail.
    fn expect_finite(
        &self,
        module: &str,
        scale: LoraScale,
        factors: &Factors,
    ) -> Result<(), ModelError> {
        // In the type that the device may have.
        let is_finite = |x: &f32| half::bf16::from_f32(*x).is_finite();
        let bias = factors.bias.iter().flatten();
        if factors.b.iter().chain(bias).all(is_finite) {
            return Ok(());
        }
        Err(self.files.refused(format!(
            "{module}: its weights times the scale {:e} are not finite: check `lora_alpha` and \
             the weights",
            scale.scaling
        )))
    }

    /// Rank and scale of a target module.
    fn scale(&mut self, module: &str) -> Result<LoraScale, ModelError> {
        let scale = self.config.scale(&self.files.trained_name(module));
        let scale = scale.map_err(|e| self.files.refused(e))?;
        self.rank = self.rank.max(scale.rank);
        Ok(scale)
    }

    /// Counts a module that the adapter has weights for.
    fn count(&mut self, changes_something: bool) {
        self.modules += 1;
        self.changed_modules += usize::from(changes_something);
    }

    /// DoRA's magnitude of a module; `None` if the adapter does not use DoRA.
    fn magnitude(&mut self, module: &str, len: usize) -> Result<Option<Vec<f32>>, ModelError> {
        if !self.config.use_dora {
            return Ok(None);
        }
        // PEFT reads both names and writes the first.
        let name = format!("{module}.lora_magnitude_vector");
        let written = self.files.take_if_present(&name, &[len])?;
        match written {
            Some(magnitude) => Ok(Some(magnitude)),
            None => Ok(Some(self.files.take(&format!("{name}.weight"), &[len])?)),
        }
    }

    fn finite_gain(&self, module: &str, gain: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        match gain.iter().position(|gain| !gain.is_finite()) {
            None => Ok(gain),
            Some(index) => Err(self.files.refused(format!(
                "DoRA divides by the norm of channel {index} of {module}, which is zero"
            ))),
        }
    }

    fn read_base_rows(
        &self,
        module: &str,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let checkpoint = self.base.checkpoint;
        let name = match module {
            "lm_head" if checkpoint.config().tie_word_embeddings => "model.embed_tokens",
            own => own,
        };
        checkpoint.read_rows(&format!("{name}.weight"), rows, out)
    }

    /// Stacks the factors of a fused weight's parts. Each comes with the first row of its part.
    fn stack(
        &mut self,
        parts: Vec<(usize, Factors)>,
        out_features: usize,
    ) -> Result<LoraWeight, ModelError> {
        let ranks = parts.iter().map(|(_, factors)| factors.rank).sum();
        let rows = parts.iter().flat_map(|(_, factors)| &factors.a);
        let shrink = self.weight(&rows.copied().collect::<Vec<f32>>(), ranks)?;
        let gain = spread(&parts, out_features, 1.0, |factors| &factors.gain);
        let bias = spread(&parts, out_features, 0.0, |factors| &factors.bias);
        let mut shrink_offset = 0;
        let mut expand = Vec::with_capacity(parts.len());
        for (out_offset, factors) in parts {
            expand.push(LoraExpand {
                weight: self.weight(&factors.b, factors.b.len() / factors.rank)?,
                shrink_offset,
                out_offset,
            });
            shrink_offset += factors.rank;
        }
        Ok(LoraWeight {
            shrink,
            expand,
            gain: self.vector(gain)?,
            bias: self.vector(bias)?,
        })
    }

    fn weight(&mut self, rows: &[f32], out_features: usize) -> Result<LinearWeight, ModelError> {
        let LoraBase {
            compute_type,
            device,
            ..
        } = self.base;
        let weight = adapter_factor(rows, out_features, compute_type, device)?;
        self.size_bytes += weight.size_bytes();
        Ok(weight)
    }

    fn vector(&mut self, values: Option<Vec<f32>>) -> Result<Option<Tensor>, ModelError> {
        let Some(values) = values else {
            return Ok(None);
        };
        self.size_bytes += size_of_val(values.as_slice());
        Ok(Some(Tensor::new(values, &Device::Cpu)?))
    }
}

impl Factors {
    /// Whether the scaled product, the bias or the gain is more than nothing. A product is zero if each
    /// row of A or its column of B is; that others cancel to the last bit is not considered.
    fn changes_something(&self) -> bool {
        let in_features = self.a.len() / self.rank;
        let is_some = |value: &f32| *value != 0.0;
        let multiplies = self
            .a
            .chunks_exact(in_features)
            .enumerate()
            .any(|(row, a)| {
                a.iter().any(is_some) && self.b.iter().skip(row).step_by(self.rank).any(is_some)
            });
        // A gain is computed, so that one of nothing is nearly one.
        let gains = |gain: &f32| (gain - 1.0).abs() > 0.01;
        multiplies
            || self.bias.iter().flatten().any(is_some)
            || self.gain.iter().flatten().any(gains)
    }

    fn scale_b(&mut self, scaling: f32) {
        for (row, b) in self.b.chunks_exact_mut(self.rank).enumerate() {
            let gain = self.gain.as_ref().map_or(1.0, |gain| gain[row]);
            b.iter_mut().for_each(|b| *b *= scaling * gain);
        }
    }
}

/// A vector over all outputs of a fused weight; `None` if no part has values.
fn spread(
    parts: &[(usize, Factors)],
    out_features: usize,
    elsewhere: f32,
    of: impl Fn(&Factors) -> &Option<Vec<f32>>,
) -> Option<Vec<f32>> {
    let mut whole = None;
    for (start, factors) in parts {
        if let Some(part) = of(factors) {
            let whole = whole.get_or_insert_with(|| vec![elsewhere; out_features]);
            whole[*start..start + part.len()].copy_from_slice(part);
        }
    }
    whole
}
