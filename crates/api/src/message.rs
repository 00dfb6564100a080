//! One message of a conversation.

use serde_json::Value;

use crate::InvalidRequest;
use crate::fields::Fields;
use crate::invalid_request::shown;

/// A message: its role and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The role of the speaker.
    pub role: Role,
    /// The text.
    pub content: Content,
    /// A name that distinguishes speakers of the same role, if the chat template uses it.
    pub name: Option<String>,
}

/// The content of a message. Only text is supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One string.
    Text(String),
    /// Parts of type `text`.
    Parts(Vec<String>),
}

impl Content {
    /// The bytes of all its text.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts.iter().map(String::len).sum(),
        }
    }
}

/// The role of a speaker. OpenAI's `developer` is treated as `system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name in chat templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Limit on messages, and on the parts of one. The limits of templates allow about as many.
const MAX_ITEMS: usize = 16_384;

impl Message {
    /// Parses the messages of a chat request; at least one.
    pub(crate) fn list(value: Value) -> Result<Vec<Self>, InvalidRequest> {
        let Value::Array(items) = value else {
            return Err(InvalidRequest::kind(
                "messages",
                "an array of messages",
                &value,
            ));
        };
        if items.is_empty() {
            let message = "Invalid 'messages': empty array. Expected at least one message.";
            return Err(InvalidRequest::coded("empty_array", "messages", message));
        }
        check_length(items.len(), "messages")?;
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| Self::parse(item, index))
            .collect()
    }

    fn parse(value: Value, index: usize) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of(value, format!("messages[{index}]"))?;
        let role = fields.string("role")?;
        let role = match role.as_deref() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(other) => {
                let other = shown(other);
                let message = format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'developer', \
                     'user' and 'assistant'."
                );
                return Err(InvalidRequest::value(fields.path("role"), message));
            }
            None => return Err(InvalidRequest::missing(fields.path("role"))),
        };
        let path = fields.path("content");
        let content = match fields.value("content") {
            Some(Value::String(text)) => Content::Text(text),
            Some(Value::Array(parts)) => Content::Parts(parse_parts(parts, &path)?),
            Some(other) => {
                return Err(InvalidRequest::kind(
                    path,
                    "a string or an array of parts",
                    &other,
                ));
            }
            None => return Err(InvalidRequest::missing(path)),
        };
        let name = fields.string("name")?;
        // Clients send these back with an earlier answer.
        fields.inert_as("refusal", &[])?;
        fields.inert_as("annotations", &[Value::Array(Vec::new())])?;
        fields.inert_as("tool_calls", &[Value::Array(Vec::new())])?;
        fields.inert_as("function_call", &[])?;
        fields.inert_as("audio", &[])?;
        fields.finish()?;
        Ok(Self {
            role,
            content,
            name,
        })
    }
}

/// A chat template has to compute something for each of them.
fn check_length(length: usize, path: &str) -> Result<(), InvalidRequest> {
    if length <= MAX_ITEMS {
        return Ok(());
    }
    let message = format!(
        "Invalid '{path}': array too long. Expected an array with maximum length {MAX_ITEMS}, but \
         got an array with length {length} instead."
    );
    Err(InvalidRequest::coded(
        "array_above_max_length",
        path,
        message,
    ))
}

fn parse_parts(parts: Vec<Value>, path: &str) -> Result<Vec<String>, InvalidRequest> {
    check_length(parts.len(), path)?;
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let mut fields = Fields::of(part, format!("{path}[{index}]"))?;
        match fields.string("type")?.as_deref() {
            Some("text") => {}
            Some(other) => {
                let other = shown(other);
                let message =
                    format!("Invalid value: '{other}'. Only parts of type 'text' are supported.");
                return Err(InvalidRequest::value(fields.path("type"), message));
            }
            None => return Err(InvalidRequest::missing(fields.path("type"))),
        }
        let text = fields.string("text")?;
        texts.push(text.ok_or_else(|| InvalidRequest::missing(fields.path("text")))?);
        fields.finish()?;
    }
    Ok(texts)
}
