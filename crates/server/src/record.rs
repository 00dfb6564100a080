//! What one request took: metered while it runs, logged and counted when it is over.

use std::sync::Arc;
use std::time::Instant;

use farthing_api::{Cost, FinishReason, PromptTokensDetails, Usage, UsedAdapter};
use farthing_economics::HourlyPrice;
use farthing_engine::GenerationUsage;

use crate::ApiError;
use crate::adapters::AdapterInUse;
use crate::metrics::{FinishedChoice, Metrics, Outcome};

/// Dropping it closes the account: choices that have not ended count as aborted by the caller.
pub(crate) struct RequestRecord {
    model: String,
    /// Kept in memory as long as this record.
    adapter: Option<AdapterInUse>,
    /// Choices a prompt.
    n: usize,
    prompt_tokens: Vec<usize>,
    choices: Vec<Choice>,
    arrived: Instant,
    failure: Option<ApiError>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Default)]
struct Choice {
    last_token: Option<Instant>,
    usage: Option<GenerationUsage>,
}

impl RequestRecord {
    /// A request that arrived at `arrived`, with the tokens of each of its prompts.
    pub(crate) fn open(
        model: String,
        adapter: Option<AdapterInUse>,
        n: usize,
        prompt_tokens: Vec<usize>,
        arrived: Instant,
        metrics: Arc<Metrics>,
    ) -> Self {
        let choices = vec![Choice::default(); n * prompt_tokens.len()];
        Self {
            model,
            adapter,
            n,
            prompt_tokens,
            choices,
            arrived,
            failure: None,
            metrics,
        }
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
        match choice.last_token.replace(now) {
            Some(last) => self.metrics.inter_token(now - last),
            None => self.metrics.first_token(now - self.arrived),
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
        self.choices[choice].usage = Some(usage);
        self.metrics.finished(&FinishedChoice {
            model: &self.model,
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
        self.choices.iter().all(|choice| choice.usage.is_some())
    }

    /// What the choices that have ended took. A prompt counts once, however many choices go on
    /// from it; of its tokens those are cached that the first choice to compute it found.
    pub(crate) fn usage(&self) -> Usage {
        let ended = || {
            self.choices
                .iter()
                .filter_map(|choice| choice.usage.as_ref())
        };
        let prompt_tokens = self.prompt_tokens.iter().sum();
        let completion_tokens = ended().map(|usage| usage.completion_tokens).sum();
        // Not `sum`, whose nothing is -0.0.
        let device_seconds = ended().fold(0.0, |sum, usage| sum + usage.device_seconds);
        let cached_of = |prompt: &[Choice]| {
            prompt
                .iter()
                .filter_map(|choice| Some(choice.usage?.cached_tokens))
                .min()
                .unwrap_or(0)
        };
        let costs = self.metrics.costs();
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: self.choices.chunks(self.n).map(cached_of).sum(),
            },
            cost: Cost {
                device_seconds,
                usd: costs.usd(device_seconds),
                loaded_usd: costs
                    .load_factor()
                    .and_then(|factor| costs.usd(device_seconds * factor)),
                price_per_hour_usd: costs.price().map(HourlyPrice::usd),
                basis: costs.basis().as_str(),
            },
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let open = self
            .choices
            .iter()
            .filter(|choice| choice.usage.is_none())
            .count();
        let outcome = match &self.failure {
            Some(_) => Outcome::Error,
            None => Outcome::Abort,
        };
        self.metrics.unfinished(outcome, open);
        let usage = self.usage();
        tracing::info!(
            model = self.model,
            generation = self.adapter.as_ref().map(AdapterInUse::generation),
            outcome = match (&self.failure, open) {
                (Some(_), _) => "failed",
                (None, 0) => "answered",
                (None, _) => "abandoned by the caller",
            },
            prompts = self.prompt_tokens.len(),
            choices = self.choices.len(),
            prompt_tokens = usage.prompt_tokens,
            cached_tokens = usage.prompt_tokens_details.cached_tokens,
            completion_tokens = usage.completion_tokens,
            device_seconds = usage.cost.device_seconds,
            seconds = self.arrived.elapsed().as_secs_f64(),
            error = self.failure.as_ref().map(tracing::field::display),
            "request"
        );
    }
}
