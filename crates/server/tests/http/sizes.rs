//! What is too large is refused before anything is computed for it.

use std::fs::{self, File};
use std::io::Write;

use farthing_engine::Receipt;
use farthing_scheduler::FinishReason;
use serde_json::{Value, json};

use crate::ledger::{assert_row, close, rows};
use crate::scripted_engine::{MAX_CHOICES, token, usage};
use crate::wire::Server;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn chat(messages: Value) -> Value {
    json!({"model": "base", "messages": messages})
}

/// The context has 64 tokens, and the longest token, `<bos>`, five bytes.
#[tokio::test]
async fn a_text_that_cannot_fit_is_refused_by_its_bytes() {
    let mut server = Server::start().await;
    let code = json!("context_length_exceeded");
    for prompt in [
        json!("a".repeat(5 * 64)),
        json!(["a", "b".repeat(1_000_000)]),
        json!(vec![97; 64]),
        json!([[97], vec![97; 1000]]),
    ] {
        let body = json!({"model": "base", "prompt": prompt, "max_tokens": 1});
        let response = server.post(COMPLETIONS, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.error(),
            [
                json!("invalid_request_error"),
                json!("prompt"),
                code.clone()
            ]
        );
    }
    let long = "a".repeat(1_000_000);
    for content in [json!(long), json!([{"type": "text", "text": long}])] {
        let body = chat(json!([{"role": "user", "content": content}]));
        let response = server.post(CHAT, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(response.error()[2], code);
    }
    // What could fit reaches the engine, which counts its tokens.
    let body = json!({"model": "base", "prompt": "<bos>".repeat(63), "max_tokens": 1});
    let open = server.open(COMPLETIONS, &body).await;
    // BOS and 63.
    assert_eq!(server.play().await.request.prompt.len(), 64);
    drop(open);
}

#[tokio::test]
async fn more_choices_than_places_are_refused_before_they_are_read() {
    let server = Server::start().await;
    let prompts = vec!["a"; MAX_CHOICES / 100 + 1];
    let body = json!({"model": "base", "prompt": prompts, "n": 100, "max_tokens": 1});
    let response = server.post(COMPLETIONS, &body).await;
    assert_eq!((response.status, &response.error()[1]), (400, &json!("n")));
}

#[tokio::test]
async fn a_body_of_too_many_parts_is_refused() {
    let server = Server::start().await;
    let message = json!({"role": "user", "content": ""});
    let part = json!({"type": "text", "text": ""});
    for (body, param, code) in [
        (
            chat(json!(vec![message; 20_000])),
            json!("messages"),
            json!("array_above_max_length"),
        ),
        (
            chat(json!([{"role": "user", "content": vec![part; 20_000]}])),
            json!("messages[0].content"),
            json!("array_above_max_length"),
        ),
        (
            json!({"model": "base", "prompt": "a", "metadata": {"x": vec![0; 1 << 20]}}),
            Value::Null,
            Value::Null,
        ),
    ] {
        let path = if body["prompt"].is_null() {
            CHAT
        } else {
            COMPLETIONS
        };
        let response = server.post(path, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(response.error()[1..], [param, code]);
    }
}

#[tokio::test]
async fn an_error_quotes_only_the_beginning_of_a_long_value() {
    let server = Server::start().await;
    let long = "x".repeat(100_000);
    for body in [
        chat(json!([{"role": long, "content": ""}])),
        chat(json!([{"role": "user", "content": [{"type": long}]}])),
        json!({"model": long, "messages": [{"role": "user", "content": ""}]}),
    ] {
        let response = server.post(CHAT, &body).await;
        assert_eq!(response.status, 400);
        assert!(response.body.len() < 1000, "{} bytes", response.body.len());
    }
}

#[tokio::test]
async fn a_large_body_of_a_small_prompt_is_served() {
    let mut server = Server::start().await;
    let metadata = json!({"note": "x".repeat(3_000_000)});
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 1, "metadata": metadata});
    let open = server.open(COMPLETIONS, &body).await;
    assert_eq!(server.play().await.request.prompt.len(), 3);
    drop(open);
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_told_why_its_answer_ends() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 9, "stream": true});
    let connection = server.open(COMPLETIONS, &body).await;
    let play = server.play().await;
    play.say(0, "a");
    play.cut_off();
    let response = connection.response().await;
    let body = response.body;
    assert!(body.contains("answer_not_read"), "{body}");
    assert!(body.trim_end().ends_with("[DONE]"), "{body}");
}

#[tokio::test]
async fn an_adapter_has_one_name() {
    let server = Server::start().await;
    server.shelf.put("team/draft", 3);
    let names = async || {
        let list = server.get("/v1/lora_adapters").await.json();
        let cards = list["data"].as_array().unwrap().clone();
        cards
            .iter()
            .map(|card| card["id"].clone())
            .collect::<Vec<_>>()
    };
    let before = names().await;
    for alias in [
        "team//draft",
        "team/./draft",
        "./team/draft",
        "team/draft/",
        "team/draft/.",
        "/team/draft",
        "team/../team/draft",
        "team%2Fdraft",
        "team\\draft",
        "TEAM/draft",
        "team/draft\u{0}",
        "team/draft\n",
        "\u{202e}team/draft",
        "",
        ".",
        "..",
    ] {
        let body = json!({"model": alias, "prompt": "hi", "max_tokens": 3});
        let response = server.post(COMPLETIONS, &body).await;
        assert_eq!(response.status, 404, "{alias:?}");
    }
    assert_eq!(names().await, before);
}

/// A sparse file with a valid header costs nothing to make.
#[tokio::test]
async fn an_adapter_beyond_the_memory_for_adapters_is_not_read() {
    let server = Server::start().await;
    server.shelf.put("huge", 3);
    let weights = server
        .shelf
        .directory()
        .join("huge/adapter_model.safetensors");
    let rows = 1_usize << 20;
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    let header =
        json!({name: {"dtype": "F32", "shape": [rows, 256], "data_offsets": [0, rows * 1024]}});
    let header = header.to_string();
    let mut file = File::create(&weights).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + rows * 1024) as u64)
        .unwrap();
    let body = json!({"lora_name": "huge", "lora_path": "huge"});
    let response = server.admin("/v1/load_lora_adapter", &body).await;
    let message = response.json()["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("do not fit"),
        "{message}"
    );
    // Longer than its header says.
    file.set_len(1 << 40).unwrap();
    let response = server.admin("/v1/load_lora_adapter", &body).await;
    let message = response.json()["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("its header calls for"),
        "{message}"
    );
    fs::remove_file(weights).unwrap();
}

/// An answer may hold 64 MiB if it is not streamed. Its sequences end, and the row has what they took.
#[tokio::test]
async fn a_whole_answer_is_limited() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.sqlite3");
    let (mut server, bookkeeper) = Server::start_with_ledger(&file).await;
    let piece = "a".repeat(1 << 20);
    let chat_body = chat(json!([{"role": "user", "content": "hi"}]));
    let completion = json!({"model": "base", "prompt": "hi", "max_tokens": 9});
    for (path, body) in [(CHAT, chat_body), (COMPLETIONS, completion)] {
        let connection = server.open(path, &body).await;
        let play = server.play().await;
        for _ in 0..65 {
            play.say_at_once(0, &piece);
        }
        play.dropped().await;
        let receipt = Receipt {
            index: 0,
            reason: FinishReason::Abort,
            usage: usage(3, 0, 65),
        };
        let receipts = play.request.receipts.as_ref().unwrap();
        receipts.send(receipt).unwrap();
        let response = connection.response().await;
        assert_eq!(response.status, 400);
        assert_eq!(response.error()[2], "answer_too_large");
    }
    close(bookkeeper).await;
    for row in rows(&file, 2).await {
        assert_row(
            &row,
            &[
                ("outcome", "abort"),
                ("status", "400"),
                ("output_tokens", "65"),
            ],
        );
    }
}

/// All answers that are not streamed may hold 512 MiB together.
#[tokio::test]
async fn whole_answers_are_limited_together() {
    let mut server = Server::start().await;
    let body = chat(json!([{"role": "user", "content": "hi"}]));
    let piece = "a".repeat(60 << 20);
    let mut large = Vec::new();
    for _ in 0..7 {
        let connection = server.open(CHAT, &body).await;
        let play = server.play().await;
        play.say_at_once(0, &piece);
        large.push((connection, play));
    }
    let refused = server.open(CHAT, &body).await;
    let play = server.play().await;
    // Until the server has collected the others, this one may hold more.
    while !play.is_dropped() {
        play.say_at_once(0, &piece[..1 << 20]);
        tokio::task::yield_now().await;
    }
    let response = refused.response().await;
    assert_eq!(response.status, 503, "{}", response.body);
    assert_eq!(response.error()[0], "service_unavailable_error");
    let message = response.json()["error"]["message"].to_string();
    assert!(message.contains("all memory for answers"), "{message}");

    // A small one has room, and so has a large one after the others.
    for (size, held) in [(1, large), (60 << 20, Vec::new())] {
        let connection = server.open(CHAT, &body).await;
        let play = server.play().await;
        play.say_at_once(0, &piece[..size]);
        play.finish(0, FinishReason::Stop, usage(3, 0, 1));
        let response = connection.response().await;
        assert_eq!(response.status, 200);
        assert!(response.body.len() > size);
        for (connection, play) in held {
            drop(connection);
            play.dropped().await;
        }
    }
}

#[tokio::test]
async fn log_probabilities_count_as_part_of_an_answer() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 9, "logprobs": 5});
    let connection = server.open(COMPLETIONS, &body).await;
    let play = server.play().await;
    let top: Vec<_> = (b'a'..=b'z').map(|byte| (byte, -1.0)).collect();
    // 26 alternatives take more than 1 KB, and the text of the token one byte.
    for _ in 0..64 {
        play.delta(0, "a", vec![token(b'a', -1.0, &top); 1024]);
    }
    play.dropped().await;
    let response = connection.response().await;
    assert_eq!(response.error()[2], "answer_too_large");
}

/// The limit is for answers that the server collects.
#[tokio::test]
async fn a_streamed_answer_has_no_limit() {
    let mut server = Server::start().await;
    let piece = "a".repeat(1 << 20);
    let body = json!({"model": "base", "prompt": "hi", "max_tokens": 9, "stream": true});
    let connection = server.open(COMPLETIONS, &body).await;
    let play = server.play().await;
    for _ in 0..65 {
        play.say_at_once(0, &piece);
    }
    play.finish(0, FinishReason::Length, usage(3, 0, 65));
    let response = connection.response().await;
    assert!(response.body.len() > 65 << 20);
    assert!(response.body.trim_end().ends_with("[DONE]"));
}
