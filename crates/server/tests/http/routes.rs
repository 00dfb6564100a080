//! Requests whose model is a route: which arm answers, and what the ledger says.

use std::path::{Path, PathBuf};

use farthing_ledger::{AssignedRequest, ExperimentRows, LedgerReader, Location};
use farthing_scheduler::FinishReason;
use farthing_server::Bookkeeper;
use serde_json::{Value, json};

use crate::fake_vendor::{Act, FakeVendor, says};
use crate::ledger::{assert_row, close, rows};
use crate::scripted_engine::usage;
use crate::wire::{Response, Server};

/// A server with routes, its vendor and its ledger.
pub(crate) struct Routed {
    pub(crate) server: Server,
    pub(crate) vendor: FakeVendor,
    pub(crate) bookkeeper: Bookkeeper,
    pub(crate) file: PathBuf,
    _directory: tempfile::TempDir,
}

/// The vendor is `cheap`, at 0.1 and 0.4 USD per million tokens of `small`. Its model has a dated name.
const VENDOR: &str = r#"
[vendors.cheap]
dialect = "openai"
base_url = "http://ADDRESS/v1"
key_file = "KEY"
[vendors.cheap.prices."small-2026".rates]
input = "0.10"
output = "0.40"
"#;

impl Routed {
    pub(crate) async fn start(routes: &str, act: Act) -> Self {
        let vendor = FakeVendor::start(act).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ledger.sqlite3");
        let key = directory.path().join("key");
        std::fs::write(&key, "sk-canary").unwrap();
        let toml = VENDOR
            .replace("ADDRESS", &vendor.address.to_string())
            .replace("KEY", &key.display().to_string())
            + routes;
        let (server, bookkeeper) = Server::start_with_routes(&file, &toml).await;
        Self {
            server,
            vendor,
            bookkeeper,
            file,
            _directory: directory,
        }
    }

    /// Sends a chat, and lets the engine answer it in the meantime with `Hello`.
    pub(crate) async fn answered_by_the_engine(&mut self, body: &Value) -> Response {
        let connection = self.server.open("/v1/chat/completions", body).await;
        let play = self.server.play().await;
        play.say_at_once(0, "Hello");
        play.finish(0, FinishReason::Stop, usage(3, 0, 1));
        connection.response().await
    }

    pub(crate) async fn chat(&self, body: &Value) -> Response {
        self.server.post("/v1/chat/completions", body).await
    }
}

pub(crate) fn chat(user: &str) -> Value {
    json!({
        "model": "assistant",
        "messages": [{"role": "user", "content": "Hi"}],
        "user": user,
    })
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let start = format!("{name}: ");
    response
        .head
        .lines()
        .find_map(|line| line.strip_prefix(&start))
}

pub(crate) fn text(response: &Response) -> Value {
    response.json()["choices"][0]["message"]["content"].clone()
}

const SPLIT: &str = r#"
[routes.assistant.arms]
ours = { model = "base", weight = 1 }
theirs = { model = "small", vendor = "cheap", weight = 1 }
"#;

/// Only the vendor answers.
pub(crate) const THEIRS: &str = r#"
[routes.assistant]
arms.theirs = { model = "small", vendor = "cheap" }
"#;

#[tokio::test]
async fn a_vendor_answers_in_openais_form_at_its_price() {
    let routed = Routed::start(THEIRS, Act::Stream(says(&["Good ", "day"]))).await;
    let answer = routed.chat(&chat("ann")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(text(&answer), "Good day");
    let usage = &answer.json()["usage"];
    assert_eq!(usage["prompt_tokens"], 10);
    assert_eq!(usage["completion_tokens"], 2);
    assert_eq!(usage["cost"]["basis"], "billed");
    assert_eq!(usage["cost"]["model"], "small-2026");
    // 10 × 0.10 + 2 × 0.40 for a million.
    assert!(
        answer.body.contains(r#""usd":0.0000018"#),
        "{}",
        answer.body
    );
    assert_eq!(header(&answer, "x-farthing-arm"), Some("theirs"));
    close(routed.bookkeeper).await;
    let rows = rows(&routed.file, 1).await;
    assert_row(
        &rows[0],
        &[
            ("request_id", answer.json()["id"].as_str().unwrap()),
            ("tenant", "ann"),
            ("input_tokens", "10"),
            ("output_tokens", "2"),
            ("device_seconds", "0"),
            ("route", "assistant"),
            ("role", "primary"),
            ("arm", "theirs"),
            ("vendor", "cheap"),
            ("vendor_model", "small-2026"),
            ("billed_usd", "0.0000018"),
        ],
    );
}

#[tokio::test]
async fn a_client_gets_a_stream_and_the_vendor_only_its_own_key() {
    let routed = Routed::start(THEIRS, Act::Stream(says(&["Good ", "day"]))).await;
    let mut body = chat("ann");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body["top_k"] = json!(5);
    let authorization = "Authorization: Bearer sk-client\r\nCookie: a=b\r\n";
    let response = routed
        .server
        .post_with("/v1/chat/completions", &body, authorization)
        .await;
    let events = response.events();
    let content: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(content, "Good day");
    let roles = events
        .iter()
        .filter(|event| event["choices"][0]["delta"]["role"].is_string());
    assert_eq!(roles.count(), 1);
    assert_eq!(events.last().unwrap()["usage"]["total_tokens"], 12);
    let (head, sent) = &routed.vendor.requests(1).await[0];
    assert!(head.contains("authorization: bearer sk-canary"), "{head}");
    assert!(
        !head.contains("sk-client") && !head.contains("cookie"),
        "{head}"
    );
    assert_eq!(sent["model"], "small");
    assert_eq!(sent["top_k"], 5, "what we do not know passes unchanged");
}

#[tokio::test]
async fn a_unit_stays_with_its_arm_and_its_assignment_is_written_first() {
    let mut routed = Routed::start(SPLIT, Act::Stream(says(&["Vendor"]))).await;
    let mut arms = Vec::new();
    for user in ["ann", "bob", "carl", "dora", "emil", "fay", "gus", "hal"] {
        for _ in 0..2 {
            let connection = routed
                .server
                .open("/v1/chat/completions", &chat(user))
                .await;
            let responding = connection.response();
            tokio::pin!(responding);
            let response = tokio::select! {
                response = &mut responding => response,
                play = routed.server.play() => {
                    play.say_at_once(0, "Engine");
                    play.finish(0, FinishReason::Stop, usage(3, 0, 1));
                    responding.await
                }
            };
            let arm = header(&response, "x-farthing-assigned-arm")
                .unwrap()
                .to_owned();
            assert_eq!(header(&response, "x-farthing-arm"), Some(&*arm));
            arms.push((user, arm));
        }
    }
    assert!(arms.chunks(2).all(|twice| twice[0] == twice[1]), "{arms:?}");
    let mut by_arm: Vec<_> = arms.iter().map(|(_, arm)| arm.clone()).collect();
    by_arm.sort();
    by_arm.dedup();
    assert_eq!(by_arm, ["ours", "theirs"]);
    let mut written = Vec::new();
    reader(&routed.file)
        .assigned_requests(
            &all_of("assistant"),
            "accepted",
            &mut |request: AssignedRequest| {
                written.push((request.unit, request.arm));
            },
        )
        .unwrap();
    let mut expected: Vec<_> = arms
        .into_iter()
        .map(|(user, arm)| (format!("user:{user}"), arm))
        .collect();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
}

fn reader(file: &Path) -> LedgerReader {
    LedgerReader::open(&Location::Sqlite(file.to_owned())).unwrap()
}

fn all_of(experiment: &str) -> ExperimentRows {
    ExperimentRows {
        experiment: experiment.to_owned(),
        from_us: 0,
        until_us: i64::MAX,
    }
}

const SHADOW: &str = r#"
[routes.assistant]
arms.ours = { model = "base", weight = 1 }
arms.theirs = { model = "small", vendor = "cheap" }
shadow = { arm = "theirs", max_concurrent = 1 }
"#;

#[tokio::test]
async fn a_shadow_neither_delays_nor_fails_the_answer() {
    let mut routed = Routed::start(SHADOW, Act::Silence).await;
    let alone = routed.answered_by_the_engine(&chat("ann")).await;
    assert_eq!(text(&alone), "Hello");
    routed.vendor.requests(1).await;
    // The one place is taken: the second is skipped.
    let second = routed.answered_by_the_engine(&chat("bob")).await;
    assert_eq!(text(&second), "Hello");
    let metrics = routed.server.get("/metrics").await.body;
    let skipped = r#"route="assistant",result="skipped"} 1"#;
    assert!(metrics.contains(skipped), "{metrics}");
    routed.vendor.requests(1).await;
}

#[tokio::test]
async fn a_shadow_is_booked_to_the_experiment() {
    let mut routed = Routed::start(SHADOW, Act::Stream(says(&["Vendor"]))).await;
    let answer = routed.answered_by_the_engine(&chat("ann")).await;
    assert_eq!(text(&answer), "Hello");
    routed.vendor.requests(1).await;
    let rows = rows(&routed.file, 2).await;
    let shadow = rows.iter().find(|row| row["role"] == "shadow").unwrap();
    assert_row(
        shadow,
        &[
            ("arm", "theirs"),
            ("booked_to", "assistant"),
            ("billed_usd", "0.0000014"),
        ],
    );
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(shadow["request_id"], format!("{id}-shadow"));
    close(routed.bookkeeper).await;
}

#[tokio::test]
async fn a_rule_chooses_an_arm_outside_the_experiment() {
    let routes = format!(
        "{SPLIT}\n[[routes.assistant.rules]]\narm = \"theirs\"\nwhen = {{ tags = {{ tier = \"gold\" }} }}\n"
    );
    let routed = Routed::start(&routes, Act::Stream(says(&["Vendor"]))).await;
    let mut body = chat("ann");
    body["metadata"] = json!({"tier": "gold"});
    let answer = routed.chat(&body).await;
    assert_eq!(text(&answer), "Vendor");
    assert_eq!(header(&answer, "x-farthing-assigned-arm"), None);
}

#[tokio::test]
async fn callers_choose_an_arm_only_where_they_may() {
    let routed = Routed::start(SPLIT, Act::Stream(says(&["Vendor"]))).await;
    let chosen = "x-farthing-arm: theirs\r\n";
    let refused = routed
        .server
        .post_with("/v1/chat/completions", &chat("ann"), chosen)
        .await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let routes = format!("[routes.assistant]\nclients_may_choose = true\n{SPLIT}");
    let routed = Routed::start(&routes, Act::Stream(says(&["Vendor"]))).await;
    let answer = routed
        .server
        .post_with("/v1/chat/completions", &chat("ann"), chosen)
        .await;
    assert_eq!(text(&answer), "Vendor");
    let unknown = "x-farthing-arm: nobody\r\n";
    let refused = routed
        .server
        .post_with("/v1/chat/completions", &chat("ann"), unknown)
        .await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test]
async fn checks_are_feedback() {
    // Both arms are the vendor, so that there is an experiment.
    let split = SPLIT.replace("model = \"base\"", "model = \"small\", vendor = \"cheap\"");
    let routes = format!("{split}\n[routes.assistant.checks.polite]\nregex = \"please\"\n");
    let routed = Routed::start(&routes, Act::Stream(says(&["Wait, ", "please"]))).await;
    let passed = routed.chat(&chat("ann")).await;
    routed.vendor.act(Act::Stream(says(&["Wait"])));
    let failed = routed.chat(&chat("ann")).await;
    for (answer, expected) in [(passed, 1.0), (failed, 0.0)] {
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(feedback(&routed.file, &id).await, expected);
    }
    close(routed.bookkeeper).await;
}

/// The values of a metric by arm, once there are `count` of them.
async fn values_of(file: &Path, metric: &str, count: usize) -> Vec<f64> {
    loop {
        let mut found = Vec::new();
        reader(file)
            .assigned_requests(
                &all_of("assistant"),
                metric,
                &mut |request: AssignedRequest| {
                    found.extend(request.value);
                },
            )
            .unwrap();
        if found.len() >= count {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// The value of the feedback to an answer, once there is one.
async fn feedback(file: &Path, request_id: &str) -> f64 {
    loop {
        let mut found = None;
        reader(file)
            .assigned_requests(
                &all_of("assistant"),
                "polite",
                &mut |request: AssignedRequest| {
                    found = found.or(request.value.filter(|_| request.request_id == request_id));
                },
            )
            .unwrap();
        if let Some(value) = found {
            return value;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn feedback_is_taken_for_answers_that_exist() {
    let routed = Routed::start(THEIRS, Act::Stream(says(&["Vendor"]))).await;
    let answer = routed.chat(&chat("ann")).await.json();
    let send = |body: Value| {
        let server = &routed.server;
        async move { server.post("/v1/feedback", &body).await }
    };
    let id = &answer["id"];
    let good = send(json!({"request_id": id, "metric": "accepted", "value": true})).await;
    assert_eq!(good.status, 200, "{}", good.body);
    let unknown = send(json!({"request_id": "chatcmpl-0", "metric": "accepted", "value": 1})).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert_eq!(unknown.error()[2], "unknown_answer");
    for (body, param) in [
        (json!({"metric": "accepted", "value": 1}), "request_id"),
        (json!({"request_id": id, "value": 1}), "metric"),
        (json!({"request_id": id, "metric": "accepted"}), "value"),
        (
            json!({"request_id": id, "metric": "accepted", "value": "good"}),
            "value",
        ),
        (
            json!({"request_id": id, "metric": "", "value": 1}),
            "metric",
        ),
        (
            json!({"request_id": id, "metric": "accepted", "value": 1, "stars": 5}),
            "stars",
        ),
    ] {
        let refused = send(body).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(refused.error()[1], param);
    }
    close(routed.bookkeeper).await;
}

#[tokio::test]
async fn routes_are_models_and_answer_chats_only() {
    let routed = Routed::start(THEIRS, Act::Stream(says(&["Vendor"]))).await;
    let models = routed.server.get("/v1/models").await.json();
    let ids = models["data"].as_array().unwrap().iter();
    assert!(
        ids.map(|card| &card["id"]).any(|id| id == "assistant"),
        "{models}"
    );
    assert_eq!(routed.server.get("/v1/models/assistant").await.status, 200);
    let completion = json!({"model": "assistant", "prompt": "Hi"});
    let refused = routed.server.post("/v1/completions", &completion).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(refused.error()[1], "model");
}

#[tokio::test]
async fn a_malformed_request_reaches_nobody() {
    let routed = Routed::start(THEIRS, Act::Stream(says(&["Vendor"]))).await;
    for (field, value) in [
        ("messages", json!("Hi")),
        ("messages", json!([])),
        ("stream", json!("yes")),
        ("n", json!(0)),
        ("max_tokens", json!(-1)),
    ] {
        let mut body = chat("ann");
        body[field] = value.clone();
        let refused = routed.chat(&body).await;
        assert_eq!(refused.status, 400, "{field} {value}: {}", refused.body);
        assert_eq!(refused.error()[1], field);
    }
    routed.vendor.requests(0).await;
}

/// The engine answers the client, the vendor is the shadow, and a second vendor judges.
const JUDGED: &str = r#"
[vendors.wise]
dialect = "openai"
base_url = "http://JUDGE/v1"
[vendors.wise.prices."small-2026".rates]
input = "1"
output = "2"
[routes.assistant]
arms.ours = { model = "base", weight = 1 }
arms.theirs = { model = "small", vendor = "cheap" }
shadow = { arm = "theirs", keep_pairs = 2 }
judge = { vendor = "wise", model = "wise" }
"#;

#[tokio::test]
async fn a_judge_sees_both_orders_and_its_cost_is_the_experiments() {
    for (letter, expected) in [("A", 0.5), ("T", 0.5)] {
        let judge = FakeVendor::start(Act::Stream(says(&[letter]))).await;
        let routes = JUDGED.replace("JUDGE", &judge.address.to_string());
        let mut routed = Routed::start(&routes, Act::Stream(says(&["Vendor"]))).await;
        routed.answered_by_the_engine(&chat("ann")).await;
        let asked = judge.requests(2).await;
        let prompt = |index: usize| asked[index].1["messages"][1]["content"].as_str().unwrap();
        let place = |prompt: &str, answer: &str| prompt.find(answer).unwrap();
        assert!(place(prompt(0), "Hello") < place(prompt(0), "Vendor"));
        assert!(place(prompt(1), "Vendor") < place(prompt(1), "Hello"));
        let rows = rows(&routed.file, 4).await;
        let judged: Vec<_> = rows.iter().filter(|row| row["role"] == "judge").collect();
        assert_eq!(judged.len(), 2);
        for row in judged {
            // 10 × 1 + 1 × 2 for a million.
            assert_row(
                row,
                &[
                    ("booked_to", "assistant"),
                    ("billed_usd", "0.000012"),
                    ("tenant", ""),
                ],
            );
        }
        // A judge that always prefers the first answer has no preference.
        assert_eq!(values_of(&routed.file, "preferred", 2).await, [expected; 2]);
        close(routed.bookkeeper).await;
    }
}

#[tokio::test]
async fn people_vote_without_knowing_the_arms() {
    let judge = FakeVendor::start(Act::Stream(says(&["T"]))).await;
    let routes = JUDGED.replace("JUDGE", &judge.address.to_string());
    let mut routed = Routed::start(&routes, Act::Stream(says(&["Vendor"]))).await;
    let answer = routed.answered_by_the_engine(&chat("ann")).await.json();
    judge.requests(2).await;
    let pairs = routed
        .server
        .get("/v1/experiments/assistant/pairs")
        .await
        .json();
    let pair = &pairs["data"][0];
    assert_eq!(pair["request_id"], answer["id"]);
    assert_eq!(pair["question"], "Hi");
    let fields: Vec<_> = pair.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["request_id", "question", "left", "right"]);
    let choice = if pair["left"] == "Vendor" {
        "left"
    } else {
        "right"
    };
    let vote = json!({"request_id": answer["id"], "choice": choice});
    let path = "/v1/experiments/assistant/votes";
    let voted = routed.server.post(path, &vote).await;
    assert_eq!(voted.status, 200, "{}", voted.body);
    assert_eq!(values_of(&routed.file, "vote", 2).await, [0.0, 1.0]);
    let again = routed.server.post(path, &vote).await;
    assert_eq!(again.status, 404, "{}", again.body);
    let wrong = json!({"request_id": answer["id"], "choice": "up"});
    assert_eq!(routed.server.post(path, &wrong).await.error()[1], "choice");
    close(routed.bookkeeper).await;
}

#[tokio::test]
async fn new_weights_under_an_old_name_begin_a_new_arm() {
    let routes = r#"
[routes.assistant]
arms.ours = { model = "legal", weight = 1 }
arms.theirs = { model = "small", vendor = "cheap" }
shadow = { arm = "theirs", share = 0.000001 }
"#;
    let mut routed = Routed::start(routes, Act::Stream(says(&["Vendor"]))).await;
    let first = routed.answered_by_the_engine(&chat("ann")).await;
    routed.server.shelf.put("legal", 2);
    let body = json!({
        "lora_name": "legal",
        "lora_path": routed.server.shelf.path("legal"),
        "load_inplace": true,
    });
    let loaded = routed.server.admin("/v1/load_lora_adapter", &body).await;
    assert_eq!(loaded.status, 200, "{}", loaded.body);
    let second = routed.answered_by_the_engine(&chat("ann")).await;
    for answer in [&first, &second] {
        let generation = answer.json()["adapter"]["generation"]
            .as_str()
            .unwrap()
            .to_owned();
        let arm = format!("ours@{}", &generation[..8]);
        assert_eq!(header(answer, "x-farthing-assigned-arm"), Some(&*arm));
    }
    let arm = |answer| header(answer, "x-farthing-assigned-arm").map(str::to_owned);
    assert_ne!(arm(&first), arm(&second));
}
