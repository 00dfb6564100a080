//! Complete benchmarks against a scripted server.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod scripted;

use std::sync::Mutex;
use std::time::Duration;

use farthing_economics::MeasuredCost;
use farthing_loadgen::{
    Arrivals, Assignment, Backend, BenchConfig, Lengths, Progress, RandomLengths, Report, Stop,
    Target, Traffic, bench,
};
use serde_json::{Value, json};

use scripted::{Script, serve};

fn config(url: &str, models: &[&str]) -> BenchConfig {
    BenchConfig {
        target: Target::new(url, Backend::Chat, None).unwrap(),
        api_key_env: None,
        timeout: Duration::from_secs(30),
        traffic: Traffic {
            lengths: Lengths::Random(RandomLengths {
                input: 50,
                output: 6,
                range_ratio: 0.0,
                prefix: 0,
            }),
            arrivals: Arrivals::AtOnce,
            max_concurrency: Some(4),
            requests: 20,
            duration_seconds: None,
            warm_up_requests: 4,
            models: models.iter().map(|model| (*model).into()).collect(),
            assignment: Assignment::RoundRobin,
            seed: 1,
        },
        slo: None,
        slo_attainment: None,
        slo_requests: 10,
        full_load_concurrency: None,
        price_per_hour: None,
        gpus: 1,
        percentiles: vec![95.0, 99.0],
        label: None,
        stop: Stop::default(),
    }
}

async fn run(config: &BenchConfig) -> Report {
    bench(config, &|_: &Progress| ()).await.unwrap()
}

async fn refusal(config: &BenchConfig) -> String {
    bench(config, &|_: &Progress| ())
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_load_is_sent_and_counted() {
    let script = Script::default();
    let url = serve(script.clone()).await;
    let seen = Mutex::new(Vec::new());
    let observer = |progress: &Progress| seen.lock().unwrap().push(progress.clone());
    let report = bench(&config(&url, &[]), &observer).await.unwrap();
    let figures = &report.measured_load.figures;
    assert_eq!((figures.completed, figures.failed), (20, 0));
    assert!((figures.max_concurrent_requests) <= 4);
    // The template's tokens are subtracted: prompts have the requested length.
    assert_eq!(figures.mean_input_tokens, 50.0);
    assert_eq!(
        (figures.mean_cached_tokens, figures.mean_output_tokens),
        (4.0, 6.0)
    );
    assert_eq!(report.target.models, ["good"]);
    assert!(!report.target.is_farthing && report.target.tells_usage);
    let last = seen.into_inner().unwrap().pop().unwrap();
    assert_eq!(
        (last.sent, last.answered, last.requests),
        (24, 24, Some(24))
    );
    // Three questions before the load.
    let bodies = script.bodies.lock().unwrap();
    assert_eq!(bodies.len(), 3 + 24);
    assert_eq!(bodies[3]["stream_options"], json!({"include_usage": true}));
    assert_ne!(bodies[3]["messages"], bodies[4]["messages"]);
}

#[tokio::test]
async fn a_load_that_is_stopped_is_reported_as_far_as_it_came() {
    let url = serve(Script::default()).await;
    let mut config = config(&url, &[]);
    config.traffic.arrivals = Arrivals::Random {
        rate: 50.0,
        burstiness: 1.0,
    };
    config.traffic.requests = 1_000_000;
    config.full_load_concurrency = Some(4);
    let stop = config.stop.clone();
    let observer = |progress: &Progress| {
        if progress.answered >= 10 {
            stop.request();
        }
    };
    let report = bench(&config, &observer).await.unwrap();
    let figures = &report.measured_load.figures;
    assert!(figures.completed >= 6 && figures.failed == 0, "{figures:?}");
    assert!(report.full_load.is_none());
    let warning = report
        .warnings
        .iter()
        .find(|it| it.contains("stopped by the user"));
    assert!(warning.is_some(), "{:?}", report.warnings);
}

#[tokio::test]
async fn whatever_fails_is_counted_by_its_kind() {
    let url = serve(Script::default()).await;
    let models = [
        "good",
        "full",
        "broken",
        "no-stream",
        "hanging",
        "cut",
        "erring",
    ];
    let mut config = config(&url, &models);
    config.timeout = Duration::from_millis(300);
    config.traffic.requests = 14;
    config.traffic.warm_up_requests = 0;
    config.traffic.max_concurrency = None;
    let report = run(&config).await;
    let figures = &report.measured_load.figures;
    assert_eq!((figures.completed, figures.failed), (2, 12));
    let kinds: Vec<_> = figures
        .failures
        .iter()
        .map(|it| (it.kind.as_str(), it.count))
        .collect();
    let expected = [
        ("timed out", 2),
        ("status 429, too many requests", 2),
        ("status 500", 2),
        ("no stream of events", 2),
        ("cut off", 2),
        ("an error amid the stream", 2),
    ];
    assert_eq!(kinds, expected);
    let told = report.to_string();
    for words in ["out of order", "device lost", "application/json", "0.3 s"] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    let shares = &report.measured_load.models;
    assert_eq!(shares.iter().map(|it| it.failed).sum::<usize>(), 12);
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let told = refusal(&config("http://127.0.0.1:9", &["m"])).await;
    assert!(
        told.contains("http://127.0.0.1:9/v1/chat/completions"),
        "{told}"
    );
    assert!(told.contains("refused"), "{told}");
    let told = refusal(&config("http://127.0.0.1:9", &[])).await;
    assert!(told.contains("/v1/models"), "{told}");
}

#[tokio::test]
async fn who_refuses_is_quoted() {
    let url = serve(Script::default()).await;
    let told = refusal(&config(&url, &["refused"])).await;
    assert!(
        told.contains("status 401") && told.contains("no such key"),
        "{told}"
    );
}

#[tokio::test]
async fn a_load_without_any_answer_is_no_report() {
    let url = serve(Script::default()).await;
    let told = refusal(&config(&url, &["full"])).await;
    assert!(told.contains("none of 24 requests"), "{told}");
    assert!(told.contains("429"), "{told}");
}

#[tokio::test]
async fn the_key_goes_into_the_header_and_nowhere_else() {
    let script = Script::default();
    let url = serve(script.clone()).await;
    let mut config = config(&url, &["good"]);
    // A variable that cargo sets.
    config.api_key_env = Some("CARGO_PKG_DESCRIPTION".to_owned());
    let report = run(&config).await;
    let key = env!("CARGO_PKG_DESCRIPTION");
    let keys = script.keys.lock().unwrap().clone();
    assert!(
        keys.iter()
            .all(|it| it.as_deref() == Some(&format!("Bearer {key}")))
    );
    let json = serde_json::to_string(&report).unwrap();
    assert!(
        ![report.to_string(), report.html(), json]
            .iter()
            .any(|it| it.contains(key))
    );
    config.api_key_env = Some("FARTHING_NO_SUCH_KEY".to_owned());
    let told = refusal(&config).await;
    assert!(
        told.contains("FARTHING_NO_SUCH_KEY is not") || told.contains("is not set"),
        "{told}"
    );
}

#[tokio::test]
async fn a_server_that_counts_nothing_is_counted_by_pieces() {
    let url = serve(Script::default()).await;
    let report = run(&config(&url, &["silent-about-usage"])).await;
    let figures = &report.measured_load.figures;
    assert_eq!(
        (figures.mean_input_tokens, figures.mean_output_tokens),
        (50.0, 6.0)
    );
    assert!(!report.target.tells_usage);
    let told = report.warnings.join("\n");
    assert!(
        told.contains("report no usage") && told.contains("reports no prompt tokens"),
        "{told}"
    );
}

#[tokio::test]
async fn several_tokens_in_a_piece_are_told() {
    let url = serve(Script::default()).await;
    let mut config = config(&url, &["merging"]);
    if let Lengths::Random(lengths) = &mut config.traffic.lengths {
        lengths.output = 8;
    }
    // The bodies stay open after the last event, and no answer waits for their end.
    let report = run(&config).await;
    let figures = &report.measured_load.figures;
    assert_eq!((figures.completed, figures.mean_output_tokens), (20, 8.0));
    let told = report.warnings.join("\n");
    assert!(told.contains("counts 4.00 tokens for each piece"), "{told}");
    assert!(!told.contains("report no usage"), "{told}");
}

#[tokio::test]
async fn any_success_is_one() {
    let url = serve(Script::default()).await;
    let report = run(&config(&url, &["created"])).await;
    assert_eq!(report.measured_load.figures.completed, 20);
}

#[tokio::test]
async fn completions_are_asked_at_their_own_door() {
    let url = serve(Script::default()).await;
    let mut config = config(&url, &["good"]);
    config.target = Target::new(&url, Backend::Completions, None).unwrap();
    config.traffic.arrivals = Arrivals::Random {
        rate: 400.0,
        burstiness: 1.0,
    };
    config.traffic.max_concurrency = None;
    let report = run(&config).await;
    assert_eq!(report.measured_load.figures.completed, 20);
    assert!(report.measured_load.health.send_lateness_p99_ms.is_some());
}

#[tokio::test]
async fn time_may_end_a_load() {
    let url = serve(Script::default()).await;
    let mut config = config(&url, &["good"]);
    config.traffic.duration_seconds = Some(0.3);
    // Nothing but time ends it: no number of requests holds then.
    let report = run(&config).await;
    assert!(report.measured_load.figures.completed > 0);
}

#[tokio::test]
async fn the_report_is_what_compare_reads() {
    let script = Script {
        is_farthing: true,
        ..Script::default()
    };
    let url = serve(script).await;
    let mut config = config(&url, &["good", "other"]);
    config.full_load_concurrency = Some(6);
    let report = run(&config).await;
    assert!(report.target.is_farthing && report.price_from_server);
    let json = serde_json::to_string_pretty(&report).unwrap();
    let cost = MeasuredCost::from_report(&json).unwrap();
    assert_eq!(cost.usd_per_gpu_hour.unwrap().to_string(), "0.1");
    assert_eq!(cost.mean_prompt_tokens.to_string(), "50");
    let read: Value = serde_json::from_str(&json).unwrap();
    // vLLM's names at the top.
    for name in [
        "completed",
        "request_throughput",
        "mean_ttft_ms",
        "p99_tpot_ms",
        "median_itl_ms",
    ] {
        assert!(read[name].is_number(), "{name}");
    }
    assert_eq!(read["full_load"]["completed"], 20);
    let usd = &read["models"][0]["usd"];
    assert_eq!(
        (usd, &read["models"][0]["device_seconds"]),
        (&json!(0.001), &json!(5.0))
    );
}

#[tokio::test]
async fn the_page_needs_nothing_else_and_says_what_it_is_told() {
    let url = serve(Script::default()).await;
    let mut config = config(&url, &["good"]);
    config.label = Some("<b>night & day</b>".to_owned());
    config.price_per_hour = Some("2.5".parse().unwrap());
    let page = run(&config).await.html();
    assert!(page.contains("&lt;b&gt;night &amp; day&lt;/b&gt;"));
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("<svg"));
    for outside in [
        "src=", "href=", "url(", "@import", "<script", "NaN", "inf\"",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
}
