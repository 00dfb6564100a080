//! The request body of `POST /v1/chat/completions`.

use serde_json::{Map, Value, json};

use crate::fields::Fields;
use crate::options::{take_cache_salt, take_inert, take_max_tokens, take_user};
use crate::{InvalidRequest, Message, Sampling, StreamOptions};

/// A validated chat request.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The name of the base model or of an adapter.
    pub model: String,
    /// The conversation; never empty.
    pub messages: Vec<Message>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Maximum number of tokens per choice; `None` allows the rest of the context.
    pub max_tokens: Option<usize>,
    /// Return log-probabilities of each token and of this many alternatives, 0 to 20.
    pub logprobs: Option<usize>,
    /// Stream the answer; `None` returns it as a whole.
    pub stream: Option<StreamOptions>,
    /// The caller's `user`.
    pub user: Option<String>,
    /// Only requests with the same salt share cached prefixes.
    pub cache_salt: Option<String>,
}

impl ChatRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::take(Fields::of_body(body)?)
    }

    /// Validates a request body that is parsed.
    pub fn from_object(body: Map<String, Value>) -> Result<Self, InvalidRequest> {
        Self::take(Fields::of(Value::Object(body), String::new())?)
    }

    fn take(mut fields: Fields) -> Result<Self, InvalidRequest> {
        let request = Self {
            model: fields.model()?,
            messages: match fields.value("messages") {
                Some(messages) => Message::list(messages)?,
                None => return Err(InvalidRequest::missing("messages")),
            },
            sampling: Sampling::take(&mut fields)?,
            max_tokens: take_either_max_tokens(&mut fields)?,
            logprobs: take_logprobs(&mut fields)?,
            stream: StreamOptions::take(&mut fields)?,
            user: take_user(&mut fields)?,
            cache_salt: take_cache_salt(&mut fields)?,
        };
        take_inert(&mut fields)?;
        take_unused_tools(&mut fields)?;
        fields.finish()?;
        Ok(request)
    }
}

fn take_either_max_tokens(fields: &mut Fields) -> Result<Option<usize>, InvalidRequest> {
    let old = take_max_tokens(fields, "max_tokens", 1)?;
    let new = take_max_tokens(fields, "max_completion_tokens", 1)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(InvalidRequest::value(
            "max_tokens",
            "Setting 'max_tokens' and 'max_completion_tokens' to different values is not supported.",
        )),
        _ => Ok(new.or(old)),
    }
}

fn take_logprobs(fields: &mut Fields) -> Result<Option<usize>, InvalidRequest> {
    let logprobs = fields.boolean("logprobs")?.unwrap_or(false);
    let top_logprobs = fields.integer("top_logprobs", 0..=20)?;
    match (logprobs, top_logprobs) {
        (false, Some(_)) => Err(InvalidRequest::value(
            "top_logprobs",
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        )),
        (false, None) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0) as usize)),
    }
}

/// Takes the chat parameters that have no effect at their defaults. OpenAI's other parameters are
/// listed too, so that errors call them unsupported and not unknown.
fn take_unused_tools(fields: &mut Fields) -> Result<(), InvalidRequest> {
    fields.inert_as("tools", &[json!([])])?;
    fields.inert_as("tool_choice", &[json!("none"), json!("auto")])?;
    fields.inert("parallel_tool_calls", "a boolean", Value::is_boolean)?;
    fields.inert_as("functions", &[json!([])])?;
    fields.inert_as("function_call", &[json!("none"), json!("auto")])?;
    fields.inert_as("response_format", &[json!({"type": "text"})])?;
    fields.inert_as("modalities", &[json!(["text"])])?;
    for unsupported in [
        "audio",
        "moderation",
        "prediction",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "verbosity",
        "web_search_options",
    ] {
        fields.inert_as(unsupported, &[])?;
    }
    Ok(())
}
