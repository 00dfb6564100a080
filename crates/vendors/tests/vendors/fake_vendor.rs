//! A small vendor on a real socket. What it does depends on the request alone, never on the order of
//! connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
    /// Everything, as bytes.
    pub(crate) raw: Vec<u8>,
}

/// What the vendor does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One chunk.
    Bytes(Vec<u8>),
    /// One chunk for each byte.
    EachByte(Vec<u8>),
    /// Silence. Ends early if the client leaves.
    Wait(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The body ends properly.
    Proper,
    /// The connection is closed within the body.
    Cut,
    /// The connection is reset within the body.
    Reset,
    /// Silence until the client leaves.
    Hang,
    /// The same, without even a head.
    Mute,
}

impl Play {
    /// A stream of events.
    pub(crate) fn stream(text: impl Into<Vec<u8>>) -> Self {
        Self::steps(vec![Step::Bytes(text.into())])
    }

    pub(crate) fn steps(steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: vec![(
                "content-type",
                "text/event-stream; charset=utf-8".to_owned(),
            )],
            steps,
            ending: Ending::Proper,
        }
    }

    /// A response with an error status.
    pub(crate) fn error(status: u16, body: &str) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self {
            status,
            headers,
            ..Self::stream(body)
        }
    }

    pub(crate) fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Clone)]
pub(crate) struct FakeVendor {
    pub(crate) address: std::net::SocketAddr,
    log: Arc<Mutex<Log>>,
    changes: Arc<watch::Sender<()>>,
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    left: usize,
    connections: usize,
}

impl FakeVendor {
    /// Starts a vendor that answers each request by `play`.
    pub(crate) async fn start(play: impl Fn(&Seen) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (changes, _) = watch::channel(());
        let vendor = Self {
            address,
            log: Arc::default(),
            changes: Arc::new(changes),
        };
        let (shared, play) = (vendor.clone(), Arc::new(play));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.change(|log| log.connections += 1);
                let (vendor, play) = (shared.clone(), play.clone());
                tokio::spawn(async move {
                    // An error means that the client left.
                    if serve(stream, &vendor, &*play).await.is_err() {
                        vendor.change(|log| log.left += 1);
                    }
                });
            }
        });
        vendor
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().seen.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock().unwrap());
        self.changes.send_replace(());
    }

    /// How many clients left before they had the whole answer.
    pub(crate) fn left(&self) -> usize {
        self.log.lock().unwrap().left
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !condition(self) {
                changes.changed().await.unwrap();
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, waiting)
            .await
            .expect("the condition holds");
    }
}

async fn serve(
    mut stream: TcpStream,
    vendor: &FakeVendor,
    play: &(dyn Fn(&Seen) -> Play + Send + Sync),
) -> std::io::Result<()> {
    let mut unread = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut unread).await {
        let play = play(&seen);
        vendor.change(|log| log.seen.push(seen));
        if play.ending == Ending::Mute {
            return Err(leaving(&mut stream).await);
        }
        let mut head = format!(
            "HTTP/1.1 {} Status\r\ntransfer-encoding: chunked\r\n",
            play.status
        );
        for (name, value) in &play.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        for step in &play.steps {
            match step {
                Step::Bytes(bytes) => write_chunk(&mut stream, bytes).await?,
                Step::EachByte(bytes) => {
                    for byte in bytes {
                        write_chunk(&mut stream, &[*byte]).await?;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Wait(duration) => {
                    if let Ok(error) = tokio::time::timeout(*duration, leaving(&mut stream)).await {
                        return Err(error);
                    }
                }
            }
        }
        match play.ending {
            Ending::Proper => stream.write_all(b"0\r\n\r\n").await?,
            Ending::Cut => return Ok(()),
            Ending::Reset => {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                return Ok(());
            }
            Ending::Hang | Ending::Mute => return Err(leaving(&mut stream).await),
        }
    }
    Ok(())
}

/// Waits until the client closes the connection.
async fn leaving(stream: &mut TcpStream) -> std::io::Error {
    let mut byte = [0];
    match stream.read(&mut byte).await {
        Ok(0) => std::io::ErrorKind::UnexpectedEof.into(),
        Ok(_) => panic!("a client sent more than a request"),
        Err(error) => error,
    }
}

async fn write_chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    stream.write_all(&chunk).await
}

/// Reads a request with a content length; `None` if the connection ends.
async fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = unread.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(unread[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while unread.len() < head_end + length {
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
    let raw: Vec<u8> = unread.drain(..head_end + length).collect();
    let body = serde_json::from_slice(&raw[head_end..]).unwrap();
    Some(Seen {
        target,
        headers,
        body,
        raw,
    })
}
