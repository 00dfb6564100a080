//! Metrics of the engine.

use farthing_engine::{EngineStats, StepSizes};
use farthing_model::BLOCK_SIZE;

use super::exposition::Exposition;
use super::histogram::Histogram;

pub(super) fn render(page: &mut Exposition, engine: &EngineStats) {
    let EngineStats {
        running,
        waiting,
        deferred,
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
    page.gauges(
        "vllm:num_requests_waiting_by_reason",
        "Sequences that wait, by what for: room in the cache and batch, or for their adapter.",
        ["reason"],
        [
            (["capacity"], waiting.saturating_sub(deferred)),
            (["deferred"], deferred),
        ],
    );
    page.gauge(
        "vllm:kv_cache_usage_perc",
        "Share of the KV cache in use; 1 is all.",
        used,
    );
    page.info(
        "vllm:cache_config_info",
        "Layout of the KV cache.",
        &[
            ("block_size", &BLOCK_SIZE.to_string()),
            ("num_gpu_blocks", &total_blocks.to_string()),
            ("enable_prefix_caching", "True"),
        ],
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
        "Prompt tokens, computed or cached.",
        computed + cached,
    );
    page.counter(
        "vllm:prompt_tokens_cached_total",
        "Prompt tokens from the prefix cache.",
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
        "Prompt tokens found in the prefix cache.",
        cached,
    );
    page.counter(
        "vllm:num_preemptions_total",
        "Preempted sequences.",
        engine.preemptions as f64,
    );

    page.gauge(
        "farthing_unread_bytes",
        "Generated tokens that wait for callers to read them, in bytes.",
        engine.unread_bytes as f64,
    );
    page.counter(
        "farthing_cut_off_requests_total",
        "Requests cancelled because too much of their answers waited to be read.",
        engine.cut_off_requests as f64,
    );

    let sizes = &engine.step_sizes;
    page.histogram(
        "vllm:iteration_tokens_total",
        "Tokens per step.",
        &Histogram::counted(&StepSizes::BOUNDS, &sizes.counts, sizes.tokens as f64),
    );

    page.counter(
        "farthing_steps_total",
        "Steps of the engine.",
        engine.steps as f64,
    );
    page.counter(
        "farthing_step_seconds_total",
        "Measured device time of all steps.",
        engine.seconds.steps,
    );
    page.counter(
        "farthing_attributed_seconds_total",
        "Device time attributed to sequences; equal to the time of all steps.",
        engine.attributed_seconds,
    );
    page.counter(
        "farthing_aborted_seconds_total",
        "Attributed time of aborted sequences.",
        engine.seconds.aborted,
    );
    page.counter(
        "farthing_failed_seconds_total",
        "Attributed time of failed sequences.",
        engine.seconds.failed,
    );
}
