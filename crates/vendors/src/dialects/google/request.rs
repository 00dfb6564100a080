//! Translates a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::dialects::parameters::{
    AnswerFormat, Tool, ToolChoice, answer_format, flag, number, refuse_others, stops, tool_choice,
    tools,
};
use crate::dialects::turns::{Part, Turn, turns};
use crate::translation::{Translation, untranslatable};
use crate::{OriginalChat, VendorError};

/// Number parameters and their names in `generationConfig`.
const NUMBERS: [(&str, &str); 5] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
];
const MEDIA_TYPES: [&str; 5] = [
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/heic",
    "image/heif",
];
/// What stands for a signature that we don't have: calls from Gemini 3 on need one, and this value is
/// the documented one for calls that come from elsewhere
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// Families that know no signatures.
const WITHOUT_SIGNATURES: [&str; 2] = ["gemini-1", "gemini-2"];

pub(crate) fn translate(chat: &OriginalChat, model: &str) -> Result<Translation, VendorError> {
    let more = [
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
    ];
    refuse_others(chat, &more)?;
    let mut body = Map::new();
    let (system, contents) = contents(chat, needs_signatures(model))?;
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    body.insert("contents".to_owned(), Value::Array(contents));
    let tools = tools(chat)?;
    if !tools.is_empty() {
        let functions = tools.iter().map(function).collect::<Result<Vec<_>, _>>()?;
        body.insert(
            "tools".to_owned(),
            json!([{"functionDeclarations": functions}]),
        );
        if flag(chat, "parallel_tool_calls")? == Some(false) {
            let problem = "the vendor's API cannot limit the calls to one";
            return Err(untranslatable("parallel_tool_calls", problem));
        }
        if let Some(config) = choice(chat)? {
            body.insert(
                "toolConfig".to_owned(),
                json!({"functionCallingConfig": config}),
            );
        }
    }
    let config = generation_config(chat)?;
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(config));
    }
    Ok(Translation {
        path: path(model)?,
        query: Some("alt=sse"),
        body: Value::Object(body),
        max_tokens: chat.max_tokens(),
        injected: Vec::new(),
    })
}

fn needs_signatures(model: &str) -> bool {
    let name = model.strip_prefix("models/").unwrap_or(model);
    !WITHOUT_SIGNATURES
        .iter()
        .any(|family| name.starts_with(family))
}

/// The model is a part of the address.
fn path(model: &str) -> Result<Vec<String>, VendorError> {
    let (folder, name) = model.split_once('/').unwrap_or(("models", model));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !name.is_empty() && name.bytes().all(is_plain) && !name.starts_with('.');
    if !matches!(folder, "models" | "tunedModels") || !is_name {
        let problem = "the vendor's names have letters, digits, `-`, `_` and `.` only";
        return Err(untranslatable("model", problem));
    }
    Ok(vec![
        folder.to_owned(),
        format!("{name}:streamGenerateContent"),
    ])
}

/// The instructions, which have a place of their own, and the turns. Turns of the same side are one.
fn contents(
    chat: &OriginalChat,
    needs_signatures: bool,
) -> Result<(Vec<Value>, Vec<Value>), VendorError> {
    let (mut system, mut contents) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    let mut called = BTreeMap::new();
    for placed in turns(chat)? {
        let path = placed.path;
        let (role, parts) = match placed.turn {
            Turn::System(parts) if contents.is_empty() => {
                system.extend(parts_of(parts, &path)?);
                continue;
            }
            Turn::System(_) => {
                let problem = "the vendor's API has instructions only before the conversation";
                return Err(untranslatable(&format!("{path}.role"), problem));
            }
            Turn::User(parts) => ("user", parts_of(parts, &path)?),
            Turn::Assistant { parts, calls } => {
                let mut all = parts_of(parts, &path)?;
                for (at, call) in calls.into_iter().enumerate() {
                    let mut part = json!({"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}});
                    // Only the first of parallel calls has a signature.
                    if needs_signatures && at == 0 {
                        part["thoughtSignature"] = json!(NO_SIGNATURE);
                    }
                    all.push(part);
                    called.insert(call.id, call.name);
                }
                ("model", all)
            }
            Turn::ToolResult { call_id, parts } => {
                let Some(name) = called.get(&call_id) else {
                    let problem = "no earlier message has a call with this id";
                    return Err(untranslatable(&format!("{path}.tool_call_id"), problem));
                };
                let output = text_of(parts, &path)?;
                let response = json!({"id": call_id, "name": name, "response": {"output": output}});
                ("user", vec![json!({"functionResponse": response})])
            }
        };
        if parts.is_empty() {
            return Err(untranslatable(&format!("{path}.content"), "it is empty"));
        }
        match contents.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => contents.push((role, parts)),
        }
    }
    if contents.is_empty() {
        return Err(untranslatable("messages", "there are only instructions"));
    }
    let content = |(role, parts)| json!({"role": role, "parts": parts});
    Ok((system, contents.into_iter().map(content).collect()))
}

fn parts_of(parts: Vec<Part>, path: &str) -> Result<Vec<Value>, VendorError> {
    let wrong = |problem| untranslatable(&format!("{path}.content"), problem);
    let part = |part| match part {
        Part::Text(text) => Ok(json!({"text": text})),
        Part::Image { media_type, data } if MEDIA_TYPES.contains(&media_type.as_str()) => {
            Ok(json!({"inlineData": {"mimeType": media_type, "data": data}}))
        }
        Part::Image { .. } => Err(wrong("images must be JPEG, PNG, WebP, HEIC or HEIF")),
        Part::ImageUrl(_) => Err(wrong("the vendor fetches no images: send a data: address")),
    };
    parts.into_iter().map(part).collect()
}

/// The result of a tool is one text.
fn text_of(parts: Vec<Part>, path: &str) -> Result<String, VendorError> {
    let mut all = String::new();
    for part in parts {
        match part {
            Part::Text(text) => all.push_str(&text),
            _ => {
                let problem = "results of tools must be text";
                return Err(untranslatable(&format!("{path}.content"), problem));
            }
        }
    }
    Ok(all)
}

fn function(tool: &Tool) -> Result<Value, VendorError> {
    if tool.is_strict {
        let problem = "the vendor's API has no strict functions";
        return Err(untranslatable(&format!("{}.strict", tool.path), problem));
    }
    let mut value = json!({"name": tool.name});
    if let Some(description) = tool.description {
        value["description"] = json!(description);
    }
    if let Some(parameters) = tool.parameters {
        value["parametersJsonSchema"] = parameters.clone();
    }
    Ok(value)
}

/// `None` is the vendor's default, which is OpenAI's.
fn choice(chat: &OriginalChat) -> Result<Option<Value>, VendorError> {
    Ok(match tool_choice(chat)? {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    })
}

fn generation_config(chat: &OriginalChat) -> Result<Map<String, Value>, VendorError> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| _ = config.insert(name.to_owned(), value);
    for (name, theirs) in NUMBERS {
        if let Some(value) = number(chat, name)? {
            set(theirs, value.clone());
        }
    }
    if let Some(tokens) = chat.max_tokens() {
        set("maxOutputTokens", json!(tokens));
    }
    if chat.choices() > 1 {
        set("candidateCount", json!(chat.choices()));
    }
    let stops = stops(chat)?;
    if !stops.is_empty() {
        set("stopSequences", json!(stops));
    }
    if flag(chat, "logprobs")? == Some(true) {
        set("responseLogprobs", json!(true));
        if let Some(top) = number(chat, "top_logprobs")? {
            set("logprobs", top.clone());
        }
    }
    match answer_format(chat)? {
        AnswerFormat::Text => {}
        AnswerFormat::Json => set("responseMimeType", json!("application/json")),
        AnswerFormat::Schema(schema) => {
            set("responseMimeType", json!("application/json"));
            set("responseJsonSchema", schema.clone());
        }
    }
    Ok(config)
}
