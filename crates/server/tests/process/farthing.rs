//! A process of `farthing serve` with a tiny model of random weights.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use farthing_testkit::tiny_llama;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a server has logged so far.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    text: String,
    is_over: bool,
}

impl Log {
    /// Reads until the process closes its end.
    fn read(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines() {
            let mut state = self.state.lock().unwrap();
            state.text.push_str(&line.unwrap());
            state.text.push('\n');
            self.changed.notify_all();
        }
        self.state.lock().unwrap().is_over = true;
        self.changed.notify_all();
    }

    /// The log, once this holds for it or it is over.
    fn wait_until(&self, is_reached: impl Fn(&LogState) -> bool) -> String {
        let state = self.state.lock().unwrap();
        let waits = |state: &mut LogState| !state.is_over && !is_reached(state);
        self.changed.wait_while(state, waits).unwrap().text.clone()
    }
}

/// A directory with what a server needs.
pub(crate) struct Home {
    directory: TempDir,
}

/// A server that runs. It is killed when it is dropped.
pub(crate) struct Farthing {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it printed until it said its address.
    pub(crate) start_lines: String,
    rest: Option<JoinHandle<String>>,
    log: Arc<Log>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes the directory of a model.
    pub(crate) fn model(&self, name: &str) -> PathBuf {
        let config = tiny_llama(300, 4096);
        let directory = self.path(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        directory
    }

    /// `farthing serve` with this model, in an environment of its own. The ledger is
    /// `ledger.sqlite3`, unless `configure` says otherwise.
    pub(crate) fn command(&self, model: &Path) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_farthing")), model)
    }

    /// The same with another copy of the binary.
    pub(crate) fn command_of(&self, binary: &Path, model: &Path) -> Command {
        // A shell can ignore a signal for the program that it becomes: the one that a file's limit
        // of size would send, where a full disk only fails the write.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(binary)
            .arg("serve")
            .args(["--load-format", "dummy", "--device", "cpu", "--port", "0"])
            .arg("--model")
            .arg(model)
            .env("FARTHING_CACHE", self.path("cache"))
            .env("FARTHING_LEDGER", self.path("ledger.sqlite3"))
            .env_remove("FARTHING_KEYS")
            .env_remove("FARTHING_ADMIN_KEY")
            .env_remove("RUST_LOG");
        command
    }

    /// Starts the command and waits for the server's address.
    pub(crate) fn start(&self, mut command: Command) -> Farthing {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let (reader, stderr) = (log.clone(), child.stderr.take().unwrap());
        thread::spawn(move || reader.read(stderr));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut start_lines = String::new();
        let address = loop {
            let line = start_lines.len();
            let read = stdout.read_line(&mut start_lines).unwrap();
            if read == 0 {
                panic!("{start_lines}{}", log.wait_until(|log| log.is_over));
            }
            let line = start_lines[line..].trim_start();
            if let Some((_, address)) = line
                .split_once("://")
                .filter(|_| line.starts_with("address"))
            {
                break address.trim_end().trim_end_matches("/v1").parse().unwrap();
            }
        };
        Farthing {
            child,
            address,
            start_lines,
            rest: Some(thread::spawn(move || {
                let mut rest = String::new();
                stdout.read_to_string(&mut rest).unwrap();
                rest
            })),
            log,
        }
    }

    /// With the model `tiny`.
    pub(crate) fn serve(&self) -> Farthing {
        let mut command = self.command(&self.model("tiny"));
        command.args(["--served-model-name", "tiny"]);
        self.start(command)
    }
}

impl Farthing {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, and for the end of its log.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.log.wait_until(|log| log.is_over);
        status
    }

    pub(crate) fn log(&self) -> String {
        self.log.wait_until(|_| true)
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let log = self.log.wait_until(|log| log.text.contains(text));
        assert!(log.contains(text), "{log}");
    }

    /// Ends it: all that it has printed.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log());
        let rest = self.rest.take().unwrap().join().unwrap();
        format!("{}{rest}", self.start_lines)
    }

    /// Sends bytes, whose answer is read later.
    pub(crate) fn open(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request).unwrap();
        stream
    }

    /// Sends bytes: the answer until the server hangs up.
    pub(crate) fn ask(&self, request: &[u8]) -> String {
        let mut answer = Vec::new();
        self.open(request).read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    }

    /// Waits until a metric without labels of its own has a value.
    pub(crate) fn wait_for_metric(&self, name: &str, expected: f64) {
        loop {
            let page = self.get("/metrics");
            let mut lines = page.lines();
            let line = lines.find(|line| line.starts_with(&format!("{name}{{")));
            let (_, value) = line.unwrap().rsplit_once(' ').unwrap();
            if value.parse() == Ok(expected) {
                return;
            }
            thread::yield_now();
        }
    }
}

impl Drop for Farthing {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn post(path: &str, headers: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
