//! Chat completions: OpenAI's API, and that of every server that speaks like it.

use serde_json::{Value, json};

use crate::answer::{Answer, malformed};
use crate::reported_error::ReportedError;
use crate::tool_calls::CallPart;
use crate::translation::{Translation, untranslatable};
use crate::{OriginalChat, VendorError, VendorFinish, VendorPiece};

/// Parameters whose answers have parts that no [`VendorEvent`](crate::VendorEvent) carries.
const NOT_CARRIED: [(&str, &str); 4] = [
    ("functions", "it was replaced by `tools`"),
    ("function_call", "it was replaced by `tool_choice`"),
    ("audio", "audio is not supported"),
    ("web_search_options", "citations are not supported"),
];

/// The request as it is, apart from `model`, `stream` and `stream_options`.
pub(super) fn translate(chat: &OriginalChat, model: &str) -> Result<Translation, VendorError> {
    for (parameter, problem) in NOT_CARRIED {
        if chat.parameter(parameter).is_some() {
            return Err(untranslatable(parameter, problem));
        }
    }
    let modalities = chat.parameter("modalities").and_then(Value::as_array);
    if modalities.is_some_and(|it| it.iter().any(|modality| modality != "text")) {
        return Err(untranslatable("modalities", "only text is supported"));
    }
    let mut body = chat.body().clone();
    body.insert("model".to_owned(), json!(model));
    body.insert("stream".to_owned(), json!(true));
    let options = body.entry("stream_options").or_insert(Value::Null);
    if let Value::Object(options) = options {
        options.insert("include_usage".to_owned(), json!(true));
    } else {
        *options = json!({"include_usage": true});
    }
    Ok(Translation {
        path: vec!["chat".to_owned(), "completions".to_owned()],
        query: None,
        body: Value::Object(body),
        max_tokens: chat.max_tokens(),
        injected: Vec::new(),
    })
}

/// Reads a chunk.
pub(super) fn read(chunk: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    if !chunk.is_object() {
        return Err(malformed("an event is no JSON object"));
    }
    if let Some(error) = ReportedError::within(chunk) {
        return Err(error.in_band(&answer.cleaner));
    }
    answer.served_by(chunk["model"].as_str());
    if answer.vendor_request_id.is_none() {
        answer.vendor_request_id = chunk["id"].as_str().map(|id| answer.cleaner.clean(id));
    }
    let usual = ["auto", "default", "standard"];
    answer.served_with("service_tier", &chunk["service_tier"], &usual);
    answer.usage.merge(&chunk["usage"]);
    answer.begin();
    // `null` is as good as none: some servers send it with the usage.
    for choice in chunk["choices"].as_array().into_iter().flatten() {
        read_choice(choice, answer)?;
    }
    Ok(())
}

fn read_choice(choice: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    let index = choice["index"].as_u64().unwrap_or(0) as usize;
    let delta = &choice["delta"];
    let reasoning = ["reasoning_content", "reasoning"];
    let reasoning = reasoning.iter().find_map(|name| delta[*name].as_str());
    answer.text(index, VendorPiece::Reasoning, reasoning.unwrap_or_default())?;
    match &delta["content"] {
        Value::Null => {}
        Value::String(text) => answer.text(index, VendorPiece::Text, text)?,
        Value::Array(parts) => {
            for part in parts {
                read_part(index, part, answer)?;
            }
        }
        _ => return Err(malformed("`delta.content` is no text")),
    }
    answer.text(
        index,
        VendorPiece::Refusal,
        delta["refusal"].as_str().unwrap_or_default(),
    )?;
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        // Some servers send the arguments as an object, whole.
        let object = function["arguments"]
            .as_object()
            .map(|_| function["arguments"].to_string());
        let arguments = object.as_deref().or(function["arguments"].as_str());
        let part = CallPart {
            index: call["index"].as_u64(),
            id: call["id"].as_str(),
            name: function["name"].as_str(),
            arguments: arguments.unwrap_or_default(),
        };
        answer.call(index, part)?;
    }
    answer.logprobs(index, &choice["logprobs"])?;
    match choice["finish_reason"]
        .as_str()
        .filter(|reason| !reason.is_empty())
    {
        None => Ok(()),
        Some("stop") => answer.finish(index, VendorFinish::Stop),
        Some("length") => answer.finish(index, VendorFinish::Length),
        Some("tool_calls") => answer.finish(index, VendorFinish::ToolCalls),
        Some("content_filter") => answer.finish(index, VendorFinish::ContentFilter),
        Some(reason) => {
            let reason = answer.cleaner.clean(reason);
            Err(malformed(&format!("its `finish_reason` is {reason:?}")))
        }
    }
}

/// A part of Mistral's answers: text, or thoughts that hold texts.
fn read_part(choice: usize, part: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    match part["type"].as_str() {
        Some("text") => answer.text(
            choice,
            VendorPiece::Text,
            part["text"].as_str().unwrap_or_default(),
        ),
        Some("thinking") => {
            let thoughts = part["thinking"].as_array().into_iter().flatten();
            for thought in thoughts {
                let text = thought["text"].as_str().unwrap_or_default();
                answer.text(choice, VendorPiece::Reasoning, text)?;
            }
            Ok(())
        }
        _ => Err(malformed(
            "a part of `delta.content` is neither text nor thoughts",
        )),
    }
}
