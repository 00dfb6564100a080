//! A client that leaves takes its sequences with it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use farthing_engine::Receipt;
use farthing_scheduler::FinishReason;
use serde_json::json;

use crate::scripted_engine::usage;
use crate::wire::Server;

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn leaving_a_stream_drops_the_generation() {
    let mut server = Server::start().await;
    let body = json!({
        "model": "base", "messages": [{"role": "user", "content": "hi"}], "stream": true,
    });
    let mut connection = server.open("/v1/chat/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    connection.event().await;
    drop(connection);
    play.dropped().await;
    assert_aborted(&server, 1).await;
}

/// The client leaves while there is nothing to write: only reading can tell.
#[tokio::test]
async fn leaving_a_stream_that_is_silent_drops_the_generation() {
    let mut server = Server::start().await;
    let body = json!({"model": "base", "prompt": ["a", "b"], "n": 2, "stream": true});
    let connection = server.open("/v1/completions", &body).await;
    let (first, second) = (server.play().await, server.play().await);
    drop(connection);
    first.dropped().await;
    second.dropped().await;
    assert_aborted(&server, 4).await;
}

#[tokio::test]
async fn leaving_a_whole_answer_drops_the_generation() {
    let mut server = Server::start().await;
    for (path, body) in [
        (
            "/v1/chat/completions",
            json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]}),
        ),
        ("/v1/completions", json!({"model": "base", "prompt": "hi"})),
    ] {
        let connection = server.open(path, &body).await;
        let play = server.play().await;
        play.say(0, "a");
        drop(connection);
        play.dropped().await;
    }
    assert_aborted(&server, 2).await;
}

/// The engine closes the account a step later: the log waits for it, also where there is no ledger.
#[tokio::test]
async fn the_log_tells_what_an_answer_took_that_nobody_waited_for() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Of all threads: what one of them has found to be of no interest is logged by none.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut server = Server::start().await;
    // No other test asks this.
    let prompt = "who reads the log?";
    let body = json!({"model": "base", "prompt": prompt, "stream": true});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say(0, "a");
    drop(connection);
    play.dropped().await;
    let receipts = play.request.receipts.as_ref().unwrap();
    let receipt = Receipt {
        index: 0,
        reason: FinishReason::Abort,
        usage: usage(19, 1, 1),
    };
    receipts.send(receipt).unwrap();
    let line = loop {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        match text.lines().find(|line| line.contains("prompt_tokens=19")) {
            Some(line) => break line.to_owned(),
            None => tokio::task::yield_now().await,
        }
    };
    for field in [
        "outcome=\"abort\"",
        "device_seconds=0.36",
        "completion_tokens=1",
    ] {
        assert!(line.contains(field), "{line}");
    }
}

async fn assert_aborted(server: &Server, choices: usize) {
    let metrics = server.get("/metrics").await.body;
    let expected = format!("engine=\"0\",finished_reason=\"abort\"}} {choices}\n");
    assert!(metrics.contains(&expected), "{metrics}");
}
