//! The frequencies of rotary position embeddings, as Hugging Face transformers computes them.

use std::f32::consts::PI;

/// Rotary position embeddings over the whole head (partial rotation is refused at the door).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the frequencies are stretched for contexts longer than the first training's.
    pub scaling: RopeScaling,
    /// Size of a head; the frequencies are half as many.
    pub head_dim: usize,
}

/// How rotary frequencies are stretched; `rope_type` in a Hugging Face config.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: every frequency is divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `llama3`: low frequencies are divided by the factor, high ones are left, those between are
    /// interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high.
        high_freq_factor: f64,
        /// Context length of the first training, in tokens.
        original_max_position_embeddings: usize,
    },
    /// One divisor a frequency: what a GGUF file stores in `rope_freqs.weight` instead of the
    /// parameters of `llama3`. Shape `[head_dim / 2]`.
    Divisors(Vec<f32>),
}

impl RopeConfig {
    /// Radians a position, one a pair of dimensions: shape `[head_dim / 2]`.
    ///
    /// The steps and their order are those of `ROPE_INIT_FUNCTIONS` in transformers'
    /// `modeling_rope_utils.py`, in f32 like there; only the power is taken in f64 and rounded
    /// once, where torch's f32 power may be off by a last bit.
    pub fn inv_freq(&self) -> Vec<f32> {
        let base = (0..self.head_dim).step_by(2).map(|dimension| {
            let exponent = dimension as f32 / self.head_dim as f32;
            1.0 / self.theta.powf(f64::from(exponent)) as f32
        });
        match &self.scaling {
            RopeScaling::None => base.collect(),
            RopeScaling::Linear { factor } => base.map(|freq| freq / *factor as f32).collect(),
            RopeScaling::Divisors(divisors) => base
                .zip(divisors)
                .map(|(freq, divisor)| freq / divisor)
                .collect(),
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
