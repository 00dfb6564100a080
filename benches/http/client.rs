//! The client of both servers: sockets and bytes, without an HTTP library.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::emitter::{SCHEDULED, SHORT, SHORT_TOKENS, TokenTimes, now_ns};

/// Time for all streams to have their first token.
const WARM_UP: Duration = Duration::from_secs(3);

/// What the last chunk of a response ends with.
const END: &[u8] = b"data: [DONE]\n\n\r\n0\r\n\r\n";

/// Opens streams, each over a connection of its own. They use the keys in turn.
pub(crate) struct Client {
    pub keys: Vec<String>,
    pub streams: usize,
    pub duration: Duration,
}

/// How long chunks were on their way, from the emitter to the client.
pub(crate) struct Delays {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Client {
    /// The body of a short answer.
    pub(crate) fn answer(&self, address: SocketAddr) -> anyhow::Result<String> {
        block_on(async {
            let mut stream = TcpStream::connect(address).await?;
            let response = whole_response(&mut stream, &self.request(0, SHORT)).await?;
            let text = String::from_utf8(response)?;
            let (_, body) = text.split_once("\r\n\r\n").context("it has no body")?;
            Ok(body.to_owned())
        })
    }

    /// The delays of streams on a schedule.
    pub(crate) fn delays(&self, address: SocketAddr) -> anyhow::Result<Delays> {
        let from_ns = now_ns() + WARM_UP.as_nanos() as u64;
        let until_ns = from_ns + self.duration.as_nanos() as u64;
        let streams = (0..self.streams).map(|index| async move {
            let mut stream = TcpStream::connect(address).await?;
            stream
                .write_all(self.request(index, SCHEDULED).as_bytes())
                .await?;
            delays_of(&mut stream, from_ns, until_ns).await
        });
        let delays = block_on(try_join_all(streams))?;
        let mut delays_ns = delays.concat();
        delays_ns.sort_unstable();
        let quantile_ms = |share: f64| {
            let rank = (share * delays_ns.len() as f64) as usize;
            delays_ns[rank.min(delays_ns.len() - 1)] as f64 / 1e6
        };
        Ok(Delays {
            p50_ms: quantile_ms(0.50),
            p99_ms: quantile_ms(0.99),
        })
    }

    /// How many short streams are answered if each connection asks again as soon as it has its answer.
    pub(crate) fn streams_per_second(&self, address: SocketAddr) -> anyhow::Result<f64> {
        let began = Instant::now();
        let streams = (0..self.streams).map(|index| async move {
            let mut stream = TcpStream::connect(address).await?;
            let request = self.request(index, SHORT);
            let mut answers = 0;
            while began.elapsed() < self.duration {
                whole_response(&mut stream, &request).await?;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
        let answers: usize = block_on(try_join_all(streams))?.into_iter().sum();
        Ok(answers as f64 / began.elapsed().as_secs_f64())
    }

    fn request(&self, index: usize, model: &str) -> String {
        let key = &self.keys[index % self.keys.len()];
        let body = format!(
            "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hi\"}}],\
             \"max_tokens\":4000,\"stream\":true}}"
        );
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The delays in nanoseconds of the tokens that are emitted in a period of time.
async fn delays_of(
    stream: &mut TcpStream,
    from_ns: u64,
    until_ns: u64,
) -> anyhow::Result<Vec<u64>> {
    let mut bytes = [0; 4096];
    let mut times = TokenTimes::default();
    let mut delays = Vec::new();
    let (mut was_early, mut is_over) = (false, false);
    while !is_over {
        let read = stream.read(&mut bytes).await?;
        let received_ns = now_ns();
        ensure!(read > 0, "the server closed a stream");
        times.read(&bytes[..read], |emitted_ns| {
            was_early |= emitted_ns < from_ns;
            is_over |= emitted_ns >= until_ns;
            if (from_ns..until_ns).contains(&emitted_ns) {
                // A clock that was set back would show as a delay of centuries.
                delays.push(received_ns.wrapping_sub(emitted_ns));
            }
        });
    }
    ensure!(was_early, "a stream had no token before the measurement");
    Ok(delays)
}

/// Asks for a short answer and reads it to its end.
async fn whole_response(stream: &mut TcpStream, request: &str) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::with_capacity(8192);
    while !response.ends_with(END) {
        let read = stream.read_buf(&mut response).await?;
        ensure!(
            read > 0,
            "not an answer: {}",
            String::from_utf8_lossy(&response)
        );
    }
    let mut tokens = 0;
    TokenTimes::default().read(&response, |_| tokens += 1);
    ensure!(
        tokens == SHORT_TOKENS,
        "{tokens} of {SHORT_TOKENS} tokens: {}",
        String::from_utf8_lossy(&response)
    );
    Ok(response)
}

/// On one thread: the servers need the other processors.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}
