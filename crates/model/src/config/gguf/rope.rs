//! Reads rotary settings of a GGUF file.

use super::{Keys, missing, unsupported};
use crate::{
    LongRope, ModelError, QueryScaling, RopeConfig, RopeScaling, Yarn, config::Architecture,
};

pub(super) fn read(
    keys: &Keys,
    head_dim: usize,
    divisors: Option<Vec<f32>>,
    long_factors: Option<[Vec<f32>; 2]>,
) -> Result<RopeConfig, ModelError> {
    let kind = keys.metadata.text(&keys.name("rope.scaling.type"))?;
    // Files older than `scaling.type` have `scale_linear`.
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?,
    };
    if long_factors.is_none()
        && let Some(scale) = keys.number("rope.scaling.attn_factor")?
        && scale != 1.0
    {
        return keys.refuse("rope.scaling.attn_factor", scale);
    }
    let scaling = match (kind, factor, divisors, long_factors) {
        (None | Some("none" | "longrope"), _, None, Some(factors)) => {
            RopeScaling::LongRope(long_rope(keys, factors)?)
        }
        (_, _, _, Some(_)) => {
            return unsupported(
                "`rope_factors_long.weight` together with another rope scaling".to_owned(),
            );
        }
        (None | Some("none"), None, Some(divisors), _) => RopeScaling::Divisors(divisors),
        (None | Some("linear"), Some(factor), None, _) if factor != 1.0 => {
            RopeScaling::Linear { factor }
        }
        (None | Some("none" | "linear"), _, None, _) => RopeScaling::None,
        (Some("linear"), None, Some(divisors), _)
        | (None | Some("none" | "linear"), Some(1.0), Some(divisors), _) => {
            RopeScaling::Divisors(divisors)
        }
        (None | Some("none" | "linear"), _, Some(_), _) => {
            return unsupported("linear rope scaling together with `rope_freqs.weight`".to_owned());
        }
        (Some("yarn"), Some(factor), None, _) => RopeScaling::Yarn(yarn(keys, factor)?),
        (Some(other), ..) => {
            return unsupported(format!(
                "`{}` {other}; Farthing computes linear, yarn with a factor, \
                 `rope_freqs.weight` and `rope_factors_long.weight`",
                keys.name("rope.scaling.type")
            ));
        }
    };
    Ok(RopeConfig {
        theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
        scaling,
        rotary_dim: rotary_dim(keys, head_dim)?,
        query_scaling: query_scaling(keys)?,
    })
}

fn query_scaling(keys: &Keys) -> Result<Option<QueryScaling>, ModelError> {
    const KEY: &str = "attention.temperature_scale";
    match keys.factor(KEY)? {
        None => Ok(None),
        Some(beta) if keys.architecture == Architecture::Ministral3 => Ok(Some(QueryScaling {
            beta,
            original_max_position_embeddings: original_context(keys)?,
        })),
        Some(beta) => keys.refuse(KEY, beta),
    }
}

fn rotary_dim(keys: &Keys, head_dim: usize) -> Result<usize, ModelError> {
    const KEY: &str = "rope.dimension_count";
    match keys.size(KEY)? {
        Some(size) if size != head_dim && keys.architecture != Architecture::Phi3 => {
            unsupported(format!(
                "`{}` of {size} in a model whose keys have {head_dim} dimensions",
                keys.name(KEY)
            ))
        }
        size => Ok(size.unwrap_or(head_dim)),
    }
}

fn original_context(keys: &Keys) -> Result<usize, ModelError> {
    const KEY: &str = "rope.scaling.original_context_length";
    keys.size(KEY)?.ok_or_else(|| missing(&keys.name(KEY)))
}

fn long_rope(keys: &Keys, [short, long]: [Vec<f32>; 2]) -> Result<LongRope, ModelError> {
    Ok(LongRope {
        short_factors: short,
        long_factors: long,
        attention_factor: keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0) as f32,
        original_max_position_embeddings: original_context(keys)?,
    })
}

/// llama.cpp's `get_mscale`.
fn scale(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * weight * factor.ln() + 1.0
    }
}

/// Yarn with llama.cpp's constants, which are also the defaults of transformers.
fn yarn(keys: &Keys, factor: f64) -> Result<Yarn, ModelError> {
    const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";
    let divisor = match keys.factor(LOG_MULTIPLIER)? {
        None => 1.0,
        Some(weight) if keys.architecture == Architecture::Ministral3 => scale(factor, weight),
        Some(weight) => return keys.refuse(LOG_MULTIPLIER, weight),
    };
    for (key, usual) in [
        ("rope.scaling.yarn_ext_factor", 1.0),
        ("rope.scaling.yarn_attn_factor", 1.0),
    ] {
        if let Some(value) = keys.number(key)?
            && value != usual
        {
            return keys.refuse(key, value);
        }
    }
    Ok(Yarn {
        factor,
        attention_factor: (scale(factor, 1.0) / divisor) as f32,
        beta_fast: keys.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: keys.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        truncate: true,
        original_max_position_embeddings: original_context(keys)?,
    })
}
