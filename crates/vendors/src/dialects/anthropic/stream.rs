//! Reads a stream.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::answer::{Answer, malformed};
use crate::progress::Progress;
use crate::reported_error::ReportedError;
use crate::tool_calls::CallPart;
use crate::{VendorError, VendorFinish, VendorPiece};

/// More open blocks are a fault.
const MAX_OPEN_BLOCKS: usize = 1024;

/// The blocks that are open, by their index.
#[derive(Default)]
pub(crate) struct AnthropicStream {
    open: BTreeMap<u64, Block>,
}

enum Block {
    Text,
    Thinking,
    /// A call of a tool.
    Tool {
        id: String,
        /// What the opening event has as arguments: an empty object, or all of them.
        input: String,
        has_arguments: bool,
    },
}

impl AnthropicStream {
    /// Reads an event. Events of unknown types have no meaning, as the vendor's documentation asks for.
    pub(crate) fn read(
        &mut self,
        event: &Value,
        answer: &mut Answer,
    ) -> Result<Progress, VendorError> {
        if let Some(error) = ReportedError::within(event) {
            return Err(error.in_band(&answer.cleaner));
        }
        match event["type"].as_str() {
            Some("message_start") => {
                let message = &event["message"];
                answer.served_by(message["model"].as_str());
                if answer.vendor_request_id.is_none() {
                    let id = message["id"].as_str();
                    answer.vendor_request_id = id.map(|id| answer.cleaner.clean(id));
                }
                take_usage(&message["usage"], answer);
                answer.begin();
            }
            Some("content_block_start") => self.open(event, answer)?,
            Some("content_block_delta") => self.extend(event, answer)?,
            Some("content_block_stop") => self.close(event, answer)?,
            Some("message_delta") => {
                take_usage(&event["usage"], answer);
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    let reason = finish(reason).ok_or_else(|| {
                        let reason = answer.cleaner.clean(reason);
                        malformed(&format!("its `stop_reason` is {reason:?}"))
                    })?;
                    answer.finish(0, reason)?;
                }
            }
            Some("message_stop") => return Ok(Progress::End),
            Some(_) => {}
            None => return Err(malformed("an event has no type")),
        }
        Ok(Progress::More)
    }

    fn open(&mut self, event: &Value, answer: &mut Answer) -> Result<(), VendorError> {
        let (index, block) = (index(event)?, &event["content_block"]);
        let block = match block["type"].as_str() {
            Some("text") => {
                let text = block["text"].as_str().unwrap_or_default();
                answer.text(0, VendorPiece::Text, text)?;
                Block::Text
            }
            // Signatures and redacted thoughts are the vendor's own state. No event carries them.
            Some("thinking" | "redacted_thinking") => {
                let text = block["thinking"].as_str().unwrap_or_default();
                answer.text(0, VendorPiece::Reasoning, text)?;
                Block::Thinking
            }
            Some("tool_use") => {
                let id = block["id"].as_str().unwrap_or_default().to_owned();
                let part = CallPart {
                    index: Some(index),
                    id: Some(&id),
                    name: block["name"].as_str(),
                    arguments: "",
                };
                answer.call(0, part)?;
                let input = block["input"]
                    .as_object()
                    .map(|_| block["input"].to_string());
                let input = input.unwrap_or_else(|| "{}".to_owned());
                Block::Tool {
                    id,
                    input,
                    has_arguments: false,
                }
            }
            kind => {
                let kind = answer.cleaner.clean(kind.unwrap_or_default());
                return Err(malformed(&format!("it has a block of the type {kind:?}")));
            }
        };
        if self.open.len() == MAX_OPEN_BLOCKS {
            return Err(malformed("too many blocks are open"));
        }
        match self.open.insert(index, block) {
            None => Ok(()),
            Some(_) => Err(malformed("a block begins twice")),
        }
    }

    fn extend(&mut self, event: &Value, answer: &mut Answer) -> Result<(), VendorError> {
        let (index, delta) = (index(event)?, &event["delta"]);
        let text = |name: &str| delta[name].as_str().unwrap_or_default();
        match (delta["type"].as_str(), self.open.get_mut(&index)) {
            (_, None) => Err(malformed("a delta belongs to no block")),
            (Some("text_delta"), Some(Block::Text)) => {
                answer.text(0, VendorPiece::Text, text("text"))
            }
            (Some("thinking_delta"), Some(Block::Thinking)) => {
                answer.text(0, VendorPiece::Reasoning, text("thinking"))
            }
            (Some("signature_delta"), Some(Block::Thinking)) => Ok(()),
            (
                Some("input_json_delta"),
                Some(Block::Tool {
                    id, has_arguments, ..
                }),
            ) => {
                let arguments = text("partial_json");
                *has_arguments |= !arguments.is_empty();
                let part = CallPart {
                    index: Some(index),
                    id: Some(id),
                    name: None,
                    arguments,
                };
                answer.call(0, part)
            }
            (kind, Some(_)) => {
                let kind = answer.cleaner.clean(kind.unwrap_or_default());
                Err(malformed(&format!(
                    "a block has a delta of the type {kind:?}"
                )))
            }
        }
    }

    /// A call without deltas has the arguments of its opening event.
    fn close(&mut self, event: &Value, answer: &mut Answer) -> Result<(), VendorError> {
        let index = index(event)?;
        match self.open.remove(&index) {
            Some(Block::Tool {
                id,
                input,
                has_arguments: false,
            }) => {
                let part = CallPart {
                    index: Some(index),
                    id: Some(&id),
                    name: None,
                    arguments: &input,
                };
                answer.call(0, part)
            }
            Some(_) => Ok(()),
            None => Err(malformed("a block ends that never began")),
        }
    }
}

fn index(event: &Value) -> Result<u64, VendorError> {
    event["index"]
        .as_u64()
        .ok_or_else(|| malformed("an event of a block has no index"))
}

fn take_usage(usage: &Value, answer: &mut Answer) {
    answer.usage.merge(usage);
    answer.served_with("service_tier", &usage["service_tier"], &["standard"]);
    answer.served_with("speed", &usage["speed"], &["standard"]);
    let anywhere = ["global", "not_available"];
    answer.served_with("inference_geo", &usage["inference_geo"], &anywhere);
}

fn finish(reason: &str) -> Option<VendorFinish> {
    match reason {
        "end_turn" | "stop_sequence" => Some(VendorFinish::Stop),
        "max_tokens" | "model_context_window_exceeded" => Some(VendorFinish::Length),
        "tool_use" => Some(VendorFinish::ToolCalls),
        "refusal" => Some(VendorFinish::ContentFilter),
        _ => None,
    }
}
