//! A vendor on a real port that answers what a test writes down.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the vendor does with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// A stream of these events' data, with an end marker.
    Stream(Vec<Value>),
    /// The same without the end marker: the connection is closed.
    Cut(Vec<Value>),
    /// A status and a body.
    Status(u16, Value, &'static str),
    /// Nothing, until the server hangs up.
    Silence,
}

/// It answers every request alike.
pub(crate) struct FakeVendor {
    pub(crate) address: SocketAddr,
    act: Arc<Mutex<Act>>,
    /// The heads and bodies of requests, in order of arrival.
    requests: watch::Receiver<Vec<(String, Value)>>,
    /// The connections that the server closed while the vendor was silent.
    hung_up: watch::Receiver<usize>,
}

impl FakeVendor {
    pub(crate) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let act = Arc::new(Mutex::new(act));
        let (seen, requests) = watch::channel(Vec::new());
        let (gone, hung_up) = watch::channel(0);
        let shared = act.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, seen, gone) = (shared.clone(), seen.clone(), gone.clone());
                tokio::spawn(async move { converse(stream, &shared, &seen, &gone).await });
            }
        });
        Self {
            address,
            act,
            requests,
            hung_up,
        }
    }

    /// From now on.
    pub(crate) fn act(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    /// The requests, once there are `count` of them.
    pub(crate) async fn requests(&self, count: usize) -> Vec<(String, Value)> {
        let mut requests = self.requests.clone();
        let requests = requests.wait_for(|it| it.len() >= count).await.unwrap();
        assert_eq!(requests.len(), count);
        requests.clone()
    }

    /// Waits until the server has hung up `count` times.
    pub(crate) async fn hung_up(&self, count: usize) {
        let mut hung_up = self.hung_up.clone();
        hung_up.wait_for(|it| *it >= count).await.unwrap();
    }
}

/// A chunk of a chat with one choice.
pub(crate) fn chunk(delta: Value, finish_reason: Value) -> Value {
    json!({
        "id": "chatcmpl-v",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "small-2026",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
}

/// The chunk with the usage.
pub(crate) fn usage_chunk(prompt: u64, completion: u64) -> Value {
    json!({
        "id": "chatcmpl-v",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "small-2026",
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    })
}

/// A whole answer of these pieces.
pub(crate) fn says(pieces: &[&str]) -> Vec<Value> {
    let mut events = vec![chunk(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    events.extend(
        pieces
            .iter()
            .map(|text| chunk(json!({"content": text}), Value::Null)),
    );
    events.push(chunk(json!({}), json!("stop")));
    events.push(usage_chunk(10, pieces.len() as u64));
    events
}

async fn converse(
    stream: TcpStream,
    act: &Mutex<Act>,
    seen: &watch::Sender<Vec<(String, Value)>>,
    gone: &watch::Sender<usize>,
) {
    let Some(request) = read_request(&stream).await else {
        return;
    };
    seen.send_modify(|requests| requests.push(request));
    let act = act.lock().unwrap().clone();
    match act {
        Act::Stream(events) => {
            write(&stream, STREAM_HEAD).await;
            for event in events {
                write(&stream, &format!("data: {event}\n\n")).await;
            }
            write(&stream, "data: [DONE]\n\n").await;
        }
        Act::Cut(events) => {
            write(&stream, STREAM_HEAD).await;
            for event in events {
                write(&stream, &format!("data: {event}\n\n")).await;
            }
        }
        Act::Status(status, body, headers) => {
            let body = body.to_string();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                 {headers}connection: close\r\n\r\n"
            );
            write(&stream, &(head + &body)).await;
        }
        Act::Silence => {
            while read(&stream).await.is_some_and(|bytes| !bytes.is_empty()) {}
            gone.send_modify(|count| *count += 1);
        }
    }
}

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

async fn read_request(stream: &TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1)?;
            let length: usize = length.lines().next()?.trim().parse().ok()?;
            if body.len() >= length {
                return Some((head, serde_json::from_str(body).ok()?));
            }
        }
        let more = read(stream).await.filter(|bytes| !bytes.is_empty())?;
        bytes.extend(more);
    }
}

/// More bytes; none at the end.
async fn read(stream: &TcpStream) -> Option<Vec<u8>> {
    loop {
        stream.readable().await.ok()?;
        let mut bytes = vec![0; 65_536];
        match stream.try_read(&mut bytes) {
            Ok(read) => {
                bytes.truncate(read);
                return Some(bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

async fn write(stream: &TcpStream, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        if stream.writable().await.is_err() {
            return;
        }
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
