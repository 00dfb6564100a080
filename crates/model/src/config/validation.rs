//! Rejects configurations that no model can have.

use super::{ModelConfig, refuse};
use crate::{ModelError, RopeConfig, RopeScaling};

impl ModelConfig {
    /// Rejects impossible sizes, so that later multiplications and divisions are safe.
    pub(super) fn validated(self) -> Result<Self, ModelError> {
        // 2²⁴ is far above any real size, and the product of two such sizes fits into 64 bits.
        const LARGEST: usize = 1 << 24;
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (name, size) in sizes {
            if !(1..=LARGEST).contains(&size) {
                return refuse(format!(
                    "{name} is {size}; it must lie between 1 and {LARGEST}"
                ));
            }
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return refuse(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse(format!(
                "head_dim is {}; rotary embeddings need an even size",
                self.head_dim
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return refuse(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        for (name, factor) in [
            ("embedding_multiplier", self.factors.embedding),
            ("residual_multiplier", self.factors.residual),
            ("attention_multiplier", self.factors.attention),
            ("logits_scaling", self.factors.logits_divisor),
        ] {
            if !(factor.is_finite() && factor > 0.0) {
                return refuse(format!("{name} is {factor}; it must be a positive number"));
            }
        }
        self.rope.validate(self.head_dim)?;
        let special = self.bos_token_id.iter().chain(&self.eos_token_ids);
        if let Some(id) = special
            .into_iter()
            .find(|id| **id as usize >= self.vocab_size)
        {
            return refuse(format!(
                "special token id {id} lies outside the vocabulary of {} tokens",
                self.vocab_size
            ));
        }
        Ok(self)
    }
}

impl RopeConfig {
    fn validate(&self, head_dim: usize) -> Result<(), ModelError> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                refuse(format!(
                    "rope {name} is {value}; it must be a positive number"
                ))
            }
        };
        positive("theta", self.theta)?;
        let frequencies = self.rotary_dim / 2;
        if self.rotary_dim == 0 || self.rotary_dim > head_dim || !self.rotary_dim.is_multiple_of(2)
        {
            return refuse(format!(
                "{} dimensions of a head of {head_dim} are rotated; it must be an even number",
                self.rotary_dim
            ));
        }
        if let Some(scaling) = &self.query_scaling {
            positive("llama_4_scaling_beta", scaling.beta)?;
            positive(
                "original_max_position_embeddings",
                scaling.original_max_position_embeddings as f64,
            )?;
            if self.rotary_dim != head_dim {
                return refuse("scaled queries with partly rotated heads".to_owned());
            }
        }
        let divisors = |name: &str, divisors: &[f32]| {
            if divisors.len() != frequencies {
                return refuse(format!(
                    "{name} has {} values; {} rotated dimensions need {frequencies}",
                    divisors.len(),
                    self.rotary_dim
                ));
            }
            divisors
                .iter()
                .try_for_each(|value| positive(name, f64::from(*value)))
        };
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("high_freq_factor", *high_freq_factor)?;
                positive(
                    "original_max_position_embeddings",
                    *original_max_position_embeddings as f64,
                )?;
                if high_freq_factor <= low_freq_factor {
                    return refuse(format!(
                        "rope high_freq_factor ({high_freq_factor}) must be above \
                         low_freq_factor ({low_freq_factor})"
                    ));
                }
                Ok(())
            }
            RopeScaling::Divisors(values) => divisors("rope_freqs.weight", values),
            RopeScaling::Yarn(yarn) => {
                positive("factor", yarn.factor)?;
                positive("attention_factor", f64::from(yarn.attention_factor))?;
                positive("beta_fast", yarn.beta_fast)?;
                positive("beta_slow", yarn.beta_slow)?;
                positive(
                    "original_max_position_embeddings",
                    yarn.original_max_position_embeddings as f64,
                )?;
                if self.theta <= 1.0 {
                    return refuse(format!(
                        "rope theta is {}; yarn needs more than 1",
                        self.theta
                    ));
                }
                Ok(())
            }
            RopeScaling::LongRope(long) => {
                positive("attention_factor", f64::from(long.attention_factor))?;
                divisors("short_factor", &long.short_factors)?;
                divisors("long_factor", &long.long_factors)
            }
        }
    }
}
