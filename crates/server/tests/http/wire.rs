//! A server on a real port, and HTTP/1.1 by hand.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farthing_engine::{ChatTemplate, Tokenizer, byte_level_alphabet};
use farthing_keys::KeyFile;
use farthing_ledger::Location;
use farthing_model::GgufTokenizer;
use farthing_server::{
    AdminKey, App, AppConfig, Bookkeeper, CallerKeys, CostsConfig, Lanes, Local, SamplingDefaults,
    ServeConfig, ServedModels, Timeouts, serve,
};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::scripted_engine::{Play, ScriptedEngine};
use crate::shelf::Shelf;

pub(crate) const BOS: u32 = 256;
pub(crate) const VOCAB_SIZE: usize = 259;
pub(crate) const ADMIN_KEY: &str = "open sesame";

/// Longer than any test takes.
pub(crate) const PATIENT: Timeouts = Timeouts {
    handshake: Duration::from_secs(30),
    read: Duration::from_secs(30),
    write: Duration::from_secs(30),
    shutdown: Duration::from_secs(30),
};

/// A server with a scripted engine behind it.
pub(crate) struct Server {
    endpoint: Endpoint,
    pub(crate) engine: Arc<ScriptedEngine>,
    /// Where its adapters lie.
    pub(crate) shelf: Shelf,
    plays: mpsc::UnboundedReceiver<Play>,
}

/// A server on a port of its own, whatever answers behind it.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
}

impl Deref for Server {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }
}

impl Server {
    /// Serves the models `base` and `legal`, an adapter of the shelf, at 0.10 USD an hour.
    pub(crate) async fn start() -> Self {
        Self::start_with(Some("0.10"), PATIENT).await
    }

    pub(crate) async fn start_with(price: Option<&str>, timeouts: Timeouts) -> Self {
        let admin_key = Some(ADMIN_KEY.parse().unwrap());
        Self::start_as(price, timeouts, admin_key).await
    }

    pub(crate) async fn start_as(
        price: Option<&str>,
        timeouts: Timeouts,
        admin_key: Option<AdminKey>,
    ) -> Self {
        let with_key = |app: App, _: &_| match admin_key {
            Some(key) => app.with_admin_key(key),
            None => app,
        };
        Self::start_app(price, ServeConfig::new(timeouts), with_key).await
    }

    /// Without a key, and with a ledger in a file.
    pub(crate) async fn start_with_ledger(file: &Path) -> (Self, Bookkeeper) {
        let location = Location::Sqlite(file.to_owned());
        let price = "0.10".parse().unwrap();
        let mut kept = None;
        let with_ledger = |app: App, engine: &Arc<ScriptedEngine>| {
            let model = "base".to_owned();
            let bookkeeper =
                Bookkeeper::open(location, model, Some(price), engine.clone()).unwrap();
            kept = Some(bookkeeper.clone());
            app.with_ledger(bookkeeper)
        };
        let server = Self::start_app(Some("0.10"), ServeConfig::new(PATIENT), with_ledger).await;
        (server, kept.unwrap())
    }

    /// With a ledger in a file, and routes.
    pub(crate) async fn start_with_routes(file: &Path, toml: &str) -> (Self, Bookkeeper) {
        let location = Location::Sqlite(file.to_owned());
        let price = "0.10".parse().unwrap();
        let mut kept = None;
        let with_routes = |app: App, engine: &Arc<ScriptedEngine>| {
            let model = "base".to_owned();
            let bookkeeper =
                Bookkeeper::open(location, model, Some(price), engine.clone()).unwrap();
            kept = Some(bookkeeper.clone());
            let app = app.with_admin_key(ADMIN_KEY.parse().unwrap());
            app.with_ledger(bookkeeper).with_routes(toml).unwrap()
        };
        let server = Self::start_app(Some("0.10"), ServeConfig::new(PATIENT), with_routes).await;
        (server, kept.unwrap())
    }

    /// With the keys of a file, a price of 0.10 USD an hour and a ledger beside the file.
    pub(crate) async fn start_with_keys(file: &KeyFile) -> (Self, Bookkeeper) {
        let price = "0.10".parse().unwrap();
        let keys = Arc::new(CallerKeys::open(file, Some(price)).unwrap());
        let location = Location::Sqlite(file.path().with_extension("sqlite3"));
        let mut kept = None;
        let with_keys = |app: App, engine: &Arc<ScriptedEngine>| {
            let model = "base".to_owned();
            let bookkeeper =
                Bookkeeper::open(location, model, Some(price), engine.clone()).unwrap();
            kept = Some(bookkeeper.clone());
            app.with_keys(keys)
                .with_admin_key(ADMIN_KEY.parse().unwrap())
                .with_ledger(bookkeeper)
        };
        let server = Self::start_app(Some("0.10"), ServeConfig::new(PATIENT), with_keys).await;
        (server, kept.unwrap())
    }

    /// Without a key and a price.
    pub(crate) async fn start_served(config: ServeConfig) -> Self {
        Self::start_app(None, config, |app, _| app).await
    }

    async fn start_app(
        price: Option<&str>,
        config: ServeConfig,
        finish: impl FnOnce(App, &Arc<ScriptedEngine>) -> App,
    ) -> Self {
        let (engine, plays) = ScriptedEngine::new();
        let engine = Arc::new(engine);
        let tokenizer = Arc::new(tokenizer());
        let template = "<bos>{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                        {% if messages[0].role == 'assistant' %}\
                        {{ raise_exception('the user speaks first') }}{% endif %}";
        let shelf = Shelf::new();
        let models = ServedModels::new(
            vec!["base".to_owned(), "org/base".to_owned()],
            "demo.gguf".to_owned(),
            Some(shelf.adapters(engine.clone())),
            64,
        );
        let models = Arc::new(models);
        let lanes = Lanes::default();
        let local = Local {
            backend: engine.clone(),
            chat_template: Some(Arc::new(ChatTemplate::new(template, &tokenizer).unwrap())),
            tokenizer,
            models: models.clone(),
            vocab_size: VOCAB_SIZE,
            sampling: SamplingDefaults::default(),
            lanes: lanes.clone(),
        };
        let app = App::new(AppConfig {
            provider: Arc::new(local),
            models,
            engine: Some(engine.clone()),
            costs: CostsConfig {
                price: price.map(|price| price.parse().unwrap()),
                slo_tokens_per_second: Some(1000.0),
                tokenizer: None,
            },
            lanes,
        });
        let app = finish(app, &engine);
        Self {
            endpoint: Endpoint::serve_with(app, config).await,
            engine,
            shelf,
            plays,
        }
    }

    /// The next request that reaches the engine.
    pub(crate) async fn play(&mut self) -> Play {
        self.plays.recv().await.unwrap()
    }
}

impl Endpoint {
    pub(crate) async fn serve(app: App, timeouts: Timeouts) -> Self {
        Self::serve_with(app, ServeConfig::new(timeouts)).await
    }

    pub(crate) async fn serve_with(app: App, config: ServeConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // A test that drops the server stops it too.
            let _ = stopped.await;
        };
        Self {
            address,
            stop: Some(stop),
            serving: tokio::spawn(serve(listener, app, stopped, config)),
        }
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Sends a JSON body, to be answered later.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> Connection {
        self.open_raw(&post(path, &body.to_string())).await
    }

    pub(crate) async fn open_raw(&self, request: &str) -> Connection {
        let connection = Connection {
            stream: TcpStream::connect(self.address).await.unwrap(),
            unread: Vec::new(),
        };
        connection.send(request).await;
        connection
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.open(path, body).await.response().await
    }

    /// Posts with the admin key.
    pub(crate) async fn admin(&self, path: &str, body: &Value) -> Response {
        self.post_with(
            path,
            body,
            &format!("Authorization: Bearer {ADMIN_KEY}\r\n"),
        )
        .await
    }

    /// Posts with further header lines.
    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &str) -> Response {
        self.open_with(path, body, headers).await.response().await
    }

    /// The same, to be answered later.
    pub(crate) async fn open_with(&self, path: &str, body: &Value, headers: &str) -> Connection {
        let request = post(path, &body.to_string());
        let request = request.replace(
            "Connection: close\r\n",
            &format!("Connection: close\r\n{headers}"),
        );
        self.open_raw(&request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.get_with(path, "").await
    }

    /// Gets with further header lines.
    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> Response {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        self.open_raw(&request).await.response().await
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A request on its way. Dropping it hangs up.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Received, but not yet told.
    unread: Vec<u8>,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    /// In lower case, as sent.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) async fn send(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            self.stream.writable().await.unwrap();
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    /// Reads until `end`, which must be the last that was sent.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        while !self.unread.ends_with(end.as_bytes()) {
            assert!(self.receive().await, "the connection is closed");
        }
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }

    /// The next event of a stream: its `data`.
    pub(crate) async fn event(&mut self) -> String {
        loop {
            while let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = self.unread.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                if let Some(data) = line.strip_prefix("data: ") {
                    return data.trim_end().to_owned();
                }
            }
            assert!(self.receive().await, "the stream is over");
        }
    }

    /// Sends nothing and waits for the server to hang up: what it said until then.
    pub(crate) async fn until_closed(mut self) -> String {
        while self.receive().await {}
        String::from_utf8(self.unread).unwrap()
    }

    /// Waits for more bytes; `false` once there are none to come.
    async fn receive(&mut self) -> bool {
        loop {
            self.stream.readable().await.unwrap();
            let mut bytes = [0; 4096];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return false,
                Ok(read) => {
                    self.unread.extend_from_slice(&bytes[..read]);
                    return true;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    pub(crate) async fn response(self) -> Response {
        let text = self.until_closed().await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body }
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The `data` of each event, of which the last must be `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert!(
            self.head.contains("content-type: text/event-stream"),
            "{}",
            self.head
        );
        let mut data: Vec<_> = self
            .body
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"));
        data.into_iter()
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    /// The error's `[type, param, code]`, after checking that it has OpenAI's shape.
    pub(crate) fn error(&self) -> [Value; 3] {
        let json = self.json();
        let error = json["error"].as_object().unwrap();
        let fields: Vec<_> = error.keys().map(String::as_str).collect();
        assert_eq!(fields, ["message", "type", "param", "code"]);
        assert!(!error["message"].as_str().unwrap().is_empty());
        ["type", "param", "code"].map(|field| error[field].clone())
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
}

/// One token a byte; `<bos>`, `<eos>`, and one merge, since a byte-level BPE has at least one.
fn tokenizer() -> Tokenizer {
    let bytes = byte_level_alphabet().map(String::from).into_iter();
    let special = ["<bos>", "<eos>"].map(str::to_owned);
    let merged = [byte_level_alphabet()[1]; 2];
    let gguf = GgufTokenizer {
        model: "gpt2".to_owned(),
        tokens: bytes
            .chain(special)
            .chain([merged.iter().collect()])
            .collect(),
        merges: vec![format!("{} {}", merged[0], merged[1])],
        token_types: [vec![1; 256], vec![3, 3, 1]].concat(),
        bos_token_id: Some(BOS),
        eos_token_id: Some(257),
        add_bos: Some(true),
        ..GgufTokenizer::default()
    };
    Tokenizer::from_gguf(&gguf).unwrap()
}
