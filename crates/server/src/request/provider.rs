//! The seam between the routes and whatever answers requests.

use std::pin::Pin;

use farthing_api::{
    ChatLogprobs, ChatRequest, CompletionLogprobs, CompletionRequest, FinishReason, TokenizeInput,
    ToolCallDelta, UsedAdapter,
};
use futures_util::Stream;

use super::choice_usage::ChoiceUsage;
use super::context::RequestContext;
use super::provider_error::ProviderError;

/// Answers requests: the engine of this process, another server or a vendor.
pub trait Provider: Send + Sync {
    /// Answers a chat. Dropping the stream cancels the request.
    fn chat(&self, request: ChatRequest, context: &RequestContext) -> ProviderStream<ChatLogprobs>;

    /// Continues prompts. Dropping the stream cancels the request.
    fn complete(
        &self,
        request: CompletionRequest,
        context: &RequestContext,
    ) -> ProviderStream<CompletionLogprobs>;

    /// The tokens of a text or a conversation.
    fn tokenize(&self, input: TokenizeInput) -> ProviderFuture<Vec<TextToken>>;

    /// The text of tokens.
    fn detokenize(&self, tokens: Vec<u32>) -> ProviderFuture<String>;

    /// Whether it can answer requests at all.
    fn is_alive(&self) -> bool;
}

/// An answer that comes as a whole.
pub type ProviderFuture<T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send>>;

/// A token and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextToken {
    /// The id.
    pub id: u32,
    /// The text. Incomplete characters become U+FFFD.
    pub text: String,
}

/// The events of one request, in this order: `Read`, `Accepted`, then those of its choices. Nothing
/// follows an error. An error before `Accepted` becomes the HTTP status of the response.
pub type ProviderStream<L> =
    Pin<Box<dyn Stream<Item = Result<ProviderEvent<L>, ProviderError>> + Send>>;

/// An event of a chat.
pub type ChatEvent = ProviderEvent<ChatLogprobs>;
/// An event of a completion.
pub type CompletionEvent = ProviderEvent<CompletionLogprobs>;

/// One event of an answer; `L` is how its log-probabilities are rendered. The index of a choice counts
/// over all prompts: the prompt's index times `n`, plus the continuation's.
pub enum ProviderEvent<L> {
    /// The prompts are tokenized and the model is known.
    Read(RequestRead),
    /// The request is queued: an answer will follow.
    Accepted,
    /// A choice gained tokens.
    Delta {
        /// The choice.
        choice: usize,
        /// The number of new tokens.
        tokens: usize,
        /// The new text. Empty while a character or a possible stop string is incomplete.
        pieces: Vec<Piece<L>>,
    },
    /// A choice of a chat gained something other than text.
    Extra {
        /// The choice.
        choice: usize,
        /// What it gained.
        extra: Extra,
    },
    /// A choice ended.
    Finished {
        /// The choice.
        choice: usize,
        /// Why it ended.
        reason: FinishReason,
        /// The resources that it used.
        usage: ChoiceUsage,
    },
}

/// A piece of text.
pub struct Piece<L> {
    /// Complete characters only.
    pub text: String,
    /// Present if the request asked for log-probabilities.
    pub logprobs: Option<L>,
}

/// A part of a chat's answer that is not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// More of a refusal.
    Refusal(String),
    /// More of the reasoning before the answer.
    Reasoning(String),
    /// A part of a call of a tool.
    ToolCall(ToolCallDelta),
}

/// What a provider knows about a request before it computes anything.
pub struct RequestRead {
    /// The adapter that computes the answer; `None` for a base model.
    pub adapter: Option<UsedAdapter>,
    /// The number of tokens of each prompt.
    pub prompt_tokens: Vec<usize>,
    /// The final usage of each choice, also of those that were cancelled. The stream outlives the
    /// events: it is read after the caller has left, and ends when nothing more is known.
    pub accounts: Accounts,
}

/// The usage of choices, as they are closed.
pub type Accounts = Pin<Box<dyn Stream<Item = ClosedChoice> + Send>>;

/// The usage of a choice that computes no more.
pub struct ClosedChoice {
    /// The choice, counted over all prompts.
    pub choice: usize,
    /// The resources that it used, tokens after a stop string included.
    pub usage: ChoiceUsage,
}
