//! Translates a request.

use serde_json::{Map, Value, json};

use crate::dialects::parameters::{
    AnswerFormat, Tool, ToolChoice, answer_format, flag, number, refuse_others, stops, tool_choice,
    tools,
};
use crate::dialects::turns::{Part, Turn, turns};
use crate::translation::{Translation, untranslatable};
use crate::{OriginalChat, VendorError};

/// The most tokens of an answer by the beginning of the model's name: the API has no default for it.
/// (LiteLLM 1.109.1's catalogue, which cites the vendor's overview of models,
/// <https://platform.claude.com/docs/en/about-claude/models/overview>.)
const CEILINGS: [(&str, u64); 11] = [
    ("claude-haiku-4-5", 64_000),
    ("claude-sonnet-4-5", 64_000),
    ("claude-opus-4-5", 64_000),
    ("claude-sonnet-4-6", 128_000),
    ("claude-opus-4-6", 128_000),
    ("claude-opus-4-7", 128_000),
    ("claude-opus-4-8", 128_000),
    ("claude-sonnet-5", 128_000),
    ("claude-opus-5", 128_000),
    ("claude-haiku-5", 128_000),
    ("claude-fable-5", 128_000),
];
const MEDIA_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// `ceiling` is the configured limit of the model's answers.
pub(crate) fn translate(
    chat: &OriginalChat,
    model: &str,
    ceiling: Option<u64>,
) -> Result<Translation, VendorError> {
    refuse_others(chat, &[])?;
    if chat.choices() != 1 {
        return Err(untranslatable(
            "n",
            "the vendor's API gives one answer only",
        ));
    }
    let mut injected = Vec::new();
    let max_tokens = match chat.max_tokens() {
        Some(tokens) => tokens,
        None => {
            let tokens = ceiling.or_else(|| documented_ceiling(model)).ok_or_else(|| {
                untranslatable(
                    "max_completion_tokens",
                    "the vendor's API needs it, and `max_output_tokens` has no limit for the model",
                )
            })?;
            injected.push(("max_tokens", json!(tokens)));
            tokens
        }
    };
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", json!(model));
    set("max_tokens", json!(max_tokens));
    set("stream", json!(true));
    let (system, messages) = messages(chat)?;
    if !system.is_empty() {
        set("system", Value::Array(system));
    }
    set("messages", Value::Array(messages));
    if let Some(temperature) = number(chat, "temperature")? {
        if temperature.as_f64().is_none_or(|it| it > 1.0) {
            return Err(untranslatable(
                "temperature",
                "the vendor's API allows 0 to 1",
            ));
        }
        set("temperature", temperature.clone());
    }
    if let Some(top_p) = number(chat, "top_p")? {
        set("top_p", top_p.clone());
    }
    let stops = stops(chat)?;
    if !stops.is_empty() {
        set("stop_sequences", json!(stops));
    }
    let tools = tools(chat)?;
    if !tools.is_empty() {
        set("tools", tools.iter().map(tool).collect());
        if let Some(choice) = choice(chat)? {
            set("tool_choice", choice);
        }
    }
    match answer_format(chat)? {
        AnswerFormat::Text => {}
        AnswerFormat::Schema(schema) => {
            set(
                "output_config",
                json!({"format": {"type": "json_schema", "schema": schema}}),
            );
        }
        AnswerFormat::Json => {
            let problem = "the vendor's API has JSON only with a schema (json_schema)";
            return Err(untranslatable("response_format", problem));
        }
    }
    Ok(Translation {
        path: vec!["messages".to_owned()],
        query: None,
        body: Value::Object(body),
        max_tokens: Some(max_tokens),
        injected,
    })
}

fn documented_ceiling(model: &str) -> Option<u64> {
    let known = CEILINGS
        .iter()
        .find(|(prefix, _)| model.starts_with(prefix));
    known.map(|(_, tokens)| *tokens)
}

/// The instructions, which have a place of their own, and the turns. Turns of the same side are one.
fn messages(chat: &OriginalChat) -> Result<(Vec<Value>, Vec<Value>), VendorError> {
    let (mut system, mut messages) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    let mut last_path = String::new();
    for placed in turns(chat)? {
        let path = placed.path;
        let (role, blocks) = match placed.turn {
            Turn::System(parts) if messages.is_empty() => {
                system.extend(blocks(parts, &path)?);
                continue;
            }
            Turn::System(_) => {
                let problem = "the vendor's API has instructions only before the conversation";
                return Err(untranslatable(&format!("{path}.role"), problem));
            }
            Turn::User(parts) => ("user", blocks(parts, &path)?),
            Turn::Assistant { parts, calls } => {
                let mut all = blocks(parts, &path)?;
                all.extend(calls.into_iter().map(|call| {
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
                }));
                ("assistant", all)
            }
            Turn::ToolResult { call_id, parts } => {
                let content = blocks(parts, &path)?;
                let result =
                    json!({"type": "tool_result", "tool_use_id": call_id, "content": content});
                ("user", vec![result])
            }
        };
        if blocks.is_empty() {
            return Err(untranslatable(&format!("{path}.content"), "it is empty"));
        }
        last_path = path;
        match messages.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => messages.push((role, blocks)),
        }
    }
    match messages.last() {
        Some(("user", _)) => {}
        Some(_) => {
            let problem = "the vendor would continue the assistant's last message";
            return Err(untranslatable(&last_path, problem));
        }
        None => return Err(untranslatable("messages", "there are only instructions")),
    }
    let message = |(role, content)| json!({"role": role, "content": content});
    Ok((system, messages.into_iter().map(message).collect()))
}

fn blocks(parts: Vec<Part>, path: &str) -> Result<Vec<Value>, VendorError> {
    let block = |part| match part {
        Part::Text(text) => Ok(json!({"type": "text", "text": text})),
        Part::ImageUrl(url) => Ok(json!({"type": "image", "source": {"type": "url", "url": url}})),
        Part::Image { media_type, data } if MEDIA_TYPES.contains(&media_type.as_str()) => {
            let source = json!({"type": "base64", "media_type": media_type, "data": data});
            Ok(json!({"type": "image", "source": source}))
        }
        Part::Image { .. } => Err(untranslatable(
            &format!("{path}.content"),
            "images must be JPEG, PNG, GIF or WebP",
        )),
    };
    parts.into_iter().map(block).collect()
}

fn tool(tool: &Tool) -> Value {
    let no_parameters = || json!({"type": "object", "properties": {}});
    let mut value = json!({"name": tool.name});
    if let Some(description) = tool.description {
        value["description"] = json!(description);
    }
    value["input_schema"] = tool.parameters.cloned().unwrap_or_else(no_parameters);
    if tool.is_strict {
        value["strict"] = json!(true);
    }
    value
}

/// The choice of tools, with how many at once; `None` is the vendor's default, which is OpenAI's.
fn choice(chat: &OriginalChat) -> Result<Option<Value>, VendorError> {
    let choice = tool_choice(chat)?;
    let is_single = flag(chat, "parallel_tool_calls")? == Some(false);
    let mut value = match choice {
        ToolChoice::Auto if !is_single => return Ok(None),
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => return Ok(Some(json!({"type": "none"}))),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if is_single {
        value["disable_parallel_tool_use"] = json!(true);
    }
    Ok(Some(value))
}
