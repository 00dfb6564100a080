//! The request bodies of `POST /tokenize` and `POST /detokenize`, in vLLM's form.

use serde::Serialize;

use crate::fields::Fields;
use crate::{InvalidRequest, Message};

/// A text or a conversation to be tokenized.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizeRequest {
    /// The model; the base model if absent.
    pub model: Option<String>,
    /// What is tokenized.
    pub input: TokenizeInput,
    /// Whether the tokens' texts are asked for.
    pub return_token_strs: bool,
}

/// What is tokenized.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizeInput {
    /// A text.
    Prompt {
        /// The text.
        text: String,
        /// Whether the tokenizer adds what it adds to every prompt, such as a first token.
        add_special_tokens: bool,
    },
    /// Messages, through the chat template.
    Messages {
        /// The messages.
        messages: Vec<Message>,
        /// Whether the prompt asks for an answer.
        add_generation_prompt: bool,
    },
}

/// The answer to `POST /tokenize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tokenized {
    /// The number of tokens.
    pub count: usize,
    /// Maximum tokens of a prompt and its answer together.
    pub max_model_len: usize,
    /// The token ids.
    pub tokens: Vec<u32>,
    /// The tokens' texts, if they were asked for.
    pub token_strs: Option<Vec<String>>,
}

/// Tokens to be made a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetokenizeRequest {
    /// The model; the base model if absent.
    pub model: Option<String>,
    /// The token ids.
    pub tokens: Vec<u32>,
}

/// The answer to `POST /detokenize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detokenized {
    /// The text.
    pub prompt: String,
}

impl TokenizeRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model")?;
        let prompt = fields.string("prompt")?;
        let messages = fields.value("messages").map(Message::list).transpose()?;
        let add_special_tokens = fields.boolean("add_special_tokens")?;
        let add_generation_prompt = fields.boolean("add_generation_prompt")?.unwrap_or(true);
        let return_token_strs = fields.boolean("return_token_strs")?.unwrap_or(false);
        let input = match (prompt, messages) {
            (Some(text), None) => TokenizeInput::Prompt {
                text,
                add_special_tokens: add_special_tokens.unwrap_or(true),
            },
            // A template writes all of the prompt's special tokens itself.
            (None, Some(_)) if add_special_tokens == Some(true) => {
                return Err(InvalidRequest::unsupported(
                    "add_special_tokens",
                    " with messages: the chat template has them",
                ));
            }
            (None, Some(messages)) => TokenizeInput::Messages {
                messages,
                add_generation_prompt,
            },
            (Some(_), Some(_)) => {
                let message = "Give either 'prompt' or 'messages', not both.";
                return Err(InvalidRequest::value("prompt", message));
            }
            (None, None) => return Err(InvalidRequest::missing("prompt")),
        };
        fields.finish()?;
        Ok(Self {
            model,
            input,
            return_token_strs,
        })
    }
}

impl DetokenizeRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.string("model")?;
        let tokens = fields
            .value("tokens")
            .ok_or_else(|| InvalidRequest::missing("tokens"))?;
        let ids = tokens.as_array().and_then(|ids| {
            let ids = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok());
            ids.collect::<Option<Vec<_>>>()
        });
        let Some(ids) = ids else {
            return Err(InvalidRequest::kind(
                "tokens",
                "an array of token ids",
                &tokens,
            ));
        };
        fields.finish()?;
        Ok(Self { model, tokens: ids })
    }
}
