//! The adapter slots of all layers on a GPU.

use candle_core::Device;
use farthing_ops::{LoraScratch, LoraStack, LoraStackShape};

use crate::{
    LoraAdapter, ModelConfig, ModelError, RunnerConfig, config::LinearShape, lora::Projection,
};

/// The slots of every layer and projection.
pub(crate) struct LoraStacks {
    layers: Vec<Vec<LoraStack>>, // [layers][projections]
}

impl LoraStacks {
    /// Allocates empty slots.
    pub(crate) fn new(
        config: &ModelConfig,
        limits: RunnerConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let (slots, max_rank) = (limits.max_adapters, limits.max_lora_rank);
        let layer = || {
            shapes(config, slots, max_rank)
                .into_iter()
                .map(|shape| LoraStack::new(shape, limits.compute_type.dtype(), device))
                .collect::<Result<_, _>>()
        };
        let layers = (0..config.num_hidden_layers)
            .map(|_| layer())
            .collect::<Result<_, _>>()?;
        Ok(Self { layers })
    }

    /// Copies an adapter to a slot.
    pub(crate) fn fill(&self, slot: usize, adapter: &LoraAdapter) -> Result<(), ModelError> {
        for (i, stacks) in self.layers.iter().enumerate() {
            for (projection, stack) in Projection::ALL.into_iter().zip(stacks) {
                stack.fill(slot, adapter.layer(i).get(projection))?;
            }
        }
        Ok(())
    }

    /// The slots of one projection of layer `layer`.
    pub(crate) fn get(&self, layer: usize, projection: Projection) -> &LoraStack {
        &self.layers[layer][projection as usize]
    }

    /// Size of one slot in all layers together.
    pub(crate) fn slot_bytes(config: &ModelConfig, max_rank: usize) -> usize {
        let bytes = |shape: LoraStackShape| shape.slot_bytes();
        config.num_hidden_layers * shapes(config, 1, max_rank).map(bytes).iter().sum::<usize>()
    }

    /// Buffers for steps of at most `tiles` tiles.
    pub(crate) fn scratch(
        config: &ModelConfig,
        limits: RunnerConfig,
        tiles: usize,
        device: &Device,
    ) -> Result<LoraScratch, ModelError> {
        let shapes = shapes(config, 1, limits.max_lora_rank);
        let dtype = limits.compute_type.dtype();
        Ok(LoraScratch::new(&shapes, tiles, dtype, device)?)
    }
}

/// In the order of [`Projection::ALL`].
fn shapes(config: &ModelConfig, slots: usize, max_rank: usize) -> [LoraStackShape; 4] {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let shape = |in_features, targets: Vec<usize>| LoraStackShape {
        slots,
        in_features,
        targets,
        max_rank,
    };
    let widths = |layers: Vec<LinearShape>| layers.into_iter().map(|(_, width)| width).collect();
    [
        shape(hidden, widths(config.qkv_layers())),
        shape(config.q_size(), vec![hidden]),
        shape(hidden, widths(config.gate_up_layers())),
        shape(intermediate, vec![hidden]),
    ]
}
