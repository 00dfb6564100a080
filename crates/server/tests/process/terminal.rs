//! What others write never commands the operator's terminal, and forges no line of the log.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::farthing::{Home, post};

/// An escape sequence, line breaks of several kinds, and a mark that turns the text around.
const EVIL: &str =
    "a\u{1b}[2J\u{1b}]0;b\u{7}\u{9b}31m\rc\u{202e}d\u{2028}\u{85}\u{2066}e\nforged line";

/// Whether a terminal shows the text as it is, line by line, and every line is one of ours.
#[track_caller]
fn check(text: &str) {
    for line in text.lines() {
        let hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(hidden), "{line:?}");
        assert!(!line.starts_with("forged"), "{line:?} in {text}");
    }
}

#[test]
fn the_start_shows_what_files_are_called() {
    let home = Home::new();
    let model = home.model(&EVIL.replace('/', "-"));
    let adapters = home.path(EVIL);
    let mut command = home.command(&model);
    command
        .arg("--adapter-dir")
        .arg(&adapters)
        .env("FARTHING_LEDGER", home.path(&format!("{EVIL}.sqlite3")));
    let server = home.start(command);
    assert!(
        server.start_lines.contains("\\u{1b}[2J"),
        "{}",
        server.start_lines
    );
    let log = server.log();
    check(&server.stop());
    check(&log);
}

#[test]
fn the_command_to_try_can_be_copied_to_a_shell() {
    let home = Home::new();
    let mut command = home.command(&home.model("tiny"));
    command.args(["--served-model-name", "it's; \"$(a)\" \u{202e}"]);
    let lines = home.start(command).stop();
    let (_, words) = lines.trim_end().rsplit_once("curl -N ").unwrap();
    let print = format!("printf '%s\\n' {words}");
    let output = Command::new("sh").args(["-c", &print]).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    let question: Value = serde_json::from_str(words.lines().last().unwrap()).unwrap();
    assert_eq!(question["model"], "it's; \"$(a)\" \u{202e}");
}

#[test]
fn an_error_of_the_start_shows_what_files_are_called() {
    let home = Home::new();
    let model = home.path(EVIL);
    let output = home.command(&model).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("[2J"), "{told}");
    for line in told.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn no_request_forges_a_line_of_the_log() {
    let home = Home::new();
    fs::create_dir(home.path("adapters")).unwrap();
    let mut command = home.command(&home.model("tiny"));
    command
        .args(["--served-model-name", "tiny", "--admin-key", "open sesame"])
        .arg("--adapter-dir")
        .arg(home.path("adapters"))
        .env("RUST_LOG", "trace,mio=off");
    let mut server = home.start(command);
    let evil_header = "caf\u{e9}\u{9b}2J\u{2028}\u{202e}";
    let admin = "Authorization: Bearer open sesame\r\n";
    let requests = [
        post("/v1/completions", "", &json!({"model": "tiny", "prompt": EVIL, "user": EVIL, "max_tokens": 2})),
        post("/v1/completions", "", &json!({"model": EVIL, "prompt": "a"})),
        post("/v1/completions", "", &json!({"model": "tiny", "prompt": "a", EVIL: 1})),
        post("/v1/completions", "", &json!({"model": "tiny", "prompt": "a", "stop": EVIL, "cache_salt": EVIL})),
        post("/v1/chat/completions", "", &json!({"model": "tiny", "messages": [{"role": EVIL, "content": "a"}]})),
        post("/v1/load_lora_adapter", admin, &json!({"lora_name": EVIL, "lora_path": EVIL})),
        post("/v1/unload_lora_adapter", admin, &json!({"lora_name": EVIL})),
        post("/v1/completions", &format!("X-Request-Id: {evil_header}\r\nX-Client-Request-Id: {evil_header}\r\nOrigin: {evil_header}\r\n"), &json!({})),
        post("/v1/completions", &format!("Content-Encoding: {evil_header}\r\nAuthorization: Bearer {evil_header}\r\n"), &json!({})),
        post("/v1/completions", "X-Header: a\u{1b}[2J\r\n", &json!({})),
        post("/v1/completions", "X-Client-Request-Id: a\tb\r\n", &json!({"model": "none", "prompt": "a"})),
        post("/v1/%1b[2J%0aforged%e2%80%a8", "", &json!({})),
        post("/v1/\u{1b}[2J\u{9b}", "", &json!({})),
        post("/v1/models/%0aforged%1b", "", &json!({})),
        b"GET /v1/models/%0aforged%1b[2J%e2%80%ae HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /v1/organization/costs?start_time=%0aforged%1b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /health HTTP/1.1\r\nHost: a\x1b[2J\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /health HTTP/1.1\r\nHost: evil\xc2\x9b.example\r\nConnection: close\r\n\r\n".to_vec(),
        b"G\x1bT /health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x1b[2J\nforged\n\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\n".to_vec(),
    ];
    for request in &requests {
        server.ask(request);
    }
    // The log has what they sent, in another form.
    server.wait_for_log("forged line");
    server.wait_for_log("client_request_id=\"a\\tb\"");
    // The operator's pages have it in JSON's form.
    server.wait_for_metric("farthing_ledger_places_taken", 0.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = now.unwrap().as_secs() - 3600;
    let usage = format!("/v1/organization/usage/completions?group_by=user_id&start_time={start}");
    for (page, has_user) in [
        ("/metrics", false),
        ("/v1/costs/now", true),
        ("/v1/lora_adapters", false),
        (&usage, true),
    ] {
        let request =
            format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{admin}\r\n");
        let answer = server.ask(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(body.contains("\\u001b[2J"), has_user, "{body}");
        check(body);
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    check(&server.log());
}
