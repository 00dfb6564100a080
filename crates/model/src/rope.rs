//! Frequencies of rotary position embeddings, computed as in Hugging Face transformers.

use std::f32::consts::PI;

/// Rotary position embeddings over the whole head. Partial rotation is not supported.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the frequencies are scaled for longer contexts.
    pub scaling: RopeScaling,
    /// Size of a head. There are half as many frequencies.
    pub head_dim: usize,
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
    /// the `llama3` parameters. Shape `[head_dim / 2]`.
    Divisors(Vec<f32>),
}

impl RopeConfig {
    /// Radians per position for each pair of dimensions: shape `[head_dim / 2]`.
    ///
    /// The steps and their order are those of `ROPE_INIT_FUNCTIONS` in transformers'
    /// `modeling_rope_utils.py`, in f32. Only the power is computed in f64 and rounded once;
    /// torch's f32 power may differ in the last bit.
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
