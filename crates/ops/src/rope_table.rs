//! Cosines and sines of rotary position embedding.

use candle_core::{Device, Result, Tensor, bail};

/// Cosine and sine of every position's angles, f32 `[max_positions, 2, head_dim / 2]`: cosines
/// first. An angle is f32 position × f32 inverse frequency, as HF transformers computes it.
///
/// Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
#[derive(Clone, Debug)]
pub struct RopeTable {
    table: Tensor,
}

impl RopeTable {
    /// A table for `inv_freq`, `[head_dim / 2]`, with any scaling already applied.
    ///
    /// # Errors
    /// A length is zero.
    pub fn new(inv_freq: &[f32], max_positions: usize, device: &Device) -> Result<Self> {
        if inv_freq.is_empty() || max_positions == 0 {
            bail!("a rope table needs at least one frequency and one position");
        }
        let mut table = Vec::with_capacity(max_positions * 2 * inv_freq.len());
        for position in 0..max_positions {
            table.extend(inv_freq.iter().map(|freq| (position as f32 * freq).cos()));
            table.extend(inv_freq.iter().map(|freq| (position as f32 * freq).sin()));
        }
        let table = Tensor::from_vec(table, (max_positions, 2, inv_freq.len()), device)?;
        Ok(Self { table })
    }

    /// Number of positions in the table.
    pub fn max_positions(&self) -> usize {
        self.table.dims()[0]
    }

    /// Size of a head.
    pub fn head_dim(&self) -> usize {
        self.table.dims()[2] * 2
    }

    pub(crate) fn table(&self) -> &Tensor {
        &self.table
    }
}
