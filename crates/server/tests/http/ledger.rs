//! Every request that was understood is a row, and the rows answer OpenAI's admin API.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use farthing_engine::{GenerationUsage, Receipt, SubmitError, TokenSeconds};
use farthing_ledger::{ExportFormat, LedgerReader, Location, Window};
use farthing_scheduler::FinishReason;
use farthing_server::Bookkeeper;
use serde_json::{Value, json};

use crate::scripted_engine::usage;
use crate::wire::{PATIENT, Server};

/// A cell of an exported row by its column's name.
pub(crate) type Row = HashMap<String, String>;

/// The rows so far, once there are `count` of them.
pub(crate) async fn rows(file: &Path, count: usize) -> Vec<Row> {
    loop {
        let mut out = Vec::new();
        LedgerReader::open(&Location::Sqlite(file.to_owned()))
            .unwrap()
            .export(Window::ALL, ExportFormat::Csv, &mut out)
            .unwrap();
        let rows: Vec<Row> = csv::Reader::from_reader(&out[..])
            .deserialize()
            .map(Result::unwrap)
            .collect();
        if rows.len() >= count {
            assert_eq!(rows.len(), count);
            return rows;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn close(bookkeeper: Bookkeeper) {
    let closing = move || bookkeeper.close(Duration::from_secs(30));
    tokio::task::spawn_blocking(closing).await.unwrap().unwrap();
}

fn used(prompt: usize, cached: usize, completion: usize) -> GenerationUsage {
    GenerationUsage {
        queue_seconds: 0.125,
        token_seconds: TokenSeconds {
            input: 0.24,
            cached: 0.02,
            output: 0.1,
        },
        ..usage(prompt, cached, completion)
    }
}

pub(crate) fn assert_row(row: &Row, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(row[*name], *value, "{name} of {row:?}");
    }
}

#[tokio::test]
async fn an_answer_is_a_row_with_what_it_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let body = json!({"model": "legal", "prompt": "hi", "n": 2, "user": "ann"});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    for index in 0..2 {
        play.say(index, "a");
        play.say(index, "b");
        play.finish(index, FinishReason::Stop, used(3, 1, 2));
    }
    let answer = connection.response().await.json();
    close(bookkeeper).await;
    let rows = rows(&file, 1).await;
    assert_row(
        &rows[0],
        &[
            ("request_id", answer["id"].as_str().unwrap()),
            ("tenant", "ann"),
            ("user", "ann"),
            ("model", "legal"),
            ("adapter", "legal"),
            ("base_model", "base"),
            ("input_tokens", "3"),
            ("cached_tokens", "1"),
            ("output_tokens", "4"),
            ("device_seconds", "0.72"),
            ("input_seconds", "0.48"),
            ("cached_seconds", "0.04"),
            ("output_seconds", "0.2"),
            ("cost_usd", "0.00002"),
            ("price_per_hour_usd", "0.10"),
            ("queue_seconds", "0.125"),
            ("outcome", "stop"),
            ("status", "200"),
        ],
    );
    assert_eq!(answer["usage"]["cost"]["device_seconds"], 0.72);
    assert!(rows[0]["ttft_seconds"].parse::<f64>().unwrap() > 0.0);
    assert!(!rows[0]["itl_p95_seconds"].is_empty());
}

/// The account of a sequence whose caller left comes later; the row waits for it.
#[tokio::test]
async fn a_caller_who_leaves_is_charged_what_was_computed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let body = json!({"model": "base", "prompt": "hi", "stream": true});
    let mut connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    connection.event().await;
    drop(connection);
    play.dropped().await;
    let receipt = Receipt {
        index: 0,
        reason: FinishReason::Abort,
        usage: used(3, 0, 2),
    };
    play.request
        .receipts
        .as_ref()
        .unwrap()
        .send(receipt)
        .unwrap();
    close(bookkeeper).await;
    assert_row(
        &rows(&file, 1).await[0],
        &[
            ("outcome", "abort"),
            ("status", "499"),
            ("output_tokens", "2"),
            ("device_seconds", "0.36"),
            ("cost_usd", "0.00001"),
        ],
    );
}

#[tokio::test]
async fn refusals_and_failures_are_rows_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let body = |model: &str| json!({"model": model, "prompt": "hi", "user": "bob"});
    // Not understood: no row.
    let unknown = json!({"model": "base", "prompt": "hi", "colour": "red"});
    assert_eq!(server.post("/v1/completions", &unknown).await.status, 400);

    assert_eq!(
        server.post("/v1/completions", &body("other")).await.status,
        404
    );
    let full = SubmitError::QueueFull { limit: 4 };
    *server.engine.refusal.lock().unwrap() = Some(full);
    assert_eq!(
        server.post("/v1/completions", &body("base")).await.status,
        429
    );
    let connection = server.open("/v1/completions", &body("base")).await;
    let play = server.play().await;
    play.fail("no memory");
    drop(play);
    assert_eq!(connection.response().await.status, 500);
    close(bookkeeper).await;

    let found: Vec<_> = rows(&file, 3)
        .await
        .iter()
        .map(|row| {
            let cells = ["outcome", "status", "model", "user", "device_seconds"];
            cells.map(|name| row[name].clone()).join(" ")
        })
        .collect();
    assert_eq!(
        found,
        [
            "refused 404 other bob 0",
            "refused 429 base bob 0",
            "error 500 base bob 0"
        ]
    );
}

/// A server that was asked to go writes what its last answers took.
#[tokio::test]
async fn shutdown_writes_the_last_rows() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let body = json!({"model": "base", "prompt": "hi", "stream": true});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    server.stop();
    play.say(0, "a");
    play.finish(0, FinishReason::Length, used(3, 0, 1));
    connection.response().await;
    (&mut server.serving).await.unwrap();
    close(bookkeeper).await;
    assert_row(&rows(&file, 1).await[0], &[("outcome", "length")]);
}

async fn answered(server: &mut Server, model: &str, user: Option<&str>) {
    let mut body = json!({"model": model, "prompt": "hi"});
    if let Some(user) = user {
        body["user"] = json!(user);
    }
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    play.finish(0, FinishReason::Stop, used(3, 1, 3));
    connection.response().await;
}

async fn ask(server: &Server, path: &str) -> Value {
    let response = server.get(path).await;
    assert_eq!(response.status, 200, "{}", response.body);
    response.json()
}

#[tokio::test]
async fn usage_is_told_in_openais_shape() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    answered(&mut server, "base", Some("ann")).await;
    answered(&mut server, "legal", Some("ann")).await;
    answered(&mut server, "legal", None).await;
    server
        .post(
            "/v1/completions",
            &json!({"model": "other", "prompt": "hi"}),
        )
        .await;
    rows(&file, 4).await;

    let path = "/v1/organization/usage/completions";
    let page = ask(&server, &format!("{path}?start_time=0&bucket_width=1d")).await;
    assert_eq!(page["object"], "page");
    // Seven days from 1970 on; what happened today is many pages later.
    assert_eq!(page["data"].as_array().unwrap().len(), 7);
    assert_eq!(page["data"][0]["results"], json!([]));
    assert_eq!(page["has_more"], true);
    let next = ask(
        &server,
        &format!(
            "{path}?start_time=0&page={}",
            page["next_page"].as_str().unwrap()
        ),
    )
    .await;
    assert_eq!(next["data"][0]["start_time"], 7 * 86_400);

    let today = today();
    let page = ask(&server, &format!("{path}?start_time={today}&limit=31")).await;
    assert_eq!(
        (&page["has_more"], &page["next_page"]),
        (&json!(false), &Value::Null)
    );
    let results = results(&page);
    assert_eq!(results.len(), 1);
    // What was refused never reached the model.
    assert_eq!(results[0]["num_model_requests"], 3);
    assert_eq!(results[0]["input_tokens"], 9);
    assert_eq!(results[0]["input_cached_tokens"], 3);
    assert_eq!(results[0]["output_tokens"], 9);
    assert_eq!(results[0]["model"], Value::Null);

    let query = format!("{path}?start_time={today}&group_by[]=model&group_by[]=user_id");
    let groups: Vec<_> = self::results(&ask(&server, &query).await)
        .iter()
        .map(|result| {
            let user = result["user_id"].as_str().unwrap_or("-");
            let model = result["model"].as_str().unwrap();
            format!("{model} {user} {}", result["num_model_requests"])
        })
        .collect();
    assert_eq!(groups, ["base ann 1", "legal - 1", "legal ann 1"]);
    let query = format!("{path}?start_time={today}&models=legal&tenants=ann");
    assert_eq!(
        self::results(&ask(&server, &query).await)[0]["num_model_requests"],
        1
    );
    close(bookkeeper).await;
}

#[tokio::test]
async fn costs_add_up_by_every_grouping() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    {
        let mut stats = server.engine.stats.lock().unwrap();
        stats.seconds.window = 36.0;
        stats.seconds.idle = 34.92;
        stats.seconds.steps = 1.08;
    }
    answered(&mut server, "base", Some("ann")).await;
    answered(&mut server, "legal", Some("ann")).await;
    answered(&mut server, "legal", Some("bob")).await;
    close(bookkeeper).await;
    rows(&file, 3).await;

    let path = format!("/v1/organization/costs?start_time={}", today() - 86_400);
    // Near midnight the window begins yesterday.
    let values = |page: &Value| -> HashMap<String, f64> {
        let mut values = HashMap::new();
        for result in results(page) {
            let name = ["line_item", "tenant", "model"]
                .map(|name| result[name].as_str().unwrap_or("-").to_owned())
                .join(" / ");
            *values.entry(name).or_default() += result["amount"]["value"].as_f64().unwrap();
            assert_eq!(result["amount"]["currency"], "usd");
        }
        values
    };
    let close_to = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
    // 36 s at 0.10 USD an hour.
    let all = values(&ask(&server, &path).await);
    close_to(all["- / - / -"], 0.001);
    for grouping in [
        "line_item",
        "tenant",
        "model",
        "tenant,line_item",
        "adapter,api_key_id",
    ] {
        let page = ask(&server, &format!("{path}&group_by={grouping}")).await;
        close_to(values(&page).values().sum(), 0.001);
    }
    let lines = values(&ask(&server, &format!("{path}&group_by=line_item")).await);
    close_to(lines["legal, input_tokens / - / -"], 0.48 * 0.1 / 3600.0);
    close_to(
        lines["legal, cached_input_tokens / - / -"],
        0.04 * 0.1 / 3600.0,
    );
    close_to(lines["base, output_tokens / - / -"], 0.1 * 0.1 / 3600.0);
    close_to(lines["idle / - / -"], 34.92 * 0.1 / 3600.0);
    let tenants = values(&ask(&server, &format!("{path}&group_by=tenant")).await);
    close_to(tenants["- / ann / -"], 0.72 * 0.1 / 3600.0);
    close_to(tenants["idle / - / -"], 34.92 * 0.1 / 3600.0);
    let one = format!("{path}&line_items=legal,%20input_tokens");
    let one = values(&ask(&server, &one).await);
    close_to(one["- / - / -"], 0.48 * 0.1 / 3600.0);
}

#[tokio::test]
async fn what_cannot_be_told_is_an_error_in_openais_shape() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (server, _bookkeeper) = Server::start_with_ledger(&file).await;
    let path = "/v1/organization/costs";
    let response = server.get(path).await;
    assert_eq!(response.status, 400);
    assert_eq!(
        response.error(),
        [
            json!("invalid_request_error"),
            json!("start_time"),
            json!("missing_required_parameter")
        ]
    );
    let locked = Server::start().await;
    let response = locked.get(&format!("{path}?start_time=0")).await;
    assert_eq!(
        (response.status, &response.error()[2]),
        (401, &json!("invalid_api_key"))
    );
    let without = Server::start_as(None, PATIENT, None).await;
    let response = without.get(&format!("{path}?start_time=0")).await;
    assert_eq!(
        (response.status, &response.error()[2]),
        (404, &json!("no_ledger"))
    );
}

#[tokio::test]
async fn metrics_tell_how_the_ledger_is_doing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, _bookkeeper) = Server::start_with_ledger(&file).await;
    answered(&mut server, "base", None).await;
    rows(&file, 1).await;
    let page = server.get("/metrics").await.body;
    for line in ["farthing_ledger_up{", "farthing_ledger_places_taken{"] {
        assert!(page.contains(line), "{page}");
    }
    assert_eq!(server.get("/ready").await.status, 200);
}

/// The value of a metric without labels of its own.
async fn metric(server: &Server, name: &str) -> String {
    let page = server.get("/metrics").await.body;
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")));
    line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_noticed_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let away = directory.path().join("away.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    answered(&mut server, "base", None).await;
    rows(&file, 1).await;
    std::fs::rename(&file, &away).unwrap();
    answered(&mut server, "base", None).await;
    while metric(&server, "farthing_ledger_up").await != "0" {
        tokio::task::yield_now().await;
    }
    // Requests are still answered, because rows have room. Reports are not.
    assert_eq!(server.get("/ready").await.status, 200);
    let response = server.get("/v1/organization/costs?start_time=0").await;
    assert_eq!(response.status, 503);
    assert!(
        response.body.contains("Try again later"),
        "{}",
        response.body
    );

    std::fs::rename(&away, &file).unwrap();
    while metric(&server, "farthing_ledger_up").await != "1" {
        tokio::task::yield_now().await;
    }
    close(bookkeeper).await;
    rows(&file, 2).await;
}

#[tokio::test]
async fn more_reports_than_readers_are_all_answered() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let reports = (0..20).map(|_| server.get("/v1/organization/costs?start_time=0"));
    for response in futures_util::future::join_all(reports).await {
        assert_eq!(response.status, 200, "{}", response.body);
    }
    server.stop();
    (&mut server.serving).await.unwrap();
    close(bookkeeper).await;
}

fn today() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs() as i64;
    now - now % 86_400
}

fn results(page: &Value) -> Vec<Value> {
    let buckets = page["data"].as_array().unwrap();
    let results = buckets
        .iter()
        .flat_map(|bucket| bucket["results"].as_array().unwrap());
    results.cloned().collect()
}
