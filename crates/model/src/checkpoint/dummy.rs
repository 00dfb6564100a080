//! Seeded random weights.

use std::ops::Range;

/// Weights that are computed and not read.
#[derive(Debug)]
pub(crate) struct DummyWeights {
    seed: u64,
    standard_deviation: f32,
}

impl DummyWeights {
    /// The standard deviation at the start of Llama's training.
    pub(crate) const STANDARD_DEVIATION: f32 = 0.02;

    pub(crate) fn new(seed: u64, standard_deviation: f32) -> Self {
        Self {
            seed,
            standard_deviation,
        }
    }

    pub(crate) fn append_rows(
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
        let scale = self.standard_deviation / BYTES_DEVIATION;
        for row in rows {
            append_row(mix(tensor_key ^ row as u64), width, scale, out);
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

/// Appends `width` numbers. One hash gives two of them.
fn append_row(row_key: u64, width: usize, scale: f32, out: &mut Vec<f32>) {
    let hash = |pair: u64| mix(row_key.wrapping_add(pair.wrapping_mul(GOLDEN_RATIO)));
    let pairs = (width / 2) as u64;
    out.extend((0..pairs).flat_map(|pair| normal_pair(hash(pair), scale)));
    if !width.is_multiple_of(2) {
        out.push(normal_pair(hash(pairs), scale)[0]);
    }
}

/// Two sums of four random bytes each. They are close to normal and bounded, and need no logarithm.
fn normal_pair(bits: u64, scale: f32) -> [f32; 2] {
    const EVEN_BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    let sums_of_two = (bits & EVEN_BYTES) + (bits >> 8 & EVEN_BYTES);
    let sums_of_four = sums_of_two + (sums_of_two >> 16);
    [sums_of_four as u16, (sums_of_four >> 32) as u16].map(|sum| (f32::from(sum) - MEAN) * scale)
}

/// Four uniform numbers over 0..=255 have mean 4 · 127.5 and variance 4 · (256² − 1) / 12.
const MEAN: f32 = 510.0;
const BYTES_DEVIATION: f32 = 147.800_54;
