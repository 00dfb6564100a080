//! The account of one attempt at a vendor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farthing_api::{
    AnswerCost, BilledCost, FinishReason, PromptTokensDetails, TokensSoFar, Usage, UsedAdapter,
};
use farthing_ledger::{ChargeBasis, LedgerEntry, Outcome, Picoseconds, VendorCharge};
use farthing_vendors::{BillBasis, VendorAccount};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use crate::clock::unix_microseconds;
use crate::http::error::ApiError;
use crate::request::ChoiceUsage;
use crate::request::answer_record::AnswerRecord;
use crate::request::context::RequestContext;
use crate::request::provider::RequestRead;
use crate::request::provider_error::ProviderError;
use crate::request::record::Books;
use crate::request::row::{OpenRow, percentile, status};

/// A vendor's account of an attempt; it is closed on every exit.
pub(super) type SharedAccount = Shared<BoxFuture<'static, Arc<VendorAccount>>>;

/// Dropping it writes the row, as soon as the vendor's account is closed.
pub(super) struct VendorRecord {
    context: RequestContext,
    vendor: Arc<str>,
    /// The model that the route asks for.
    model: String,
    account: SharedAccount,
    choices: Vec<Choice>,
    arrived: Instant,
    first_content: Option<Duration>,
    /// Seconds between two pieces of a choice.
    between_pieces: Vec<f32>,
    failure: Option<ApiError>,
    books: Books,
    row: Option<OpenRow>,
}

#[derive(Clone, Default)]
struct Choice {
    pieces: usize,
    last_piece: Option<Instant>,
    reason: Option<FinishReason>,
}

/// Whose attempt it is.
pub(super) struct VendorTerms {
    pub vendor: Arc<str>,
    pub model: String,
    /// The number of answers.
    pub n: usize,
}

impl VendorRecord {
    /// Opens the account of an attempt.
    ///
    /// # Errors
    /// The ledger has no room.
    pub(super) fn open(
        context: RequestContext,
        terms: VendorTerms,
        account: SharedAccount,
        books: &Books,
    ) -> Result<Self, ApiError> {
        let row = books.open_row(&context.id)?;
        Ok(Self {
            context,
            vendor: terms.vendor,
            model: terms.model,
            account,
            choices: vec![Choice::default(); terms.n],
            arrived: Instant::now(),
            first_content: None,
            between_pieces: Vec::new(),
            failure: None,
            books: books.clone(),
            row,
        })
    }

    fn outcome(&self) -> Outcome {
        let mut reasons = self.choices.iter().map(|choice| choice.reason);
        match &self.failure {
            Some(
                ApiError::NotRead | ApiError::AnswerTooLarge { .. } | ApiError::TooManyAnswers,
            ) => Outcome::Abort,
            Some(_) => Outcome::Error,
            None if reasons.clone().any(|it| it.is_none()) => Outcome::Abort,
            None if reasons.any(|it| it == Some(FinishReason::Length)) => Outcome::Length,
            None => Outcome::Stop,
        }
    }
}

impl AnswerRecord for VendorRecord {
    fn id(&self) -> &str {
        &self.context.id
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn adapter(&self) -> Option<&UsedAdapter> {
        None
    }

    fn read(&mut self, _read: RequestRead) {}

    fn accept(&mut self) {}

    fn count_refusal(&self, _error: &ProviderError) {}

    fn count_tokens(&mut self, choice: usize, tokens: usize) {
        let Some(choice) = self.choices.get_mut(choice).filter(|_| tokens > 0) else {
            return;
        };
        let now = Instant::now();
        choice.pieces += tokens;
        match choice.last_piece.replace(now) {
            Some(last) => self.between_pieces.push((now - last).as_secs_f32()),
            None => {
                self.first_content.get_or_insert(now - self.arrived);
            }
        }
    }

    fn finish_choice(&mut self, choice: usize, reason: FinishReason, _usage: ChoiceUsage) {
        if let Some(choice) = self.choices.get_mut(choice) {
            choice.reason = Some(reason);
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.failure = Some(error.clone());
    }

    fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.reason.is_some())
    }

    /// The vendor's counts come at the end: until then pieces stand for tokens.
    fn tokens_so_far(&self) -> TokensSoFar {
        let completion_tokens = self.choices.iter().map(|choice| choice.pieces).sum();
        TokensSoFar {
            prompt_tokens: 0,
            completion_tokens,
            total_tokens: completion_tokens,
        }
    }

    fn usage(&self) -> Usage {
        let account = self.account.clone().now_or_never();
        let tokens = account
            .as_ref()
            .and_then(|it| it.tokens)
            .unwrap_or_default();
        let prompt_tokens = tokens.prompt() as usize;
        let completion_tokens = tokens.output as usize;
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: tokens.cached_input as usize,
            },
            cost: AnswerCost::Billed(BilledCost {
                usd: account.as_ref().and_then(|it| it.bill.usd),
                basis: match account.as_ref().map(|it| it.bill.basis) {
                    Some(BillBasis::Measured) => "billed",
                    Some(BillBasis::Estimated) => "estimated",
                    Some(BillBasis::Unknown) | None => "unknown",
                },
                vendor: self.vendor.to_string(),
                model: served_model(account.as_deref(), &self.model),
            }),
        }
    }
}

impl Drop for VendorRecord {
    fn drop(&mut self) {
        let outcome = self.outcome();
        let closed = ClosedAttempt {
            context: self.context.clone(),
            vendor: self.vendor.clone(),
            model: std::mem::take(&mut self.model),
            first_content: self.first_content,
            between_pieces: std::mem::take(&mut self.between_pieces),
            elapsed: self.arrived.elapsed(),
            outcome,
            failure: self.failure.take(),
            books: self.books.clone(),
            row: self.row.take(),
        };
        let account = self.account.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let account = account.await;
                closed.record(&account);
            });
        }
    }
}

/// An attempt that is over.
struct ClosedAttempt {
    context: RequestContext,
    vendor: Arc<str>,
    model: String,
    first_content: Option<Duration>,
    between_pieces: Vec<f32>,
    elapsed: Duration,
    outcome: Outcome,
    failure: Option<ApiError>,
    books: Books,
    row: Option<OpenRow>,
}

impl ClosedAttempt {
    fn record(mut self, account: &VendorAccount) {
        self.log(account);
        self.charge_key(account);
        let Some(row) = self.row.take() else {
            return;
        };
        let started_us = row.started_us();
        self.between_pieces.sort_unstable_by(f32::total_cmp);
        let tokens = account.tokens.unwrap_or_default();
        let bill = &account.bill;
        row.write(LedgerEntry {
            request_id: self.context.id.clone(),
            started_us,
            ended_us: unix_microseconds(),
            api_key: self.context.caller.key_name().map(str::to_owned),
            tenant: self.context.caller.tenant().map(str::to_owned),
            user: self.context.user.clone(),
            model: self.model.clone(),
            adapter: None,
            adapter_generation: None,
            input_tokens: tokens.prompt(),
            cached_tokens: tokens.cached_input,
            output_tokens: tokens.output,
            device_time: Picoseconds::default(),
            input_time: Picoseconds::default(),
            cached_time: Picoseconds::default(),
            output_time: Picoseconds::default(),
            cost_usd: None,
            queue_seconds: None,
            ttft_seconds: self.first_content.map(|it| it.as_secs_f64()),
            itl_p50_seconds: percentile(&self.between_pieces, 0.50),
            itl_p95_seconds: percentile(&self.between_pieces, 0.95),
            outcome: self.outcome,
            status: status(self.failure.as_ref(), self.outcome),
            prompt: None,
            routing: self.context.routing.clone(),
            vendor: Some(VendorCharge {
                vendor: self.vendor.to_string(),
                model: served_model(Some(account), &self.model),
                usage_json: account.usage.as_ref().map(ToString::to_string),
                billed_usd: bill.usd,
                basis: match bill.basis {
                    BillBasis::Measured => ChargeBasis::Measured,
                    BillBasis::Estimated => ChargeBasis::Estimated,
                    BillBasis::Unknown => ChargeBasis::Unknown,
                },
            }),
        });
    }

    /// A key's cap in dollars counts what vendors ask, too, as the device time that costs the same.
    fn charge_key(&self, account: &VendorAccount) {
        let caller = &self.context.caller;
        if let Some(tokens) = account.tokens {
            caller.count_generated(tokens.output as usize);
        }
        if let Some(usd) = account.bill.usd {
            caller.charge_usd(usd, self.books.costs.price());
        }
    }

    fn log(&self, account: &VendorAccount) {
        let tokens = account.tokens;
        let routing = self.context.routing.as_ref();
        tracing::info!(
            request_id = self.context.id,
            client_request_id = self.context.client_id,
            api_key = self.context.caller.key_name(),
            tenant = self.context.tenant(),
            route = routing.map(|it| &it.route),
            arm = routing.map(|it| &it.arm),
            attempt = routing.map(|it| it.attempt),
            role = routing.map(|it| it.role.as_str()),
            vendor = &*self.vendor,
            model = self.model,
            vendor_request_id = account.vendor_request_id,
            outcome = self.outcome.as_str(),
            prompt_tokens = tokens.map(|it| it.prompt()),
            cached_tokens = tokens.map(|it| it.cached_input),
            completion_tokens = tokens.map(|it| it.output),
            billed_usd = account.bill.usd.map(tracing::field::display),
            bill = account.bill.why,
            injected =
                (!account.injected.is_empty()).then(|| tracing::field::debug(&account.injected)),
            seconds = self.elapsed.as_secs_f64(),
            error = self.failure.as_ref().map(tracing::field::display),
            "vendor request"
        );
    }
}

fn served_model(account: Option<&VendorAccount>, asked: &str) -> String {
    let served = account.and_then(|it| it.served_model.as_deref());
    served.unwrap_or(asked).to_owned()
}
