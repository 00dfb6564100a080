//! Parameters that chat and completion requests share.

use serde_json::{Value, json};

use crate::InvalidRequest;
use crate::fields::Fields;
use crate::logit_bias;

/// Sampling parameters: OpenAI's, and vLLM's `top_k`, `min_p`, `repetition_penalty` and
/// `ignore_eos`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 means greedy sampling. Values below 1e-5 become 0, so that no logit overflows. This and
    /// the other options without a value have the model's own default.
    pub temperature: Option<f32>,
    /// Above 0, at most 1.
    pub top_p: Option<f32>,
    /// 0 keeps all.
    pub top_k: Option<usize>,
    /// 0 to 1.
    pub min_p: Option<f32>,
    /// -2 to 2.
    pub presence_penalty: f32,
    /// -2 to 2.
    pub frequency_penalty: f32,
    /// 0.01 to 10; 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Token ids and biases of -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// The seed; a random one if absent.
    pub seed: Option<i64>,
    /// Number of choices per prompt, 1 to 128.
    pub n: usize,
    /// Stop strings: up to 16, none empty, each of at most 1,000 characters.
    pub stop: Vec<String>,
    /// Continue after end-of-sequence tokens.
    pub ignore_eos: bool,
}

/// Streaming options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Send a last chunk with the usage.
    pub include_usage: bool,
    /// vLLM's option: report the tokens so far in every chunk.
    pub continuous_usage_stats: bool,
}

const MAX_STOP_STRINGS: usize = 16;
/// Every piece of an answer is searched for each of them.
const MAX_STOP_CHARS: usize = 1000;
const MAX_USER_CHARS: usize = 512;
const MAX_CACHE_SALT_CHARS: usize = 512;

impl Sampling {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, InvalidRequest> {
        let temperature = fields.decimal("temperature", 0.0..=2.0)?;
        let top_p = above_zero(fields, "top_p", 1.0)?;
        // Smaller ones would make logits infinite.
        let repetition_penalty = fields.decimal("repetition_penalty", 0.01..=10.0)?;
        Ok(Self {
            temperature: temperature.map(|it| if it < 1e-5 { 0.0 } else { it as f32 }),
            top_p: top_p.map(|top_p| (top_p as f32).max(f32::MIN_POSITIVE)),
            // vLLM's -1 keeps all, like 0.
            top_k: fields
                .integer("top_k", -1..=i64::from(u32::MAX))?
                .map(|top_k| top_k.max(0) as usize),
            min_p: fields
                .decimal("min_p", 0.0..=1.0)?
                .map(|min_p| min_p as f32),
            presence_penalty: fields
                .decimal("presence_penalty", -2.0..=2.0)?
                .unwrap_or(0.0) as f32,
            frequency_penalty: fields
                .decimal("frequency_penalty", -2.0..=2.0)?
                .unwrap_or(0.0) as f32,
            repetition_penalty: repetition_penalty.map(|penalty| penalty as f32),
            logit_bias: match fields.value("logit_bias") {
                Some(value) => logit_bias::parse(value)?,
                None => Vec::new(),
            },
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            n: fields.integer("n", 1..=128)?.unwrap_or(1) as usize,
            stop: take_stop(fields)?,
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
        })
    }
}

impl StreamOptions {
    /// `None` if the answer is not streamed.
    pub(crate) fn take(fields: &mut Fields) -> Result<Option<Self>, InvalidRequest> {
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let Some(value) = fields.value("stream_options") else {
            return Ok(stream.then(Self::default));
        };
        if !stream {
            let message =
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(InvalidRequest::value("stream_options", message));
        }
        let mut options = Fields::of(value, "stream_options".to_owned())?;
        let include_usage = options.boolean("include_usage")?.unwrap_or(false);
        options.inert_as("include_obfuscation", &[json!(false)])?;
        let continuous = options.boolean("continuous_usage_stats")?;
        options.finish()?;
        Ok(Some(Self {
            include_usage,
            continuous_usage_stats: continuous.unwrap_or(false),
        }))
    }
}

/// Takes `max_tokens` or `max_completion_tokens`, at least `least`.
pub(crate) fn take_max_tokens(
    fields: &mut Fields,
    name: &str,
    least: i64,
) -> Result<Option<usize>, InvalidRequest> {
    let max_tokens = fields.integer(name, least..=i64::from(u32::MAX))?;
    Ok(max_tokens.map(|max_tokens| max_tokens as usize))
}

/// Takes vLLM's `cache_salt`: only requests with the same one share cached prefixes.
pub(crate) fn take_cache_salt(fields: &mut Fields) -> Result<Option<String>, InvalidRequest> {
    let salt = fields.string("cache_salt")?;
    match salt.as_ref().map(|salt| salt.chars().count()) {
        Some(0) => Err(InvalidRequest::value(
            "cache_salt",
            "Invalid 'cache_salt': it must not be empty. Leave it out to share the cache.",
        )),
        Some(length) if length > MAX_CACHE_SALT_CHARS => {
            let message = format!(
                "Invalid 'cache_salt': string too long. Expected a string with maximum length \
                 {MAX_CACHE_SALT_CHARS}, but got a string with length {length} instead."
            );
            let code = "string_above_max_length";
            Err(InvalidRequest::coded(code, "cache_salt", message))
        }
        _ => Ok(salt),
    }
}

/// Takes `user`; an empty name counts as absent. Its length is limited because it is stored in the
/// ledger.
pub(crate) fn take_user(fields: &mut Fields) -> Result<Option<String>, InvalidRequest> {
    let user = fields.string("user")?;
    let length = user.as_ref().map_or(0, |user| user.chars().count());
    if length > MAX_USER_CHARS {
        let message = format!(
            "Invalid 'user': string too long. Expected a string with maximum length \
             {MAX_USER_CHARS}, but got a string with length {length} instead."
        );
        return Err(InvalidRequest::coded(
            "string_above_max_length",
            "user",
            message,
        ));
    }
    Ok(user.filter(|user| !user.is_empty()))
}

/// Takes the fields of OpenAI's specification that do not change the answer.
pub(crate) fn take_inert(fields: &mut Fields) -> Result<(), InvalidRequest> {
    fields.inert("safety_identifier", "a string", Value::is_string)?;
    fields.inert("prompt_cache_key", "a string", Value::is_string)?;
    fields.inert("metadata", "an object", Value::is_object)?;
    fields.inert_as("store", &[json!(false)])?;
    fields.inert_as("service_tier", &[json!("auto"), json!("default")])
}

fn take_stop(fields: &mut Fields) -> Result<Vec<String>, InvalidRequest> {
    let expected = "a string or an array of strings";
    let items = match fields.value("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    if items.len() > MAX_STOP_STRINGS {
        let message = format!(
            "Invalid 'stop': array too long. Expected an array with maximum length \
             {MAX_STOP_STRINGS}, but got an array with length {} instead.",
            items.len()
        );
        return Err(InvalidRequest::coded(
            "array_above_max_length",
            "stop",
            message,
        ));
    }
    let parse_item = |item| match item {
        Value::String(text) if text.is_empty() => Err(InvalidRequest::value(
            "stop",
            "Invalid 'stop': a stop string cannot be empty.",
        )),
        Value::String(text) => match text.chars().count() {
            ..=MAX_STOP_CHARS => Ok(text),
            length => {
                let message = format!(
                    "Invalid 'stop': string too long. Expected a string with maximum length \
                     {MAX_STOP_CHARS}, but got a string with length {length} instead."
                );
                let code = "string_above_max_length";
                Err(InvalidRequest::coded(code, "stop", message))
            }
        },
        other => Err(InvalidRequest::kind("stop", expected, &other)),
    };
    items.into_iter().map(parse_item).collect()
}

fn above_zero(fields: &mut Fields, name: &str, most: f64) -> Result<Option<f64>, InvalidRequest> {
    let decimal = fields.decimal(name, 0.0..=most)?;
    if decimal == Some(0.0) {
        let message = format!(
            "Invalid '{name}': decimal below minimum value. Expected a value > 0, but got 0 instead."
        );
        return Err(InvalidRequest::coded(
            "decimal_below_min_value",
            name,
            message,
        ));
    }
    Ok(decimal)
}
