//! The account of one request: opened on arrival, passed along the stream, closed when dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farthing_api::{
    AnswerCost, Cost, FinishReason, PromptTokensDetails, TokensSoFar, Usage, UsedAdapter,
};
use farthing_economics::HourlyPrice;
use farthing_ledger::Outcome;
use futures_util::{StreamExt, stream};

use super::answer_record::AnswerRecord;
use super::bookkeeper::Bookkeeper;
use super::choice_usage::ChoiceUsage;
use super::closed::ClosedRequest;
use super::context::RequestContext;
use super::provider::{Accounts, RequestRead};
use super::provider_error::ProviderError;
use super::row::OpenRow;
use super::settlement::Settlement;
use super::usage::RequestUsage;
use crate::costs::Costs;
use crate::http::error::ApiError;
use crate::metrics::{FinishedChoice, Metrics};

/// Where requests are counted, priced and recorded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Books {
    pub metrics: Arc<Metrics>,
    pub costs: Arc<Costs>,
    /// Present if there is a ledger.
    pub bookkeeper: Option<Bookkeeper>,
}

impl Books {
    /// Opens the row of a request; `None` if there is no ledger.
    ///
    /// # Errors
    /// The ledger has no room.
    pub(crate) fn open_row(&self, request_id: &str) -> Result<Option<OpenRow>, ApiError> {
        let place = self.bookkeeper.as_ref().map(|it| it.place()).transpose()?;
        Ok(place.map(|place| OpenRow::new(place, request_id)))
    }
}

/// What a request asked for, as far as its account needs it.
pub(crate) struct RequestTerms {
    pub model: String,
    /// Choices per prompt.
    pub n: usize,
    pub max_tokens: Option<usize>,
}

/// Dropping it closes the account: choices that have not ended count as aborted by the caller.
pub(crate) struct RequestRecord {
    context: RequestContext,
    terms: RequestTerms,
    adapter: Option<UsedAdapter>,
    usage: RequestUsage,
    choices: Vec<Choice>,
    arrived: Instant,
    first_token: Option<Duration>,
    /// Inter-token latencies in seconds. Kept only if there is a row for them.
    inter_token: Vec<f32>,
    is_accepted: bool,
    failure: Option<ApiError>,
    books: Books,
    row: Option<OpenRow>,
    accounts: Accounts,
}

#[derive(Clone, Default)]
struct Choice {
    tokens: usize,
    last_token: Option<Instant>,
    reason: Option<FinishReason>,
}

impl RequestRecord {
    /// Opens the account of a request that has arrived and is valid.
    ///
    /// # Errors
    /// The ledger has no room.
    pub(crate) fn open(
        context: RequestContext,
        terms: RequestTerms,
        books: &Books,
    ) -> Result<Self, ApiError> {
        let row = books.open_row(&context.id)?;
        Ok(Self {
            context,
            terms,
            adapter: None,
            usage: RequestUsage::default(),
            choices: Vec::new(),
            arrived: Instant::now(),
            first_token: None,
            inter_token: Vec::new(),
            is_accepted: false,
            failure: None,
            books: books.clone(),
            row,
            accounts: stream::empty().boxed(),
        })
    }

    /// Closes the account of a request that is refused before a provider gets it.
    pub(crate) fn refuse(mut self, error: &ApiError) {
        self.failure = Some(error.clone());
    }

    /// Whether the server refused the request before it computed anything.
    fn is_refused(&self) -> bool {
        let failure = self.failure.as_ref();
        !self.is_accepted && failure.is_some_and(|error| error.status().is_client_error())
    }

    fn outcome(&self) -> Outcome {
        let reasons = || self.choices.iter().map(|choice| choice.reason);
        match &self.failure {
            // It had been accepted, and its tokens were computed.
            Some(
                ApiError::NotRead | ApiError::AnswerTooLarge { .. } | ApiError::TooManyAnswers,
            ) => Outcome::Abort,
            Some(_) if self.is_refused() => Outcome::Refused,
            Some(_) => Outcome::Error,
            None if self.choices.is_empty() || reasons().any(|it| it.is_none()) => Outcome::Abort,
            None if reasons().any(|it| it == Some(FinishReason::Length)) => Outcome::Length,
            None => Outcome::Stop,
        }
    }
}

impl AnswerRecord for RequestRecord {
    fn read(&mut self, read: RequestRead) {
        self.adapter = read.adapter;
        self.usage = RequestUsage::new(read.prompt_tokens, self.terms.n);
        self.choices = vec![Choice::default(); self.usage.num_choices()];
        self.accounts = read.accounts;
    }

    fn accept(&mut self) {
        self.is_accepted = true;
        let RequestTerms { n, max_tokens, .. } = self.terms;
        self.books.metrics.count_accepted(n, max_tokens);
    }

    fn count_refusal(&self, error: &ProviderError) {
        if matches!(
            error,
            ProviderError::QueueFull { .. } | ProviderError::TooManyChoices { .. }
        ) {
            self.books.metrics.count_rejected();
        }
    }

    fn id(&self) -> &str {
        &self.context.id
    }

    fn model(&self) -> &str {
        &self.terms.model
    }

    fn adapter(&self) -> Option<&UsedAdapter> {
        self.adapter.as_ref()
    }

    fn count_tokens(&mut self, choice: usize, tokens: usize) {
        if tokens == 0 {
            return;
        }
        let now = Instant::now();
        let choice = &mut self.choices[choice];
        choice.tokens += tokens;
        self.context.caller.count_generated(tokens);
        let metrics = &self.books.metrics;
        match choice.last_token.replace(now) {
            Some(last) => {
                metrics.observe_inter_token(now - last);
                if self.row.is_some() {
                    self.inter_token.push((now - last).as_secs_f32());
                }
            }
            None => {
                let since_arrival = now - self.arrived;
                metrics.observe_first_token(since_arrival);
                self.first_token.get_or_insert(since_arrival);
            }
        }
    }

    fn finish_choice(&mut self, choice: usize, reason: FinishReason, usage: ChoiceUsage) {
        let outcome = match reason {
            FinishReason::Length => Outcome::Length,
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::ContentFilter => {
                Outcome::Stop
            }
        };
        self.choices[choice].reason = Some(reason);
        self.usage.close(choice, usage);
        self.books.metrics.count_finished(&FinishedChoice {
            model: &self.terms.model,
            tenant: self.context.tenant(),
            outcome,
            usage,
            elapsed: self.arrived.elapsed(),
        });
    }

    fn fail(&mut self, error: &ApiError) {
        self.failure = Some(error.clone());
    }

    fn is_over(&self) -> bool {
        self.usage.is_complete()
    }

    fn tokens_so_far(&self) -> TokensSoFar {
        let prompt_tokens = self.usage.prompt_tokens();
        let completion_tokens = self.choices.iter().map(|choice| choice.tokens).sum();
        TokensSoFar {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }

    fn usage(&self) -> Usage {
        let prompt_tokens = self.usage.prompt_tokens();
        let completion_tokens = self.usage.completion_tokens();
        let device_seconds = self.usage.device_time().as_secs_f64();
        let costs = &self.books.costs;
        let factors = costs.factors();
        let usd = |factor: Option<f64>| costs.usd(device_seconds * factor?);
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: self.usage.cached_tokens(),
            },
            cost: AnswerCost::Measured(Cost {
                device_seconds,
                usd: costs.usd(device_seconds),
                loaded_usd: usd(factors.loaded),
                at_capacity_usd: usd(factors.at_capacity),
                price_per_hour_usd: costs.price().map(HourlyPrice::usd),
                basis: self.usage.basis().as_str(),
            }),
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let outcome = self.outcome();
        // `vllm:request_success_total` has no label for refused requests.
        if outcome != Outcome::Refused {
            let unfinished = match outcome {
                Outcome::Error => Outcome::Error,
                _ => Outcome::Abort,
            };
            let metrics = &self.books.metrics;
            metrics.count_unfinished(unfinished, self.usage.num_open());
        }
        let request = ClosedRequest {
            context: self.context.clone(),
            model: std::mem::take(&mut self.terms.model),
            adapter: self.adapter.take(),
            usage: std::mem::take(&mut self.usage),
            price: self.books.costs.price(),
            ttft: self.first_token,
            inter_token: std::mem::take(&mut self.inter_token),
            elapsed: self.arrived.elapsed(),
            outcome,
            failure: self.failure.take(),
        };
        let settlement = Settlement {
            request,
            accounts: std::mem::replace(&mut self.accounts, stream::empty().boxed()),
            row: self.row.take(),
        };
        settlement.run();
    }
}
