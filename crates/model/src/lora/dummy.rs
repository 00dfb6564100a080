//! Adapters of random weights, for measurements and comparisons.

use candle_core::{Device, Tensor};
use farthing_ops::{LinearWeight, LoraExpand, LoraWeight};
use farthing_scheduler::AdapterId;

use super::{LoraAdapter, LoraEmbedding, LoraHead, LoraLayer, adapter_factor};
use crate::{
    ComputeType, DeviceKind, ModelConfig, ModelError, checkpoint::DummyWeights, config::LinearShape,
};

/// Describes an adapter of random weights.
#[derive(Clone, Copy, Debug)]
pub struct DummyAdapter {
    /// Rank of every factor.
    pub rank: usize,
    /// Adapters with different seeds have different weights.
    pub seed: u8,
    /// Standard deviation of the weights.
    pub standard_deviation: f32,
    /// The linear layers that it changes.
    pub targets: DummyTargets,
    /// Whether it also scales the base model's outputs, as DoRA does.
    pub has_gains: bool,
}

/// The linear layers that a random adapter changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DummyTargets {
    /// Every linear layer of the decoder.
    All,
    /// The query and value projections, as in the LoRA paper.
    QueryAndValue,
}

impl LoraAdapter {
    /// An adapter of random weights, with the same rank on every linear layer.
    ///
    /// # Errors
    /// The device has too little memory.
    pub fn dummy(
        config: &ModelConfig,
        rank: usize,
        seed: u8,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<Self, ModelError> {
        let dummy = DummyAdapter {
            rank,
            seed,
            standard_deviation: DummyWeights::STANDARD_DEVIATION,
            targets: DummyTargets::All,
            has_gains: false,
        };
        dummy.make(config, compute_type, device)
    }
}

impl DummyAdapter {
    /// Makes the adapter for a base model.
    ///
    /// # Errors
    /// The device has too little memory.
    pub fn make(
        self,
        config: &ModelConfig,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<LoraAdapter, ModelError> {
        let mut maker = Maker {
            weights: DummyWeights::new(u64::from(self.seed), self.standard_deviation),
            adapter: self,
            compute_type,
            device,
            size_bytes: 0,
        };
        let layers = (0..config.num_hidden_layers)
            .map(|index| maker.layer(index, config))
            .collect::<Result<_, ModelError>>()?;
        Ok(LoraAdapter {
            id: AdapterId([self.seed; 32]),
            rank: self.rank,
            layers,
            embed_tokens: LoraEmbedding::default(),
            lm_head: LoraHead::default(),
            size_bytes: maker.size_bytes,
            changes_nothing: false,
        })
    }
}

struct Maker {
    weights: DummyWeights,
    adapter: DummyAdapter,
    compute_type: ComputeType,
    device: DeviceKind,
    size_bytes: usize,
}

impl Maker {
    fn layer(&mut self, index: usize, config: &ModelConfig) -> Result<LoraLayer, ModelError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let q = config.q_size();
        let name = |part: &str| format!("{index}.{part}");
        let widths = |layers: Vec<LinearShape>| {
            let widths = layers.into_iter().map(|(_, width)| (width, true));
            widths.collect::<Vec<_>>()
        };
        let (qkv, gate_up) = (config.qkv_layers(), config.gate_up_layers());
        let is_key = |name: &str| name.ends_with("k_proj");
        let query_and_value: Vec<_> = qkv
            .iter()
            .map(|(name, width)| (*width, !is_key(name)))
            .collect();
        Ok(match self.adapter.targets {
            DummyTargets::All => LoraLayer {
                qkv_proj: Some(self.fused(&name("qkv"), hidden, &widths(qkv))?),
                o_proj: Some(self.fused(&name("o"), q, &[(hidden, true)])?),
                gate_up_proj: Some(self.fused(&name("gate_up"), hidden, &widths(gate_up))?),
                down_proj: Some(self.fused(&name("down"), intermediate, &[(hidden, true)])?),
            },
            DummyTargets::QueryAndValue => LoraLayer {
                qkv_proj: Some(self.fused(&name("qkv"), hidden, &query_and_value)?),
                ..LoraLayer::default()
            },
        })
    }

    /// `targets` are the columns of each target, and whether it is changed.
    fn fused(
        &mut self,
        name: &str,
        in_features: usize,
        targets: &[(usize, bool)],
    ) -> Result<LoraWeight, ModelError> {
        let rank = self.adapter.rank;
        let changed = targets.iter().filter(|(_, is_changed)| *is_changed).count();
        let shrink = self.factor(&format!("{name}.a"), changed * rank, in_features)?;
        let (mut shrink_offset, mut out_offset) = (0, 0);
        let mut expand = Vec::with_capacity(changed);
        for (i, (out_features, is_changed)) in targets.iter().enumerate() {
            if *is_changed {
                expand.push(LoraExpand {
                    weight: self.factor(&format!("{name}.b{i}"), *out_features, rank)?,
                    shrink_offset,
                    out_offset,
                });
                shrink_offset += rank;
            }
            out_offset += out_features;
        }
        Ok(LoraWeight {
            shrink,
            expand,
            gain: if self.adapter.has_gains {
                Some(self.gain(name, out_offset)?)
            } else {
                None
            },
            bias: None,
        })
    }

    /// A factor near 1 for each output.
    fn gain(&mut self, name: &str, out_features: usize) -> Result<Tensor, ModelError> {
        let mut gain = self.rows(&format!("{name}.gain"), 1, out_features);
        gain.iter_mut().for_each(|gain| *gain += 1.0);
        self.size_bytes += size_of_val(gain.as_slice());
        Ok(Tensor::new(gain, &Device::Cpu)?)
    }

    fn factor(
        &mut self,
        name: &str,
        out_features: usize,
        in_features: usize,
    ) -> Result<LinearWeight, ModelError> {
        let rows = self.rows(name, out_features, in_features);
        let weight = adapter_factor(&rows, out_features, self.compute_type, self.device)?;
        self.size_bytes += weight.size_bytes();
        Ok(weight)
    }

    fn rows(&self, name: &str, height: usize, width: usize) -> Vec<f32> {
        let mut rows = Vec::with_capacity(height * width);
        self.weights.append_rows(name, 0..height, width, &mut rows);
        rows
    }
}
