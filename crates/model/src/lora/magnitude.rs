//! Computes DoRA's gains once, when the adapter is loaded.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::config::LoraScale;
use crate::ModelError;

/// Elements of the base weight per chunk: 8 MiB of f32.
const CHUNK_ELEMENTS: usize = 2 << 20;

/// `s · B A` of one module.
pub(super) struct Delta<'a> {
    a: &'a [f32], // [rank, in_features]
    b: &'a [f32], // [out_features, rank]
    rank: usize,
    scaling: f32,
}

impl<'a> Delta<'a> {
    pub(super) fn new(a: &'a [f32], b: &'a [f32], scale: LoraScale) -> Self {
        Self {
            a,
            b,
            rank: scale.rank,
            scaling: scale.scaling,
        }
    }

    /// DoRA's gain `m / ‖W + s · B A‖` for each output, from the base model's rows. In PEFT a layer
    /// computes `gain ⊙ (W x + s · B A x)`.
    ///
    /// Source: Liu et al. 2024, §4.1 and §4.3.
    pub(super) fn gain(
        &self,
        magnitude: &[f32], // [out_features]
        base_rows: impl Fn(Range<usize>, &mut Vec<f32>) -> Result<(), ModelError>,
    ) -> Result<Vec<f32>, ModelError> {
        let out_features = magnitude.len();
        let in_features = self.a.len() / self.rank;
        let a = Tensor::from_slice(self.a, (self.rank, in_features), &Device::Cpu)?;
        let chunk_rows = (CHUNK_ELEMENTS / in_features).max(1);
        let mut gain = Vec::with_capacity(out_features);
        let mut base = Vec::new();
        for start in (0..out_features).step_by(chunk_rows) {
            let rows = start..out_features.min(start + chunk_rows);
            base.clear();
            base_rows(rows.clone(), &mut base)?;
            let b = &self.b[rows.start * self.rank..rows.end * self.rank];
            let b = Tensor::from_slice(b, (rows.len(), self.rank), &Device::Cpu)?;
            let delta = b.matmul(&a)?.flatten_all()?.to_vec1::<f32>()?;
            let rows = base
                .chunks_exact(in_features)
                .zip(delta.chunks_exact(in_features));
            for ((base, delta), magnitude) in rows.zip(&magnitude[start..]) {
                let squares = base.iter().zip(delta).map(|(base, delta)| {
                    let value = f64::from(base + self.scaling * delta);
                    value * value
                });
                gain.push((f64::from(*magnitude) / squares.sum::<f64>().sqrt()) as f32);
            }
        }
        Ok(gain)
    }

    /// The same for an embedding, whose weight is transposed: a gain for each of the `hidden`
    /// columns, from rows of `[vocab, hidden]`. A is `[rank, vocab]`.
    pub(super) fn column_gain(
        &self,
        magnitude: &[f32], // [hidden]
        base_rows: impl Fn(Range<usize>, &mut Vec<f32>) -> Result<(), ModelError>,
    ) -> Result<Vec<f32>, ModelError> {
        let hidden = magnitude.len();
        let vocab = self.a.len() / self.rank;
        let a = Tensor::from_slice(self.a, (self.rank, vocab), &Device::Cpu)?;
        let b = Tensor::from_slice(self.b, (hidden, self.rank), &Device::Cpu)?.t()?;
        let chunk_rows = (CHUNK_ELEMENTS / hidden).max(1);
        let mut squares = vec![0.0_f64; hidden];
        let mut base = Vec::new();
        for start in (0..vocab).step_by(chunk_rows) {
            let rows = start..vocab.min(start + chunk_rows);
            base.clear();
            base_rows(rows.clone(), &mut base)?;
            let a = a.narrow(1, rows.start, rows.len())?.t()?;
            let delta = a.contiguous()?.matmul(&b.contiguous()?)?;
            let delta = delta.flatten_all()?.to_vec1::<f32>()?;
            for (base, delta) in base.chunks_exact(hidden).zip(delta.chunks_exact(hidden)) {
                for ((square, base), delta) in squares.iter_mut().zip(base).zip(delta) {
                    let value = f64::from(base + self.scaling * delta);
                    *square += value * value;
                }
            }
        }
        let gain =
            |(magnitude, square): (&f32, f64)| (f64::from(*magnitude) / square.sqrt()) as f32;
        Ok(magnitude.iter().zip(squares).map(gain).collect())
    }
}
