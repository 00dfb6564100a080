//! Reads `adapter_config.json` and checks that it can be served exactly.

use serde_json::{Map, Value};

use super::target_modules::{Pattern, TargetModules};

/// Limit on the patterns of a field. AdaLoRA writes one for each module.
const MAX_PATTERNS: usize = 4096;

/// The fields of PEFT's `LoraConfig` that affect the computation.
#[derive(Debug)]
pub(super) struct LoraConfig {
    rank: usize,
    alpha: f64,
    /// Ranks of modules by pattern. The first matching pattern counts.
    rank_pattern: Vec<(Pattern, usize)>,
    alpha_pattern: Vec<(Pattern, f64)>,
    pub targets: TargetModules,
    use_rslora: bool,
    pub use_dora: bool,
    pub lora_bias: bool,
    pub ensure_weight_tying: bool,
}

/// The rank r and the scale s of a module's `s · B A`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LoraScale {
    pub rank: usize,
    pub scaling: f32,
}

/// Fields that only affect training or bookkeeping.
const WITHOUT_EFFECT: [&str; 16] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    // PEFT resets it for `nn.Linear`, and Llama has no other layers.
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "torch_dtype",
    "unsloth_fixed",
];

impl LoraConfig {
    /// Reads the fields above, and rejects any other field that is set.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|e| format!("adapter_config.json is not a JSON object: {e}"))?;
        let mut fields = Fields(fields);
        check_kind(&fields.text("peft_type")?.unwrap_or_default())?;
        check_task(fields.text("task_type")?)?;
        check_initialisation(fields.take("init_lora_weights"))?;
        check_bias(fields.text("bias")?)?;
        let config = Self {
            rank: fields.rank("r")?,
            alpha: fields.number("lora_alpha")?,
            rank_pattern: fields.patterns("rank_pattern", as_rank)?,
            alpha_pattern: fields.patterns("alpha_pattern", Value::as_f64)?,
            targets: TargetModules::parse(
                fields.take("target_modules"),
                fields.take("exclude_modules"),
                fields.take("modules_to_save"),
                fields.take("layers_to_transform"),
                fields.take("layers_pattern"),
            )?,
            use_rslora: fields.flag("use_rslora")?,
            use_dora: fields.flag("use_dora")?,
            lora_bias: fields.flag("lora_bias")?,
            ensure_weight_tying: fields.flag("ensure_weight_tying")?,
        };
        if config.use_dora && config.lora_bias {
            return Err("use_dora and lora_bias exclude each other in PEFT".to_owned());
        }
        fields.expect_nothing_else()?;
        Ok(config)
    }

    /// The name of the variant.
    pub(super) fn kind(&self) -> &'static str {
        match (self.use_rslora, self.use_dora) {
            (false, false) => "LoRA",
            (true, false) => "rsLoRA",
            (false, true) => "DoRA",
            (true, true) => "rsDoRA",
        }
    }

    /// Rank and scale of a module: α/r, or α/√r for rsLoRA (Kalajdzievski 2023).
    pub(super) fn scale(&self, module: &str) -> Result<LoraScale, String> {
        let rank = first_match(&self.rank_pattern, module)?.unwrap_or(self.rank);
        let alpha = first_match(&self.alpha_pattern, module)?.unwrap_or(self.alpha);
        let divisor = if self.use_rslora {
            (rank as f64).sqrt()
        } else {
            rank as f64
        };
        let scaling = (alpha / divisor) as f32;
        Ok(LoraScale { rank, scaling })
    }
}

/// Like PEFT's `get_pattern_key`.
fn first_match<T: Copy>(patterns: &[(Pattern, T)], module: &str) -> Result<Option<T>, String> {
    for (pattern, value) in patterns {
        if pattern.matches(module)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn check_kind(kind: &str) -> Result<(), String> {
    match kind {
        "LORA" => Ok(()),
        "" => Err(
            "adapter_config.json has no peft_type: expected the config of a PEFT adapter"
                .to_owned(),
        ),
        "PROMPT_TUNING"
        | "MULTITASK_PROMPT_TUNING"
        | "P_TUNING"
        | "PREFIX_TUNING"
        | "CPT"
        | "ADAPTION_PROMPT"
        | "CARTRIDGE" => Err(format!(
            "peft_type {kind} adds virtual tokens where LORA changes weights: it cannot be \
             converted, train a LoRA adapter instead"
        )),
        _ => Err(format!(
            "peft_type {kind} is not LORA: convert the adapter with PEFT's save_as_lora where \
             that supports its kind, or merge it into its base with merge_and_unload and serve \
             the result as a model"
        )),
    }
}

fn check_task(task: Option<String>) -> Result<(), String> {
    match task.as_deref() {
        None | Some("CAUSAL_LM") => Ok(()),
        Some(task) => Err(format!(
            "task_type {task} is not supported: expected CAUSAL_LM"
        )),
    }
}

/// Rejects initialisations that change the base weights: the adapter then needs a base model that
/// we do not have.
fn check_initialisation(method: Value) -> Result<(), String> {
    let Some(method) = method.as_str() else {
        return Ok(());
    };
    let lower = method.to_lowercase();
    if ["pissa", "olora", "corda", "lora_ga"]
        .iter()
        .any(|name| lower.starts_with(name))
    {
        return Err(format!(
            "init_lora_weights {method:?} changed the base weights in training: save the adapter \
             again as a plain LoRA, with PEFT's \
             save_pretrained(…, path_initial_model_for_weight_conversion=…)"
        ));
    }
    match lower.as_str() {
        "loftq" => Err(format!(
            "init_lora_weights {method:?} changed the base weights in training, and PEFT has no \
             conversion back: merge the adapter into its base with merge_and_unload and serve \
             the result as a model"
        )),
        "gaussian" | "eva" | "orthogonal" | "mica" => Ok(()),
        _ => Err(format!(
            "init_lora_weights {method:?} is not supported: it may have changed the \
             base weights"
        )),
    }
}

/// Where a model has biases, this field lets PEFT train and save them. A bias in the file is rejected
/// elsewhere.
fn check_bias(bias: Option<String>) -> Result<(), String> {
    match bias.as_deref() {
        None | Some("none" | "all" | "lora_only") => Ok(()),
        Some(other) => Err(format!(
            "unknown bias {other:?}: expected none, all or lora_only"
        )),
    }
}

/// The fields that were not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Err(format!("{name} is {other}, not a string")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            Value::Null => Ok(false),
            Value::Bool(on) => Ok(on),
            other => Err(format!("{name} is {other}, not true or false")),
        }
    }

    fn rank(&mut self, name: &str) -> Result<usize, String> {
        let value = self.take(name);
        as_rank(&value).ok_or_else(|| format!("{name} is {value}, not a positive whole number"))
    }

    fn number(&mut self, name: &str) -> Result<f64, String> {
        let value = self.take(name);
        value
            .as_f64()
            .ok_or_else(|| format!("{name} is {value}, not a number"))
    }

    fn patterns<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<(Pattern, T)>, String> {
        let patterns = match self.take(name) {
            Value::Null => return Ok(Vec::new()),
            Value::Object(patterns) if patterns.len() <= MAX_PATTERNS => patterns,
            Value::Object(patterns) => {
                return Err(format!(
                    "{name} has {} patterns, more than {MAX_PATTERNS}",
                    patterns.len()
                ));
            }
            other => return Err(format!("{name} is {other}, not an object")),
        };
        let read = |(key, value): (String, Value)| {
            let read = read(&value).ok_or_else(|| format!("{name} gives {value} for {key:?}"))?;
            let pattern = Pattern::suffix(&key).map_err(|e| format!("{name}: {e}"))?;
            Ok((pattern, read))
        };
        patterns.into_iter().map(read).collect()
    }

    fn expect_nothing_else(self) -> Result<(), String> {
        let mut set = self
            .0
            .iter()
            .filter(|(name, value)| !WITHOUT_EFFECT.contains(&name.as_str()) && is_set(value));
        match set.next() {
            None => Ok(()),
            Some((name, _)) => Err(format!(
                "{name} is set, which is not supported; ignoring it would change the answers"
            )),
        }
    }
}

fn as_rank(value: &Value) -> Option<usize> {
    value
        .as_u64()
        .filter(|&rank| rank > 0)
        .map(|rank| rank as usize)
}

/// Whether a field is set. PEFT writes null, false or an empty value for what is off.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Number(_) | Value::String(_) => true,
    }
}
