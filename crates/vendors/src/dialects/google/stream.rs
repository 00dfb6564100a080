//! Reads a stream. Each event is a whole response with the next parts.

use serde_json::{Value, json};

use crate::answer::{Answer, malformed};
use crate::reported_error::ReportedError;
use crate::tool_calls::CallPart;
use crate::{VendorError, VendorFinish, VendorPiece};

/// Reasons for which the vendor withholds the rest of an answer.
const FILTERS: [&str; 11] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
];

/// Reads an event.
pub(crate) fn read(event: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    if let Some(error) = ReportedError::within(event) {
        return Err(error.in_band(&answer.cleaner));
    }
    if !event.is_object() {
        return Err(malformed("an event is no JSON object"));
    }
    answer.served_by(event["modelVersion"].as_str());
    if answer.vendor_request_id.is_none() {
        let id = event["responseId"].as_str();
        answer.vendor_request_id = id.map(|id| answer.cleaner.clean(id));
    }
    answer.usage.merge(&event["usageMetadata"]);
    answer.begin();
    for candidate in event["candidates"].as_array().into_iter().flatten() {
        read_candidate(candidate, answer)?;
    }
    if event["promptFeedback"]["blockReason"].as_str().is_some() {
        answer.finish_all(VendorFinish::ContentFilter)?;
    }
    Ok(())
}

fn read_candidate(candidate: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    let choice = candidate["index"].as_u64().unwrap_or(0) as usize;
    for part in candidate["content"]["parts"]
        .as_array()
        .into_iter()
        .flatten()
    {
        read_part(choice, part, answer)?;
    }
    if let Some(logprobs) = logprobs(&candidate["logprobsResult"])? {
        answer.logprobs(choice, &logprobs)?;
    }
    match candidate["finishReason"].as_str() {
        None | Some("" | "FINISH_REASON_UNSPECIFIED") => Ok(()),
        Some("STOP") => answer.finish(choice, VendorFinish::Stop),
        Some("MAX_TOKENS") => answer.finish(choice, VendorFinish::Length),
        Some(reason) if FILTERS.contains(&reason) => {
            answer.finish(choice, VendorFinish::ContentFilter)
        }
        Some(reason) => {
            let (code, message) = (answer.cleaner.clean(reason), &candidate["finishMessage"]);
            Err(VendorError::InBand {
                retry_after: None,
                may_retry: reason != "MISSING_THOUGHT_SIGNATURE",
                code: Some(code),
                message: answer
                    .cleaner
                    .clean(message.as_str().unwrap_or("the answer failed")),
                context_too_long: false,
            })
        }
    }
}

/// A part is text, a thought, or a whole call. A signature is the vendor's own state, and may come in a
/// part of its own; no event carries it.
fn read_part(choice: usize, part: &Value, answer: &mut Answer) -> Result<(), VendorError> {
    if let Some(text) = part["text"].as_str() {
        let kind = match part["thought"] == true {
            true => VendorPiece::Reasoning,
            false => VendorPiece::Text,
        };
        return answer.text(choice, kind, text);
    }
    let call = &part["functionCall"];
    if let Some(name) = call["name"].as_str().filter(|name| !name.is_empty()) {
        let arguments = call["args"].as_object().map(|_| call["args"].to_string());
        return answer.whole_call(
            choice,
            CallPart {
                index: None,
                id: call["id"].as_str(),
                name: Some(name),
                arguments: arguments.as_deref().unwrap_or("{}"),
            },
        );
    }
    let known = ["thoughtSignature", "thought", "partMetadata"];
    let other = part.as_object().into_iter().flatten();
    match { other }.find(|(name, value)| !value.is_null() && !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            let name = answer.cleaner.clean(name);
            Err(malformed(&format!("it has a part {name:?}")))
        }
    }
}

/// Log-probabilities in OpenAI's form.
fn logprobs(result: &Value) -> Result<Option<Value>, VendorError> {
    let Some(chosen) = result["chosenCandidates"].as_array() else {
        return Ok(None);
    };
    let token = |candidate: &Value| {
        let text = candidate["token"].as_str()?;
        let logprob = candidate["logProbability"].as_f64()?;
        Some(json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()}))
    };
    let wrong = || malformed("its log-probabilities lack a token or a number");
    let mut content = Vec::new();
    for (at, candidate) in chosen.iter().enumerate() {
        let mut entry = token(candidate).ok_or_else(wrong)?;
        let top = result["topCandidates"][at]["candidates"].as_array();
        let top = top
            .into_iter()
            .flatten()
            .map(|it| token(it).ok_or_else(wrong));
        entry["top_logprobs"] = Value::Array(top.collect::<Result<_, _>>()?);
        content.push(entry);
    }
    Ok(Some(json!({"content": content, "refusal": null})))
}
