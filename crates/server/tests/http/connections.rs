//! No peer can stop the others by being slow, idle or many.

use std::time::Duration;

use farthing_scheduler::FinishReason;
use farthing_server::{ServeConfig, Timeouts};
use serde_json::json;

use crate::scripted_engine::usage;
use crate::wire::{Connection, Endpoint, PATIENT, Server, post};

/// More than the buffers of both sides hold.
const LARGE: usize = 64 << 20;

fn streamed() -> serde_json::Value {
    json!({"model": "base", "messages": [{"role": "user", "content": "hi"}], "stream": true})
}

async fn start(max_connections: usize, timeouts: Timeouts) -> Server {
    let config = ServeConfig {
        max_connections,
        ..ServeConfig::new(timeouts)
    };
    Server::start_served(config).await
}

async fn is_healthy(server: &Endpoint) -> bool {
    server.get("/health").await.status == 200
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_request() {
    let impatient = Timeouts {
        write: Duration::from_millis(100),
        ..PATIENT
    };
    let mut server = Server::start_with(None, impatient).await;
    let connection = server.open("/v1/chat/completions", &streamed()).await;
    let play = server.play().await;
    play.say_at_once(0, &"a".repeat(LARGE));
    play.dropped().await;
    drop(connection);
}

/// An answer in one piece, too. The shutdown would wait for its connection.
#[tokio::test]
async fn a_peer_that_does_not_read_a_whole_answer_is_dropped() {
    let impatient = Timeouts {
        write: Duration::from_millis(100),
        shutdown: Duration::from_secs(3600),
        ..PATIENT
    };
    let mut server = Server::start_with(None, impatient).await;
    let body = json!({"model": "base", "prompt": "hi"});
    let connection = server.open("/v1/completions", &body).await;
    let play = server.play().await;
    play.say_at_once(0, &"a".repeat(LARGE));
    play.finish(0, FinishReason::Stop, usage(1, 0, 1));
    server.stop();
    (&mut server.serving).await.unwrap();
    drop(connection);
}

/// Silence is not the peer's fault: there is nothing to read.
#[tokio::test]
async fn a_peer_that_has_nothing_to_read_is_kept() {
    let impatient = Timeouts {
        write: Duration::from_millis(50),
        ..PATIENT
    };
    let mut server = Server::start_with(None, impatient).await;
    let mut silent = server.open("/v1/chat/completions", &streamed()).await;
    let silent_play = server.play().await;
    silent_play.say(0, "a");
    silent.event().await;
    // By the time that another peer has been given up, the timeout has passed here as well.
    let blocked = server.open("/v1/chat/completions", &streamed()).await;
    let blocked_play = server.play().await;
    blocked_play.say_at_once(0, &"a".repeat(LARGE));
    blocked_play.dropped().await;
    silent_play.finish(0, FinishReason::Stop, usage(1, 0, 1));
    assert!(silent.until_closed().await.contains("[DONE]"));
    drop(blocked);
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let server = start(2, PATIENT).await;
    let first = server.open_raw("").await;
    let second = server.open_raw("GET /health HTTP/1.1\r\nHo").await;
    let third = server.open_raw("").await;
    // The first one was idle for the longest, and the second one is still of use.
    assert_eq!(first.until_closed().await, "");
    second
        .send("st: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(second.response().await.status, 200);
    drop(third);
}

#[tokio::test]
async fn many_idle_connections_keep_nobody_out() {
    let server = start(8, PATIENT).await;
    let mut idle = Vec::new();
    for kind in 0..3 {
        for _ in 0..20 {
            idle.push(match kind {
                0 => server.open_raw("").await,
                1 => server.open_raw("GET / HTTP/1.1\r\nHost: loc").await,
                // The body never comes.
                _ => {
                    let whole = post("/v1/completions", "{\"model\": \"base\"}");
                    server.open_raw(&whole[..whole.len() - 4]).await
                }
            });
        }
        assert!(is_healthy(&server).await, "{kind}");
    }
}

/// Connections whose answers nobody reads, at least not for now.
#[tokio::test]
async fn a_peer_that_does_not_read_makes_room() {
    let mut server = start(1, PATIENT).await;
    let connection = server.open("/v1/chat/completions", &streamed()).await;
    let play = server.play().await;
    play.say_at_once(0, &"a".repeat(LARGE));
    while !is_healthy_or_refused(&server).await {}
    play.dropped().await;
    drop(connection);
}

/// `false` if there was no room.
async fn is_healthy_or_refused(server: &Endpoint) -> bool {
    let status = server.get("/health").await.status;
    assert!([200, 503].contains(&status), "{status}");
    status == 200
}

#[tokio::test]
async fn a_connection_above_the_limit_is_told_so_while_all_others_are_answered() {
    let mut server = start(2, PATIENT).await;
    let mut connections = Vec::new();
    let mut plays = Vec::new();
    for _ in 0..2 {
        let mut connection = server.open("/v1/chat/completions", &streamed()).await;
        let play = server.play().await;
        play.say(0, "a");
        connection.event().await;
        connections.push(connection);
        plays.push(play);
    }
    let response = server.get("/health").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.error()[0], "service_unavailable_error");
    assert!(
        response.head.contains("\r\nretry-after: 1"),
        "{}",
        response.head
    );
    // Nothing happened to those that are answered.
    for (connection, play) in connections.iter_mut().zip(&plays) {
        play.say(0, "b");
        let event = connection.event().await;
        assert!(!event.contains("error"), "{event}");
    }
    let last = connections.pop().unwrap();
    let play = plays.pop().unwrap();
    play.finish(0, FinishReason::Stop, usage(1, 0, 1));
    assert!(last.until_closed().await.contains("[DONE]"));
    while !is_healthy_or_refused(&server).await {}
}

/// Between two requests a connection is idle, and it can be used again if there is room.
#[tokio::test]
async fn a_connection_is_idle_after_its_answer() {
    let server = start(1, PATIENT).await;
    let mut first = server
        .open_raw("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    first.until("\r\n\r\n").await;
    first
        .send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    first.until("\r\n\r\n").await;
    while !is_healthy_or_refused(&server).await {}
    assert_eq!(first.until_closed().await, "");
}

/// A head may have 32 KiB.
#[tokio::test]
async fn a_head_has_a_limit() {
    let server = Server::start().await;
    let head = |bytes: usize| {
        let header = format!("X-Long: {}\r\n", "a".repeat(bytes));
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n")
    };
    let response = server.open_raw(&head(16 << 10)).await.response().await;
    assert_eq!(response.status, 200);
    let connection: Connection = server.open_raw(&head(40 << 10)).await;
    assert!(connection.until_closed().await.starts_with("HTTP/1.1 431 "));
}

/// The value of a metric without labels of its own.
async fn figure(server: &Endpoint, name: &str) -> u64 {
    let page = server.get("/metrics").await.body;
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    value.unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn metrics_count_connections() {
    let mut server = start(2, PATIENT).await;
    let open = "farthing_connections_open";
    let evicted = "farthing_connections_evicted_total";
    let refused = "farthing_connections_refused_total";
    // The connection of the question itself.
    assert_eq!(figure(&server, open).await, 1);
    // A server learns a moment later that a connection is closed: the question evicts it then.
    let evicted_before = figure(&server, evicted).await;
    let idle = [server.open_raw("").await, server.open_raw("").await];
    while figure(&server, evicted).await == evicted_before {}
    assert_eq!(figure(&server, refused).await, 0);
    drop(idle);
    let mut connections = Vec::new();
    let mut plays = Vec::new();
    for _ in 0..2 {
        let mut connection = server.open("/v1/chat/completions", &streamed()).await;
        let play = server.play().await;
        play.say(0, "a");
        connection.event().await;
        connections.push(connection);
        plays.push(play);
    }
    for _ in 0..3 {
        assert_eq!(server.get("/health").await.status, 503);
    }
    let play = plays.pop().unwrap();
    play.finish(0, FinishReason::Stop, usage(1, 0, 1));
    connections.pop().unwrap().until_closed().await;
    while !is_healthy_or_refused(&server).await {}
    assert!(figure(&server, refused).await >= 3);
}
