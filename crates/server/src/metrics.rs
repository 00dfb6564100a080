//! What `GET /metrics` tells: vLLM's names and buckets where the meaning is the same, so that
//! boards made for vLLM work, and `farthing_` names for what vLLM does not know.

mod adapter_figures;
mod cost_figures;
mod engine_figures;
mod ledger_figures;
mod totals;

mod exposition;
mod histogram;
mod recent_times;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use farthing_api::{ByToken, CostTotals, Latencies, ModelCosts, TenantCosts};
use farthing_engine::GenerationUsage;

use crate::adapters::HostFigures;
use exposition::Exposition;
use totals::{AnswerTotals, Totals};

use crate::costs::{Costs, Factors};
use crate::request::bookkeeper::Bookkeeper;

/// Counters and histograms of the requests since the start.
pub(crate) struct Metrics {
    /// The base model's name: vLLM's label `model_name`.
    model_name: String,
    costs: Costs,
    totals: Mutex<Totals>,
}

/// How a choice ended, in the words of vLLM's label `finished_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Stop,
    Length,
    Abort,
    Error,
}

/// A choice that ran to its end.
pub(crate) struct FinishedChoice<'a> {
    pub model: &'a str,
    /// Whom its request named as its user.
    pub tenant: Option<&'a str>,
    pub outcome: Outcome,
    pub usage: GenerationUsage,
    /// Since the request arrived.
    pub elapsed: Duration,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

impl Metrics {
    pub(crate) fn new(model_name: String, costs: Costs) -> Self {
        Self {
            model_name,
            costs,
            totals: Mutex::new(Totals::default()),
        }
    }

    pub(crate) fn model_name(&self) -> &str {
        &self.model_name
    }

    pub(crate) fn costs(&self) -> &Costs {
        &self.costs
    }

    /// A request was taken.
    pub(crate) fn taken(&self, n: usize, max_tokens: Option<usize>) {
        let mut totals = self.totals();
        totals.params_n.observe(n as f64);
        if let Some(max_tokens) = max_tokens {
            totals.params_max_tokens.observe(max_tokens as f64);
        }
    }

    /// A request was refused because the queue was full.
    pub(crate) fn rejected(&self) {
        self.totals().rejections += 1;
    }

    pub(crate) fn first_token(&self, since_arrival: Duration) {
        let (seconds, mut totals) = (since_arrival.as_secs_f64(), self.totals());
        totals.time_to_first_token.observe(seconds);
        let recent = &mut totals.recent;
        recent.time_to_first_token.observe(Instant::now(), seconds);
    }

    pub(crate) fn inter_token(&self, since_last: Duration) {
        let (seconds, mut totals) = (since_last.as_secs_f64(), self.totals());
        totals.inter_token.observe(seconds);
        totals.recent.inter_token.observe(Instant::now(), seconds);
    }

    pub(crate) fn finished(&self, choice: &FinishedChoice<'_>) {
        let usage = &choice.usage;
        let (now, mut totals) = (Instant::now(), self.totals());
        let seconds = choice.elapsed.as_secs_f64();
        totals.recent.end_to_end.observe(now, seconds);
        totals.recent.queue.observe(now, usage.queue_seconds);
        totals.outcomes[choice.outcome as usize] += 1;
        totals.end_to_end.observe(seconds);
        totals.queue.observe(usage.queue_seconds);
        totals.prefill.observe(usage.prefill_seconds);
        totals.decode.observe(usage.decode_seconds);
        totals
            .inference
            .observe(usage.prefill_seconds + usage.decode_seconds);
        totals.prompt_tokens.observe(usage.prompt_tokens as f64);
        totals
            .generation_tokens
            .observe(usage.completion_tokens as f64);
        totals.preemptions.observe(usage.preemptions as f64);
        if usage.completion_tokens > 1 {
            let later_tokens = (usage.completion_tokens - 1) as f64;
            totals
                .time_per_output_token
                .observe(usage.decode_seconds / later_tokens);
        }
        let is_base = choice.model == self.model_name;
        totals.model(choice.model, is_base).add(usage);
        totals.tenant(choice.tenant).add(usage);
    }

    /// Choices ended before they were complete.
    pub(crate) fn unfinished(&self, outcome: Outcome, choices: usize) {
        self.totals().outcomes[outcome as usize] += choices as u64;
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self, adapters: &HostFigures, bookkeeper: Option<&Bookkeeper>) -> String {
        let engine = self.costs.stats();
        let mut page = Exposition::new(&[("model_name", &self.model_name), ("engine", "0")]);
        engine_figures::render(&mut page, &engine);
        adapter_figures::render(&mut page, &engine, adapters);
        cost_figures::render(&mut page, &self.costs, &engine);
        self.totals().render(&mut page, self.costs.price());
        if let Some(bookkeeper) = bookkeeper {
            ledger_figures::render(&mut page, &bookkeeper.status());
        }
        page.into_text()
    }

    /// How long answers of the last minutes took.
    pub(crate) fn latencies(&self) -> Latencies {
        self.totals().latencies(Instant::now())
    }

    /// What the answers of each model and adapter took, with their cost now and with all of the
    /// time since the start shared out.
    pub(crate) fn model_costs(&self) -> Vec<ModelCosts> {
        let factors = self.costs.factors_since_start();
        let totals = self.totals();
        let models = totals.models.iter().map(|(model, totals)| ModelCosts {
            model: model.clone(),
            totals: self.cost_totals(totals, factors),
        });
        models.collect()
    }

    /// The same by tenant.
    pub(crate) fn tenant_costs(&self) -> Vec<TenantCosts> {
        let factors = self.costs.factors_since_start();
        let totals = self.totals();
        let tenants = totals.tenants.iter().map(|(tenant, totals)| TenantCosts {
            tenant: tenant.clone(),
            totals: self.cost_totals(totals, factors),
        });
        tenants.collect()
    }

    fn cost_totals(&self, totals: &AnswerTotals, factors: Factors) -> CostTotals {
        let usd = |factor: Option<f64>| self.costs.usd(totals.device_seconds * factor?);
        CostTotals {
            choices: totals.choices,
            tokens: ByToken {
                input: totals.prompt_tokens - totals.cached_tokens,
                cached: totals.cached_tokens,
                output: totals.generation_tokens,
            },
            device_seconds: totals.device_seconds,
            usd: self.costs.usd(totals.device_seconds),
            loaded_usd: usd(factors.loaded),
            at_capacity_usd: usd(factors.at_capacity),
        }
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // A counter that was left half-counted by a panic is still a counter.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
