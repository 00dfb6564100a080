//! A body that the server does not want never hides the answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::wire::{Server, post};

const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// Sends all of a request before it reads, as many clients do, and returns what is answered until the
/// server closes the connection. It ends with an error if the server resets it.
async fn send_then_read(server: &Server, head: String, body: Vec<u8>) -> std::io::Result<String> {
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
    .await
    .unwrap()
}

fn head(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// In chunks of 64 KiB.
fn chunked(bytes: usize) -> Vec<u8> {
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
    let mut body = chunk.repeat(bytes >> 16);
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

/// A body of spaces. A last request follows it, after whose answer the server closes the connection.
fn spaces(bytes: usize) -> Vec<u8> {
    let last = head("GET", "/health", "Connection: close\r\n");
    [vec![b' '; bytes], last.into_bytes()].concat()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|a| &a[..3])
        .collect()
}

#[tokio::test]
async fn a_large_body_is_told_so_after_all_of_it_was_sent() {
    let server = Server::start().await;
    for bytes in [17 * MIB, 40 * MIB] {
        let lines = format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n");
        let head = head("POST", CHAT, &lines);
        let answer = send_then_read(&server, head, vec![b' '; bytes])
            .await
            .unwrap();
        assert_eq!(statuses(&answer), ["413"]);
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("larger than 16777216 bytes"), "{answer}");
    }
    let lines = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let head = head("POST", CHAT, lines);
    let answer = send_then_read(&server, head, chunked(40 * MIB))
        .await
        .unwrap();
    assert_eq!(statuses(&answer), ["413"]);
}

#[tokio::test]
async fn other_refusals_are_told_after_a_body_too_and_small_ones_keep_the_connection() {
    let server = Server::start().await;
    for (method, path, content_type, expected) in [
        ("POST", "/v1/nothing", "application/json", "404"),
        ("PUT", CHAT, "application/json", "405"),
        ("GET", "/health", "application/json", "200"),
        ("POST", CHAT, "text/plain", "415"),
    ] {
        for bytes in [10, 70_000, 4 * MIB] {
            let lines = format!("Content-Type: {content_type}\r\nContent-Length: {bytes}\r\n");
            let head = head(method, path, &lines);
            let answers = send_then_read(&server, head, spaces(bytes)).await.unwrap();
            // A body that is too large to be read ends the connection.
            let all = [expected, "200"];
            let told = if bytes > MIB { &all[..1] } else { &all[..] };
            assert_eq!(statuses(&answers), told, "{method} {path} {bytes}");
        }
    }
    let lines = format!("Host: evil.example\r\nContent-Length: {MIB}\r\n");
    let answers = send_then_read(&server, head("POST", CHAT, &lines), spaces(MIB)).await;
    assert_eq!(statuses(&answers.unwrap()), ["400"]);
}

#[tokio::test]
async fn a_compressed_body_is_a_415_that_says_what_to_do() {
    let server = Server::start().await;
    let body = json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]});
    for encoding in ["gzip", "GZIP", "br", "identity, gzip", "deflate", "zstd"] {
        let lines = format!("Content-Encoding: {encoding}\r\n");
        let response = server.post_with(CHAT, &body, &lines).await;
        assert_eq!(response.status, 415, "{encoding}");
        assert_eq!(
            response.error(),
            [json!("invalid_request_error"), Value::Null, Value::Null]
        );
        let message = response.json()["error"]["message"].to_string();
        assert!(message.contains("compressed"), "{message}");
        assert!(
            response.head.contains("\r\naccept-encoding: identity"),
            "{}",
            response.head
        );
    }
    let body = json!({"model": "none", "prompt": "hi"});
    for encoding in ["identity", "Identity", ""] {
        let lines = format!("Content-Encoding: {encoding}\r\n");
        let response = server.post_with("/v1/completions", &body, &lines).await;
        assert_eq!(response.status, 404, "{encoding}");
    }
}

/// The body is only asked for if it is wanted.
#[tokio::test]
async fn a_client_that_waits_is_told_to_continue_or_not() {
    let server = Server::start().await;
    let body = json!({"model": "none", "prompt": "hi"}).to_string();
    let whole = post("/v1/completions", &body);
    let whole = whole.replace(
        "Connection: close",
        "Expect: 100-continue\r\nConnection: close",
    );
    let (head, body) = whole.split_at(whole.len() - body.len());
    let mut wanted = server.open_raw(head).await;
    wanted.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    wanted.send(body).await;
    assert_eq!(wanted.response().await.status, 404);

    for (head, status) in [
        (head.replace("/v1/completions", "/v1/nothing"), 404),
        (head.replace("application/json", "text/plain"), 415),
        (
            head.replace("Content-Length: ", "Content-Length: 9999999"),
            413,
        ),
    ] {
        // It is still waiting for the word to send its body.
        let response = server.open_raw(&head).await.response().await;
        assert_eq!(response.status, status, "{head}");
        assert!(
            response.head.contains("\r\nconnection: close"),
            "{}",
            response.head
        );
    }
}
