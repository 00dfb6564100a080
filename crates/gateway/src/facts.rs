//! What rules may look at.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::Arm;

/// What a chat request is like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFacts {
    /// The bytes of all messages' text.
    pub prompt_bytes: usize,
    /// The text of the last user message.
    pub last_user_text: String,
    /// Whether it offers tools.
    pub has_tools: bool,
    /// Whether a message has an image, a sound or a file.
    pub has_media: bool,
    /// Its `metadata`, where the values are strings.
    pub tags: BTreeMap<String, String>,
    /// The answer's limit.
    pub max_tokens: Option<u64>,
}

/// What the server knows at the moment.
pub trait Situation {
    /// Sequences that wait for this server's engine.
    fn own_waiting(&self) -> usize;
    /// The time to the first token that a request would have on this server now, in seconds; `None`
    /// while it is unknown.
    fn own_first_token_seconds(&self) -> Option<f64>;
    /// What the request would cost on an arm; `None` if a price is unknown.
    fn predicted_usd(&self, arm: &Arm) -> Option<Decimal>;
}

/// A rough number of bytes per token of English text, for prompts that nobody has tokenized.
const BYTES_PER_TOKEN: usize = 4;

impl RequestFacts {
    /// The facts of a request body.
    pub fn of(body: &Map<String, Value>) -> Self {
        let mut facts = Self {
            has_tools: is_filled(body.get("tools")) || is_filled(body.get("functions")),
            tags: tags(body.get("metadata")),
            max_tokens: ["max_completion_tokens", "max_tokens"]
                .iter()
                .find_map(|name| body.get(*name)?.as_u64()),
            ..Self::default()
        };
        let messages = body.get("messages").and_then(Value::as_array);
        for message in messages.into_iter().flatten() {
            let text = facts.read_content(message.get("content"));
            if message.get("role").and_then(Value::as_str) == Some("user") {
                facts.last_user_text = text;
            }
        }
        facts
    }

    /// About how many tokens the prompt has.
    pub fn estimated_prompt_tokens(&self) -> u64 {
        self.prompt_bytes.div_ceil(BYTES_PER_TOKEN) as u64
    }

    fn read_content(&mut self, content: Option<&Value>) -> String {
        let mut text = String::new();
        match content {
            Some(Value::String(whole)) => text.push_str(whole),
            Some(Value::Array(parts)) => {
                for part in parts {
                    match part.get("text").and_then(Value::as_str) {
                        Some(piece) => text.push_str(piece),
                        None => self.has_media = true,
                    }
                }
            }
            _ => {}
        }
        self.prompt_bytes += text.len();
        text
    }
}

fn is_filled(list: Option<&Value>) -> bool {
    list.and_then(Value::as_array)
        .is_some_and(|items| !items.is_empty())
}

fn tags(metadata: Option<&Value>) -> BTreeMap<String, String> {
    let fields = metadata.and_then(Value::as_object).into_iter().flatten();
    let texts = fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    texts.collect()
}
