//! Counters and histograms of requests since the start.

use std::collections::BTreeMap;
use std::time::Instant;

use farthing_api::{ByToken, CostTotals, Latencies};
use farthing_economics::HourlyPrice;
use farthing_ledger::Outcome;

use super::exposition::Exposition;
use super::histogram::{FIRST_TOKEN, Histogram, LATENCY, PER_TOKEN, SMALL_COUNTS, TOKENS};
use super::recent_times::RecentTimes;
use crate::costs::{Costs, Factors, WINDOW};
use crate::request::{ChoiceUsage, Phases};

#[derive(Debug)]
pub(super) struct Totals {
    /// In the order of [`FINISHED_REASONS`].
    outcomes: [u64; FINISHED_REASONS.len()],
    pub(super) rejections: u64,
    pub(super) models: BTreeMap<String, AnswerTotals>,
    /// `None` is for requests without a `user`.
    pub(super) tenants: BTreeMap<Option<String>, AnswerTotals>,
    pub(super) recent: Recent,
    pub(super) time_to_first_token: Histogram,
    pub(super) inter_token: Histogram,
    pub(super) time_per_output_token: Histogram,
    pub(super) end_to_end: Histogram,
    pub(super) queue: Histogram,
    pub(super) inference: Histogram,
    pub(super) prefill: Histogram,
    pub(super) decode: Histogram,
    pub(super) prompt_tokens: Histogram,
    pub(super) generation_tokens: Histogram,
    pub(super) params_n: Histogram,
    pub(super) params_max_tokens: Histogram,
    pub(super) preemptions: Histogram,
}

/// How a choice may end: the values of vLLM's label `finished_reason`, in its order.
const FINISHED_REASONS: [Outcome; 4] = [
    Outcome::Stop,
    Outcome::Length,
    Outcome::Abort,
    Outcome::Error,
];

/// The number of names with figures of their own. Later names are counted together.
const MAX_NAMES: usize = 100;
const OTHER_NAMES: &str = "other";

/// Times of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    pub(super) time_to_first_token: RecentTimes,
    pub(super) inter_token: RecentTimes,
    pub(super) end_to_end: RecentTimes,
    pub(super) queue: RecentTimes,
}

/// Usage of the finished choices of one model, adapter or tenant.
#[derive(Debug, Default)]
pub(super) struct AnswerTotals {
    pub(super) choices: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) device_seconds: f64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            outcomes: [0; FINISHED_REASONS.len()],
            rejections: 0,
            models: BTreeMap::new(),
            tenants: BTreeMap::new(),
            recent: Recent::default(),
            time_to_first_token: Histogram::new(FIRST_TOKEN),
            inter_token: Histogram::new(PER_TOKEN),
            time_per_output_token: Histogram::new(PER_TOKEN),
            end_to_end: Histogram::new(LATENCY),
            queue: Histogram::new(LATENCY),
            inference: Histogram::new(LATENCY),
            prefill: Histogram::new(LATENCY),
            decode: Histogram::new(LATENCY),
            prompt_tokens: Histogram::new(TOKENS),
            generation_tokens: Histogram::new(TOKENS),
            params_n: Histogram::new(SMALL_COUNTS),
            params_max_tokens: Histogram::new(TOKENS),
            preemptions: Histogram::new(SMALL_COUNTS),
        }
    }
}

impl Totals {
    pub(super) fn count_outcome(&mut self, outcome: Outcome, choices: u64) {
        let mut reasons = FINISHED_REASONS.iter().zip(&mut self.outcomes);
        if let Some((_, count)) = reasons.find(|(reason, _)| **reason == outcome) {
            *count += choices;
        }
    }

    pub(super) fn observe_phases(&mut self, phases: &Phases, completion_tokens: usize) {
        self.queue.observe(phases.queue_seconds);
        self.prefill.observe(phases.prefill_seconds);
        self.decode.observe(phases.decode_seconds);
        self.inference
            .observe(phases.prefill_seconds + phases.decode_seconds);
        self.preemptions.observe(phases.preemptions as f64);
        if completion_tokens > 1 {
            let later_tokens = (completion_tokens - 1) as f64;
            self.time_per_output_token
                .observe(phases.decode_seconds / later_tokens);
        }
    }

    /// The totals of a model or adapter. The number of time series is limited, even with thousands
    /// of names; the base model always has its own.
    pub(super) fn model(&mut self, name: &str, is_base: bool) -> &mut AnswerTotals {
        let has_its_own =
            is_base || self.models.len() < MAX_NAMES || self.models.contains_key(name);
        let name = if has_its_own { name } else { OTHER_NAMES };
        self.models.entry(name.to_owned()).or_default()
    }

    /// The totals of a tenant, or of requests without one.
    pub(super) fn tenant(&mut self, name: Option<&str>) -> &mut AnswerTotals {
        let name = name.map(str::to_owned);
        let has_its_own =
            name.is_none() || self.tenants.len() < MAX_NAMES || self.tenants.contains_key(&name);
        let name = if has_its_own {
            name
        } else {
            Some(OTHER_NAMES.to_owned())
        };
        self.tenants.entry(name).or_default()
    }

    pub(super) fn latencies(&mut self, now: Instant) -> Latencies {
        let recent = &mut self.recent;
        Latencies {
            window_seconds: WINDOW.as_secs_f64(),
            time_to_first_token: recent.time_to_first_token.quantiles(now),
            inter_token: recent.inter_token.quantiles(now),
            end_to_end: recent.end_to_end.quantiles(now),
            queue: recent.queue.quantiles(now),
        }
    }

    pub(super) fn render(&self, page: &mut Exposition, price: Option<HourlyPrice>) {
        page.counters(
            "vllm:request_success_total",
            "Ended choices by reason.",
            "finished_reason",
            FINISHED_REASONS
                .iter()
                .zip(self.outcomes)
                .map(|(outcome, count)| (outcome.as_str(), count as f64)),
        );
        page.counters(
            "vllm:admission_rejections_total",
            "Requests refused because the queue was full.",
            "reason",
            [("max_num_queued_reqs", self.rejections as f64)],
        );
        for (name, help, histogram) in [
            (
                "vllm:time_to_first_token_seconds",
                "To a choice's first token.",
                &self.time_to_first_token,
            ),
            (
                "vllm:inter_token_latency_seconds",
                "Between tokens of a choice.",
                &self.inter_token,
            ),
            (
                "vllm:request_time_per_output_token_seconds",
                "Mean time between the tokens of a choice.",
                &self.time_per_output_token,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                "From arrival to end.",
                &self.end_to_end,
            ),
            (
                "vllm:request_queue_time_seconds",
                "Time in the queue.",
                &self.queue,
            ),
            (
                "vllm:request_inference_time_seconds",
                "Time from first step to end.",
                &self.inference,
            ),
            (
                "vllm:request_prefill_time_seconds",
                "First step to first token.",
                &self.prefill,
            ),
            (
                "vllm:request_decode_time_seconds",
                "First token to last.",
                &self.decode,
            ),
            (
                "vllm:request_prompt_tokens",
                "Tokens of a prompt.",
                &self.prompt_tokens,
            ),
            (
                "vllm:request_generation_tokens",
                "Tokens of a choice.",
                &self.generation_tokens,
            ),
            (
                "vllm:request_params_n",
                "Choices asked for.",
                &self.params_n,
            ),
            (
                "vllm:request_params_max_tokens",
                "Tokens asked for.",
                &self.params_max_tokens,
            ),
            (
                "vllm:request_num_preemptions",
                "Preemptions of a choice.",
                &self.preemptions,
            ),
        ] {
            page.histogram(name, help, histogram);
        }
        self.render_models(page, price);
    }

    /// Metrics that vLLM does not have: tokens, seconds and US dollars by model and adapter.
    fn render_models(&self, page: &mut Exposition, price: Option<HourlyPrice>) {
        let mut by_model = |name, help, value: &dyn Fn(&AnswerTotals) -> f64| {
            let values = self
                .models
                .iter()
                .map(|(model, totals)| (model.as_str(), value(totals)));
            page.counters(name, help, "model", values);
        };
        by_model(
            "farthing_choices_total",
            "Choices that ran to their end.",
            &|model| model.choices as f64,
        );
        by_model(
            "farthing_prompt_tokens_total",
            "Prompt tokens of these choices.",
            &|model| model.prompt_tokens as f64,
        );
        by_model(
            "farthing_cached_tokens_total",
            "Of these, tokens from the prefix cache.",
            &|model| model.cached_tokens as f64,
        );
        by_model(
            "farthing_generation_tokens_total",
            "Generated tokens of these choices.",
            &|model| model.generation_tokens as f64,
        );
        by_model(
            "farthing_device_seconds_total",
            "Device time of these choices.",
            &|model| model.device_seconds,
        );
        let Some(price) = price else { return };
        let dollars = self.models.iter().filter_map(|(model, totals)| {
            let cost = price.cost_of(totals.device_seconds).ok()?;
            Some((model.as_str(), cost))
        });
        page.counters(
            "farthing_cost_usd_total",
            "Cost of that time in US dollars.",
            "model",
            dollars,
        );
        page.gauge(
            "farthing_price_per_hour_usd",
            "Price of the machine in US dollars per hour.",
            price.usd(),
        );
    }
}

impl AnswerTotals {
    pub(super) fn add(&mut self, usage: &ChoiceUsage) {
        self.choices += 1;
        self.prompt_tokens += usage.prompt_tokens as u64;
        self.cached_tokens += usage.cached_tokens as u64;
        self.generation_tokens += usage.completion_tokens as u64;
        self.device_seconds += usage.device.map_or(0.0, |device| device.seconds);
    }

    pub(super) fn costs(&self, costs: &Costs, factors: Factors) -> CostTotals {
        let usd = |factor: Option<f64>| costs.usd(self.device_seconds * factor?);
        CostTotals {
            choices: self.choices,
            tokens: ByToken {
                input: self.prompt_tokens - self.cached_tokens,
                cached: self.cached_tokens,
                output: self.generation_tokens,
            },
            device_seconds: self.device_seconds,
            usd: costs.usd(self.device_seconds),
            loaded_usd: usd(factors.loaded),
            at_capacity_usd: usd(factors.at_capacity),
        }
    }
}
