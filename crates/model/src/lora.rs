//! LoRA adapters (Hu et al. 2021) as PEFT saves them: `y = W x + s · B (A x)`.

mod config;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use farthing_ops::{LinearWeight, LinearWeightBuilder, LoraExpand, LoraWeight};
use farthing_scheduler::AdapterId;
use sha2::{Digest, Sha256};

use self::config::LoraConfig;
use crate::{ComputeType, DeviceKind, ModelConfig, ModelError};

/// An adapter on the device.
pub struct LoraAdapter {
    id: AdapterId,
    rank: usize,
    layers: Vec<LoraLayer>,
    size_bytes: usize,
}

/// The deltas of one decoder layer, fused like the weights they belong to; none where the
/// adapter leaves a weight alone.
#[derive(Default)]
pub(crate) struct LoraLayer {
    pub qkv_proj: Option<LoraWeight>,
    pub o_proj: Option<LoraWeight>,
    pub gate_up_proj: Option<LoraWeight>,
    pub down_proj: Option<LoraWeight>,
}

impl LoraAdapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors` from a directory.
    ///
    /// # Errors
    /// What is not served exactly is refused by name: an unsupported field of the config, a
    /// tensor of another kind, a shape that does not fit the base model.
    pub fn load(
        directory: &Path,
        base: &ModelConfig,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<Self, ModelError> {
        let weights_path = directory.join("adapter_model.safetensors");
        let config_bytes = read(&directory.join("adapter_config.json"))?;
        let weights_bytes = read(&weights_path)?;
        let config =
            LoraConfig::parse(&config_bytes).map_err(|reason| refused(directory, reason))?;
        let tensors = candle_core::safetensors::load_buffer(&weights_bytes, &Device::Cpu)
            .map_err(|e| refused(directory, format!("adapter_model.safetensors: {e}")))?;

        let mut hash = Sha256::new();
        hash.update((config_bytes.len() as u64).to_le_bytes());
        hash.update(&config_bytes);
        hash.update(&weights_bytes);

        let mut factors = Factors {
            path: weights_path,
            tensors: tensors.into_iter().collect(),
            rank: config.rank,
        };
        let stack = Stack {
            scaling: config.scaling(),
            dtype: compute_type.dtype(),
            device: &device.open()?,
        };
        let layers = (0..base.num_hidden_layers)
            .map(|i| stack.layer(&mut factors, i, base))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = factors.tensors.keys().next() {
            return Err(refused(
                directory,
                format!(
                    "tensor {name} is not a LoRA factor of this model's attention or MLP projections"
                ),
            ));
        }
        let size_bytes = layers
            .iter()
            .flat_map(LoraLayer::weights)
            .map(size_bytes)
            .sum();
        Ok(Self {
            id: AdapterId(hash.finalize().into()),
            rank: config.rank,
            layers,
            size_bytes,
        })
    }

    /// The hash of what it is made of.
    pub fn id(&self) -> AdapterId {
        self.id
    }

    /// The rank r of its factors.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes on the device.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    pub(crate) fn layer(&self, index: usize) -> &LoraLayer {
        &self.layers[index]
    }
}

impl LoraLayer {
    fn weights(&self) -> impl Iterator<Item = &LoraWeight> {
        [
            &self.qkv_proj,
            &self.o_proj,
            &self.gate_up_proj,
            &self.down_proj,
        ]
        .into_iter()
        .flatten()
    }
}

/// A target module: its PEFT name below `model.layers.N.`, and the rows it has in the fused
/// weight.
struct Target {
    module: &'static str,
    out_features: usize,
}

/// The adapter's tensors that no layer has taken yet.
struct Factors {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    rank: usize,
}

impl Factors {
    /// A and B of a module, `[r, in]` and `[out, r]`; none where the adapter has neither.
    fn take(
        &mut self,
        layer: usize,
        target: &Target,
        in_features: usize,
    ) -> Result<Option<(Tensor, Tensor)>, ModelError> {
        let prefix = format!("base_model.model.model.layers.{layer}.{}", target.module);
        let a_name = format!("{prefix}.lora_A.weight");
        let b_name = format!("{prefix}.lora_B.weight");
        let missing = |tensor| ModelError::MissingTensor {
            path: self.path.clone(),
            tensor,
        };
        match (self.tensors.remove(&a_name), self.tensors.remove(&b_name)) {
            (Some(a), Some(b)) => {
                self.expect_shape(&a, a_name, &[self.rank, in_features])?;
                self.expect_shape(&b, b_name, &[target.out_features, self.rank])?;
                Ok(Some((a, b)))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => Err(missing(a_name)),
            (Some(_), None) => Err(missing(b_name)),
        }
    }

    fn expect_shape(
        &self,
        tensor: &Tensor,
        name: String,
        expected: &[usize],
    ) -> Result<(), ModelError> {
        if tensor.dims() == expected {
            return Ok(());
        }
        Err(ModelError::Shape {
            path: self.path.clone(),
            tensor: name,
            expected: expected.to_vec(),
            found: tensor.dims().to_vec(),
        })
    }
}

/// Stacks the factors of the targets that one fused weight serves.
struct Stack<'a> {
    scaling: f32,
    dtype: DType,
    device: &'a Device,
}

impl Stack<'_> {
    fn layer(
        &self,
        factors: &mut Factors,
        layer: usize,
        base: &ModelConfig,
    ) -> Result<LoraLayer, ModelError> {
        let hidden = base.hidden_size;
        let intermediate = base.intermediate_size;
        let (q, kv) = (base.q_size(), base.kv_size());
        let mut fused = |in_features: usize, targets: &[(&'static str, usize)]| {
            let targets = targets.iter().map(|&(module, out_features)| Target {
                module,
                out_features,
            });
            self.fused(factors, layer, in_features, targets)
        };
        Ok(LoraLayer {
            qkv_proj: fused(
                hidden,
                &[
                    ("self_attn.q_proj", q),
                    ("self_attn.k_proj", kv),
                    ("self_attn.v_proj", kv),
                ],
            )?,
            o_proj: fused(q, &[("self_attn.o_proj", hidden)])?,
            gate_up_proj: fused(
                hidden,
                &[
                    ("mlp.gate_proj", intermediate),
                    ("mlp.up_proj", intermediate),
                ],
            )?,
            down_proj: fused(intermediate, &[("mlp.down_proj", hidden)])?,
        })
    }

    fn fused(
        &self,
        factors: &mut Factors,
        layer: usize,
        in_features: usize,
        targets: impl Iterator<Item = Target>,
    ) -> Result<Option<LoraWeight>, ModelError> {
        let mut shrink_rows: Vec<f32> = Vec::new();
        let mut expand = Vec::new();
        let (mut shrink_offset, mut out_offset) = (0, 0);
        for target in targets {
            if let Some((a, b)) = factors.take(layer, &target, in_features)? {
                shrink_rows.extend(values(&a, 1.0)?);
                let weight = self.weight(&values(&b, self.scaling)?, factors.rank)?;
                expand.push(LoraExpand {
                    weight,
                    shrink_offset,
                    out_offset,
                });
                shrink_offset += factors.rank;
            }
            out_offset += target.out_features;
        }
        if expand.is_empty() {
            return Ok(None);
        }
        Ok(Some(LoraWeight {
            shrink: self.weight(&shrink_rows, in_features)?,
            expand,
        }))
    }

    fn weight(&self, rows: &[f32], in_features: usize) -> Result<LinearWeight, ModelError> {
        let out_features = rows.len() / in_features;
        let mut weight =
            LinearWeightBuilder::new(out_features, in_features, self.dtype, self.device)?;
        weight.push_rows(rows)?;
        Ok(weight.finish()?)
    }
}

fn size_bytes(weight: &LoraWeight) -> usize {
    let expand = weight
        .expand
        .iter()
        .map(|expand| expand.weight.size_bytes());
    weight.shrink.size_bytes() + expand.sum::<usize>()
}

/// All elements times a factor, row by row, in f32.
fn values(tensor: &Tensor, factor: f32) -> Result<Vec<f32>, ModelError> {
    let tensor = tensor.to_dtype(DType::F32)?.flatten_all()?;
    let mut values = tensor.to_vec1::<f32>()?;
    values.iter_mut().for_each(|value| *value *= factor);
    Ok(values)
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}

fn refused(directory: &Path, reason: String) -> ModelError {
    ModelError::Adapter {
        path: directory.to_owned(),
        reason,
    }
}
