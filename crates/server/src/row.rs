//! The ledger's row of one request, from its arrival to the last account.

use std::time::Duration;

use farthing_economics::HourlyPrice;
use farthing_engine::{GenerationUsage, Receipt};
use farthing_ledger::{LedgerEntry, Outcome, Picoseconds, Place};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::adapters::AdapterInUse;
use crate::bookkeeper::now_us;
use crate::request_usage::RequestUsage;

/// A row that is still to be filled in.
pub(crate) struct OpenRow {
    place: Place,
    started_us: i64,
    /// The accounts of each prompt's choices, as the engine closes them. They also come where the
    /// caller has left: then this is the only way to learn what was used.
    receipts: Vec<UnboundedReceiver<Receipt>>,
}

/// Everything about a request but what is still to come from the engine.
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
    pub outcome: Outcome,
    pub status: u16,
}

impl OpenRow {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            started_us: now_us(),
            receipts: Vec::new(),
        }
    }

    /// Where the engine is to send the accounts of the next prompt's choices.
    pub(crate) fn receipts(&mut self) -> UnboundedSender<Receipt> {
        let (sender, receiver) = unbounded_channel();
        self.receipts.push(receiver);
        sender
    }

    /// Records the request, at once where all accounts are closed, else as soon as they are:
    /// that takes the engine a step.
    pub(crate) fn close(self, request: ClosedRequest) {
        let is_complete = request.usage.is_complete();
        match Handle::try_current() {
            Ok(runtime) if !is_complete => {
                runtime.spawn(self.settle(request));
            }
            _ => self.record(request),
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
        self.record(request);
    }

    fn record(self, request: ClosedRequest) {
        let ClosedRequest {
            id,
            user,
            model,
            adapter,
            usage,
            price,
            ttft,
            mut inter_token,
            outcome,
            status,
        } = request;
        inter_token.sort_unstable_by(f32::total_cmp);
        let adapter = adapter.map(|it| (it.name.clone(), it.generation()));
        let (adapter, adapter_generation) = adapter.unzip();
        let device_time = usage.device_time();
        let kind =
            |seconds: fn(&GenerationUsage) -> f64| Picoseconds::from_seconds(usage.sum(seconds));
        self.place.record(LedgerEntry {
            request_id: id,
            started_us: self.started_us,
            ended_us: now_us(),
            api_key: None,
            user,
            model,
            adapter,
            adapter_generation,
            input_tokens: usage.prompt_tokens() as u64,
            cached_tokens: usage.cached_tokens() as u64,
            output_tokens: usage.completion_tokens() as u64,
            device_time,
            input_time: kind(|usage| usage.token_seconds.input),
            cached_time: kind(|usage| usage.token_seconds.cached),
            output_time: kind(|usage| usage.token_seconds.output),
            cost_usd: price.map(|price| device_time.usd(price)),
            queue_seconds: usage.queue_seconds(),
            ttft_seconds: ttft.map(|ttft| ttft.as_secs_f64()),
            itl_p50_seconds: percentile(&inter_token, 0.50),
            itl_p95_seconds: percentile(&inter_token, 0.95),
            outcome,
            status,
            prompt: None,
        });
    }
}

/// Between the two nearest of sorted values, linearly: numpy's default.
fn percentile(sorted: &[f32], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = share * last as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[above]));
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests;
