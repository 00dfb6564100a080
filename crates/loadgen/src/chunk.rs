//! A chunk of a stream. Servers write the same facts in many ways; each is read, or refused by name.

mod output;
mod usage;

use serde::Deserialize;
use serde_json::Value;

pub(crate) use usage::{CostChunk, CountError, UsageChunk};

/// The fields of a chat or completion chunk that are needed here. Also used for answers that are
/// not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    choices: Option<Vec<Option<Choice>>>,
    usage: Option<UsageChunk>,
    /// Groq's place for the usage.
    x_groq: Option<Holder>,
    /// Some servers report an error as an event within the stream.
    error: Value,
    /// Others mark the whole event: `"object": "error"` (SGLang, FastChat), `"type": "error"`.
    object: Value,
    r#type: Value,
}

/// An object that holds a usage.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Holder {
    usage: Option<UsageChunk>,
}

/// One choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    /// For chats.
    delta: Option<Message>,
    /// Some servers send the message so far instead of what is new.
    message: Option<Message>,
    /// For completions.
    text: Value,
    finish_reason: Value,
    /// Moonshot's place for the usage.
    usage: Option<UsageChunk>,
}

/// What a model can generate for a message: text, thoughts, a refusal, calls of tools.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Value,
    reasoning: Value,
    reasoning_content: Value,
    reasoning_details: Value,
    thinking: Value,
    refusal: Value,
    tool_calls: Value,
    function_call: Value,
    audio: Value,
}

impl Chunk {
    /// Parses the data of an event.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(data).or_else(|error| {
            // A character in two chunks leaves half of it in each: invalid UTF-8, or one of two
            // surrogates. Only whether there is text matters here.
            let text = String::from_utf8_lossy(data);
            let text = output::without_surrogates(&text);
            serde_json::from_str(&text).map_err(|_| error)
        })
    }

    /// Whether it has generated text.
    pub(crate) fn has_text(&self) -> bool {
        self.choices().any(Choice::has_text)
    }

    /// Why the choice ended, if it did. An empty reason is none.
    pub(crate) fn finish_reason(&self) -> Option<String> {
        self.choices().find_map(Choice::finish_reason)
    }

    /// The token counts, wherever the server puts them.
    pub(crate) fn usage(&self) -> Option<&UsageChunk> {
        let groq = || self.x_groq.as_ref()?.usage.as_ref();
        let choice = || self.choices().find_map(|choice| choice.usage.as_ref());
        self.usage.as_ref().or_else(groq).or_else(choice)
    }

    /// Whether it reports an error.
    pub(crate) fn is_error(&self) -> bool {
        let is_named = |value: &Value| value == "error";
        !output::is_nothing(&self.error) || is_named(&self.object) || is_named(&self.r#type)
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.choices.iter().flatten().flatten()
    }
}

impl Choice {
    fn has_text(&self) -> bool {
        let message = self.delta.as_ref().or(self.message.as_ref());
        output::is_output(&self.text) || message.is_some_and(Message::has_text)
    }

    fn finish_reason(&self) -> Option<String> {
        match &self.finish_reason {
            // "null" is DashScope's way to say that there is none.
            Value::String(reason) if reason == "null" => None,
            Value::String(reason) => Some(reason.clone()),
            Value::Null => None,
            // SGLang's own API: {"type": "stop", …}.
            Value::Object(reason) => match reason.get("type") {
                Some(Value::String(reason)) => Some(reason.clone()),
                _ => Some(self.finish_reason.to_string()),
            },
            other => Some(other.to_string()),
        }
        .filter(|reason| !reason.is_empty())
    }
}

impl Message {
    fn has_text(&self) -> bool {
        let fields = [
            &self.content,
            &self.reasoning,
            &self.reasoning_content,
            &self.reasoning_details,
            &self.thinking,
            &self.refusal,
            &self.tool_calls,
            &self.function_call,
            &self.audio,
        ];
        fields.into_iter().any(output::is_output)
    }
}
