//! What `GET /metrics` tells: vLLM's names and buckets where the meaning is the same, so that
//! boards made for vLLM work, and `farthing_` names for what vLLM does not know.

mod exposition;
mod histogram;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_economics::HourlyPrice;
use farthing_engine::{EngineStats, GenerationUsage};

use exposition::Exposition;
use histogram::{FIRST_TOKEN, Histogram, LATENCY, PER_TOKEN, SMALL_COUNTS, TOKENS};

/// Counters and histograms of the requests since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// The base model's name: vLLM's label `model_name`.
    model_name: String,
    price: Option<HourlyPrice>,
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
    pub outcome: Outcome,
    pub usage: GenerationUsage,
    /// Since the request arrived.
    pub elapsed: Duration,
}

#[derive(Debug)]
struct Totals {
    outcomes: [u64; Outcome::ALL.len()],
    rejections: u64,
    models: BTreeMap<String, ModelTotals>,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    time_per_output_token: Histogram,
    end_to_end: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    preemptions: Histogram,
}

/// What the finished choices of one model or adapter took.
#[derive(Debug, Default)]
struct ModelTotals {
    choices: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    generation_tokens: u64,
    device_seconds: f64,
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
    pub(crate) fn new(model_name: String, price: Option<HourlyPrice>) -> Self {
        Self {
            model_name,
            price,
            totals: Mutex::new(Totals::default()),
        }
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
        self.totals()
            .time_to_first_token
            .observe(since_arrival.as_secs_f64());
    }

    pub(crate) fn inter_token(&self, since_last: Duration) {
        self.totals().inter_token.observe(since_last.as_secs_f64());
    }

    pub(crate) fn finished(&self, choice: &FinishedChoice<'_>) {
        let usage = &choice.usage;
        let mut totals = self.totals();
        totals.outcomes[choice.outcome as usize] += 1;
        totals.end_to_end.observe(choice.elapsed.as_secs_f64());
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
        let model = totals.models.entry(choice.model.to_owned()).or_default();
        model.choices += 1;
        model.prompt_tokens += usage.prompt_tokens as u64;
        model.cached_tokens += usage.cached_tokens as u64;
        model.generation_tokens += usage.completion_tokens as u64;
        model.device_seconds += usage.device_seconds;
    }

    /// Choices ended before they were complete.
    pub(crate) fn unfinished(&self, outcome: Outcome, choices: usize) {
        self.totals().outcomes[outcome as usize] += choices as u64;
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self, engine: &EngineStats) -> String {
        let mut page = Exposition::new(&[("model_name", &self.model_name), ("engine", "0")]);
        render_engine(&mut page, engine);
        self.totals().render(&mut page, self.price);
        page.into_text()
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // A counter that was left half-counted by a panic is still a counter.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            outcomes: [0; Outcome::ALL.len()],
            rejections: 0,
            models: BTreeMap::new(),
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

fn render_engine(page: &mut Exposition, engine: &EngineStats) {
    let EngineStats {
        running,
        waiting,
        total_blocks,
        free_blocks,
        ..
    } = *engine;
    let used = total_blocks.saturating_sub(free_blocks) as f64 / total_blocks.max(1) as f64;
    page.gauge(
        "vllm:num_requests_running",
        "Sequences in the batch.",
        running as f64,
    );
    page.gauge(
        "vllm:num_requests_waiting",
        "Sequences that wait for a place.",
        waiting as f64,
    );
    page.gauge(
        "vllm:kv_cache_usage_perc",
        "Share of the KV cache in use; 1 is all.",
        used,
    );
    page.gauge(
        "farthing_total_blocks",
        "Blocks of the KV cache.",
        total_blocks as f64,
    );
    page.gauge(
        "farthing_free_blocks",
        "Blocks of the KV cache that no sequence holds.",
        free_blocks as f64,
    );
    page.gauge(
        "farthing_adapters_in_batch",
        "Adapters with a row in the last batch.",
        engine.adapters_in_batch as f64,
    );

    let (computed, cached) = (engine.prompt_tokens as f64, engine.prefix_hits as f64);
    page.counter(
        "vllm:prompt_tokens_total",
        "Prompt tokens taken in.",
        computed + cached,
    );
    page.counter(
        "vllm:prompt_tokens_cached_total",
        "Of them from the prefix cache.",
        cached,
    );
    page.counters(
        "vllm:prompt_tokens_by_source_total",
        "Prompt tokens by where their keys and values came from.",
        "source",
        [("local_compute", computed), ("local_cache_hit", cached)],
    );
    page.counter(
        "vllm:generation_tokens_total",
        "Tokens sampled.",
        engine.generation_tokens as f64,
    );
    page.counter(
        "vllm:prefix_cache_queries_total",
        "Prompt tokens looked up in the prefix cache.",
        engine.prefix_queries as f64,
    );
    page.counter(
        "vllm:prefix_cache_hits_total",
        "Prompt tokens found there.",
        cached,
    );
    page.counter(
        "vllm:num_preemptions_total",
        "Sequences sent back to wait for want of blocks.",
        engine.preemptions as f64,
    );

    page.counter(
        "farthing_steps_total",
        "Steps of the engine.",
        engine.steps as f64,
    );
    page.counter(
        "farthing_step_seconds_total",
        "Measured device time of all steps.",
        engine.step_seconds,
    );
    page.counter(
        "farthing_attributed_seconds_total",
        "Device time charged to sequences: as much as that of all steps.",
        engine.attributed_seconds,
    );
    page.counter(
        "farthing_aborted_seconds_total",
        "The part of it that went to sequences whose caller left.",
        engine.aborted_seconds,
    );
}

impl Totals {
    fn render(&self, page: &mut Exposition, price: Option<HourlyPrice>) {
        page.counters(
            "vllm:request_success_total",
            "Choices that ended, by how.",
            "finished_reason",
            Outcome::ALL.map(|outcome| (outcome.as_str(), self.outcomes[outcome as usize] as f64)),
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

    /// What vLLM does not tell: tokens, seconds and dollars by model and adapter.
    fn render_models(&self, page: &mut Exposition, price: Option<HourlyPrice>) {
        let mut by_model = |name, help, value: &dyn Fn(&ModelTotals) -> f64| {
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
            "Their prompts' tokens.",
            &|model| model.prompt_tokens as f64,
        );
        by_model(
            "farthing_cached_tokens_total",
            "Of them from the prefix cache.",
            &|model| model.cached_tokens as f64,
        );
        by_model(
            "farthing_generation_tokens_total",
            "Their own tokens.",
            &|model| model.generation_tokens as f64,
        );
        by_model(
            "farthing_device_seconds_total",
            "Device time charged to them.",
            &|model| model.device_seconds,
        );
        let Some(price) = price else { return };
        let dollars = self.models.iter().filter_map(|(model, totals)| {
            let cost = price.cost_of(totals.device_seconds).ok()?;
            Some((model.as_str(), cost))
        });
        page.counters(
            "farthing_cost_usd_total",
            "What that time cost.",
            "model",
            dollars,
        );
        page.gauge(
            "farthing_price_per_hour_usd",
            "What the machine costs.",
            price.usd(),
        );
    }
}
