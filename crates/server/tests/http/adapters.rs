//! Adapters come, change and go over HTTP: vLLM's requests, answers and status codes, and nobody
//! else is disturbed.

use std::fs;

use farthing_scheduler::FinishReason;
use farthing_testkit::RandomAdapter;
use futures_util::future::select_all;
use serde_json::{Value, json};

use crate::scripted_engine::{Play, usage};
use crate::shelf::{HOST_ADAPTERS, MAX_RANK, MAX_WAITING};
use crate::wire::{Connection, PATIENT, Response, Server};

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "prompt": "hi", "max_tokens": 3})
}

pub(crate) async fn load(server: &Server, name: &str, path: &str) -> Response {
    let body = json!({"lora_name": name, "lora_path": path});
    server.admin(LOAD, &body).await
}

async fn load_in_place(server: &Server, name: &str, path: &str) -> Response {
    let body = json!({"lora_name": name, "lora_path": path, "load_inplace": true});
    server.admin(LOAD, &body).await
}

async fn unload(server: &Server, name: &str) -> Response {
    server.admin(UNLOAD, &json!({"lora_name": name})).await
}

/// A request on its way to a model, and its place on the stage.
async fn start(server: &mut Server, model: &str) -> (Connection, Play) {
    let connection = server.open("/v1/completions", &ask(model)).await;
    (connection, server.play().await)
}

async fn end((connection, play): (Connection, Play)) -> Response {
    finish(&play);
    connection.response().await
}

fn finish(play: &Play) {
    play.say(0, "a");
    play.finish(0, FinishReason::Length, usage(3, 0, 1));
}

#[track_caller]
pub(crate) fn assert_refused(response: &Response, status: u16, words: &str) {
    assert_eq!(response.status, status, "{}", response.body);
    response.error();
    let message = response.json()["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains(words), "{message}");
}

/// The card of one adapter in `GET /v1/lora_adapters`.
async fn card(server: &Server, name: &str) -> Value {
    let list = server.get("/v1/lora_adapters").await.json();
    let cards = list["data"].as_array().unwrap();
    let card = cards.iter().find(|card| card["id"] == name);
    card.cloned().unwrap_or(Value::Null)
}

/// Where some adapters are.
async fn tiers(server: &Server, names: [&str; 4]) -> Vec<Value> {
    let mut tiers = Vec::new();
    for name in names {
        tiers.push(card(server, name).await["tier"].take());
    }
    tiers
}

#[tokio::test]
async fn an_adapter_is_loaded_listed_used_and_unloaded() {
    let mut server = Server::start().await;
    server.shelf.put("new", 2);
    let path = server.shelf.path("new");
    let response = load(&server, "tax", &path).await;
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "Success: LoRA adapter 'tax' added successfully.")
    );
    let generation = server.shelf.generation("new");
    let mut listed = card(&server, "tax").await;
    assert!(listed["created"].take().as_u64().unwrap() > 1_700_000_000);
    let size_bytes = server.shelf.adapter("new").size_bytes();
    assert_eq!(
        listed,
        json!({
            "object": "lora_adapter", "id": "tax", "created": null, "generation": generation,
            "root": path, "parent": "base", "tier": "host", "pinned": false, "rank": 4,
            "size_bytes": size_bytes,
        })
    );
    assert_eq!(server.get("/v1/models/tax").await.json()["parent"], "base");
    // The device was told before anybody asked.
    let id = server.shelf.adapter("new").id();
    assert_eq!(server.engine.prefetched.lock().unwrap().last(), Some(&id));

    let request = start(&mut server, "tax").await;
    assert_eq!(request.1.request.adapter.as_ref().unwrap().id(), id);
    let answer = end(request).await.json();
    assert_eq!(answer["model"], "tax");
    assert_eq!(
        answer["adapter"],
        json!({"name": "tax", "generation": generation})
    );

    let response = unload(&server, "tax").await;
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "Success: LoRA adapter 'tax' removed successfully.")
    );
    assert_eq!(card(&server, "tax").await, Value::Null);
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), [id]);
    assert_refused(
        &server.post("/v1/completions", &ask("tax")).await,
        404,
        "tax",
    );
}

#[tokio::test]
async fn every_chunk_names_the_adapter_and_its_generation() {
    let mut server = Server::start().await;
    let expected = json!({"name": "legal", "generation": server.shelf.generation("legal")});
    for (path, mut body) in [
        ("/v1/completions", ask("legal")),
        (
            "/v1/chat/completions",
            json!({"model": "legal", "messages": [{"role": "user", "content": "hi"}]}),
        ),
    ] {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let connection = server.open(path, &body).await;
        let play = server.play().await;
        let events = end((connection, play)).await.events();
        assert!(events.len() >= 3);
        for event in events {
            assert_eq!(
                (&event["model"], &event["adapter"]),
                (&json!("legal"), &expected)
            );
        }
    }
}

#[tokio::test]
async fn changes_ask_for_the_admin_key() {
    let server = Server::start().await;
    let body = json!({"lora_name": "legal"});
    for headers in [
        "",
        "Authorization: Bearer open sesam\r\n",
        "Authorization: open sesame\r\n",
    ] {
        let response = server.post_with(UNLOAD, &body, headers).await;
        assert_refused(&response, 401, "admin key");
        assert_eq!(response.error()[2], "invalid_api_key");
    }
    // Looking is free.
    assert_eq!(server.get("/v1/lora_adapters").await.status, 200);

    let server = Server::start_as(None, PATIENT, None).await;
    for (path, body) in [
        (LOAD, json!({"lora_name": "x", "lora_path": "legal"})),
        (UNLOAD, body),
    ] {
        assert_refused(&server.admin(path, &body).await, 403, "admin key");
    }
}

#[tokio::test]
async fn vllms_error_cases_have_its_words_and_codes() {
    let server = Server::start().await;
    server.shelf.put("other", 2);
    for (body, status, words) in [
        (
            json!({"lora_name": "", "lora_path": ""}),
            400,
            "Both 'lora_name' and 'lora_path' must be provided.",
        ),
        (
            json!({"lora_name": "x"}),
            400,
            "Both 'lora_name' and 'lora_path' must be provided.",
        ),
        (
            json!({"lora_name": "legal", "lora_path": "other"}),
            400,
            "The lora adapter 'legal' has already been loaded. If you want to load the adapter in \
             place, set 'load_inplace' to True.",
        ),
        (
            json!({"lora_name": "org/base", "lora_path": "other"}),
            400,
            "belongs to the base model",
        ),
        (
            json!({"lora_name": "notfound", "lora_path": "/not/an/adapter"}),
            404,
            "Loading lora notfound failed: No adapter found for /not/an/adapter",
        ),
        (
            json!({"lora_name": "x", "lora_path": "other", "is_3d_lora_weight": true}),
            400,
            "is_3d_lora_weight",
        ),
    ] {
        assert_refused(&server.admin(LOAD, &body).await, status, words);
    }
    for (body, status, words) in [
        (
            json!({"lora_name": ""}),
            400,
            "'lora_name' needs to be provided to unload a LoRA adapter.",
        ),
        (
            json!({"lora_name": "nobody", "lora_int_id": 3}),
            404,
            "The lora adapter 'nobody' cannot be found.",
        ),
    ] {
        assert_refused(&server.admin(UNLOAD, &body).await, status, words);
    }
    // vLLM's own fields are taken.
    let body = json!({
        "lora_name": "x", "lora_path": "other", "load_inplace": false, "is_3d_lora_weight": false,
    });
    assert_eq!(server.admin(LOAD, &body).await.status, 200);
}

/// Damages the adapter of this name.
type Damage = fn(&Server, &str);

#[tokio::test]
async fn a_damaged_adapter_is_a_500_that_says_why_and_changes_nothing() {
    let mut server = Server::start().await;
    // Somebody is in the middle of an answer all the while.
    let undisturbed = start(&mut server, "legal").await;
    let before = server.get("/v1/lora_adapters").await.body;
    let damages: [(&str, Damage, &str); 6] = [
        (
            "no-json",
            |server, name| write(server, name, CONFIG, b"this is not json"),
            "not a JSON object",
        ),
        (
            "no-weights",
            |server, name| remove(server, name, WEIGHTS),
            WEIGHTS,
        ),
        (
            "truncated",
            |server, name| {
                let whole = read(server, name, WEIGHTS);
                write(server, name, WEIGHTS, &whole[..whole.len() - 5]);
            },
            WEIGHTS,
        ),
        (
            "nan",
            |server, name| {
                let mut weights = read(server, name, WEIGHTS);
                let end = weights.len();
                weights[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                write(server, name, WEIGHTS, &weights);
            },
            "NaN",
        ),
        (
            "other-base",
            |server, name| {
                let mut base = server.shelf.base().clone();
                base.hidden_size = 8;
                let directory = server.shelf.directory().join(name);
                RandomAdapter::new(3).write(&directory, &base);
            },
            "shape",
        ),
        (
            "large-rank",
            |server, name| {
                let directory = server.shelf.directory().join(name);
                let large = RandomAdapter {
                    rank: MAX_RANK + 1,
                    ..RandomAdapter::new(3)
                };
                large.write(&directory, server.shelf.base());
            },
            "LoRA rank 17 is greater than max_lora_rank 16",
        ),
    ];
    for (name, damage, words) in damages {
        server.shelf.put(name, 3);
        damage(&server, name);
        assert_refused(&load(&server, name, name).await, 500, words);
        // In place, the name keeps what it had.
        assert_refused(&load_in_place(&server, "legal", name).await, 500, words);
        // By a request, that request alone.
        let response = server.post("/v1/completions", &ask(name)).await;
        assert_refused(&response, 400, "was found but could not be loaded");
        assert!(
            !response.body.contains(&server.shelf.path("")),
            "{}",
            response.body
        );
    }
    assert_eq!(server.get("/v1/lora_adapters").await.body, before);
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), []);
    assert_eq!(end(undisturbed).await.status, 200);
    // Mended, the same name loads.
    server.shelf.put("nan", 3);
    assert_eq!(load(&server, "nan", "nan").await.status, 200);
}

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";

fn read(server: &Server, name: &str, file: &str) -> Vec<u8> {
    fs::read(server.shelf.directory().join(name).join(file)).unwrap()
}

fn write(server: &Server, name: &str, file: &str, bytes: &[u8]) {
    fs::write(server.shelf.directory().join(name).join(file), bytes).unwrap();
}

fn remove(server: &Server, name: &str, file: &str) {
    fs::remove_file(server.shelf.directory().join(name).join(file)).unwrap();
}

#[tokio::test]
async fn a_load_in_place_leaves_those_on_their_way_with_the_old_generation() {
    let mut server = Server::start().await;
    server.shelf.put("second", 2);
    let [old, new] = ["legal", "second"].map(|name| server.shelf.adapter(name).id());
    let early = start(&mut server, "legal").await;
    assert_eq!(load_in_place(&server, "legal", "second").await.status, 200);
    let late = start(&mut server, "legal").await;
    assert_eq!(early.1.request.adapter.as_ref().unwrap().id(), old);
    assert_eq!(late.1.request.adapter.as_ref().unwrap().id(), new);
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), []);

    let [early, late] = [end(early).await.json(), end(late).await.json()];
    let generations = ["legal", "second"].map(|name| json!(server.shelf.generation(name)));
    assert_eq!(early["adapter"]["generation"], generations[0]);
    assert_eq!(late["adapter"]["generation"], generations[1]);
    // With its last request the old one is gone.
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), [old]);
    let page = server.get("/metrics").await.body;
    assert!(page.contains("farthing_adapter_swaps_total{model_name=\"base\",engine=\"0\"} 1\n"));
}

/// All of host memory is in use, and stays so: a change does not wait for that to end.
#[tokio::test]
async fn a_load_in_place_needs_no_free_room() {
    let mut server = Server::start().await;
    let mut running = vec![start(&mut server, "legal").await];
    for seed in 2..1 + HOST_ADAPTERS as u64 {
        let name = format!("a{seed}");
        server.shelf.put(&name, seed);
        running.push(start(&mut server, &name).await);
    }
    server.shelf.put("new", 9);
    assert_eq!(load_in_place(&server, "legal", "new").await.status, 200);
    running.push(start(&mut server, "legal").await);
    let new = server.shelf.adapter("new").id();
    assert_eq!(
        running[HOST_ADAPTERS]
            .1
            .request
            .adapter
            .as_ref()
            .unwrap()
            .id(),
        new
    );
    for request in running {
        assert_eq!(end(request).await.status, 200);
    }
}

#[tokio::test]
async fn of_two_loads_of_one_name_one_wins() {
    let server = Server::start().await;
    server.shelf.put("a", 2);
    server.shelf.put("b", 3);
    let (a, b) = tokio::join!(load(&server, "x", "a"), load(&server, "x", "b"));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let winner = if a.status == 200 { "a" } else { "b" };
    let generation = json!(server.shelf.generation(winner));
    assert_eq!(card(&server, "x").await["generation"], generation);
}

#[tokio::test]
async fn what_is_unloaded_ends_its_answers() {
    let mut server = Server::start().await;
    server.shelf.put("a", 2);
    load(&server, "x", "a").await;
    let request = start(&mut server, "x").await;
    assert_eq!(unload(&server, "x").await.status, 200);
    let response = server.post("/v1/completions", &ask("x")).await;
    assert_refused(&response, 404, "does not exist");
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), []);
    let answer = end(request).await;
    assert_eq!(
        (answer.status, &answer.json()["choices"][0]["text"]),
        (200, &json!("a"))
    );
    let id = server.shelf.adapter("a").id();
    // The account of the last choice releases it, in a task of its own.
    while server.engine.retired.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.engine.retired.lock().unwrap().as_slice(), [id]);
}

#[tokio::test]
async fn a_name_of_the_directory_is_loaded_by_its_first_request() {
    let mut server = Server::start().await;
    server.shelf.put("team/tax", 2);
    assert_eq!(card(&server, "team/tax").await, Value::Null);
    // Several at once: one of them reads it.
    let mut connections = Vec::new();
    for _ in 0..MAX_WAITING {
        connections.push(server.open("/v1/completions", &ask("team/tax")).await);
    }
    // They may reach the engine in another order.
    for _ in &connections {
        finish(&server.play().await);
    }
    for connection in connections {
        assert_eq!(connection.response().await.status, 200);
    }
    assert_eq!(card(&server, "team/tax").await["tier"], "host");
    let page = server.get("/metrics").await.body;
    assert!(page.contains(
        "farthing_adapter_loads_total{model_name=\"base\",engine=\"0\",tier=\"host\"} 1\n"
    ));
}

#[tokio::test]
async fn the_least_recently_used_leaves_host_memory_and_comes_back() {
    let mut server = Server::start().await;
    for seed in 2..6 {
        server.shelf.put(&format!("a{seed}"), seed);
    }
    let pinned = json!({"lora_name": "a2", "lora_path": "a2", "pinned": true});
    assert_eq!(server.admin(LOAD, &pinned).await.status, 200);
    load(&server, "a3", "a3").await;
    // Three places: `legal`, `a2` and `a3`; the pinned one may not go, so `legal` does.
    load(&server, "a4", "a4").await;
    let names = ["legal", "a2", "a3", "a4"];
    assert_eq!(
        tiers(&server, names).await,
        ["disk", "host", "host", "host"]
    );
    assert_eq!(server.engine.retired.lock().unwrap().len(), 1);

    // Back it comes, as the same generation.
    let request = start(&mut server, "legal").await;
    let answer = end(request).await.json();
    let generation = json!(server.shelf.generation("legal"));
    assert_eq!(answer["adapter"]["generation"], generation);
    assert_eq!(
        tiers(&server, names).await,
        ["host", "host", "disk", "host"]
    );

    let page = server.get("/metrics").await.body;
    let labels = "model_name=\"base\",engine=\"0\"";
    for line in [
        format!("farthing_adapters{{{labels},tier=\"host\"}} 3"),
        format!("farthing_adapters{{{labels},tier=\"disk\"}} 1"),
        format!("farthing_adapter_evictions_total{{{labels},tier=\"host\"}} 2"),
        format!("farthing_adapter_misses_total{{{labels},tier=\"host\"}} 1"),
    ] {
        assert!(
            page.lines().any(|it| it == line),
            "{line} is not in\n{page}"
        );
    }
}

#[tokio::test]
async fn a_request_waits_until_one_of_too_many_adapters_is_free() {
    let mut server = Server::start().await;
    let mut running = Vec::new();
    for seed in 2..2 + HOST_ADAPTERS as u64 {
        server.shelf.put(&format!("a{seed}"), seed);
        running.push(start(&mut server, &format!("a{seed}")).await);
    }
    // All of host memory is in use. Of those who ask for more, one too many is turned away.
    let mut others = Vec::new();
    for seed in 10..=10 + MAX_WAITING as u64 {
        let name = format!("b{seed}");
        server.shelf.put(&name, seed);
        let connection = server.open("/v1/completions", &ask(&name)).await;
        others.push(Box::pin(connection.response()));
    }
    let (refused, _, others) = select_all(others).await;
    assert_refused(&refused, 429, "The queue is full");
    // A request for what is there does not wait.
    let ready = start(&mut server, "a2").await;
    assert_eq!(end(ready).await.status, 200);
    for request in running {
        assert_eq!(end(request).await.status, 200);
    }
    for _ in &others {
        let play = server.play().await;
        play.finish(0, FinishReason::Length, usage(3, 0, 1));
    }
    for connection in others {
        assert_eq!(connection.await.status, 200);
    }
}

#[tokio::test]
async fn what_never_fits_is_refused() {
    let server = Server::start().await;
    for seed in 2..2 + HOST_ADAPTERS as u64 {
        let name = format!("a{seed}");
        server.shelf.put(&name, seed);
        let body = json!({"lora_name": name, "lora_path": name, "pinned": true});
        assert_eq!(server.admin(LOAD, &body).await.status, 200);
    }
    server.shelf.put("more", 9);
    assert_refused(
        &load(&server, "more", "more").await,
        500,
        "raise the server's adapter memory",
    );
    // Unpinned, there is room again.
    unload(&server, "a2").await;
    assert_eq!(load(&server, "more", "more").await.status, 200);
}
