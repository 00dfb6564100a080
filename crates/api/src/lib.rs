//! Wire types: OpenAI's requests, responses, chunks and errors.
//!
//! Requests are parsed strictly. Every field is supported, or accepted because it has no effect, or
//! rejected with an error that names it. A field that would change the answer is never ignored.
//! Values returned by `from_json` are validated; no later code validates them again.

mod adapter_request;
mod chat_envelope;
mod chat_request;
mod completion_request;
mod feedback_request;
mod fields;
mod invalid_request;
mod json;
mod logit_bias;
mod message;
mod options;
mod organization_query;
mod tokenize_request;
mod vote_request;

mod adapter;
mod chat_chunk;
mod chat_completion;
mod completion;
mod cost_comparison;
mod costs_now;
mod error_body;
mod machine_now;
mod memory;
mod model_card;
mod organization_report;
mod tool_call;
mod usage;

pub use adapter_request::{LoadAdapterRequest, UnloadAdapterRequest};
pub use chat_envelope::ChatEnvelope;
pub use chat_request::ChatRequest;
pub use completion_request::{CompletionRequest, Prompt};
pub use feedback_request::FeedbackRequest;
pub use invalid_request::InvalidRequest;
pub use message::{Content, Message, Role};
pub use options::{Sampling, StreamOptions};
pub use organization_query::{OrganizationQuery, OrganizationReport, UsageGroup};
pub use tokenize_request::{
    DetokenizeRequest, Detokenized, TokenizeInput, TokenizeRequest, Tokenized,
};
pub use vote_request::{VoteChoice, VoteRequest};

pub use adapter::{AdapterCard, AdapterList, AdapterTier, UsedAdapter};
pub use chat_chunk::{ChatChunk, ChatChunkChoice, ChatDelta};
pub use chat_completion::{
    AssistantMessage, ChatChoice, ChatCompletion, ChatLogprob, ChatLogprobs, ChatTopLogprob,
};
pub use completion::{Completion, CompletionChoice, CompletionLogprobs, TopLogprobs};
pub use cost_comparison::{BreakEvenCard, CostComparison, CostCurveCard, CurvePoint, OfferCard};
pub use costs_now::{
    ByToken, CostBuckets, CostResiduals, CostSpan, CostTotals, CostsNow, ModelCosts, StepModelCard,
    TenantCosts, ThreeFigures,
};
pub use error_body::{ErrorBody, ErrorDetail};
pub use machine_now::{
    AdapterMemoryCard, KvCacheCard, Latencies, Load, MachineCard, MemoryPlanCard, Moment, Quantiles,
};
pub use model_card::{ModelCard, ModelList};
pub use organization_report::{Amount, CompletionsUsage, Costs, Currency, UsageBucket, UsagePage};
pub use tool_call::{FunctionCall, FunctionDelta, ToolCall, ToolCallDelta};
pub use usage::{
    AnswerCost, BilledCost, Cost, PromptTokensDetails, StreamedUsage, TokensSoFar, Usage,
};

use serde::Serialize;

/// Why a choice ended, as in OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended by itself, or a stop string was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A vendor withheld the rest.
    ContentFilter,
}
