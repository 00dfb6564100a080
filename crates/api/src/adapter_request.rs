//! Request bodies of vLLM's `POST /v1/load_lora_adapter` and `POST /v1/unload_lora_adapter`.

use serde_json::json;

use crate::InvalidRequest;
use crate::fields::Fields;

/// A request to serve an adapter under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadAdapterRequest {
    /// The name for requests; never empty.
    pub lora_name: String,
    /// A directory or a hub id; never empty.
    pub lora_path: String,
    /// Whether it may replace an adapter with the same name.
    pub load_inplace: bool,
    /// Whether it is never evicted from host memory; SGLang's field.
    pub pinned: bool,
}

/// A request to remove a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnloadAdapterRequest {
    /// The name; never empty.
    pub lora_name: String,
}

impl LoadAdapterRequest {
    /// Parses a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let name = take_text(&mut fields, "lora_name")?;
        let path = take_text(&mut fields, "lora_path")?;
        let load_inplace = fields.boolean("load_inplace")?.unwrap_or(false);
        let pinned = fields.boolean("pinned")?.unwrap_or(false);
        fields.inert_as("is_3d_lora_weight", &[json!(false)])?;
        fields.finish()?;
        let missing = |param| {
            let message = "Both 'lora_name' and 'lora_path' must be provided.";
            InvalidRequest::coded("missing_required_parameter", param, message)
        };
        Ok(Self {
            lora_name: name.ok_or_else(|| missing("lora_name"))?,
            lora_path: path.ok_or_else(|| missing("lora_path"))?,
            load_inplace,
            pinned,
        })
    }
}

impl UnloadAdapterRequest {
    /// Parses a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let name = take_text(&mut fields, "lora_name")?;
        // vLLM's own id of an adapter. vLLM's server ignores it too.
        fields.inert("lora_int_id", "an integer", serde_json::Value::is_i64)?;
        fields.finish()?;
        let lora_name = name.ok_or_else(|| {
            let message = "'lora_name' needs to be provided to unload a LoRA adapter.";
            InvalidRequest::coded("missing_required_parameter", "lora_name", message)
        })?;
        Ok(Self { lora_name })
    }
}

fn take_text(fields: &mut Fields, name: &str) -> Result<Option<String>, InvalidRequest> {
    Ok(fields.string(name)?.filter(|text| !text.is_empty()))
}
