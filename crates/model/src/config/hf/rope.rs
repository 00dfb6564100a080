//! Reads rotary settings.

use serde_json::{Map, Value};

use super::{Architecture, Family, Fields, refuse, unsupported};
use crate::{LongRope, ModelError, QueryScaling, RopeConfig, RopeScaling, Yarn};

/// The context that the model was made for.
struct Context {
    max_position_embeddings: usize,
    /// That of the original training.
    original: usize,
}

pub(super) fn read(
    fields: &Fields,
    family: &Family,
    head_dim: usize,
    max_position_embeddings: usize,
) -> Result<RopeConfig, ModelError> {
    let architecture = family.architecture;
    let defaults = default_parameters(architecture, max_position_embeddings);
    let parameters = ["rope_scaling", "rope_parameters"]
        .into_iter()
        .find_map(|name| fields.object(name).filter(|map| !map.is_empty()));
    let parameters = Fields(parameters.unwrap_or(&defaults), "rope parameters");

    let theta = match parameters.number("rope_theta")? {
        Some(theta) => theta,
        None => fields.number("rope_theta")?.unwrap_or(family.rope_theta),
    };
    let kind = match parameters.text("rope_type")? {
        Some(kind) => kind,
        None => parameters.text("type")?.unwrap_or("default"),
    };
    let is_phi = architecture == Architecture::Phi3;
    let stated = match fields.size("original_max_position_embeddings")? {
        Some(original) => Some(original),
        // The default of transformers' Phi3Config, which goes before what `rope_scaling` says.
        None if is_phi => Some(4096),
        None => parameters.size("original_max_position_embeddings")?,
    };
    let context = Context {
        max_position_embeddings,
        original: stated.unwrap_or(max_position_embeddings),
    };
    let kind = match kind {
        // The names that older Phi-3 models have.
        "su" | "yarn" if is_phi => "longrope",
        other => other,
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: parameters.required_number("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: parameters.required_number("factor")?,
            low_freq_factor: parameters.required_number("low_freq_factor")?,
            high_freq_factor: parameters.required_number("high_freq_factor")?,
            original_max_position_embeddings: context.original,
        },
        "yarn" => RopeScaling::Yarn(yarn(&parameters, &context)?),
        "longrope" => RopeScaling::LongRope(long_rope(&parameters, &context)?),
        other => {
            return unsupported(format!(
                "rope type `{other}`; Farthing computes default, linear, llama3, yarn and longrope"
            ));
        }
    };
    Ok(RopeConfig {
        theta,
        scaling,
        rotary_dim: rotary_dim(fields, &parameters, architecture, head_dim)?,
        query_scaling: query_scaling(&parameters, architecture, &context)?,
    })
}

/// The rotary settings of a config without any.
fn default_parameters(
    architecture: Architecture,
    max_position_embeddings: usize,
) -> Map<String, Value> {
    if architecture != Architecture::Ministral3 {
        return Map::new();
    }
    let parameters: [(&str, Value); 10] = [
        ("rope_type", "yarn".into()),
        ("rope_theta", 1e6.into()),
        ("factor", 16.0.into()),
        ("original_max_position_embeddings", 16_384.into()),
        ("max_position_embeddings", max_position_embeddings.into()),
        ("beta_fast", 32.0.into()),
        ("beta_slow", 1.0.into()),
        ("mscale_all_dim", 1.0.into()),
        ("mscale", 1.0.into()),
        ("llama_4_scaling_beta", 0.1.into()),
    ];
    parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The dimensions of a head that are rotated.
fn rotary_dim(
    fields: &Fields,
    parameters: &Fields,
    architecture: Architecture,
    head_dim: usize,
) -> Result<usize, ModelError> {
    let factor = match parameters.number("partial_rotary_factor")? {
        Some(factor) => factor,
        None => fields.number("partial_rotary_factor")?.unwrap_or(1.0),
    };
    if factor == 1.0 {
        return Ok(head_dim);
    }
    if architecture != Architecture::Phi3 {
        return unsupported(format!(
            "`partial_rotary_factor`: {factor}; a {architecture} model rotates whole heads"
        ));
    }
    if !(0.0..=1.0).contains(&factor) {
        return refuse(format!(
            "`partial_rotary_factor` is {factor}; it must lie between 0 and 1"
        ));
    }
    Ok((head_dim as f64 * factor) as usize)
}

fn query_scaling(
    parameters: &Fields,
    architecture: Architecture,
    context: &Context,
) -> Result<Option<QueryScaling>, ModelError> {
    let beta = parameters.number("llama_4_scaling_beta")?;
    match (architecture, beta) {
        (Architecture::Ministral3, Some(0.0)) => Ok(None),
        (Architecture::Ministral3, Some(beta)) => Ok(Some(QueryScaling {
            beta,
            original_max_position_embeddings: context.original,
        })),
        (Architecture::Ministral3, None) => refuse(
            "`llama_4_scaling_beta` is missing from the rope parameters of a ministral3 model"
                .to_owned(),
        ),
        (_, Some(beta)) if beta != 0.0 => unsupported(format!(
            "`llama_4_scaling_beta`: {beta} in the config of a {architecture} model"
        )),
        _ => Ok(None),
    }
}

/// How many times longer the context is than in the original training, if no field says it.
fn context_factor(context: &Context) -> f64 {
    context.max_position_embeddings as f64 / context.original as f64
}

fn yarn(parameters: &Fields, context: &Context) -> Result<Yarn, ModelError> {
    let factor = match parameters.number("factor")? {
        Some(factor) => factor,
        None => context_factor(context),
    };
    let not_zero = |name| Ok::<_, ModelError>(parameters.number(name)?.filter(|it| *it != 0.0));
    let scale = |weight: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * weight * factor.ln() + 1.0
        }
    };
    let weights = (not_zero("mscale")?, not_zero("mscale_all_dim")?);
    let attention_factor = match (parameters.number("attention_factor")?, weights) {
        (Some(attention_factor), _) => attention_factor,
        (None, (Some(one), Some(all))) => scale(one) / scale(all),
        (None, _) => scale(1.0),
    };
    Ok(Yarn {
        factor,
        attention_factor: attention_factor as f32,
        beta_fast: not_zero("beta_fast")?.unwrap_or(32.0),
        beta_slow: not_zero("beta_slow")?.unwrap_or(1.0),
        truncate: parameters.flag("truncate")?.unwrap_or(true),
        original_max_position_embeddings: context.original,
    })
}

fn long_rope(parameters: &Fields, context: &Context) -> Result<LongRope, ModelError> {
    let divisors = |name: &str| {
        let number = |value: &Value| Some(value.as_f64()? as f32);
        match parameters.list(name, "a list of numbers", number)? {
            Some(divisors) => Ok(divisors),
            None => refuse(format!("`{name}` is missing from the rope parameters")),
        }
    };
    let factor = match parameters.number("factor")? {
        Some(factor) => factor,
        None => context_factor(context),
    };
    let attention_factor = match parameters.number("attention_factor")? {
        Some(attention_factor) => attention_factor,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (context.original as f64).ln()).sqrt(),
    };
    Ok(LongRope {
        short_factors: divisors("short_factor")?,
        long_factors: divisors("long_factor")?,
        attention_factor: attention_factor as f32,
        original_max_position_embeddings: context.original,
    })
}
