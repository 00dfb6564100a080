//! A request that is over.

use std::time::Duration;

use farthing_api::UsedAdapter;
use farthing_economics::HourlyPrice;
use farthing_ledger::Outcome;

use super::context::RequestContext;
use super::usage::RequestUsage;
use crate::http::error::ApiError;

/// Everything that the log and the ledger say about a request.
pub(crate) struct ClosedRequest {
    pub context: RequestContext,
    /// The model, as the request named it.
    pub model: String,
    pub adapter: Option<UsedAdapter>,
    pub usage: RequestUsage,
    pub price: Option<HourlyPrice>,
    /// Time to the first token of any choice.
    pub ttft: Option<Duration>,
    /// Inter-token latencies, in seconds.
    pub inter_token: Vec<f32>,
    /// From arrival until the answer ended or the caller left.
    pub elapsed: Duration,
    pub outcome: Outcome,
    pub failure: Option<ApiError>,
}

impl ClosedRequest {
    pub(crate) fn log(&self) {
        let usage = &self.usage;
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
            model = self.model,
            generation = self.adapter.as_ref().map(|adapter| &adapter.generation),
            outcome = self.outcome.as_str(),
            prompts = usage.num_prompts(),
            choices = usage.num_choices(),
            prompt_tokens = usage.prompt_tokens(),
            cached_tokens = usage.cached_tokens(),
            completion_tokens = usage.completion_tokens(),
            device_seconds = usage.device_time().as_secs_f64(),
            basis = usage.basis().as_str(),
            seconds = self.elapsed.as_secs_f64(),
            error = self.failure.as_ref().map(tracing::field::display),
            "request"
        );
    }
}
