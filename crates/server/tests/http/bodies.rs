//! A body that the server does not want never hides the answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::wire::{Server, post};

const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// Sends all of a request before it reads, as many clients do, and returns what is answered. It ends
/// with an error if the server resets the connection.
async fn send_then_read(server: &Server, head: String, body: Vec<u8>) -> std::io::Result<String> {
    let address = server.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        // Not by closing the other direction: the server may take that for a caller who leaves.
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        while !is_whole(&answer) {
            match stream.read(&mut bytes)? {
                0 => break,
                read => answer.extend_from_slice(&bytes[..read]),
            }
        }
        Ok(String::from_utf8(answer).unwrap())
    })
    .await
    .unwrap()
}

/// Whether it is one answer on a connection that stays open. Others end with the connection.
fn is_whole(answer: &[u8]) -> bool {
    let answer = str::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    !head.contains("connection: close") && length.unwrap().parse() == Ok(body.len())
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

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
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
        assert_eq!(status(&answer), "413");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("larger than 16777216 bytes"), "{answer}");
    }
    let lines = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let head = head("POST", CHAT, lines);
    let answer = send_then_read(&server, head, chunked(40 * MIB))
        .await
        .unwrap();
    assert_eq!(status(&answer), "413");
}

#[tokio::test]
async fn other_refusals_are_told_after_a_large_body_too() {
    let server = Server::start().await;
    for (method, path, content_type, expected) in [
        ("POST", "/v1/nothing", "application/json", "404"),
        ("PUT", CHAT, "application/json", "405"),
        ("GET", "/health", "application/json", "200"),
        ("POST", CHAT, "text/plain", "415"),
    ] {
        for bytes in [10, 100 << 10, 4 * MIB] {
            let lines = format!("Content-Type: {content_type}\r\nContent-Length: {bytes}\r\n");
            let head = head(method, path, &lines);
            let answer = send_then_read(&server, head, vec![b' '; bytes]).await;
            let answer = answer.unwrap();
            assert_eq!(status(&answer), expected, "{method} {path} {bytes}");
            assert_eq!(answer.contains("connection: close"), bytes > MIB);
        }
    }
    let lines = format!("Host: evil.example\r\nContent-Length: {MIB}\r\n");
    let answer = send_then_read(&server, head("POST", CHAT, &lines), vec![b' '; MIB]).await;
    assert_eq!(status(&answer.unwrap()), "400");
}

/// Small bodies are read, so that the connection can be used again.
#[tokio::test]
async fn a_connection_survives_a_small_body_that_nobody_wanted() {
    let server = Server::start().await;
    let refused = head("POST", "/v1/nothing", "Content-Length: 70000\r\n");
    let next = head("GET", "/health", "Connection: close\r\n");
    let body = [vec![b'x'; 70_000], next.into_bytes()].concat();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(refused.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(statuses.len(), 2, "{answer}");
    assert!(
        statuses[0].starts_with("404") && statuses[1].starts_with("200"),
        "{answer}"
    );
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
