//! The parameters of a request that several dialects translate in the same way.

use serde_json::Value;

use super::turns::only;
use crate::translation::untranslatable;
use crate::{OriginalChat, VendorError};

/// Parameters that a dialect reads for itself, here, or in [`turns`](super::turns).
const READ: [&str; 14] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stop",
    "temperature",
    "top_p",
    "response_format",
];
/// Parameters that don't change an answer: they are for the vendor's own books.
const WITHOUT_EFFECT: [&str; 5] = [
    "user",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
];

/// A tool that the model may call.
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    pub(super) description: Option<&'a str>,
    /// A JSON schema.
    pub(super) parameters: Option<&'a Value>,
    pub(super) is_strict: bool,
    pub(super) path: String,
}

/// Which tools the model may or must call.
#[derive(Clone, Copy)]
pub(super) enum ToolChoice<'a> {
    Auto,
    None,
    Required,
    Named(&'a str),
}

/// The form of the answer.
pub(super) enum AnswerFormat<'a> {
    Text,
    Json,
    Schema(&'a Value),
}

/// Refuses every parameter that the dialect does not translate, apart from those in `more`, and those
/// that say what holds anyway.
pub(super) fn refuse_others(chat: &OriginalChat, more: &[&str]) -> Result<(), VendorError> {
    for (name, value) in chat.body() {
        let name = name.as_str();
        let is_known =
            READ.contains(&name) || WITHOUT_EFFECT.contains(&name) || more.contains(&name);
        if !is_known && !is_default(name, value) {
            return Err(untranslatable(name, "the vendor's API has nothing like it"));
        }
    }
    Ok(())
}

/// Whether a value is what holds without the parameter.
fn is_default(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) => true,
        ("store" | "logprobs", Value::Bool(false)) => true,
        ("frequency_penalty" | "presence_penalty", value) => value.as_f64() == Some(0.0),
        ("top_logprobs", value) => value.as_u64() == Some(0),
        ("logit_bias", Value::Object(biases)) => biases.is_empty(),
        ("modalities", value) => *value == serde_json::json!(["text"]),
        ("service_tier", value) => matches!(value.as_str(), Some("auto" | "default")),
        _ => false,
    }
}

/// A number, if it is given.
pub(super) fn number<'a>(
    chat: &'a OriginalChat,
    name: &str,
) -> Result<Option<&'a Value>, VendorError> {
    match chat.parameter(name) {
        Some(value) if !value.is_number() => Err(untranslatable(name, "it must be a number")),
        value => Ok(value),
    }
}

/// A flag, if it is given.
pub(super) fn flag(chat: &OriginalChat, name: &str) -> Result<Option<bool>, VendorError> {
    match chat.parameter(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(untranslatable(name, "it must be true or false")),
    }
}

/// The stop strings; empty if there are none.
pub(super) fn stops(chat: &OriginalChat) -> Result<Vec<&str>, VendorError> {
    let wrong = || untranslatable("stop", "it must be a string or an array of strings");
    match chat.parameter("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop]),
        Some(Value::Array(stops)) => stops
            .iter()
            .map(|stop| stop.as_str().ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// The tools; empty if there are none.
pub(super) fn tools(chat: &OriginalChat) -> Result<Vec<Tool<'_>>, VendorError> {
    let tools = match chat.parameter("tools") {
        None => return Ok(Vec::new()),
        Some(tools) => tools.as_array(),
    };
    let tools = tools.ok_or_else(|| untranslatable("tools", "it must be an array"))?;
    let tools = tools.iter().enumerate();
    tools
        .map(|(at, tool)| {
            let path = format!("tools[{at}]");
            only(tool, &["type", "function"], &path)?;
            if tool["type"] != "function" {
                let problem = "only functions can be translated";
                return Err(untranslatable(&format!("{path}.type"), problem));
            }
            let (function, path) = (&tool["function"], format!("{path}.function"));
            only(
                function,
                &["name", "description", "parameters", "strict"],
                &path,
            )?;
            let name = function["name"].as_str();
            Ok(Tool {
                name: name.ok_or_else(|| {
                    untranslatable(&format!("{path}.name"), "it must be a string")
                })?,
                description: function["description"].as_str(),
                parameters: function.get("parameters").filter(|it| !it.is_null()),
                is_strict: function["strict"] == true,
                path,
            })
        })
        .collect()
}

pub(super) fn tool_choice(chat: &OriginalChat) -> Result<ToolChoice<'_>, VendorError> {
    let problem = "it must be auto, none, required, or a function by name";
    match chat.parameter("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(untranslatable("tool_choice", problem)),
        },
        Some(choice) => {
            let name = choice["function"]["name"].as_str();
            let name = name.filter(|_| choice["type"] == "function");
            name.map(ToolChoice::Named)
                .ok_or_else(|| untranslatable("tool_choice", problem))
        }
    }
}

/// The form of the answer. The name and the description of a schema are labels.
pub(super) fn answer_format(chat: &OriginalChat) -> Result<AnswerFormat<'_>, VendorError> {
    let Some(format) = chat.parameter("response_format") else {
        return Ok(AnswerFormat::Text);
    };
    match format["type"].as_str() {
        Some("text") => Ok(AnswerFormat::Text),
        Some("json_object") => Ok(AnswerFormat::Json),
        Some("json_schema") if format["json_schema"]["schema"].is_object() => {
            Ok(AnswerFormat::Schema(&format["json_schema"]["schema"]))
        }
        _ => Err(untranslatable(
            "response_format",
            "it must be text, json_object, or json_schema with a schema",
        )),
    }
}
