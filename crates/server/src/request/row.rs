//! The row of one request in the ledger.

use farthing_ledger::{LedgerEntry, Outcome, Place};

use super::closed::ClosedRequest;
use crate::clock::unix_microseconds;
use crate::http::error::ApiError;

/// A row that is not complete yet.
pub(crate) struct OpenRow {
    place: Place,
    started_us: i64,
}

/// The status that web servers log if the client disconnects before the response.
const CALLER_LEFT: u16 = 499;

impl OpenRow {
    pub(crate) fn new(mut place: Place, request_id: &str) -> Self {
        place.announce(request_id);
        Self {
            place,
            started_us: unix_microseconds(),
        }
    }

    /// When the request arrived, in microseconds since 1970.
    pub(crate) fn started_us(&self) -> i64 {
        self.started_us
    }

    /// Writes a row that is complete.
    pub(crate) fn write(self, entry: LedgerEntry) {
        self.place.record(entry);
    }

    /// Completes the row.
    pub(crate) fn record(self, request: ClosedRequest) {
        let ClosedRequest {
            context,
            model,
            adapter,
            usage,
            price,
            ttft,
            mut inter_token,
            outcome,
            failure,
            ..
        } = request;
        let status = status(failure.as_ref(), outcome);
        inter_token.sort_unstable_by(f32::total_cmp);
        let adapter = adapter.map(|adapter| (adapter.name, adapter.generation));
        let (adapter, adapter_generation) = adapter.unzip();
        let device_time = usage.device_time();
        self.place.record(LedgerEntry {
            request_id: context.id,
            started_us: self.started_us,
            ended_us: unix_microseconds(),
            api_key: context.caller.key_name().map(str::to_owned),
            tenant: context.caller.tenant().map(str::to_owned),
            user: context.user,
            model,
            adapter,
            adapter_generation,
            input_tokens: usage.prompt_tokens() as u64,
            cached_tokens: usage.cached_tokens() as u64,
            output_tokens: usage.completion_tokens() as u64,
            device_time,
            input_time: usage.device_time_of(|device| device.by_class.input),
            cached_time: usage.device_time_of(|device| device.by_class.cached),
            output_time: usage.device_time_of(|device| device.by_class.output),
            cost_usd: price.map(|price| device_time.usd(price)),
            queue_seconds: usage.queue_seconds(),
            ttft_seconds: ttft.map(|ttft| ttft.as_secs_f64()),
            itl_p50_seconds: percentile(&inter_token, 0.50),
            itl_p95_seconds: percentile(&inter_token, 0.95),
            outcome,
            status,
            prompt: None,
            routing: context.routing,
            vendor: None,
        });
    }
}

/// The HTTP status of an attempt.
pub(crate) fn status(failure: Option<&ApiError>, outcome: Outcome) -> u16 {
    match (failure, outcome) {
        (Some(error), _) => error.status().as_u16(),
        (None, Outcome::Abort) => CALLER_LEFT,
        (None, _) => 200,
    }
}

/// A percentile of sorted values, interpolated linearly: numpy's default.
pub(crate) fn percentile(sorted: &[f32], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = share * last as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[above]));
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests;
