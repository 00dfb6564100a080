//! A client that leaves takes its sequences with it.

use serde_json::json;

use crate::wire::Server;

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

async fn assert_aborted(server: &Server, choices: usize) {
    let metrics = server.get("/metrics").await.body;
    let expected = format!("engine=\"0\",finished_reason=\"abort\"}} {choices}\n");
    assert!(metrics.contains(&expected), "{metrics}");
}
