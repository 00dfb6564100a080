//! Adapters of random weights, for measurements.

use farthing_ops::{LinearWeight, LoraExpand, LoraWeight};
use farthing_scheduler::AdapterId;

use super::{LoraAdapter, LoraEmbedding, LoraHead, LoraLayer, factor};
use crate::{ComputeType, DeviceKind, ModelConfig, ModelError, checkpoint::DummyWeights};

impl LoraAdapter {
    /// An adapter of one rank on every linear layer. Another seed makes another.
    ///
    /// # Errors
    /// The device has no room for it.
    pub fn dummy(
        config: &ModelConfig,
        rank: usize,
        seed: u8,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<Self, ModelError> {
        let mut maker = Maker {
            weights: DummyWeights::new(u64::from(seed)),
            rank,
            compute_type,
            device,
            size_bytes: 0,
        };
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.q_size(), config.kv_size());
        let mut layer = |index: usize| {
            let mut fused = |part: &str, in_features: usize, targets: &[usize]| {
                maker.fused(&format!("{index}.{part}"), in_features, targets)
            };
            Ok(LoraLayer {
                qkv_proj: Some(fused("qkv", hidden, &[q, kv, kv])?),
                o_proj: Some(fused("o", q, &[hidden])?),
                gate_up_proj: Some(fused("gate_up", hidden, &[intermediate; 2])?),
                down_proj: Some(fused("down", intermediate, &[hidden])?),
            })
        };
        let layers = (0..config.num_hidden_layers)
            .map(&mut layer)
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            id: AdapterId([seed; 32]),
            rank,
            layers,
            embed_tokens: LoraEmbedding::default(),
            lm_head: LoraHead::default(),
            size_bytes: maker.size_bytes,
        })
    }
}

struct Maker {
    weights: DummyWeights,
    rank: usize,
    compute_type: ComputeType,
    device: DeviceKind,
    size_bytes: usize,
}

impl Maker {
    fn fused(
        &mut self,
        name: &str,
        in_features: usize,
        targets: &[usize],
    ) -> Result<LoraWeight, ModelError> {
        let rank = self.rank;
        let shrink = self.factor(&format!("{name}.a"), targets.len() * rank, in_features)?;
        let mut out_offset = 0;
        let mut expand = Vec::with_capacity(targets.len());
        for (i, out_features) in targets.iter().enumerate() {
            expand.push(LoraExpand {
                weight: self.factor(&format!("{name}.b{i}"), *out_features, rank)?,
                shrink_offset: i * rank,
                out_offset,
            });
            out_offset += out_features;
        }
        Ok(LoraWeight {
            shrink,
            expand,
            gain: None,
            bias: None,
        })
    }

    fn factor(
        &mut self,
        name: &str,
        out_features: usize,
        in_features: usize,
    ) -> Result<LinearWeight, ModelError> {
        let mut rows = Vec::with_capacity(out_features * in_features);
        self.weights
            .append_rows(name, 0..out_features, in_features, &mut rows);
        let weight = factor(&rows, out_features, self.compute_type, self.device)?;
        self.size_bytes += weight.size_bytes();
        Ok(weight)
    }
}
