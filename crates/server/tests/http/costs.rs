//! `/v1/costs/now`, and the cost of an answer with the idle time shared out.

use farthing_engine::{
    DeviceSeconds, EngineStats, GenerationUsage, SplitBasis, TokenCounts, TokenSeconds,
};
use farthing_scheduler::FinishReason;
use serde_json::{Value, json};

use crate::scripted_engine::{usage, well_fitted};
use crate::wire::{ADMIN_KEY, PATIENT, Server};

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
    // 18,000 tokens at 1,000 a second are twice the seconds that they took.
    assert_eq!(answer["usage"]["cost"]["at_capacity_usd"], 0.00002);

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
    assert_eq!(legal["at_capacity_usd"], 0.00002);
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

/// What an answer was charged by is told, not what the next one will be: the step model explains
/// enough by now, but did not while one of the choices ran.
#[tokio::test]
async fn an_answer_says_that_it_was_split_by_tokens() {
    let mut server = Server::start().await;
    *server.engine.stats.lock().unwrap() = well_fitted();
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 1, "n": 2});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    let by_tokens = GenerationUsage {
        basis: SplitBasis::Tokens,
        ..usage(3, 1, 1)
    };
    play.finish(0, FinishReason::Length, by_tokens);
    play.finish(1, FinishReason::Length, usage(3, 1, 1));
    let answer = connection.response().await.json();
    assert_eq!(
        answer["usage"]["cost"]["basis"],
        "measured_device_time_by_tokens"
    );
    assert_eq!(answer["usage"]["cost"].get("loaded_usd"), None);
}

/// A step model that explains too little now, and one that explains enough but did not always.
#[tokio::test]
async fn costs_say_what_they_were_split_by() {
    let server = Server::start().await;
    let by_tokens = |seconds_by_tokens, model: EngineStats| EngineStats {
        seconds_by_tokens,
        step_model: model.step_model,
        ..a_quarter_busy()
    };
    let cases = [
        (by_tokens(9.0, EngineStats::default()), [true, true]),
        (by_tokens(3.0, well_fitted()), [false, true]),
        (by_tokens(0.0, well_fitted()), [false, false]),
    ];
    for (stats, expected) in cases {
        let seconds = stats.seconds_by_tokens;
        *server.engine.stats.lock().unwrap() = stats;
        let costs = server.get("/v1/costs/now").await.json();
        let found = [&costs["basis"], &costs["since_start"]["basis"]];
        let names = ["measured_device_time", "measured_device_time_by_tokens"];
        assert_eq!(
            found,
            expected.map(|by_tokens| names[usize::from(by_tokens)])
        );
        assert_eq!(costs["since_start"]["seconds_by_tokens"], seconds);
        let metrics = server.get("/metrics").await.body;
        let counter = "farthing_step_seconds_by_tokens_total";
        let line = metrics.lines().find(|line| line.starts_with(counter));
        assert!(line.unwrap().ends_with(&format!(" {seconds}")), "{line:?}");
    }
}

/// The curve goes through the loaded price, and meets a vendor's where both cost the same.
#[tokio::test]
async fn the_same_tokens_at_vendors_prices() {
    let server = Server::start().await;
    *server.engine.stats.lock().unwrap() = a_quarter_busy();
    let costs = server.get("/v1/costs/now").await.json();
    let comparison = &costs["comparison"];
    assert_eq!(comparison["of"], "now");
    assert_eq!(comparison["cached_share"], 0.625);
    let curve = &comparison["curve"];
    assert_eq!(curve["full_use"], "slo_capacity");
    assert_eq!(curve["today"]["utilization"], 0.5);
    // A thousandth of a dollar for 18,000 tokens.
    let loaded = &costs["now"]["usd_per_million_mixed_tokens"]["loaded"];
    assert_eq!(loaded, 0.055555555556);
    assert_eq!(curve["today"]["usd_per_million"], *loaded);
    let full = &curve["points"].as_array().unwrap().last().unwrap();
    assert_eq!(full["utilization"], 1);
    assert_eq!(full["usd_per_million"], 0.027777777778);

    let rivals = comparison["rivals"].as_array().unwrap();
    let named = |name| rivals.iter().find(|rival| rival["name"] == name).unwrap();
    let gpt_4o = named("openai/gpt-4o");
    let [input, cached, output] =
        ["input", "cached", "output"].map(|it| gpt_4o[it].as_f64().unwrap());
    let mixed = (6000.0 * input + 10000.0 * cached + 2000.0 * output) / 18000.0;
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found} is not {expected}"
        );
    };
    near(&gpt_4o["mixed"], mixed);
    let break_even = &gpt_4o["break_even"];
    near(&break_even["tokens_per_day"], 0.1 * 24.0 / mixed * 1e6);
    near(
        &break_even["utilization"],
        0.1 / 3600.0 / 1000.0 * 1e6 / mixed,
    );
    assert_eq!(break_even["reachable"], true);
    // Its cached tokens have no price of their own: they count as others, and are not free.
    let groq = named("groq/llama-3.1-8b-instant");
    assert_eq!(groq.get("cached"), None);
    near(
        &groq["mixed"],
        (16000.0 * groq["input"].as_f64().unwrap() + 2000.0 * groq["output"].as_f64().unwrap())
            / 18000.0,
    );
    let endpoint = rivals
        .iter()
        .find(|rival| rival["kind"] == "endpoint")
        .unwrap();
    assert!(endpoint["per_hour"].as_f64().unwrap() > 0.0);
    assert_eq!(endpoint.get("mixed"), None);
    for rival in rivals {
        assert!(
            rival["stale"].is_boolean() && rival["read_on"].is_string(),
            "{rival}"
        );
    }
}

/// Without a price there is no curve; without tokens, nothing to compare.
#[tokio::test]
async fn what_cannot_be_compared_is_absent() {
    let server = Server::start_with(None, PATIENT).await;
    let costs = server.get("/v1/costs/now").await.json();
    assert_eq!(costs.get("comparison"), None);
    *server.engine.stats.lock().unwrap() = a_quarter_busy();
    let costs = server.get("/v1/costs/now").await.json();
    let comparison = &costs["comparison"];
    assert_eq!(comparison.get("curve"), None);
    assert_eq!(comparison["rivals"][0].get("break_even"), None);
    assert!(comparison["rivals"][0]["mixed"].is_number());
}

/// Who the tenants are is for those who have the admin key, where there is one.
#[tokio::test]
async fn totals_by_tenant_are_for_the_operator() {
    let mut server = Server::start().await;
    for user in [json!("ann"), json!("ann"), json!(null)] {
        let body = json!({"model": "base", "prompt": "hi", "max_tokens": 1, "user": user});
        let connection = server.open("/v1/completions", &body).await;
        server
            .play()
            .await
            .finish(0, FinishReason::Length, usage(3, 1, 1));
        connection.response().await;
    }
    for headers in ["", "Authorization: Bearer guess\r\n"] {
        let costs = server.get_with("/v1/costs/now", headers).await;
        assert_eq!(costs.json().get("tenants"), None);
        assert!(costs.head.contains("cache-control: no-store"));
    }
    let key = format!("Authorization: Bearer {ADMIN_KEY}\r\n");
    let costs = server.get_with("/v1/costs/now", &key).await.json();
    let [nobody, ann] = &costs["tenants"].as_array().unwrap()[..] else {
        panic!("{costs}");
    };
    assert_eq!(
        (&nobody["tenant"], &nobody["choices"]),
        (&json!(null), &json!(1))
    );
    assert_eq!(
        (&ann["tenant"], &ann["choices"]),
        (&json!("ann"), &json!(2))
    );
    assert_eq!(ann["tokens"], json!({"input": 4, "cached": 2, "output": 2}));
    assert_eq!(ann["usd"], 0.00002);

    let open = Server::start_as(None, PATIENT, None).await;
    let costs = open.get("/v1/costs/now").await.json();
    assert_eq!(costs["tenants"], json!([]));
}

#[tokio::test]
async fn latencies_and_memory_are_told() {
    let mut server = Server::start().await;
    *server.engine.stats.lock().unwrap() = EngineStats {
        running: 3,
        waiting: 2,
        total_blocks: 100,
        free_blocks: 75,
        ..a_quarter_busy()
    };
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 2});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    play.say(0, "b");
    let waited = farthing_engine::GenerationUsage {
        queue_seconds: 0.25,
        ..usage(3, 1, 2)
    };
    play.finish(0, FinishReason::Length, waited);
    connection.response().await;
    let costs = server.get("/v1/costs/now").await.json();
    let latency = &costs["latency"];
    for name in ["time_to_first_token", "inter_token", "end_to_end", "queue"] {
        assert_eq!(latency[name]["count"], 1, "{name}");
    }
    let queue = latency["queue"]["p50_seconds"].as_f64().unwrap();
    assert!((queue / 0.25 - 1.0).abs() < 0.03, "{queue}");
    assert_eq!(costs["load"], json!({"running": 3, "waiting": 2}));
    let machine = &costs["machine"];
    assert_eq!(
        machine["kv_cache"],
        json!({"blocks": 100, "blocks_in_use": 25, "tokens_per_block": 16})
    );
    assert_eq!(machine["adapters"]["named"], 1);
    assert_eq!(machine.get("memory_plan"), None);
}
