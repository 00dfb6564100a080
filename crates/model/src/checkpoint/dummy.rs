//! Seeded random weights.

use std::ops::Range;

/// Standard deviation of the weights; what Llama's training starts from.
const STANDARD_DEVIATION: f32 = 0.02;

/// Weights that are computed instead of read.
#[derive(Debug)]
pub(super) struct DummyWeights {
    seed: u64,
}

impl DummyWeights {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    pub(super) fn append_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        width: usize,
        out: &mut Vec<f32>,
    ) {
        if name.ends_with("norm.weight") {
            out.extend(std::iter::repeat_n(1.0, rows.len() * width));
            return;
        }
        let tensor_key = name
            .bytes()
            .fold(mix(self.seed), |key, byte| mix(key ^ u64::from(byte)));
        for row in rows {
            let row_key = mix(tensor_key ^ row as u64);
            out.extend((0..width as u64).map(|column| {
                normal(mix(row_key.wrapping_add(column.wrapping_mul(GOLDEN_RATIO))))
            }));
        }
    }
}

/// 2⁶⁴ divided by the golden ratio: SplitMix64's step between two counters.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014): every input bit moves every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The sum of four uniform numbers: close to normal, bounded, and without a logarithm.
fn normal(bits: u64) -> f32 {
    let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    // Four discrete uniforms over 0..=65535 have mean 131070 and variance 4·(2³² − 1)/12.
    const MEAN: f32 = 131_070.0;
    const SCALE: f32 = STANDARD_DEVIATION / 37_837.227;
    (sum as u32 as f32 - MEAN) * SCALE
}
