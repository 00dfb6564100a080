//! `/metrics` is valid Prometheus text with vLLM's names.

use std::collections::HashMap;
use std::sync::Arc;

use farthing_engine::{DeviceSeconds, EngineStats, StepSizes, TokenCounts, TokenSeconds};
use farthing_model::AdapterPoolStats;
use farthing_scheduler::{AdapterId, FinishReason};
use serde_json::json;

use crate::scripted_engine::{usage, well_fitted};
use crate::wire::Server;

/// Sample names with their labels, and their values.
fn samples(page: &str) -> HashMap<&str, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn the_engines_figures_have_vllms_names() {
    let server = Server::start().await;
    *server.engine.stats.lock().unwrap() = EngineStats {
        running: 3,
        waiting: 2,
        deferred: 1,
        total_blocks: 100,
        free_blocks: 75,
        prefix_queries: 40,
        prefix_hits: 16,
        preemptions: 1,
        steps: 9,
        step_sizes: StepSizes {
            counts: [4, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            tokens: 74,
        },
        seconds: DeviceSeconds {
            window: 6.0,
            warm_up: 2.0,
            adapter_load: 0.5,
            idle: 1.75,
            host: 0.25,
            steps: 1.5,
            aborted: 0.25,
            failed: 0.125,
        },
        attributed_seconds: 1.5,
        token_seconds: TokenSeconds {
            input: 0.5,
            cached: 0.25,
            output: 0.5,
        },
        failed_step_seconds: 0.25,
        tokens: TokenCounts {
            input: 24,
            cached: 16,
            output: 50,
        },
        expected_seconds: 1.25,
        prompt_tokens: 24,
        generation_tokens: 50,
        adapters_in_batch: 1,
        adapter_pool: AdapterPoolStats {
            slots: 8,
            resident: Arc::new([AdapterId([1; 32]), AdapterId([2; 32])]),
            resident_bytes: 4096,
            hits: 7,
            misses: 5,
            loads: 4,
            evictions: 2,
        },
        ..well_fitted()
    };
    let response = server.get("/metrics").await;
    assert!(
        response
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    let samples = samples(&response.body);
    for (name, value) in [
        ("vllm:num_requests_running", 3.0),
        ("vllm:num_requests_waiting", 2.0),
        ("vllm:kv_cache_usage_perc", 0.25),
        ("vllm:prompt_tokens_total", 40.0),
        ("vllm:prompt_tokens_cached_total", 16.0),
        ("vllm:generation_tokens_total", 50.0),
        ("vllm:prefix_cache_queries_total", 40.0),
        ("vllm:prefix_cache_hits_total", 16.0),
        ("vllm:num_preemptions_total", 1.0),
        ("farthing_step_seconds_total", 1.5),
        ("farthing_attributed_seconds_total", 1.5),
        ("farthing_aborted_seconds_total", 0.25),
        ("farthing_failed_seconds_total", 0.125),
        ("farthing_free_blocks", 75.0),
        ("farthing_total_blocks", 100.0),
        ("farthing_price_per_hour_usd", 0.1),
        ("farthing_window_seconds_total", 6.0),
        ("farthing_expected_step_seconds_total", 1.25),
        ("farthing_step_model_r_squared", 0.99),
        ("farthing_step_model_residual_p95", 0.05),
    ] {
        let name = format!("{name}{{model_name=\"base\",engine=\"0\"}}");
        assert_eq!(samples[name.as_str()], value, "{name}");
    }
    for (name, labels, value) in [
        ("farthing_bucket_seconds_total", "bucket=\"warm_up\"", 2.0),
        (
            "farthing_bucket_seconds_total",
            "bucket=\"adapter_load\"",
            0.5,
        ),
        ("farthing_bucket_seconds_total", "bucket=\"idle\"", 1.75),
        ("farthing_bucket_seconds_total", "bucket=\"host\"", 0.25),
        ("farthing_bucket_seconds_total", "bucket=\"steps\"", 1.5),
        ("farthing_tokens_total", "kind=\"cached\"", 16.0),
        ("farthing_token_seconds_total", "kind=\"output\"", 0.5),
        ("farthing_busy_share", "span=\"start\"", 0.25),
        (
            "vllm:num_requests_waiting_by_reason",
            "reason=\"capacity\"",
            1.0,
        ),
        (
            "vllm:num_requests_waiting_by_reason",
            "reason=\"deferred\"",
            1.0,
        ),
        (
            "vllm:cache_config_info",
            "block_size=\"16\",num_gpu_blocks=\"100\",enable_prefix_caching=\"True\"",
            1.0,
        ),
        ("vllm:iteration_tokens_total_bucket", "le=\"1.0\"", 4.0),
        ("vllm:iteration_tokens_total_bucket", "le=\"32.0\"", 9.0),
        ("vllm:iteration_tokens_total_bucket", "le=\"+Inf\"", 9.0),
    ] {
        let name = format!("{name}{{model_name=\"base\",engine=\"0\",{labels}}}");
        assert_eq!(samples[name.as_str()], value, "{name}");
    }
    for identity in ["rows", "window", "tokens"] {
        let name = format!(
            "farthing_identity_residual{{model_name=\"base\",engine=\"0\",identity=\"{identity}\"}}"
        );
        assert!(samples[name.as_str()] < 1e-12, "{name}");
    }
    // 0.10 dollars an hour: half a second for 50 tokens; four times that with the time between; and
    // 90 tokens at 1,000 a second take 0.09 s instead of 1.5.
    for (figure, value) in [
        ("busy", 0.1 / 3600.0 * 0.5 / 50.0 * 1e6),
        ("loaded", 0.1 / 3600.0 * 2.0 / 50.0 * 1e6),
        ("at_capacity", 0.1 / 3600.0 * 0.5 * 0.06 / 50.0 * 1e6),
    ] {
        let name = format!(
            "farthing_usd_per_million_tokens{{model_name=\"base\",engine=\"0\",\
             kind=\"output\",figure=\"{figure}\",span=\"start\"}}"
        );
        assert!(
            (samples[name.as_str()] - value).abs() < 1e-9 * value,
            "{name}"
        );
    }
}

#[tokio::test]
async fn requests_are_counted_by_model_and_by_end() {
    let mut server = Server::start().await;
    for model in ["base", "legal", "legal"] {
        let body = json!({"model": model, "prompt": "hi", "max_tokens": 3});
        let connection = server.open("/v1/completions", &body).await;
        let play = server.play().await;
        play.say(0, "a");
        play.say(0, "b");
        play.finish(0, FinishReason::Length, usage(3, 1, 2));
        connection.response().await;
    }
    let page = server.get("/metrics").await.body;
    let samples = samples(&page);
    let labelled = |name: &str, label: &str| {
        samples[format!("{name}{{model_name=\"base\",engine=\"0\"{label}}}").as_str()]
    };
    assert_eq!(
        labelled("vllm:request_success_total", ",finished_reason=\"length\""),
        3.0
    );
    assert_eq!(
        labelled("vllm:request_success_total", ",finished_reason=\"stop\""),
        0.0
    );
    assert_eq!(
        labelled("farthing_generation_tokens_total", ",model=\"legal\""),
        4.0
    );
    assert_eq!(
        labelled("farthing_prompt_tokens_total", ",model=\"base\""),
        3.0
    );
    assert_eq!(
        labelled("farthing_device_seconds_total", ",model=\"legal\""),
        0.72
    );
    assert_eq!(
        labelled("farthing_cost_usd_total", ",model=\"legal\""),
        0.00002
    );
    for (histogram, count) in [
        ("vllm:time_to_first_token_seconds", 3.0),
        ("vllm:inter_token_latency_seconds", 3.0),
        ("vllm:request_time_per_output_token_seconds", 3.0),
        ("vllm:e2e_request_latency_seconds", 3.0),
        ("vllm:request_queue_time_seconds", 3.0),
        ("vllm:request_params_max_tokens", 3.0),
    ] {
        assert_eq!(
            labelled(&format!("{histogram}_count"), ""),
            count,
            "{histogram}"
        );
        assert_eq!(
            labelled(&format!("{histogram}_bucket"), ",le=\"+Inf\""),
            count
        );
    }
    assert_eq!(
        labelled("vllm:request_prompt_tokens_bucket", ",le=\"2.0\""),
        0.0
    );
    assert_eq!(
        labelled("vllm:request_prompt_tokens_bucket", ",le=\"5.0\""),
        3.0
    );
    assert_eq!(labelled("vllm:request_generation_tokens_sum", ""), 6.0);
}

/// vLLM's gauge, by which gateways send an adapter's requests where it is already.
#[tokio::test]
async fn adapters_with_requests_are_named() {
    let server = Server::start().await;
    let named = |waiting, running| {
        format!(
            "vllm:lora_requests_info{{model_name=\"base\",engine=\"0\",max_lora=\"8\",\
             waiting_lora_adapters=\"{waiting}\",running_lora_adapters=\"{running}\"}}"
        )
    };
    let legal = server.shelf.adapter("legal").id();
    let gone = AdapterId([7; 32]);
    let stats = |waiting: &[AdapterId], running: &[AdapterId]| EngineStats {
        waiting_adapters: waiting.into(),
        running_adapters: running.into(),
        adapter_pool: AdapterPoolStats {
            slots: 8,
            ..AdapterPoolStats::default()
        },
        ..well_fitted()
    };
    for (engine, expected) in [
        (stats(&[legal], &[gone, legal]), named("legal", "legal")),
        (stats(&[], &[]), named("", "")),
    ] {
        *server.engine.stats.lock().unwrap() = engine;
        let page = server.get("/metrics").await.body;
        let samples = samples(&page);
        // Seconds since 1970, as of this century.
        let at = samples[expected.as_str()];
        assert!((1e9..1e11).contains(&at), "{at}");
    }
}
