//! What a server needs of a chat request that it hands on.

use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::options::take_user;
use crate::{InvalidRequest, StreamOptions, json};

/// A chat request that is answered elsewhere: only these fields are read, and all are handed on.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatEnvelope {
    /// The name of the model.
    pub model: String,
    /// Stream the answer; `None` returns it as a whole.
    pub stream: Option<StreamOptions>,
    /// Number of choices.
    pub n: usize,
    /// Whether log-probabilities are asked for.
    pub logprobs: bool,
    /// The caller's `user`.
    pub user: Option<String>,
    /// The caller's `safety_identifier`, the newer name of `user`.
    pub safety_identifier: Option<String>,
    /// The whole request.
    pub body: Map<String, Value>,
}

impl ChatEnvelope {
    /// Parses a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let body = json::parse(body)?;
        let Value::Object(body) = body else {
            return Err(InvalidRequest::kind("", "an object", &body));
        };
        // The texts are not copied.
        let read = [
            "model",
            "stream",
            "stream_options",
            "n",
            "logprobs",
            "user",
            "safety_identifier",
        ];
        let copied = read.into_iter().filter_map(|name| {
            let value = body.get(name)?.clone();
            Some((name.to_owned(), value))
        });
        let mut fields = Fields::of(Value::Object(copied.collect()), String::new())?;
        Ok(Self {
            model: fields.model()?,
            stream: StreamOptions::take(&mut fields)?,
            n: fields.integer("n", 1..=128)?.unwrap_or(1) as usize,
            logprobs: fields.boolean("logprobs")?.unwrap_or(false),
            user: take_user(&mut fields)?,
            safety_identifier: fields.string("safety_identifier")?,
            body,
        })
    }
}
