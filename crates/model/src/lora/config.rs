//! What `adapter_config.json` asks for, and whether it is served exactly.

use serde_json::{Map, Value};

/// The part of PEFT's `LoraConfig` that shapes the arithmetic.
#[derive(Debug, PartialEq)]
pub(super) struct LoraConfig {
    pub rank: usize,
    alpha: f64,
    use_rslora: bool,
}

/// Fields that matter to training or bookkeeping only.
const WITHOUT_EFFECT: [&str; 13] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",
    "task_type",
];

/// Initialisations that change the base weights: such an adapter fits a base we do not have.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

impl LoraConfig {
    /// Reads the fields above; any other field that is set is refused by its name.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|e| format!("adapter_config.json is not a JSON object: {e}"))?;

        match take(&mut fields, "peft_type").as_str() {
            Some("LORA") => {}
            other => {
                return Err(format!(
                    "peft_type {} is not LORA",
                    other.unwrap_or("(none)")
                ));
            }
        }
        let rank = take(&mut fields, "r")
            .as_u64()
            .filter(|&rank| rank > 0)
            .ok_or("r is not a positive whole number")? as usize;
        let alpha = take(&mut fields, "lora_alpha")
            .as_f64()
            .ok_or("lora_alpha is not a number")?;
        let use_rslora = take(&mut fields, "use_rslora").as_bool().unwrap_or(false);

        if let Some(method) = fields.get("init_lora_weights").and_then(Value::as_str)
            && CHANGES_BASE
                .iter()
                .any(|name| method.to_lowercase().starts_with(name))
        {
            return Err(format!(
                "init_lora_weights {method:?} changed the base weights in training: convert the \
                 adapter to a plain LoRA with PEFT (path_initial_model_for_weight_conversion) first"
            ));
        }
        if take(&mut fields, "bias")
            .as_str()
            .is_some_and(|bias| bias != "none")
        {
            return Err("bias other than \"none\" is not supported yet".to_owned());
        }
        fields.retain(|name, value| !WITHOUT_EFFECT.contains(&name.as_str()) && is_set(value));
        match fields.keys().next() {
            Some(name) => Err(format!("{name} is set, which is not supported yet")),
            None => Ok(Self {
                rank,
                alpha,
                use_rslora,
            }),
        }
    }

    /// α/r, or α/√r for rsLoRA (Kalajdzievski 2023).
    pub(super) fn scaling(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Value {
    fields.remove(name).unwrap_or_default()
}

/// Whether a field says anything: PEFT writes null, false and empty for what is off.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Number(_) | Value::String(_) => true,
    }
}
