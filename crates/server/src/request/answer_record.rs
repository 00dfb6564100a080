//! The account of a request that is being answered.

use farthing_api::{FinishReason, TokensSoFar, Usage, UsedAdapter};

use super::choice_usage::ChoiceUsage;
use super::provider::RequestRead;
use super::provider_error::ProviderError;
use crate::http::error::ApiError;

/// What an answer reports to the account of its request. Dropping the account closes it, however far the
/// request came.
pub(crate) trait AnswerRecord: Send {
    /// The id of the answer.
    fn id(&self) -> &str;

    /// The model that answers.
    fn model(&self) -> &str;

    /// The adapter that computes the answer; `None` for a base model, and at a vendor.
    fn adapter(&self) -> Option<&UsedAdapter>;

    /// Notes what the provider read.
    fn read(&mut self, read: RequestRead);

    /// Counts a request that is queued, or that a vendor has begun to answer.
    fn accept(&mut self);

    /// Counts a request that is refused because there is no room.
    fn count_refusal(&self, error: &ProviderError);

    /// Notes that a choice gained tokens just now.
    fn count_tokens(&mut self, choice: usize, tokens: usize);

    /// Notes that a choice ended.
    fn finish_choice(&mut self, choice: usize, reason: FinishReason, usage: ChoiceUsage);

    /// Notes why the request failed.
    fn fail(&mut self, error: &ApiError);

    /// Whether every choice has ended.
    fn is_over(&self) -> bool;

    /// The tokens that the caller has received.
    fn tokens_so_far(&self) -> TokensSoFar;

    /// The usage and cost of the choices that have ended.
    fn usage(&self) -> Usage;
}
