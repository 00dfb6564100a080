//! What the tests of operations share: seeded random numbers and plain tensors.
#![allow(
    dead_code,
    reason = "each test file is a crate of its own and uses a part of this"
)]

use candle_core::{DType, Device, Tensor};
use farthing_ops::{LinearWeight, LinearWeightBuilder, SampleFault, SimdLevel, with_simd_level};
use half::bf16;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    /// Between -1 and 1.
    pub(crate) fn value(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }

    /// Values that `dtype` represents exactly, so that a reference needs no rounding.
    pub(crate) fn exact(&mut self, len: usize, dtype: DType) -> Vec<f32> {
        self.values(len)
            .into_iter()
            .map(|x| round(x, dtype))
            .collect()
    }

    pub(crate) fn shuffled(&mut self, len: usize) -> Vec<u32> {
        let mut items: Vec<u32> = (0..len as u32).collect();
        for i in (1..len).rev() {
            items.swap(i, self.below(i + 1));
        }
        items
    }
}

pub(crate) fn round(x: f32, dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// Rounds an activation as the operation does before it meets weights of `dtype`.
pub(crate) fn round_activation(x: f32, level: SimdLevel, dtype: DType) -> f32 {
    if level.rounds_activations() {
        round(x, dtype)
    } else {
        x
    }
}

/// Runs the body on every level that this CPU supports.
pub(crate) fn on_every_level(body: impl Fn(SimdLevel)) {
    for level in SimdLevel::available() {
        with_simd_level(level, || body(level));
    }
}

pub(crate) fn matrix(values: &[f32], rows: usize, columns: usize) -> Tensor {
    Tensor::from_slice(values, (rows, columns), &Device::Cpu).unwrap()
}

pub(crate) fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

pub(crate) fn integers(values: &[u32]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A weight pushed in pieces of different heights.
pub(crate) fn weight(
    values: &[f32],
    out_features: usize,
    in_features: usize,
    dtype: DType,
) -> LinearWeight {
    let mut builder =
        LinearWeightBuilder::new(out_features, in_features, dtype, &Device::Cpu).unwrap();
    let mut rest = values;
    let mut rows = 1;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((rows * in_features).min(rest.len()));
        builder.push_rows(piece).unwrap();
        rest = more;
        rows += 2;
    }
    builder.finish().unwrap()
}

/// `x [m, in] · weightᵀ` in f64, with activations rounded as at the level.
pub(crate) fn product(
    x: &[f32],
    weight: &[f32],
    in_features: usize,
    level: SimdLevel,
    dtype: DType,
) -> Vec<f64> {
    let rows = x.chunks_exact(in_features);
    rows.flat_map(|x| {
        weight.chunks_exact(in_features).map(move |w| {
            let terms = x
                .iter()
                .zip(w)
                .map(|(x, w)| f64::from(round_activation(*x, level, dtype)) * f64::from(*w));
            terms.sum()
        })
    })
    .collect()
}

/// Asserts that every value is within `tolerance` of the reference, absolute or relative.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(
            error <= tolerance * (1.0 + expected.abs()),
            "{what}: [{i}] is {found}, not {expected} (off by {error:e})"
        );
    }
}

/// The message of an error.
pub(crate) fn message<T>(result: candle_core::Result<T>) -> String {
    match result {
        Ok(_) => panic!("this must fail"),
        Err(error) => error.to_string(),
    }
}

/// The results of all rows, none of which may have failed.
pub(crate) fn every<T>(rows: candle_core::Result<Vec<Result<T, SampleFault>>>) -> Vec<T> {
    let rows = rows.unwrap().into_iter();
    rows.map(Result::unwrap).collect()
}
