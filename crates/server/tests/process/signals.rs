//! SIGTERM, SIGINT and SIGHUP.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::farthing::{Home, post};

/// A stream of `n` long answers.
fn stream(n: usize) -> Vec<u8> {
    let body = json!({
        "model": "tiny", "prompt": "hi", "max_tokens": 4000, "n": n, "stream": true, "ignore_eos": true,
    });
    post("/v1/completions", "", &body)
}

#[test]
fn sigterm_lets_answers_end() {
    let home = Home::new();
    let mut server = home.serve();
    let mut answer = BufReader::new(server.open(&stream(1)));
    let mut first = String::new();
    while !first.contains("data: ") {
        answer.read_line(&mut first).unwrap();
    }
    server.signal(Signal::TERM);
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\""), "{rest}");
    assert!(rest.contains("data: [DONE]"), "{rest}");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

/// The first signal would wait for half a minute until the peer reads.
#[test]
fn a_second_signal_ends_at_once() {
    for (second, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let home = Home::new();
        let mut server = home.serve();
        let mut unread = server.open(&stream(8));
        unread.read_exact(&mut [0; 20]).unwrap();
        server.signal(Signal::TERM);
        server.wait_for_log("shutting down");
        assert!(server.is_running());
        let began = Instant::now();
        server.signal(second);
        assert_eq!(server.wait().code(), Some(status), "{}", server.log());
        assert!(began.elapsed() < Duration::from_secs(15));
        assert!(server.log().contains("ending at once"), "{}", server.log());
    }
}

#[test]
fn sighup_ends_nothing() {
    let home = Home::new();
    let mut server = home.serve();
    for _ in 0..3 {
        server.signal(Signal::HUP);
        let answer = server.get("/health");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(server.is_running());
    server.stop();
}
