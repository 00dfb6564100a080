//! Key and value tensors of every layer, divided into blocks.

use candle_core::Device;
use farthing_ops::KvCacheLayer;

use crate::{ComputeType, DeviceKind, ModelConfig, ModelError};

/// Tokens per cache block.
pub const BLOCK_SIZE: usize = 16;

/// Keys and values of all layers. The scheduler decides which sequence uses which block.
pub struct KvCache {
    pub(crate) layers: Vec<KvCacheLayer>,
    device: Device,
}

impl KvCache {
    /// Allocates `num_blocks` blocks of [`BLOCK_SIZE`] tokens in every layer.
    pub fn new(
        config: &ModelConfig,
        num_blocks: usize,
        compute_type: ComputeType,
        device: DeviceKind,
    ) -> Result<Self, ModelError> {
        let device = device.open()?;
        let layer = || {
            KvCacheLayer::zeros(
                num_blocks,
                BLOCK_SIZE,
                config.num_key_value_heads,
                config.head_dim,
                compute_type.dtype(),
                &device,
            )
        };
        let layers = (0..config.num_hidden_layers)
            .map(|_| layer())
            .collect::<Result<_, _>>()?;
        Ok(Self { layers, device })
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Size of one block in all layers together.
    pub fn block_bytes(config: &ModelConfig, compute_type: ComputeType) -> usize {
        let heads = config.num_key_value_heads * config.num_hidden_layers;
        2 * heads * config.head_dim * BLOCK_SIZE * compute_type.size_bytes()
    }
}
