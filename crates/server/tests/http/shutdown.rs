//! Shutdown lets running answers end, and cuts off those that do not in time.

use std::time::Duration;

use farthing_scheduler::FinishReason;
use farthing_server::Timeouts;
use serde_json::json;
use tokio::net::TcpStream;

use crate::scripted_engine::usage;
use crate::wire::{PATIENT, Server};

fn streamed() -> serde_json::Value {
    json!({"model": "base", "messages": [{"role": "user", "content": "hi"}], "stream": true})
}

#[tokio::test]
async fn running_answers_end_and_nothing_new_begins() {
    let mut server = Server::start().await;
    let mut connection = server.open("/v1/chat/completions", &streamed()).await;
    let play = server.play().await;
    play.say(0, "a");
    connection.event().await;

    server.stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    play.say(0, "b");
    play.finish(0, FinishReason::Stop, usage(10, 0, 2));
    let mut last = String::new();
    while last != "[DONE]" {
        last = connection.event().await;
        assert!(!last.contains("error"), "{last}");
    }
    (&mut server.serving).await.unwrap();
}

#[tokio::test]
async fn answers_that_take_too_long_are_cut_off_with_a_word() {
    let timeouts = Timeouts {
        shutdown: Duration::from_millis(50),
        ..PATIENT
    };
    let mut server = Server::start_with(None, timeouts).await;
    let stream = server.open("/v1/chat/completions", &streamed()).await;
    let streamed_play = server.play().await;
    let whole = json!({"model": "base", "prompt": "hi"});
    let whole = server.open("/v1/completions", &whole).await;
    let whole_play = server.play().await;

    server.stop();
    let events = stream.response().await.events();
    assert_eq!(events[0]["error"]["type"], "service_unavailable_error");
    assert_eq!(whole.response().await.status, 503);
    streamed_play.dropped().await;
    whole_play.dropped().await;
    (&mut server.serving).await.unwrap();
}
