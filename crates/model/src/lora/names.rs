//! Names of an adapter's tensors, as training tools write them.
//!
//! PEFT's `save_pretrained` writes `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
//! Others save a state dict as it is, with the adapter's name in it, or without PEFT's prefix, or with
//! the wrappers of `torch.compile` and FSDP. All of these say which weight they mean.

/// PEFT's prefix of module names.
pub(super) const PREFIX: &str = "base_model.model.";

/// Segments that wrappers of a model or a layer add.
const WRAPPERS: [&str; 4] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];
/// Segments after which a state dict has the adapter's name.
const BEFORE_ADAPTER: [&str; 6] = [
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
    "modules_to_save",
];

/// Where the trained model had its decoder. `target_modules` and the like are matched with the names
/// that the modules had there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Root {
    /// `model.layers` and `lm_head`.
    #[default]
    CausalLm,
    /// `layers`, of a model without an output.
    Decoder,
    /// `model.language_model.layers` and `lm_head`, in a model with images.
    Inside,
    /// `language_model.model.layers` and `language_model.lm_head`, in an older one.
    Outside,
}

/// A name in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TensorName {
    /// As PEFT names the tensor of a causal model, without its prefix.
    pub(super) name: String,
    /// `None` for the output, which says nothing about it.
    pub(super) root: Option<Root>,
    /// The adapter's name, if the file has it.
    pub(super) adapter: Option<String>,
}

impl TensorName {
    /// Reads a name; `None` if it names no module of a model.
    pub(super) fn read(written: &str) -> Option<Self> {
        let segments: Vec<&str> = written
            .split('.')
            .filter(|segment| !WRAPPERS.contains(segment))
            .collect();
        let (segments, adapter) = without_adapter(&segments);
        let name = segments.join(".");
        // `DistributedDataParallel` adds the first.
        let name = name.strip_prefix("module.").unwrap_or(&name);
        let in_peft = name.strip_prefix(PREFIX);
        let name = in_peft.unwrap_or(name);
        let roots = [
            ("model.language_model.", Root::Inside),
            ("language_model.model.", Root::Outside),
            ("model.", Root::CausalLm),
        ];
        let found = roots
            .iter()
            .find_map(|(prefix, root)| Some((name.strip_prefix(prefix)?, *root)));
        let (name, root) = match found {
            Some((module, root)) => (format!("model.{module}"), Some(root)),
            None if name.starts_with("layers.") || name.starts_with("embed_tokens.") => {
                (format!("model.{name}"), Some(Root::Decoder))
            }
            None if name.starts_with("language_model.lm_head.") => {
                let name = name.trim_start_matches("language_model.");
                (name.to_owned(), Some(Root::Outside))
            }
            None if in_peft.is_some() || name.starts_with("lm_head.") => (name.to_owned(), None),
            None => return None,
        };
        Some(Self {
            name,
            root,
            adapter,
        })
    }
}

impl Root {
    /// The name that a module had in the trained model.
    pub(super) fn trained_name(self, module: &str) -> String {
        let within = module.strip_prefix("model.");
        match (self, within) {
            (Self::CausalLm, _) | (Self::Decoder | Self::Inside, None) => module.to_owned(),
            (Self::Decoder, Some(within)) => within.to_owned(),
            (Self::Inside, Some(within)) => format!("model.language_model.{within}"),
            (Self::Outside, _) => format!("language_model.{module}"),
        }
    }
}

/// The segments without the adapter's name, and this name.
fn without_adapter<'a>(segments: &[&'a str]) -> (Vec<&'a str>, Option<String>) {
    let mut kept = segments.to_vec();
    let before = kept
        .iter()
        .rposition(|segment| BEFORE_ADAPTER.contains(segment));
    let Some(before) = before else {
        return (kept, None);
    };
    let is_name = |name: &&&str| !["weight", "bias"].contains(*name);
    let adapter = kept
        .get(before + 1)
        .filter(is_name)
        .map(|name| (*name).to_owned());
    if adapter.is_some() {
        kept.remove(before + 1);
    }
    if kept[before] == "modules_to_save" {
        kept.remove(before);
    }
    (kept, adapter)
}

#[cfg(test)]
mod tests;
