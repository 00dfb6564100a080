//! Who may do what.

use std::fs;
use std::num::NonZeroU32;

use farthing_keys::{AllowList, KeyFile, Secret, Terms};
use farthing_scheduler::FinishReason;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ledger::{assert_row, close, rows};
use crate::scripted_engine::usage;
use crate::wire::{ADMIN_KEY, Response, Server};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const LOAD: &str = "/v1/load_lora_adapter";

fn terms() -> Terms {
    Terms {
        tenant: "acme".to_owned(),
        ..Terms::default()
    }
}

/// A key file in a directory of its own.
fn key_file() -> (TempDir, KeyFile) {
    let directory = tempfile::tempdir().unwrap();
    let file = KeyFile::new(directory.path().join("keys.toml"));
    (directory, file)
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

async fn complete(server: &Server, key: &Secret) -> Response {
    let body = json!({"model": "base", "prompt": "hi"});
    server
        .post_with(COMPLETIONS, &body, &bearer(key.text()))
        .await
}

/// The value of a header.
fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut lines = response.head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A body without a model: who is admitted gets a 400.
const ADMITTED: u16 = 400;

#[tokio::test]
async fn each_caller_may_do_what_the_table_says() {
    let (_directory, file) = key_file();
    let caller = file.add("prod", terms()).unwrap();
    let revoked = file.add("old", terms()).unwrap();
    file.revoke("old").unwrap();
    let expired = file.add("trial", terms()).unwrap();
    // The command line refuses a time in the past, so this is written by hand.
    let text = fs::read_to_string(file.path()).unwrap();
    let trial = text.rfind("tenant").unwrap();
    let text = format!(
        "{}expires = \"2026-01-01T00:00:00Z\"\n{}",
        &text[..trial],
        &text[trial..]
    );
    fs::write(file.path(), text).unwrap();
    let (server, _) = Server::start_with_keys(&file).await;
    let mut wrong = caller.text().to_owned();
    wrong.replace_range(wrong.len() - 1.., "x");
    let keys = [
        None,
        Some("wrong"),
        Some(&*wrong),
        Some(revoked.text()),
        Some(expired.text()),
        Some(caller.text()),
        Some(ADMIN_KEY),
    ];
    const OPEN: [u16; 7] = [200; 7];
    // No key, two wrong ones, a revoked and an expired one, a caller's key, the admin key.
    let table = [
        ("GET", "/", OPEN),
        ("GET", "/page/page.js", OPEN),
        ("GET", "/health", OPEN),
        ("GET", "/ready", OPEN),
        ("GET", "/v1/nothing", [404; 7]),
        ("POST", CHAT, [401, 401, 401, 401, 401, ADMITTED, 403]),
        (
            "POST",
            COMPLETIONS,
            [401, 401, 401, 401, 401, ADMITTED, 403],
        ),
        ("GET", CHAT, [405; 7]),
        ("GET", "/v1/models", [401, 401, 401, 401, 401, 200, 403]),
        (
            "GET",
            "/v1/models/base",
            [401, 401, 401, 401, 401, 200, 403],
        ),
        (
            "GET",
            "/v1/models/none",
            [401, 401, 401, 401, 401, 404, 403],
        ),
        ("GET", "/v1/costs/now", [401, 401, 401, 401, 401, 403, 200]),
        ("GET", "/metrics", [401, 401, 401, 401, 401, 403, 200]),
        (
            "GET",
            "/v1/lora_adapters",
            [401, 401, 401, 401, 401, 403, 200],
        ),
        (
            "GET",
            "/v1/organization/costs?start_time=1",
            [401, 401, 401, 401, 401, 403, 200],
        ),
        (
            "GET",
            "/v1/organization/usage/completions?start_time=1",
            [401, 401, 401, 401, 401, 403, 200],
        ),
        (
            "POST",
            "/v1/load_lora_adapter",
            [401, 401, 401, 401, 401, 403, ADMITTED],
        ),
        (
            "POST",
            "/v1/unload_lora_adapter",
            [401, 401, 401, 401, 401, 403, ADMITTED],
        ),
    ];
    for (method, path, expected) in table {
        for (key, status) in keys.iter().zip(expected) {
            let headers = key.map(bearer).unwrap_or_default();
            let response = match method {
                "GET" => server.get_with(path, &headers).await,
                _ => server.post_with(path, &json!({}), &headers).await,
            };
            // The test's own address has sent many wrong keys by now.
            let is_limited = status == 401 && response.status == 429;
            assert!(
                response.status == status || is_limited,
                "{method} {path} with {key:?}: {} instead of {status}\n{}",
                response.status,
                response.body
            );
            assert!(header(&response, "x-request-id").is_some(), "{path}");
            if status >= 400 {
                response.error();
            }
            if response.status == 401 {
                assert_eq!(header(&response, "www-authenticate"), Some("bearer"));
            }
        }
    }
}

#[tokio::test]
async fn refusals_have_openais_codes() {
    let (_directory, file) = key_file();
    let (server, _) = {
        file.add("prod", terms()).unwrap();
        Server::start_with_keys(&file).await
    };
    let nothing = json!({});
    let null = Value::Null;
    let none = server.post_with(CHAT, &nothing, "").await;
    assert_eq!(
        none.error(),
        [json!("invalid_request_error"), null.clone(), null.clone()]
    );
    let wrong = server.post_with(CHAT, &nothing, &bearer("sk-x")).await;
    assert_eq!(
        wrong.error(),
        [
            json!("invalid_request_error"),
            null,
            json!("invalid_api_key")
        ]
    );
    // The scheme's name has no case, and other schemes are no keys.
    let basic = server
        .post_with(CHAT, &nothing, "Authorization: Basic eDp5\r\n")
        .await;
    assert_eq!(basic.status, 401);
    let admin = format!("Authorization: bearer {ADMIN_KEY}\r\n");
    assert_eq!(server.get_with("/metrics", &admin).await.status, 200);
}

/// With callers' keys and without.
#[tokio::test]
async fn wrong_admin_keys_are_limited_by_address() {
    let (_directory, file) = key_file();
    file.add("prod", terms()).unwrap();
    let (with_keys, _) = Server::start_with_keys(&file).await;
    for server in [with_keys, Server::start().await] {
        let wrong = bearer("open barley");
        let nothing = json!({});
        let mut refused = server.post_with(LOAD, &nothing, &wrong).await;
        for _ in 0..100 {
            assert_eq!(refused.status, 401);
            assert_eq!(refused.error()[2], "invalid_api_key");
            refused = server.post_with(LOAD, &nothing, &wrong).await;
            if refused.status == 429 {
                break;
            }
        }
        assert_eq!(refused.status, 429);
        assert!(header(&refused, "retry-after").is_some());
        // Also where figures of tenants are asked for.
        let costs = "/v1/organization/costs?start_time=1";
        assert_eq!(server.get_with(costs, &wrong).await.status, 429);
        // No key is no guess, and the right one is admitted.
        assert_eq!(server.post_with(LOAD, &nothing, "").await.status, 401);
        let right = bearer(ADMIN_KEY);
        assert_eq!(server.post_with(LOAD, &nothing, &right).await.status, 400);
    }
}

#[tokio::test]
async fn a_key_uses_its_models_and_adapters_only() {
    let (_directory, file) = key_file();
    let base_only = Terms {
        adapters: AllowList::of([]),
        ..terms()
    };
    let adapter_only = Terms {
        models: AllowList::of([]),
        adapters: AllowList::of(["leg*".to_owned()]),
        ..terms()
    };
    let base_only = file.add("base", base_only).unwrap();
    let adapter_only = file.add("adapter", adapter_only).unwrap();
    let (mut server, _) = Server::start_with_keys(&file).await;
    for (key, model, may) in [
        (&base_only, "base", true),
        (&base_only, "org/base", true),
        (&base_only, "legal", false),
        // Whether an adapter exists is not told.
        (&base_only, "nothing", false),
        (&adapter_only, "base", false),
        (&adapter_only, "legal", true),
    ] {
        let body = json!({"model": model, "prompt": "hi"});
        let request = server
            .open_with(COMPLETIONS, &body, &bearer(key.text()))
            .await;
        if may {
            let play = server.play().await;
            play.finish(0, FinishReason::Stop, usage(3, 0, 1));
        }
        let response = request.response().await;
        assert_eq!(response.status, if may { 200 } else { 403 }, "{model}");
        if !may {
            let [_, param, code] = response.error();
            assert_eq!([param, code], [json!("model"), json!("model_not_found")]);
        }
    }
    for (key, listed) in [
        (&base_only, ["base", "org/base"].as_slice()),
        (&adapter_only, &["legal"]),
    ] {
        let models = server
            .get_with("/v1/models", &bearer(key.text()))
            .await
            .json();
        let models = models["data"].as_array().unwrap().clone();
        let ids: Vec<_> = models
            .iter()
            .map(|card| card["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, listed);
    }
}

#[tokio::test]
async fn the_row_names_the_key_and_its_tenant() {
    let (directory, file) = key_file();
    let key = file.add("prod", terms()).unwrap();
    let (mut server, bookkeeper) = Server::start_with_keys(&file).await;
    let body = json!({"model": "base", "prompt": "hi", "user": "somebody else"});
    let headers = bearer(key.text());
    let request = server.open_with(COMPLETIONS, &body, &headers).await;
    let play = server.play().await;
    play.say(0, "a");
    play.finish(0, FinishReason::Stop, usage(3, 0, 1));
    let response = request.response().await;
    assert_eq!(response.status, 200, "{}", response.body);
    let id = response.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(header(&response, "x-request-id"), Some(&*id));
    close(bookkeeper).await;
    let rows = rows(&directory.path().join("keys.sqlite3"), 1).await;
    assert_row(
        &rows[0],
        &[
            ("request_id", &id),
            ("tenant", "acme"),
            ("api_key", "prod"),
            ("user", "somebody else"),
        ],
    );
}

#[tokio::test]
async fn a_key_sends_its_requests_a_minute() {
    let (_directory, file) = key_file();
    let limited = Terms {
        requests_per_minute: NonZeroU32::new(2),
        ..terms()
    };
    let limited = file.add("limited", limited).unwrap();
    let other = file.add("other", terms()).unwrap();
    let (server, _) = Server::start_with_keys(&file).await;
    for remaining in ["1", "0"] {
        let headers = bearer(limited.text());
        let response = server.get_with("/v1/models", &headers).await;
        assert_eq!(response.status, 200);
        let name = "x-ratelimit-remaining-requests";
        assert_eq!(header(&response, name), Some(remaining));
        assert_eq!(header(&response, "x-ratelimit-limit-requests"), Some("2"));
    }
    let refused = complete(&server, &limited).await;
    assert_eq!(refused.status, 429);
    let [_, _, code] = refused.error();
    assert_eq!(code, "rate_limit_exceeded");
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert!(header(&refused, "x-ratelimit-reset-requests").is_some());
    let headers = bearer(other.text());
    assert_eq!(server.get_with("/v1/models", &headers).await.status, 200);
}

#[tokio::test]
async fn a_key_uses_its_tokens_a_minute() {
    let (_directory, file) = key_file();
    let limited = Terms {
        tokens_per_minute: NonZeroU32::new(10),
        ..terms()
    };
    let key = file.add("limited", limited).unwrap();
    let (mut server, _) = Server::start_with_keys(&file).await;
    let headers = bearer(key.text());
    let long = json!({"model": "base", "prompt": "eleven tokens"});
    let too_large = server.post_with(COMPLETIONS, &long, &headers).await;
    assert_eq!(too_large.status, 429);
    assert_eq!(header(&too_large, "x-should-retry"), Some("false"));
    let short = json!({"model": "base", "prompt": "hi"});
    let request = server.open_with(COMPLETIONS, &short, &headers).await;
    let play = server.play().await;
    play.say(0, "more than ten tokens");
    play.finish(0, FinishReason::Stop, usage(3, 0, 20));
    // An answer that has begun is not cut off.
    let response = request.response().await;
    assert_eq!(response.status, 200);
    let refused = complete(&server, &key).await;
    assert_eq!(refused.status, 429);
    assert_eq!(header(&refused, "x-ratelimit-remaining-tokens"), Some("0"));
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!(wait > 60, "{wait}");
}

#[tokio::test]
async fn a_key_spends_its_dollars_a_day() {
    let (directory, file) = key_file();
    let capped = Terms {
        // 36 s at 0.10 USD an hour.
        usd_per_day: Some("0.001".parse().unwrap()),
        ..terms()
    };
    let key = file.add("capped", capped).unwrap();
    let (mut server, bookkeeper) = Server::start_with_keys(&file).await;
    let headers = bearer(key.text());
    let body = json!({"model": "base", "prompt": "hi", "stream": true});
    let streamed = server.open_with(COMPLETIONS, &body, &headers).await;
    let first = server.play().await;
    let body = json!({"model": "base", "prompt": "hi"});
    let whole = server.open_with(COMPLETIONS, &body, &headers).await;
    let second = server.play().await;
    let budget = first.request.budget.clone().unwrap();
    assert!((budget.left_seconds() - 36.0).abs() < 1e-9);
    // What the engine does after the step that uses it up.
    second.request.budget.as_ref().unwrap().add(-36.0);
    for play in [first, second] {
        play.say(0, "a");
        play.end_over_budget();
    }
    let whole = whole.response().await;
    assert_eq!(whole.status, 429);
    let quota = [
        json!("insufficient_quota"),
        Value::Null,
        json!("insufficient_quota"),
    ];
    assert_eq!(whole.error(), quota);
    assert_eq!(header(&whole, "x-should-retry"), Some("false"));
    let streamed = streamed.response().await;
    let last = streamed.events().pop().unwrap();
    assert_eq!(last["error"]["code"], "insufficient_quota");
    // The next request never reaches the engine.
    let refused = complete(&server, &key).await;
    assert_eq!((refused.status, refused.error()), (429, quota));
    close(bookkeeper).await;
    for row in rows(&directory.path().join("keys.sqlite3"), 2).await {
        assert_row(&row, &[("outcome", "error"), ("status", "429")]);
    }
}
