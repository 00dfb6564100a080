//! The names of tensors and modules in a model for text and images.

/// The prefixes that the text part has, in the order in which transformers has used them, and what they
/// are in a text model.
const TEXT: [(&str, &str); 3] = [
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", "model."),
];
/// The parts that only images need.
const IMAGES: [&str; 4] = [
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
];

/// The name that a tensor of the text part has in a text model. Other names do not change.
pub(crate) fn text_name(name: &str) -> String {
    let found = TEXT.iter().find_map(|(from, to)| {
        let rest = name.strip_prefix(from)?;
        Some(format!("{to}{rest}"))
    });
    found.unwrap_or_else(|| name.to_owned())
}

/// The name that a module of a text model has in a model for text and images, if it is another.
pub(crate) fn full_name(module: &str) -> Option<String> {
    let rest = module.strip_prefix("model.")?;
    Some(format!("model.language_model.{rest}"))
}

/// Whether only images need the tensor.
pub(crate) fn is_for_images(name: &str) -> bool {
    IMAGES.iter().any(|prefix| name.starts_with(prefix))
}
