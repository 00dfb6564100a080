//! Chats: what reaches the engine, and what comes back, whole and streamed.

use farthing_scheduler::FinishReason;
use serde_json::{Value, json};

use crate::scripted_engine::{token, usage};
use crate::wire::{BOS, PATIENT, Server};

const PATH: &str = "/v1/chat/completions";

fn hello() -> Value {
    json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]})
}

fn with(extra: Value) -> Value {
    let mut body = hello();
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_whole_answer_has_openais_shape() {
    let mut server = Server::start().await;
    let connection = server.open(PATH, &hello()).await;
    let play = server.play().await;
    play.say(0, "Bon");
    play.say(0, "jour");
    play.finish(0, FinishReason::Stop, usage(9, 4, 7));
    let response = connection.response().await;
    assert_eq!(response.status, 200);
    let mut body = response.json();
    let id = body["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    let fingerprint = concat!("farthing-", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        body,
        json!({
            "id": null, "created": null, "object": "chat.completion", "model": "base",
            "adapter": null,
            "system_fingerprint": fingerprint,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Bonjour", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                // `<bos>user: hi` and a line end.
                "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 4},
                "cost": {
                    "device_seconds": 0.36, "usd": 0.00001, "price_per_hour_usd": 0.1,
                    "basis": "measured_device_time",
                },
            },
        })
    );
}

#[tokio::test]
async fn the_request_reaches_the_engine_as_asked() {
    let mut server = Server::start().await;
    let body = json!({
        "model": "legal",
        "messages": [
            {"role": "developer", "content": "A"},
            {"role": "user", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": "C"}]},
        ],
        "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 42, "n": 2,
        "stop": "END", "max_tokens": 5, "presence_penalty": 1, "frequency_penalty": -1,
        "repetition_penalty": 1.2, "logit_bias": {"65": 3}, "logprobs": true, "top_logprobs": 4,
        "ignore_eos": true,
    });
    let _connection = server.open(PATH, &body).await;
    let request = server.play().await.request;
    let text: Vec<u8> = request.prompt[1..].iter().map(|&id| id as u8).collect();
    assert_eq!(request.prompt[0], BOS);
    assert_eq!(String::from_utf8(text).unwrap(), "system: A\nuser: B\nC\n");
    assert_eq!((request.n, request.max_tokens), (2, Some(5)));
    let legal = server.shelf.adapter("legal").id();
    assert_eq!(request.adapter.map(|adapter| adapter.id()), Some(legal));
    assert_eq!(
        (request.stop, request.ignore_eos),
        (vec!["END".to_owned()], true)
    );
    assert_eq!(
        (request.prompt_logprobs, request.continues_text),
        (None, false)
    );
    let sampling = request.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.min_p),
        (0.5, 0.9, 0.1)
    );
    assert_eq!(
        (sampling.top_k, sampling.seed, sampling.logprobs),
        (3, 42, Some(4))
    );
    assert_eq!(
        (sampling.presence_penalty, sampling.frequency_penalty),
        (1.0, -1.0)
    );
    assert_eq!(
        (sampling.repetition_penalty, sampling.logit_bias),
        (1.2, vec![(65, 3.0)])
    );
}

#[tokio::test]
async fn seeds_that_nobody_gave_differ() {
    let mut server = Server::start().await;
    let _first = server.open(PATH, &hello()).await;
    let first = server.play().await.request.sampling.seed;
    let _second = server.open(PATH, &hello()).await;
    assert_ne!(server.play().await.request.sampling.seed, first);
}

#[tokio::test]
async fn choices_keep_their_places_and_the_prompt_counts_once() {
    let mut server = Server::start().await;
    let connection = server.open(PATH, &with(json!({"n": 2}))).await;
    let play = server.play().await;
    play.say(1, "b");
    play.say(0, "a");
    play.finish(1, FinishReason::Length, usage(10, 8, 1));
    play.finish(0, FinishReason::Stop, usage(10, 0, 1));
    let body = connection.response().await.json();
    let told = |index: usize| {
        let choice = &body["choices"][index];
        (
            choice["index"].clone(),
            choice["message"]["content"].clone(),
            choice["finish_reason"].clone(),
        )
    };
    assert_eq!(told(0), (json!(0), json!("a"), json!("stop")));
    assert_eq!(told(1), (json!(1), json!("b"), json!("length")));
    let usage = &body["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(10), &json!(2))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(usage["cost"]["device_seconds"], 0.72);
}

#[tokio::test]
async fn logprobs_tell_text_and_exact_bytes() {
    let mut server = Server::start().await;
    let asked = with(json!({"logprobs": true, "top_logprobs": 2}));
    let connection = server.open(PATH, &asked).await;
    let play = server.play().await;
    play.delta(
        0,
        "",
        vec![token(0xc3, -0.5, &[(0xc3, -0.5), (b'e', -1.25)])],
    );
    play.delta(0, "é", vec![token(0xa9, f32::NEG_INFINITY, &[])]);
    play.finish(0, FinishReason::Stop, usage(10, 0, 2));
    let body = connection.response().await.json();
    assert_eq!(
        body["choices"][0]["logprobs"],
        json!({"content": [
            {
                "token": "\\xc3", "logprob": -0.5, "bytes": [0xc3],
                "top_logprobs": [
                    {"token": "\\xc3", "logprob": -0.5, "bytes": [0xc3]},
                    {"token": "e", "logprob": -1.25, "bytes": [101]},
                ],
            },
            {"token": "\\xa9", "logprob": -9999.0, "bytes": [0xa9], "top_logprobs": []},
        ], "refusal": null})
    );
}

#[tokio::test]
async fn a_stream_tells_the_tokens_so_far_if_asked() {
    let mut server = Server::start().await;
    for include_usage in [false, true] {
        let asked = with(json!({"stream": true, "stream_options": {
            "include_usage": include_usage, "continuous_usage_stats": true}}));
        let connection = server.open(PATH, &asked).await;
        let play = server.play().await;
        let prompt_tokens = play.request.prompt.len();
        play.delta(
            0,
            "Bon",
            vec![token(b'B', -1.0, &[]), token(b'o', -1.0, &[])],
        );
        play.delta(0, "jour", vec![token(b'j', -1.0, &[])]);
        play.finish(0, FinishReason::Length, usage(prompt_tokens, 0, 3));
        let mut events = connection.response().await.events();
        if include_usage {
            assert!(events.pop().unwrap()["usage"]["cost"].is_object());
        }
        let usages: Vec<_> = events.iter().map(|event| event["usage"].clone()).collect();
        let so_far = |tokens| {
            json!({"prompt_tokens": prompt_tokens,
            "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens})
        };
        assert_eq!(usages, [so_far(2), so_far(2), so_far(3), so_far(3)]);
    }
}

#[tokio::test]
async fn a_stream_has_openais_chunks() {
    let mut server = Server::start().await;
    let asked = with(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let connection = server.open(PATH, &asked).await;
    let play = server.play().await;
    play.say(0, "Bon");
    play.delta(0, "", vec![]);
    play.say(0, "jour");
    play.finish(0, FinishReason::Length, usage(10, 4, 7));
    let events = connection.response().await.events();

    let first = &events[0];
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(
            (&event["id"], &event["created"]),
            (&first["id"], &first["created"])
        );
        assert_eq!(event["model"], "base");
    }
    let choice = |delta: Value, finish_reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    let choices: Vec<_> = events
        .iter()
        .map(|event| event["choices"].clone())
        .collect();
    assert_eq!(
        choices,
        [
            choice(json!({"role": "assistant", "content": ""}), Value::Null),
            choice(json!({"content": "Bon"}), Value::Null),
            choice(json!({"content": "jour"}), Value::Null),
            choice(json!({}), json!("length")),
            json!([]),
        ]
    );
    let (last, before) = events.split_last().unwrap();
    assert!(
        before
            .iter()
            .all(|event| event["usage"].is_null() && event.get("usage").is_some())
    );
    assert_eq!(last["usage"]["total_tokens"], 17);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(last["usage"]["cost"]["usd"], 0.00001);
}

#[tokio::test]
async fn a_stream_without_usage_has_no_such_field() {
    let mut server = Server::start().await;
    let connection = server.open(PATH, &with(json!({"stream": true}))).await;
    let play = server.play().await;
    play.finish(0, FinishReason::Stop, usage(10, 0, 1));
    let events = connection.response().await.events();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
}

#[tokio::test]
async fn streamed_choices_interleave_by_index() {
    let mut server = Server::start().await;
    let connection = server
        .open(PATH, &with(json!({"stream": true, "n": 2})))
        .await;
    let play = server.play().await;
    play.say(1, "x");
    play.say(0, "y");
    play.finish(0, FinishReason::Stop, usage(10, 0, 1));
    play.say(1, "z");
    play.finish(1, FinishReason::Stop, usage(10, 0, 2));
    let events = connection.response().await.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let choice = &event["choices"][0];
            (
                choice["index"].as_u64().unwrap(),
                choice["delta"]["content"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, Some("")),
            (1, Some("x")),
            (0, Some("")),
            (0, Some("y")),
            (0, None),
            (1, Some("z")),
            (1, None),
        ]
    );
}

#[tokio::test]
async fn a_token_is_sent_when_it_comes() {
    let mut server = Server::start().await;
    let mut connection = server.open(PATH, &with(json!({"stream": true}))).await;
    let play = server.play().await;
    play.say(0, "now");
    assert!(connection.event().await.contains("assistant"));
    assert!(connection.event().await.contains("now"));
}

#[tokio::test]
async fn without_a_price_there_are_seconds_and_no_dollars() {
    let mut server = Server::start_with(None, PATIENT).await;
    let connection = server.open(PATH, &hello()).await;
    server
        .play()
        .await
        .finish(0, FinishReason::Stop, usage(10, 0, 1));
    let body = connection.response().await.json();
    let cost = json!({"device_seconds": 0.36, "basis": "measured_device_time"});
    assert_eq!(body["usage"]["cost"], cost);
}
