//! Completions: prompts in every shape, echo, log-probabilities.

use farthing_engine::PromptToken;
use farthing_scheduler::FinishReason;
use serde_json::{Value, json};

use crate::scripted_engine::{logprobs, token, usage};
use crate::wire::{BOS, Server};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn a_whole_completion_has_openais_shape() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": "ab", "max_tokens": 2});
    let connection = server.open(PATH, &body).await;
    let play = server.play().await;
    assert_eq!(play.request.prompt, [BOS, 97, 98]);
    assert_eq!(
        (play.request.max_tokens, play.request.continues_text),
        (Some(2), true)
    );
    play.say(0, "cd");
    play.finish(0, FinishReason::Length, usage(3, 0, 2));
    let mut body = connection.response().await.json();
    assert!(body["id"].take().as_str().unwrap().starts_with("cmpl-"));
    body["created"].take();
    body["usage"].take();
    assert_eq!(
        body,
        json!({
            "id": null, "object": "text_completion", "created": null, "model": "base",
            "adapter": null,
            "system_fingerprint": concat!("farthing-", env!("CARGO_PKG_VERSION")),
            "choices": [
                {"index": 0, "text": "cd", "logprobs": null, "finish_reason": "length"},
            ],
            "usage": null,
        })
    );
}

#[tokio::test]
async fn prompts_and_choices_are_numbered_together() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": [[1], [2, 3]], "n": 2});
    let connection = server.open(PATH, &body).await;
    let (first, second) = (server.play().await, server.play().await);
    assert_eq!(
        (&first.request.prompt[..], &second.request.prompt[..]),
        (&[1][..], &[2, 3][..])
    );
    for (play, names) in [(&second, ["c", "d"]), (&first, ["a", "b"])] {
        for (index, name) in names.into_iter().enumerate() {
            play.say(index, name);
            play.finish(index, FinishReason::Stop, usage(1, 0, 1));
        }
    }
    let body = connection.response().await.json();
    let choices = body["choices"].as_array().unwrap();
    let told: Vec<_> = choices
        .iter()
        .map(|choice| (&choice["index"], &choice["text"]))
        .collect();
    let expected: Vec<Value> = ["a", "b", "c", "d"].map(Value::from).into();
    for (index, (told_index, text)) in told.into_iter().enumerate() {
        assert_eq!((told_index, text), (&json!(index), &expected[index]));
    }
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    assert_eq!(body["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn echo_tells_the_prompt_with_its_logprobs() {
    let mut server = Server::start().await;
    let body = json!({
        "model": "base", "prompt": "aé", "max_tokens": 1, "echo": true, "logprobs": 1,
    });
    let connection = server.open(PATH, &body).await;
    let play = server.play().await;
    assert_eq!(
        (play.request.prompt_logprobs, play.request.sampling.logprobs),
        (Some(1), Some(1))
    );
    let told = |id: u32, logprobs| PromptToken { id, logprobs };
    play.prompt(vec![
        told(BOS, None),
        told(97, Some(logprobs(b'a', -1.0, &[(b'b', -0.5)]))),
        told(0xc3, Some(logprobs(0xc3, -0.25, &[(0xc3, -0.25)]))),
        told(0xa9, Some(logprobs(0xa9, -0.125, &[]))),
    ]);
    play.delta(0, "z", vec![token(b'z', -2.0, &[(b'y', -0.75)])]);
    play.finish(0, FinishReason::Length, usage(4, 0, 1));
    let body = connection.response().await.json();
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], "aéz");
    assert_eq!(
        choice["logprobs"],
        json!({
            "tokens": ["<bos>", "a", "bytes:\\xc3", "bytes:\\xa9", "z"],
            "token_logprobs": [null, -1.0, -0.25, -0.125, -2.0],
            "top_logprobs": [
                null, {"b": -0.5, "a": -1.0}, {"bytes:\\xc3": -0.25}, {"bytes:\\xa9": -0.125},
                {"y": -0.75, "z": -2.0},
            ],
            // BOS has no place in the text, and é begins with its first byte.
            "text_offset": [0, 0, 1, 2, 2],
        })
    );
}

#[tokio::test]
async fn a_prompt_may_only_be_scored() {
    let mut server = Server::start().await;
    let body = json!({
        "model": "base", "prompt": [97, 98], "max_tokens": 0, "echo": true, "logprobs": 0,
    });
    let connection = server.open(PATH, &body).await;
    let play = server.play().await;
    assert_eq!(play.request.max_tokens, Some(0));
    play.prompt(vec![
        PromptToken {
            id: 97,
            logprobs: None,
        },
        PromptToken {
            id: 98,
            logprobs: Some(logprobs(b'b', -1.5, &[])),
        },
    ]);
    play.finish(0, FinishReason::Length, usage(2, 0, 0));
    let choice = connection.response().await.json()["choices"][0].take();
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!("ab"), &json!("length"))
    );
    assert_eq!(
        choice["logprobs"],
        json!({
            "tokens": ["a", "b"], "token_logprobs": [null, -1.5],
            "top_logprobs": [null, {"b": -1.5}], "text_offset": [0, 1],
        })
    );
}

#[tokio::test]
async fn a_streamed_completion_adds_up_to_the_whole() {
    let mut server = Server::start().await;
    let body = json!({
        "model": "base", "prompt": ["p", "q"], "stream": true, "echo": true, "logprobs": 0,
        "stream_options": {"include_usage": true},
    });
    let connection = server.open(PATH, &body).await;
    for text in ["xy", "zw"] {
        let play = server.play().await;
        let ids = play.request.prompt.clone();
        play.prompt(
            ids.into_iter()
                .map(|id| PromptToken { id, logprobs: None })
                .collect(),
        );
        for byte in text.bytes() {
            play.delta(
                0,
                &char::from(byte).to_string(),
                vec![token(byte, -1.0, &[])],
            );
        }
        play.finish(0, FinishReason::Stop, usage(2, 0, 2));
    }
    let events = connection.response().await.events();
    let (last, events) = events.split_last().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["total_tokens"]),
        (&json!([]), &json!(8))
    );
    assert_eq!(last["usage"]["cost"]["device_seconds"], 0.72);
    let mut texts = [String::new(), String::new()];
    let mut offsets = [vec![], vec![]];
    let mut reasons = [Value::Null, Value::Null];
    for event in events {
        assert_eq!(event["object"], "text_completion");
        assert!(event["usage"].is_null());
        let choice = &event["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index] += choice["text"].as_str().unwrap();
        if let Some(told) = choice["logprobs"]["text_offset"].as_array() {
            offsets[index].extend(told.iter().map(|offset| offset.as_u64().unwrap()));
        }
        reasons[index] = choice["finish_reason"].clone();
    }
    assert_eq!(texts, ["pxy", "qzw"]);
    assert_eq!(offsets, [[0, 0, 1, 2], [0, 0, 1, 2]]);
    assert_eq!(reasons, ["stop", "stop"]);
}

#[tokio::test]
async fn a_failed_prompt_takes_the_others_along() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": ["a", "b"], "max_tokens": 1});
    let connection = server.open(PATH, &body).await;
    let (first, second) = (server.play().await, server.play().await);
    second.fail("out of cards");
    assert_eq!(connection.response().await.status, 500);
    first.dropped().await;
}
