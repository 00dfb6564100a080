//! Metrics in Prometheus' format: vLLM's names and buckets where the meaning is the same, so that
//! dashboards made for vLLM work, and `farthing_` names for the rest.

mod adapter_figures;
mod connection_figures;
mod cost_figures;
mod engine_figures;
mod ledger_figures;
mod totals;
mod vendor_figures;

mod exposition;
mod histogram;
mod recent_times;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use farthing_api::{Latencies, ModelCosts, TenantCosts};
use farthing_engine::EngineStats;
use farthing_ledger::{LedgerStatus, Outcome};
use farthing_vendors::VendorFigures;

use crate::adapters::HostFigures;
use connection_figures::ConnectionFigures;
use exposition::Exposition;
use totals::Totals;

use crate::costs::Costs;
use crate::log;
use crate::request::ChoiceUsage;

/// Counters and histograms of the requests since the start.
pub(crate) struct Metrics {
    /// The base model's name: vLLM's label `model_name`.
    model_name: String,
    totals: Mutex<Totals>,
    connections: ConnectionFigures,
}

/// What the page consists of beside the counters of requests.
pub(crate) struct MetricsSources<'a> {
    pub costs: &'a Costs,
    /// `None` if another process computes.
    pub engine: Option<&'a EngineStats>,
    pub adapters: &'a HostFigures,
    /// Present if there is a ledger.
    pub ledger: Option<&'a LedgerStatus>,
    /// Vendors by name.
    pub vendors: &'a [(String, VendorFigures)],
    /// Shadows by route.
    pub shadows: &'a [(String, ShadowCounts)],
}

/// What the shadows of a route did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShadowCounts {
    /// Complete answers.
    pub answered: u64,
    /// Failures.
    pub failed: u64,
    /// Requests that were not sent, because there was no place.
    pub skipped: u64,
}

/// A choice that ended normally.
pub(crate) struct FinishedChoice<'a> {
    pub model: &'a str,
    /// The `user` of the request.
    pub tenant: Option<&'a str>,
    pub outcome: Outcome,
    pub usage: ChoiceUsage,
    /// The time since the request arrived.
    pub elapsed: Duration,
}

impl Metrics {
    pub(crate) fn new(model_name: String) -> Self {
        Self {
            model_name,
            totals: Mutex::new(Totals::default()),
            connections: ConnectionFigures::default(),
        }
    }

    pub(crate) fn model_name(&self) -> &str {
        &self.model_name
    }

    pub(crate) fn connections(&self) -> &ConnectionFigures {
        &self.connections
    }

    /// Counts a request that was queued.
    pub(crate) fn count_accepted(&self, n: usize, max_tokens: Option<usize>) {
        let mut totals = self.totals();
        totals.params_n.observe(n as f64);
        if let Some(max_tokens) = max_tokens {
            totals.params_max_tokens.observe(max_tokens as f64);
        }
    }

    /// Counts a request that found the queue full.
    pub(crate) fn count_rejected(&self) {
        self.totals().rejections += 1;
    }

    pub(crate) fn observe_first_token(&self, since_arrival: Duration) {
        let (seconds, mut totals) = (since_arrival.as_secs_f64(), self.totals());
        totals.time_to_first_token.observe(seconds);
        let recent = &mut totals.recent;
        recent.time_to_first_token.observe(Instant::now(), seconds);
    }

    pub(crate) fn observe_inter_token(&self, since_last: Duration) {
        let (seconds, mut totals) = (since_last.as_secs_f64(), self.totals());
        totals.inter_token.observe(seconds);
        totals.recent.inter_token.observe(Instant::now(), seconds);
    }

    pub(crate) fn count_finished(&self, choice: &FinishedChoice<'_>) {
        let usage = &choice.usage;
        let (now, mut totals) = (Instant::now(), self.totals());
        let seconds = choice.elapsed.as_secs_f64();
        totals.recent.end_to_end.observe(now, seconds);
        totals.end_to_end.observe(seconds);
        totals.count_outcome(choice.outcome, 1);
        totals.prompt_tokens.observe(usage.prompt_tokens as f64);
        totals
            .generation_tokens
            .observe(usage.completion_tokens as f64);
        if let Some(phases) = &usage.phases {
            totals.recent.queue.observe(now, phases.queue_seconds);
            totals.observe_phases(phases, usage.completion_tokens);
        }
        let is_base = choice.model == self.model_name;
        totals.model(choice.model, is_base).add(usage);
        totals.tenant(choice.tenant).add(usage);
    }

    /// Counts choices that ended before they were complete.
    pub(crate) fn count_unfinished(&self, outcome: Outcome, choices: usize) {
        self.totals().count_outcome(outcome, choices as u64);
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self, sources: &MetricsSources<'_>) -> String {
        let mut page = Exposition::new(&[("model_name", &self.model_name), ("engine", "0")]);
        let costs = sources.costs;
        if let Some(engine) = sources.engine {
            engine_figures::render(&mut page, engine);
            adapter_figures::render(&mut page, engine, sources.adapters);
            cost_figures::render(&mut page, costs, engine);
        }
        self.totals().render(&mut page, costs.price());
        if let Some(ledger) = sources.ledger {
            ledger_figures::render(&mut page, ledger);
        }
        vendor_figures::render(&mut page, sources.vendors, sources.shadows);
        self.connections.render(&mut page);
        page.counter(
            "farthing_log_lines_dropped_total",
            "Log lines that were dropped because nobody read stderr.",
            log::dropped_lines(),
        );
        page.into_text()
    }

    /// Latencies of the last minutes.
    pub(crate) fn latencies(&self) -> Latencies {
        self.totals().latencies(Instant::now())
    }

    /// Usage and costs of the answers of each model and adapter since the start.
    pub(crate) fn model_costs(&self, costs: &Costs) -> Vec<ModelCosts> {
        let factors = costs.factors_since_start();
        let totals = self.totals();
        let models = totals.models.iter().map(|(model, totals)| ModelCosts {
            model: model.clone(),
            totals: totals.costs(costs, factors),
        });
        models.collect()
    }

    /// Usage and costs by tenant since the start.
    pub(crate) fn tenant_costs(&self, costs: &Costs) -> Vec<TenantCosts> {
        let factors = costs.factors_since_start();
        let totals = self.totals();
        let tenants = totals.tenants.iter().map(|(tenant, totals)| TenantCosts {
            tenant: tenant.clone(),
            totals: totals.costs(costs, factors),
        });
        tenants.collect()
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // After a panic, counters are still usable.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
