//! What one request took: metered while it runs, logged and counted when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farthing_api::{Cost, FinishReason, PromptTokensDetails, TokensSoFar, Usage, UsedAdapter};
use farthing_economics::HourlyPrice;
use farthing_engine::{GenerationUsage, Receipt};
use farthing_ledger::Outcome as RowOutcome;
use farthing_model::LoraAdapter;
use tokio::sync::mpsc::UnboundedSender;

use crate::adapters::AdapterInUse;
use crate::costs::basis;
use crate::http::error::ApiError;
use crate::metrics::{FinishedChoice, Metrics, Outcome};
use crate::random;
use crate::request::account::{ClosedRequest, OpenAccount};
use crate::request::local::Escort;
use crate::request::usage::RequestUsage;

/// Dropping it closes the account: choices that have not ended count as aborted by the caller.
pub(crate) struct RequestRecord {
    id: String,
    model: String,
    /// Who asks, as the caller says.
    user: Option<String>,
    /// Kept in memory as long as this record.
    adapter: Option<AdapterInUse>,
    usage: RequestUsage,
    choices: Vec<Choice>,
    arrived: Instant,
    first_token: Option<Duration>,
    /// Between the tokens of a choice, in seconds; only where there is a row to tell it.
    inter_token: Vec<f32>,
    failure: Option<ApiError>,
    metrics: Arc<Metrics>,
    /// Taken when it is closed.
    account: Option<OpenAccount>,
}

#[derive(Clone, Default)]
struct Choice {
    tokens: usize,
    last_token: Option<Instant>,
    reason: Option<FinishReason>,
}

impl RequestRecord {
    /// A request that has just arrived and was understood.
    ///
    /// # Errors
    /// There is a ledger, and no place in it.
    pub(crate) fn open(
        id_prefix: &str,
        model: &str,
        user: Option<&str>,
        escort: &Escort,
    ) -> Result<Self, ApiError> {
        let place = escort
            .bookkeeper
            .as_ref()
            .map(|it| it.place())
            .transpose()?;
        Ok(Self {
            id: random::answer_id(id_prefix),
            model: model.to_owned(),
            user: user.map(str::to_owned),
            adapter: None,
            usage: RequestUsage::default(),
            choices: Vec::new(),
            arrived: Instant::now(),
            first_token: None,
            inter_token: Vec::new(),
            failure: None,
            metrics: escort.metrics.clone(),
            account: Some(OpenAccount::new(place)),
        })
    }

    /// Goes on with what came out of a step towards the answer; a failure ends the record.
    pub(crate) fn through<T>(mut self, result: Result<T, ApiError>) -> Result<(Self, T), ApiError> {
        match result {
            Ok(value) => Ok((self, value)),
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Notes what the engine is asked: the tokens of each prompt, `n` choices for each, with an
    /// adapter or the base model.
    pub(crate) fn begin(
        &mut self,
        prompt_tokens: Vec<usize>,
        n: usize,
        adapter: Option<AdapterInUse>,
    ) {
        self.adapter = adapter;
        self.usage = RequestUsage::new(prompt_tokens, n);
        self.choices = vec![Choice::default(); self.usage.num_choices()];
    }

    /// The adapter's weights.
    pub(crate) fn lora(&self) -> Option<Arc<LoraAdapter>> {
        self.adapter.as_ref().map(|it| it.adapter().clone())
    }

    /// Where the engine is to send the accounts of the next prompt's choices.
    pub(crate) fn receipts(&mut self) -> Option<UnboundedSender<Receipt>> {
        self.account.as_mut().map(OpenAccount::receipts)
    }

    /// The answer's.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The adapter that computes the answer; none is the base model.
    pub(crate) fn adapter(&self) -> Option<UsedAdapter> {
        let adapter = self.adapter.as_ref()?;
        Some(UsedAdapter {
            name: adapter.name.clone(),
            generation: adapter.generation(),
        })
    }

    /// Notes that a choice gained tokens just now.
    pub(crate) fn count_tokens(&mut self, choice: usize, tokens: usize) {
        if tokens == 0 {
            return;
        }
        let now = Instant::now();
        let choice = &mut self.choices[choice];
        choice.tokens += tokens;
        match choice.last_token.replace(now) {
            Some(last) => {
                self.metrics.inter_token(now - last);
                if self.account.as_ref().is_some_and(OpenAccount::has_row) {
                    self.inter_token.push((now - last).as_secs_f32());
                }
            }
            None => {
                let since_arrival = now - self.arrived;
                self.metrics.first_token(since_arrival);
                self.first_token.get_or_insert(since_arrival);
            }
        }
    }

    pub(crate) fn finish_choice(
        &mut self,
        choice: usize,
        reason: FinishReason,
        usage: GenerationUsage,
    ) {
        let outcome = match reason {
            FinishReason::Stop => Outcome::Stop,
            FinishReason::Length => Outcome::Length,
        };
        self.choices[choice].reason = Some(reason);
        self.usage.close(choice, usage);
        self.metrics.finished(&FinishedChoice {
            model: &self.model,
            tenant: self.user.as_deref(),
            outcome,
            usage,
            elapsed: self.arrived.elapsed(),
        });
    }

    pub(crate) fn fail(&mut self, error: &ApiError) {
        self.failure = Some(error.clone());
    }

    /// Whether every choice has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.usage.is_complete()
    }

    /// The tokens that were told.
    pub(crate) fn tokens_so_far(&self) -> TokensSoFar {
        let prompt_tokens = self.usage.prompt_tokens();
        let completion_tokens = self.choices.iter().map(|choice| choice.tokens).sum();
        TokensSoFar {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }

    /// What the choices that have ended took.
    pub(crate) fn usage(&self) -> Usage {
        let prompt_tokens = self.usage.prompt_tokens();
        let completion_tokens = self.usage.completion_tokens();
        let device_seconds = self.usage.device_time().as_secs_f64();
        let costs = self.metrics.costs();
        let factors = costs.factors();
        let usd = |factor: Option<f64>| costs.usd(device_seconds * factor?);
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: self.usage.cached_tokens(),
            },
            cost: Cost {
                device_seconds,
                usd: costs.usd(device_seconds),
                loaded_usd: usd(factors.loaded),
                at_capacity_usd: usd(factors.at_capacity),
                price_per_hour_usd: costs.price().map(HourlyPrice::usd),
                basis: basis(self.usage.basis()).as_str(),
            },
        }
    }
}

impl RequestRecord {
    /// Whether the server turned it away.
    fn is_refused(&self) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|error| error.status().is_client_error())
    }

    fn outcome(&self) -> RowOutcome {
        let reasons = || self.choices.iter().map(|choice| choice.reason);
        match &self.failure {
            Some(_) if self.is_refused() => RowOutcome::Refused,
            Some(_) => RowOutcome::Error,
            None if self.choices.is_empty() || reasons().any(|it| it.is_none()) => {
                RowOutcome::Abort
            }
            None if reasons().any(|it| it == Some(FinishReason::Length)) => RowOutcome::Length,
            None => RowOutcome::Stop,
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let outcome = self.outcome();
        // What is refused is counted where it is.
        if outcome != RowOutcome::Refused {
            let unfinished = match &self.failure {
                Some(_) => Outcome::Error,
                None => Outcome::Abort,
            };
            self.metrics.unfinished(unfinished, self.usage.num_open());
        }
        let Some(account) = self.account.take() else {
            return;
        };
        account.close(ClosedRequest {
            id: std::mem::take(&mut self.id),
            user: self.user.take(),
            model: std::mem::take(&mut self.model),
            adapter: self.adapter.take(),
            usage: std::mem::take(&mut self.usage),
            price: self.metrics.costs().price(),
            ttft: self.first_token,
            inter_token: std::mem::take(&mut self.inter_token),
            elapsed: self.arrived.elapsed(),
            outcome,
            failure: self.failure.take(),
        });
    }
}
