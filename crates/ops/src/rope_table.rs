//! Cosines and sines of rotary position embedding.

use candle_core::{Device, Result, Tensor, bail};

/// Cosine and sine of every position's angles, f32 `[max_positions, 2, rotary_dim / 2]`: cosines
/// first. An angle is f32 position × f32 inverse frequency, as HF transformers computes it. If
/// queries have factors of their own, their cosines and sines follow: `[max_positions, 4,
/// rotary_dim / 2]`.
///
/// Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
#[derive(Clone, Debug)]
pub struct RopeTable {
    table: Tensor,
}

/// Factors of a table's cosines and sines, which scale what is rotated.
#[derive(Clone, Copy)]
pub struct RopeFactors<'a> {
    /// Scales queries and keys.
    pub all: f32,
    /// Scales the queries at a position.
    pub queries: Option<&'a dyn Fn(usize) -> f32>,
}

impl RopeFactors<'_> {
    /// Rotation only.
    pub const NONE: Self = Self {
        all: 1.0,
        queries: None,
    };
}

impl RopeTable {
    /// A table for `inv_freq`, `[rotary_dim / 2]`, with any scaling already applied. The first
    /// `rotary_dim` dimensions of a head are rotated.
    ///
    /// # Errors
    /// A length is zero.
    pub fn new(
        inv_freq: &[f32],
        max_positions: usize,
        factors: RopeFactors<'_>,
        device: &Device,
    ) -> Result<Self> {
        if inv_freq.is_empty() || max_positions == 0 {
            bail!("a rope table needs at least one frequency and one position");
        }
        let parts = if factors.queries.is_some() { 4 } else { 2 };
        let mut table = Vec::with_capacity(max_positions * parts * inv_freq.len());
        for position in 0..max_positions {
            let angles = inv_freq.iter().map(|freq| position as f32 * freq);
            let mut push = |factor: f32| {
                table.extend(angles.clone().map(|angle| angle.cos() * factor));
                table.extend(angles.clone().map(|angle| angle.sin() * factor));
            };
            push(factors.all);
            if let Some(queries) = factors.queries {
                push(factors.all * queries(position));
            }
        }
        let table = Tensor::from_vec(table, (max_positions, parts, inv_freq.len()), device)?;
        Ok(Self { table })
    }

    /// A table that leaves heads of `head_dim` as they are.
    ///
    /// # Errors
    /// A length is zero.
    pub fn still(head_dim: usize, max_positions: usize, device: &Device) -> Result<Self> {
        /// The fewest frequencies of a GPU.
        const FREQUENCIES: usize = 8;
        let inv_freq = vec![0.0; FREQUENCIES.min(head_dim / 2)];
        Self::new(&inv_freq, max_positions, RopeFactors::NONE, device)
    }

    /// Number of positions in the table.
    pub fn max_positions(&self) -> usize {
        self.table.dims()[0]
    }

    /// The dimensions of a head that are rotated, from the first.
    pub fn rotary_dim(&self) -> usize {
        self.table.dims()[2] * 2
    }

    /// Values of one position.
    pub(crate) fn row_len(&self) -> usize {
        self.table.dims()[1] * self.table.dims()[2]
    }

    pub(crate) fn table(&self) -> &Tensor {
        &self.table
    }
}
