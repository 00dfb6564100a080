//! What differs from layer to layer: attention windows, and layers without rotary positions.

use serde_json::Value;

use super::{Architecture, Fields, refuse, unsupported};
use crate::{Layers, ModelError};

/// The attention window and the layers that have it.
pub(super) fn windows(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<(Option<usize>, Layers), ModelError> {
    match architecture {
        // transformers ignores the field, and attends to the whole context.
        Architecture::Llama | Architecture::Granite => Ok((None, Layers::None)),
        Architecture::Mistral | Architecture::Ministral3 | Architecture::Phi3 => {
            if fields.present("layer_types") {
                return unsupported(format!(
                    "`layer_types` in the config of a {architecture} model, whose layers all have \
                     the same window"
                ));
            }
            let default = (architecture == Architecture::Mistral).then_some(4096);
            let window = if fields.0.contains_key("sliding_window") {
                fields.size("sliding_window")?
            } else {
                default
            };
            Ok((window, Layers::All))
        }
        Architecture::Qwen2 | Architecture::Qwen3 | Architecture::SmolLm3 => {
            window_of_some(fields, architecture, num_layers)
        }
    }
}

/// The families in which `use_sliding_window` turns the window on, and `layer_types` chooses layers.
fn window_of_some(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<(Option<usize>, Layers), ModelError> {
    let is_used = fields.flag("use_sliding_window")?.unwrap_or(false);
    let is_smollm = architecture == Architecture::SmolLm3;
    let window = match fields.size("sliding_window")? {
        _ if !is_used => None,
        Some(window) => Some(window),
        None if is_smollm || fields.0.contains_key("sliding_window") => None,
        None => Some(4096),
    };
    let chosen = match layer_types(fields, num_layers)? {
        Some(chosen) if window.is_none() && chosen.contains(&true) => {
            return refuse(
                "`layer_types` has sliding_attention, and no window is in force \
                 (`use_sliding_window`, `sliding_window`)"
                    .to_owned(),
            );
        }
        Some(chosen) => chosen,
        None if is_smollm => {
            let unrotated = unrotated_layers(fields, architecture, num_layers)?;
            (0..num_layers)
                .map(|layer| unrotated.contains(layer))
                .collect()
        }
        None => {
            let first = fields.size("max_window_layers")?.unwrap_or(28);
            (0..num_layers).map(|layer| layer >= first).collect()
        }
    };
    if window.is_none() {
        return Ok((None, Layers::None));
    }
    Ok(match Layers::of(chosen) {
        Layers::None => (None, Layers::None),
        layers => (window, layers),
    })
}

/// For each layer, whether `layer_types` gives it the window.
fn layer_types(fields: &Fields, num_layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let types = fields.list("layer_types", "a list of strings", Value::as_str)?;
    let Some(types) = types else {
        return Ok(None);
    };
    if types.len() != num_layers {
        return refuse(format!(
            "`layer_types` has {} entries for {num_layers} layers",
            types.len()
        ));
    }
    let is_windowed = |name: &str| match name {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => unsupported(format!(
            "`{other}` in `layer_types`; Farthing computes full_attention and sliding_attention"
        )),
    };
    types
        .into_iter()
        .map(is_windowed)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The layers without rotary position embeddings. In `no_rope_layers` they are zeros.
pub(super) fn unrotated_layers(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Layers, ModelError> {
    const INTERVAL: usize = 4;
    let listed = fields.list("no_rope_layers", "a list of 0 and 1", |value| {
        match value.as_u64() {
            Some(0) => Some(true),
            Some(1) => Some(false),
            _ => None,
        }
    })?;
    if architecture != Architecture::SmolLm3 {
        return match listed {
            Some(unrotated) if unrotated.contains(&true) => unsupported(format!(
                "`no_rope_layers` in the config of a {architecture} model"
            )),
            _ => Ok(Layers::None),
        };
    }
    if let Some(unrotated) = listed {
        if unrotated.len() < num_layers {
            return refuse(format!(
                "`no_rope_layers` has {} entries for {num_layers} layers",
                unrotated.len()
            ));
        }
        return Ok(Layers::of(unrotated[..num_layers].to_vec()));
    }
    let interval = fields.size("no_rope_layer_interval")?.unwrap_or(INTERVAL);
    if interval == 0 {
        return refuse("`no_rope_layer_interval` is 0; it must be positive".to_owned());
    }
    Ok(Layers::every(interval, num_layers))
}
