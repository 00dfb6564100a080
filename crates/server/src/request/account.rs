//! The account of one request, from its arrival to the engine's last word on it.

use std::time::Duration;

use farthing_economics::HourlyPrice;
use farthing_engine::Receipt;
use farthing_ledger::{Outcome, Place};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::adapters::AdapterInUse;
use crate::costs::basis;
use crate::http::error::ApiError;
use crate::request::row::OpenRow;
use crate::request::usage::RequestUsage;

/// What is still to come from the engine.
pub(crate) struct OpenAccount {
    /// Where there is a ledger.
    row: Option<OpenRow>,
    /// The accounts of each prompt's choices, as the engine closes them. They also come where the
    /// caller has left: then this is the only way to learn what was used.
    receipts: Vec<UnboundedReceiver<Receipt>>,
}

/// Everything else about a request.
pub(crate) struct ClosedRequest {
    pub id: String,
    pub user: Option<String>,
    pub model: String,
    /// In memory until the account is closed.
    pub adapter: Option<AdapterInUse>,
    pub usage: RequestUsage,
    pub price: Option<HourlyPrice>,
    pub ttft: Option<Duration>,
    /// Times between tokens, in seconds.
    pub inter_token: Vec<f32>,
    /// From its arrival until it was over for the caller.
    pub elapsed: Duration,
    pub outcome: Outcome,
    pub failure: Option<ApiError>,
}

impl OpenAccount {
    pub(crate) fn new(place: Option<Place>) -> Self {
        Self {
            row: place.map(OpenRow::new),
            receipts: Vec::new(),
        }
    }

    /// Whether the times between tokens are to be kept.
    pub(crate) fn has_row(&self) -> bool {
        self.row.is_some()
    }

    /// Where the engine is to send the accounts of the next prompt's choices.
    pub(crate) fn receipts(&mut self) -> UnboundedSender<Receipt> {
        let (sender, receiver) = unbounded_channel();
        self.receipts.push(receiver);
        sender
    }

    /// Logs the request and records it, at once where all accounts are closed, else as soon as they
    /// are: that takes the engine a step.
    pub(crate) fn close(self, request: ClosedRequest) {
        let is_complete = request.usage.is_complete();
        match Handle::try_current() {
            Ok(runtime) if !is_complete => {
                runtime.spawn(self.settle(request));
            }
            _ => self.end(request),
        }
    }

    async fn settle(mut self, mut request: ClosedRequest) {
        for (prompt, receipts) in self.receipts.iter_mut().enumerate() {
            while !request.usage.is_prompt_complete(prompt) {
                match receipts.recv().await {
                    Some(Receipt { index, usage, .. }) => {
                        request.usage.close_if_open(prompt, index, usage);
                    }
                    // The engine has ended: nobody knows more.
                    None => break,
                }
            }
        }
        self.end(request);
    }

    fn end(self, request: ClosedRequest) {
        // What is refused is logged where it is.
        if request.outcome != Outcome::Refused {
            request.log();
        }
        if let Some(row) = self.row {
            row.record(request);
        }
    }
}

impl ClosedRequest {
    fn log(&self) {
        let usage = &self.usage;
        tracing::info!(
            model = self.model,
            generation = self.adapter.as_ref().map(AdapterInUse::generation),
            outcome = self.outcome.as_str(),
            prompts = usage.num_prompts(),
            choices = usage.num_choices(),
            prompt_tokens = usage.prompt_tokens(),
            cached_tokens = usage.cached_tokens(),
            completion_tokens = usage.completion_tokens(),
            device_seconds = usage.device_time().as_secs_f64(),
            basis = basis(usage.basis()).as_str(),
            seconds = self.elapsed.as_secs_f64(),
            error = self.failure.as_ref().map(tracing::field::display),
            "request"
        );
    }
}
