//! Frequencies of rotary position embeddings, computed as in Hugging Face transformers.

use std::f32::consts::PI;

/// Rotary position embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the frequencies are scaled for longer contexts.
    pub scaling: RopeScaling,
    /// The dimensions of a head that are rotated, from the first. There are half as many
    /// frequencies.
    pub rotary_dim: usize,
    /// How queries grow with their position; `None` if they do not.
    pub query_scaling: Option<QueryScaling>,
}

/// The factor `1 + beta · ln(1 + ⌊position / original_max_position_embeddings⌋)` of queries, from
/// Llama 4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryScaling {
    /// `llama_4_scaling_beta` in a Hugging Face config.
    pub beta: f64,
    /// Context length of the original training, in tokens.
    pub original_max_position_embeddings: usize,
}

impl QueryScaling {
    /// The factor of a query.
    pub fn at(self, position: usize) -> f32 {
        let multiple = (position / self.original_max_position_embeddings) as f32;
        1.0 + self.beta as f32 * (1.0 + multiple).ln()
    }
}

/// Scaling of rotary frequencies: `rope_type` in a Hugging Face config.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`: no scaling.
    None,
    /// `linear`: all frequencies are divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `llama3`: low frequencies are divided by the factor, high ones are unchanged, those between
    /// are interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high.
        high_freq_factor: f64,
        /// Context length of the original training, in tokens.
        original_max_position_embeddings: usize,
    },
    /// A divisor for each frequency, which a GGUF file stores in `rope_freqs.weight` in place of
    /// the `llama3` parameters. Shape `[rotary_dim / 2]`.
    Divisors(Vec<f32>),
    /// `yarn`: low frequencies are divided by the factor, high ones are unchanged, those between
    /// are blended.
    Yarn(Yarn),
    /// `longrope`: a divisor for each frequency, one set for short contexts and one for long.
    LongRope(LongRope),
}

/// The parameters of `yarn`.
///
/// Source: Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// The divisor of low frequencies.
    pub factor: f64,
    /// Factor of what is rotated.
    pub attention_factor: f32,
    /// Frequencies with more rotations in the original context are unchanged.
    pub beta_fast: f64,
    /// Frequencies with fewer rotations in the original context are divided.
    pub beta_slow: f64,
    /// Whether the bounds between them are rounded to whole dimensions.
    pub truncate: bool,
    /// Context length of the original training, in tokens.
    pub original_max_position_embeddings: usize,
}

/// The parameters of `longrope`.
///
/// Source: Ding et al., "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", 2024.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// Divisors if no sequence is longer than the original training's. Shape `[rotary_dim / 2]`.
    pub short_factors: Vec<f32>,
    /// Divisors otherwise.
    pub long_factors: Vec<f32>,
    /// Factor of what is rotated.
    pub attention_factor: f32,
    /// Context length of the original training, in tokens.
    pub original_max_position_embeddings: usize,
}

impl RopeConfig {
    /// Factor of what is rotated.
    pub fn attention_factor(&self) -> f32 {
        match &self.scaling {
            RopeScaling::Yarn(yarn) => yarn.attention_factor,
            RopeScaling::LongRope(long) => long.attention_factor,
            _ => 1.0,
        }
    }

    /// Radians per position for each pair of dimensions, if a sequence has at most `max_positions`
    /// tokens: shape `[rotary_dim / 2]`. Only `longrope` depends on `max_positions`.
    ///
    /// The steps and their order are those of `ROPE_INIT_FUNCTIONS` in transformers'
    /// `modeling_rope_utils.py`, in f32. Only the power is computed in f64 and rounded once;
    /// torch's f32 power may differ in the last bit.
    pub fn inv_freq(&self, max_positions: usize) -> Vec<f32> {
        let wavelengths = (0..self.rotary_dim).step_by(2).map(|dimension| {
            let exponent = dimension as f32 / self.rotary_dim as f32;
            self.theta.powf(f64::from(exponent)) as f32
        });
        let base = wavelengths.clone().map(|wavelength| 1.0 / wavelength);
        match &self.scaling {
            RopeScaling::None => base.collect(),
            RopeScaling::Linear { factor } => base.map(|freq| freq / *factor as f32).collect(),
            RopeScaling::Divisors(divisors) => base
                .zip(divisors)
                .map(|(freq, divisor)| freq / divisor)
                .collect(),
            RopeScaling::Yarn(yarn) => {
                let blend = yarn.blend(self.theta, self.rotary_dim);
                let pairs = wavelengths.zip(blend);
                let frequency = |(wavelength, divided): (f32, f32)| {
                    let unchanged = 1.0 - divided;
                    1.0 / (yarn.factor as f32 * wavelength) * (1.0 - unchanged)
                        + 1.0 / wavelength * unchanged
                };
                pairs.map(frequency).collect()
            }
            RopeScaling::LongRope(long) => {
                let factors = if max_positions > long.original_max_position_embeddings {
                    &long.long_factors
                } else {
                    &long.short_factors
                };
                let pairs = wavelengths.zip(factors);
                pairs
                    .map(|(wavelength, factor)| 1.0 / (factor * wavelength))
                    .collect()
            }
            &RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = original_max_position_embeddings as f64;
                let (low, high) = (low_freq_factor as f32, high_freq_factor as f32);
                let longest_high = (context / high_freq_factor) as f32;
                let shortest_low = (context / low_freq_factor) as f32;
                let (context, factor) = (context as f32, factor as f32);
                base.map(|freq| {
                    let wavelength = 2.0 * PI / freq;
                    if wavelength > shortest_low {
                        freq / factor
                    } else if wavelength < longest_high {
                        freq
                    } else {
                        let smooth = (context / wavelength - low) / (high - low);
                        (1.0 - smooth) * freq / factor + smooth * freq
                    }
                })
                .collect()
            }
        }
    }
}

impl Yarn {
    /// How much of each frequency is divided, from 0 to 1.
    fn blend(&self, theta: f64, rotary_dim: usize) -> impl Iterator<Item = f32> {
        let (dim, context) = (
            rotary_dim as f64,
            self.original_max_position_embeddings as f64,
        );
        let dimension_of = |rotations: f64| {
            dim * (context / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (dimension_of(self.beta_fast), dimension_of(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001; // transformers avoids a division by zero in this way
        }
        (0..rotary_dim / 2).map(move |i| {
            let ramp = (i as f32 - low as f32) / (high - low) as f32;
            ramp.clamp(0.0, 1.0)
        })
    }
}
