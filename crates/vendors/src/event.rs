//! What a vendor's stream says, whatever the dialect.

use serde_json::Value;

/// An event of one attempt. `Began` is the first, `Finished` the last of each choice.
#[derive(Clone, Debug, PartialEq)]
pub enum VendorEvent {
    /// The vendor answered; nothing of the content is known yet.
    Began {
        /// The model that answers, as the vendor names it.
        served_model: Option<String>,
        /// The vendor's id of the request, for its support.
        vendor_request_id: Option<String>,
    },
    /// A choice gained content.
    Piece {
        /// The choice.
        choice: usize,
        /// The content.
        piece: VendorPiece,
    },
    /// A choice ended.
    Finished {
        /// The choice.
        choice: usize,
        /// Why it ended.
        reason: VendorFinish,
    },
}

/// A part of an answer. None is empty, except for the arguments of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub enum VendorPiece {
    /// Text of the answer.
    Text(String),
    /// Text in which the model refuses to answer.
    Refusal(String),
    /// Text of the model's reasoning, as far as the vendor shows it.
    Reasoning(String),
    /// A part of a call of a tool.
    ToolCall {
        /// Counts the calls of the choice from 0; each call has its own.
        index: usize,
        /// With the first part. It is unique, and our own where the vendor has none.
        id: Option<String>,
        /// The tool, with the first part.
        name: Option<String>,
        /// The next characters of the arguments' JSON.
        arguments: String,
    },
    /// Log-probabilities in OpenAI's form.
    Logprobs(Value),
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorFinish {
    /// The answer is complete, or a stop string was reached.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// The model waits for the results of tools.
    ToolCalls,
    /// The vendor withheld the rest.
    ContentFilter,
}
