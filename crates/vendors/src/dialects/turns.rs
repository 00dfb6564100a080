//! The messages of a request, read strictly: what is not understood is refused by name.

use serde_json::{Map, Value};

use crate::translation::untranslatable;
use crate::{OriginalChat, VendorError};

/// A message.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// Instructions of the system or the developer.
    System(Vec<Part>),
    User(Vec<Part>),
    Assistant {
        parts: Vec<Part>,
        calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    ToolResult {
        call_id: String,
        parts: Vec<Part>,
    },
}

/// A part of a message. None is empty.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// An image in base64.
    Image {
        media_type: String,
        data: String,
    },
    /// An image that the vendor is to fetch.
    ImageUrl(String),
}

/// A call that the assistant made.
#[derive(Debug, PartialEq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
}

/// A message with its path, such as `messages[2]`.
pub(super) struct PlacedTurn {
    pub(super) path: String,
    pub(super) turn: Turn,
}

/// Reads all messages.
pub(super) fn turns(chat: &OriginalChat) -> Result<Vec<PlacedTurn>, VendorError> {
    let messages = chat.parameter("messages").and_then(Value::as_array);
    let messages = messages.into_iter().flatten().enumerate();
    messages
        .map(|(at, message)| {
            let path = format!("messages[{at}]");
            let turn = turn(message, &path)?;
            Ok(PlacedTurn { path, turn })
        })
        .collect()
}

fn turn(message: &Value, path: &str) -> Result<Turn, VendorError> {
    let content = |name: &str| parts(&message[name], &format!("{path}.{name}"));
    match message["role"].as_str() {
        Some("system" | "developer") => {
            only(message, &["role", "content"], path)?;
            Ok(Turn::System(content("content")?))
        }
        Some("user") => {
            only(message, &["role", "content"], path)?;
            Ok(Turn::User(content("content")?))
        }
        // Earlier reasoning is the vendor's own: another one cannot use it.
        Some("assistant") => {
            let known = [
                "role",
                "content",
                "refusal",
                "tool_calls",
                "reasoning_content",
                "reasoning",
            ];
            only(message, &known, path)?;
            let mut parts = content("content")?;
            parts.extend(content("refusal")?);
            let calls = message["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate();
            let calls =
                calls.map(|(at, call)| tool_call(call, &format!("{path}.tool_calls[{at}]")));
            let calls: Vec<_> = calls.collect::<Result<_, _>>()?;
            if !calls.is_empty() {
                parts.retain(|part| !matches!(part, Part::Text(text) if text.trim().is_empty()));
            }
            Ok(Turn::Assistant { parts, calls })
        }
        Some("tool") => {
            only(message, &["role", "content", "tool_call_id", "name"], path)?;
            let call_id = text(&message["tool_call_id"], &format!("{path}.tool_call_id"))?;
            Ok(Turn::ToolResult {
                call_id,
                parts: content("content")?,
            })
        }
        _ => Err(untranslatable(
            &format!("{path}.role"),
            "it must be system, developer, user, assistant or tool",
        )),
    }
}

/// Text is one part. Empty text is none: it says nothing, and vendors refuse it.
fn parts(content: &Value, path: &str) -> Result<Vec<Part>, VendorError> {
    let items = match content {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if text.is_empty() => return Ok(Vec::new()),
        Value::String(text) => return Ok(vec![Part::Text(text.clone())]),
        Value::Array(items) => items,
        _ => return Err(untranslatable(path, "it must be text or an array of parts")),
    };
    let mut parts = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match item["type"].as_str() {
            Some(kind @ ("text" | "refusal")) => {
                only(item, &["type", kind], &path)?;
                match text(&item[kind], &format!("{path}.{kind}"))? {
                    text if text.is_empty() => {}
                    text => parts.push(Part::Text(text)),
                }
            }
            Some("image_url") => parts.push(image(item, &path)?),
            _ => {
                let problem = "only text and images can be translated";
                return Err(untranslatable(&format!("{path}.type"), problem));
            }
        }
    }
    Ok(parts)
}

fn image(item: &Value, path: &str) -> Result<Part, VendorError> {
    only(item, &["type", "image_url"], path)?;
    let (image, path) = (&item["image_url"], format!("{path}.image_url"));
    only(image, &["url", "detail"], &path)?;
    if !matches!(image["detail"].as_str(), None | Some("auto")) {
        let problem = "only `auto` can be translated";
        return Err(untranslatable(&format!("{path}.detail"), problem));
    }
    let path = format!("{path}.url");
    let url = text(&image["url"], &path)?;
    let Some(data) = url.strip_prefix("data:") else {
        return Ok(Part::ImageUrl(url));
    };
    let parsed = data.split_once(";base64,").filter(|(media_type, data)| {
        media_type.starts_with("image/") && !media_type.contains(';') && !data.is_empty()
    });
    match parsed {
        Some((media_type, data)) => Ok(Part::Image {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        }),
        None => Err(untranslatable(
            &path,
            "it must be data:image/…;base64,… or an address",
        )),
    }
}

fn tool_call(call: &Value, path: &str) -> Result<ToolCall, VendorError> {
    only(call, &["id", "type", "function", "index"], path)?;
    if !matches!(call["type"].as_str(), None | Some("function")) {
        return Err(untranslatable(
            &format!("{path}.type"),
            "only functions can be translated",
        ));
    }
    let function = &call["function"];
    only(
        function,
        &["name", "arguments"],
        &format!("{path}.function"),
    )?;
    let arguments = function["arguments"].as_str().map(str::trim);
    let arguments = match arguments {
        Some("") => Some(Map::new()),
        Some(text) => serde_json::from_str(text).ok(),
        None => None,
    };
    let problem = "it must be a JSON object in a string";
    Ok(ToolCall {
        id: text(&call["id"], &format!("{path}.id"))?,
        name: text(&function["name"], &format!("{path}.function.name"))?,
        arguments: arguments
            .ok_or_else(|| untranslatable(&format!("{path}.function.arguments"), problem))?,
    })
}

fn text(value: &Value, path: &str) -> Result<String, VendorError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| untranslatable(path, "it must be a string"))
}

/// Refuses fields that would be lost. A null is as good as no field.
pub(super) fn only(object: &Value, known: &[&str], path: &str) -> Result<(), VendorError> {
    let Value::Object(fields) = object else {
        return Err(untranslatable(path, "it must be an object"));
    };
    let lost =
        |(name, value): &(&String, &Value)| !value.is_null() && !known.contains(&name.as_str());
    match fields.iter().find(lost) {
        Some((name, _)) => Err(untranslatable(
            &format!("{path}.{name}"),
            "the vendor's API has nothing like it",
        )),
        None => Ok(()),
    }
}
