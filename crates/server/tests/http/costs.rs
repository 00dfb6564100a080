//! `/v1/costs/now`, and the cost of an answer with the idle time shared out.

use farthing_engine::{DeviceSeconds, EngineStats, TokenCounts, TokenSeconds};
use farthing_scheduler::FinishReason;
use serde_json::{Value, json};

use crate::scripted_engine::{usage, well_fitted};
use crate::wire::{PATIENT, Server};

/// 36 s at 0.10 dollars an hour, a quarter of them busy: a thousandth of a dollar.
fn a_quarter_busy() -> EngineStats {
    EngineStats {
        seconds: DeviceSeconds {
            window: 36.0,
            idle: 26.0,
            host: 1.0,
            steps: 9.0,
            ..DeviceSeconds::default()
        },
        attributed_seconds: 9.0,
        token_seconds: TokenSeconds {
            input: 3.0,
            cached: 1.0,
            output: 5.0,
        },
        tokens: TokenCounts {
            input: 6000,
            cached: 10000,
            output: 2000,
        },
        expected_seconds: 8.1,
        ..well_fitted()
    }
}

#[tokio::test]
async fn three_figures_for_each_kind_of_token() {
    let server = Server::start().await;
    *server.engine.stats.lock().unwrap() = a_quarter_busy();
    let body = server.get("/v1/costs/now").await.body;
    let costs: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(costs["object"], "costs.now");
    assert_eq!(costs["basis"], "measured_device_time");
    assert_eq!(costs["price_per_hour_usd"], 0.1);
    let span = &costs["since_start"];
    assert_eq!(span["window_usd"], 0.001);
    assert_eq!(
        (&span["busy_share"], &span["load_factor"]),
        (&json!(0.25), &json!(4.0))
    );
    // 18,000 tokens at 1,000 a second would take half of the window.
    assert_eq!(span["utilization"], 0.5);
    let usd = &span["usd_per_million_tokens"];
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    };
    for (kind, seconds, tokens) in [
        ("input", 3.0, 6000.0),
        ("cached", 1.0, 10000.0),
        ("output", 5.0, 2000.0),
    ] {
        let busy = 0.1 / 3600.0 * seconds / tokens * 1e6;
        near(&usd[kind]["busy"], busy);
        near(&usd[kind]["loaded"], 4.0 * busy);
        near(&usd[kind]["at_capacity"], 2.0 * busy);
    }
    near(&costs["step_model"]["expected_over_measured"], 0.9);
}

#[tokio::test]
async fn an_answer_tells_its_cost_with_the_idle_time_shared_out() {
    let mut server = Server::start().await;
    *server.engine.stats.lock().unwrap() = a_quarter_busy();
    let body = json!({"model": "legal", "prompt": "hi", "max_tokens": 1});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    play.finish(0, FinishReason::Length, usage(3, 1, 1));
    let answer = connection.response().await.json();
    assert_eq!(answer["usage"]["cost"]["usd"], 0.00001);
    // The window began before the engine had done anything.
    assert_eq!(answer["usage"]["cost"]["loaded_usd"], 0.00004);

    let costs = server.get("/v1/costs/now").await.body;
    let costs: Value = serde_json::from_str(&costs).unwrap();
    let legal = &costs["models"][0];
    assert_eq!(legal["model"], "legal");
    assert_eq!(
        legal["tokens"],
        json!({"input": 2, "cached": 1, "output": 1})
    );
    assert_eq!(legal["usd"], 0.00001);
    assert_eq!(legal["loaded_usd"], 0.00004);
}

/// Where nobody knows what the machine costs or carries, figures are absent, not zero.
#[tokio::test]
async fn what_is_unknown_is_absent() {
    let server = Server::start_with(None, PATIENT).await;
    *server.engine.stats.lock().unwrap() = a_quarter_busy();
    let body = server.get("/v1/costs/now").await.body;
    let costs: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(costs.get("price_per_hour_usd"), None);
    let span = &costs["since_start"];
    assert_eq!(span.get("window_usd"), None);
    assert_eq!(span.get("usd_per_million_tokens"), None);
    assert_eq!(span["load_factor"], 4.0);
}

/// A step model that does not fit is not gone by, and answers say so.
#[tokio::test]
async fn an_answer_says_that_it_was_split_by_tokens() {
    let mut server = Server::start().await;
    *server.engine.stats.lock().unwrap() = EngineStats::default();
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 1});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.finish(0, FinishReason::Length, usage(3, 1, 1));
    let answer = connection.response().await.json();
    assert_eq!(
        answer["usage"]["cost"]["basis"],
        "measured_device_time_by_tokens"
    );
    assert_eq!(answer["usage"]["cost"].get("loaded_usd"), None);
}
