//! The request body of `POST /v1/completions`.

use serde_json::{Value, json};

use crate::fields::Fields;
use crate::options::{take_cache_salt, take_inert, take_max_tokens, take_user};
use crate::{InvalidRequest, Sampling, StreamOptions};

/// A validated completion request.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// The name of the base model or of an adapter.
    pub model: String,
    /// The prompts, which are continued independently; never empty.
    pub prompts: Vec<Prompt>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Maximum number of tokens per choice. 0, with `echo`, only returns the prompt.
    pub max_tokens: usize,
    /// Return log-probabilities of each token and of this many alternatives, 0 to 20.
    pub logprobs: Option<usize>,
    /// Start the answer with the prompt.
    pub echo: bool,
    /// Stream the answer; `None` returns it as a whole.
    pub stream: Option<StreamOptions>,
    /// The caller's `user`.
    pub user: Option<String>,
    /// Only requests with the same salt share cached prefixes.
    pub cache_salt: Option<String>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text, which is tokenized.
    Text(String),
    /// Token ids; never empty. The model checks whether they are in the vocabulary.
    Tokens(Vec<u32>),
}

const DEFAULT_MAX_TOKENS: usize = 16;
const MAX_PROMPTS: usize = 2048;

impl CompletionRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.model()?;
        let prompts = match fields.value("prompt") {
            Some(value) => Prompt::list(value)?,
            None => return Err(InvalidRequest::missing("prompt")),
        };
        let sampling = Sampling::take(&mut fields)?;
        let echo = fields.boolean("echo")?.unwrap_or(false);
        let least = if echo { 0 } else { 1 };
        let request = Self {
            model,
            prompts,
            max_tokens: take_max_tokens(&mut fields, "max_tokens", least)?
                .unwrap_or(DEFAULT_MAX_TOKENS),
            logprobs: fields
                .integer("logprobs", 0..=20)?
                .map(|logprobs| logprobs as usize),
            echo,
            stream: StreamOptions::take(&mut fields)?,
            user: take_user(&mut fields)?,
            cache_salt: take_cache_salt(&mut fields)?,
            sampling,
        };
        fields.inert_as("best_of", &[json!(request.sampling.n)])?;
        fields.inert_as("suffix", &[json!("")])?;
        take_inert(&mut fields)?;
        fields.finish()?;
        Ok(request)
    }
}

impl Prompt {
    /// Parses `prompt`: a string, token ids, a list of strings, or a list of lists of token ids.
    fn list(value: Value) -> Result<Vec<Self>, InvalidRequest> {
        let items = match value {
            Value::String(text) => return Ok(vec![Self::Text(text)]),
            Value::Array(items) => items,
            other => {
                let expected = "a string, an array of strings or of token ids";
                return Err(InvalidRequest::kind("prompt", expected, &other));
            }
        };
        match items.first() {
            None => Err(empty("prompt".to_owned())),
            Some(Value::Number(_)) => Ok(vec![Self::tokens(items, "prompt".to_owned())?]),
            Some(_) if items.len() > MAX_PROMPTS => {
                let message = format!(
                    "Invalid 'prompt': array too long. Expected an array with maximum length \
                     {MAX_PROMPTS}, but got an array with length {} instead.",
                    items.len()
                );
                Err(InvalidRequest::coded(
                    "array_above_max_length",
                    "prompt",
                    message,
                ))
            }
            Some(_) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| Self::item(item, format!("prompt[{index}]")))
                .collect(),
        }
    }

    fn item(value: Value, path: String) -> Result<Self, InvalidRequest> {
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(ids) => Self::tokens(ids, path),
            other => Err(InvalidRequest::kind(
                path,
                "a string or an array of token ids",
                &other,
            )),
        }
    }

    fn tokens(ids: Vec<Value>, path: String) -> Result<Self, InvalidRequest> {
        if ids.is_empty() {
            return Err(empty(path));
        }
        let parse_id = |(index, id): (usize, &Value)| {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| {
                InvalidRequest::kind(format!("{path}[{index}]"), "a token id", &ids[index])
            })
        };
        ids.iter()
            .enumerate()
            .map(parse_id)
            .collect::<Result<_, _>>()
            .map(Self::Tokens)
    }
}

fn empty(path: String) -> InvalidRequest {
    let message = format!("Invalid '{path}': empty array. Expected at least one item.");
    InvalidRequest::coded("empty_array", path, message)
}
