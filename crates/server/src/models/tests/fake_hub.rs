//! As much of the hub's HTTP as a download needs.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest, Sha256};

/// The commit that every branch of a fake hub points to.
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The repository of every fake hub, which has it under any name.
pub(super) const REPO: &str = "owner/name";

/// A hub with one model, on a port of its own.
pub(super) struct FakeHub {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    damaged: Option<String>,
    refusal: Option<u16>,
    requests: Vec<String>,
    stopped: bool,
}

impl FakeHub {
    pub(super) fn serve(files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
            .collect();
        Self::start(State {
            files,
            ..State::default()
        })
    }

    pub(super) fn refuse(status: u16) -> Self {
        Self::start(State {
            refusal: Some(status),
            ..State::default()
        })
    }

    /// Lets a byte of one file change on its way.
    pub(super) fn damage(self, name: &str) -> Self {
        self.state.lock().unwrap().damaged = Some(name.to_owned());
        self
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every request so far, in lower case.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(super) fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
    }

    fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { port, state }
    }
}

/// Answers one request and closes the connection. A broken one is the client's business.
fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let lines = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok);
    let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    // Somebody looked whether the port is open.
    let Some(path) = request.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let mut state = state.lock().unwrap();
    if state.stopped {
        return;
    }
    state.requests.push(request.join("\n").to_lowercase());
    let (head, body) = response(&state, path, &request);
    drop(state);
    let head = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

fn response(state: &State, path: &str, request: &[String]) -> (String, Vec<u8>) {
    if let Some(status) = state.refusal {
        return (format!("{status} Refused"), Vec::new());
    }
    if path.starts_with("/api/models/") {
        let siblings: Vec<_> = state
            .files
            .iter()
            .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
            .collect();
        let info = serde_json::json!({ "id": REPO, "sha": COMMIT, "siblings": siblings });
        return (
            "200 OK\r\ncontent-type: application/json".into(),
            info.to_string().into(),
        );
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((_, bytes)) = state.files.iter().find(|(file, _)| file == name) else {
        return ("404 Not Found".into(), Vec::new());
    };
    let range = request.iter().find_map(|line| {
        let line = line.to_lowercase();
        let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        let last = last.parse().map_or(bytes.len(), |last: usize| last + 1);
        Some(first.parse::<usize>().ok()?..last)
    });
    let range = range.unwrap_or(0..bytes.len());
    let mut body = bytes[range.clone()].to_vec();
    if state.damaged.as_deref() == Some(name)
        && let Some(byte) = body.last_mut()
    {
        *byte ^= 1;
    }
    let head = format!(
        "206 Partial Content\r\netag: \"{:x}\"\r\nx-repo-commit: {COMMIT}\r\n\
         content-range: bytes {}-{}/{}",
        Sha256::digest(bytes),
        range.start,
        range.end.saturating_sub(1),
        bytes.len()
    );
    (head, body)
}
