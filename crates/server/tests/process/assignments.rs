//! A routed request's assignment is in the ledger before anything is done for it, however the process ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use farthing_ledger::{AssignedRequest, ExperimentRows, LedgerReader, Location};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::farthing::{Home, post};

/// A vendor that notes the user of each request and never answers.
fn silent_vendor() -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let users = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let users = users.clone();
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                if let Some(user) = user_of(&mut stream) {
                    users.lock().unwrap().insert(user);
                }
                // Until the server is gone.
                let _ = stream.read(&mut [0]);
            });
        }
    });
    (address, seen)
}

fn user_of(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    Some(body["user"].as_str()?.to_owned())
}

#[test]
fn a_killed_server_has_written_every_assignment_that_it_acted_on() {
    let (vendor, seen) = silent_vendor();
    let home = Home::new();
    let arm = "{ vendor = \"silent\", model = \"m\", weight = 1 }";
    let routes = format!(
        "[vendors.silent]\ndialect = \"openai\"\nbase_url = \"http://{vendor}/v1\"\n\
         [routes.split.arms]\na = {arm}\nb = {arm}\n"
    );
    let file = home.path("routes.toml");
    fs::write(&file, routes).unwrap();
    let mut command = home.command(&home.model("tiny"));
    command.arg("--routes").arg(&file);
    let mut server = home.start(command);
    let address = server.address;
    // Callers that ask until the server is gone.
    let callers = (0..16).map(|caller| {
        thread::spawn(move || {
            for number in 0.. {
                let body = json!({
                    "model": "split",
                    "user": format!("user-{caller}-{number}"),
                    "messages": [{"role": "user", "content": "Hi"}],
                });
                let Ok(mut stream) = TcpStream::connect(address) else {
                    return;
                };
                if stream
                    .write_all(&post("/v1/chat/completions", "", &body))
                    .is_err()
                {
                    return;
                }
                // The next request comes when the vendor has this one, or never.
                let mut answer = [0; 1];
                stream
                    .set_read_timeout(Some(std::time::Duration::from_millis(20)))
                    .unwrap();
                let _ = stream.read(&mut answer);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    while seen.lock().unwrap().len() < 100 {
        thread::yield_now();
    }
    server.signal(Signal::KILL);
    server.wait();
    for caller in callers {
        caller.join().unwrap();
    }
    let mut assigned = BTreeSet::new();
    let all = ExperimentRows {
        experiment: "split".to_owned(),
        from_us: 0,
        until_us: i64::MAX,
    };
    LedgerReader::open(&Location::Sqlite(home.path("ledger.sqlite3")))
        .unwrap()
        .assigned_requests(&all, "accepted", |request: AssignedRequest| {
            assigned.insert(request.unit);
        })
        .unwrap();
    let seen = seen.lock().unwrap();
    let acted_on: BTreeSet<_> = seen.iter().map(|user| format!("user:{user}")).collect();
    let lost: Vec<_> = acted_on.difference(&assigned).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
