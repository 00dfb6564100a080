//! The client of both ways: sockets and bytes, without an HTTP library.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::servers::{BETWEEN_TOKENS, TOKENS};

/// Keeps streams running, each over a connection of its own that asks again after each answer.
pub(crate) struct Client {
    pub streams: usize,
    pub duration: Duration,
}

/// How long requests waited for their first token.
pub(crate) struct FirstTokens {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub answers: usize,
}

/// What the chunk with the first token has, and no earlier one.
const FIRST_TOKEN: &[u8] = b"\"content\":\"t\"";
const END: &[u8] = b"data: [DONE]\n\n\r\n0\r\n\r\n";

impl Client {
    pub(crate) fn first_tokens(
        &self,
        address: SocketAddr,
        model: &str,
    ) -> anyhow::Result<FirstTokens> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let began = Instant::now();
        let whole = BETWEEN_TOKENS * TOKENS;
        let streams = (0..self.streams).map(|index| async move {
            // The streams begin one after another, as those of independent callers.
            tokio::time::sleep(whole * index as u32 / self.streams as u32).await;
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut waits = Vec::new();
            while began.elapsed() < self.duration {
                waits.push(answer(&mut stream, &request(index, waits.len(), model)).await?);
            }
            // The first asks for the connections of the gateway, too.
            waits.remove(0);
            anyhow::Ok(waits)
        });
        let waits = runtime.block_on(try_join_all(streams))?;
        let mut waits = waits.concat();
        ensure!(!waits.is_empty(), "the measurement is too short");
        waits.sort_unstable();
        let quantile_ms = |share: f64| {
            let rank = (share * waits.len() as f64) as usize;
            waits[rank.min(waits.len() - 1)].as_secs_f64() * 1e3
        };
        Ok(FirstTokens {
            p50_ms: quantile_ms(0.50),
            p99_ms: quantile_ms(0.99),
            answers: waits.len(),
        })
    }
}

/// Each request is another user's, so that each has an assignment of its own.
fn request(stream: usize, number: usize, model: &str) -> String {
    let body = format!(
        "{{\"model\":\"{model}\",\"user\":\"user-{stream}-{number}\",\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Hi\"}}],\"stream\":true}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks, and reads the answer to its end: the time until its first token.
async fn answer(stream: &mut TcpStream, request: &str) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::with_capacity(16_384);
    let mut first = None;
    while !response.ends_with(END) {
        let read = stream.read_buf(&mut response).await?;
        ensure!(
            read > 0,
            "not an answer: {}",
            String::from_utf8_lossy(&response)
        );
        if first.is_none()
            && response
                .windows(FIRST_TOKEN.len())
                .any(|it| it == FIRST_TOKEN)
        {
            first = Some(asked.elapsed());
        }
    }
    let tokens = response
        .windows(FIRST_TOKEN.len())
        .filter(|it| *it == FIRST_TOKEN);
    let tokens = tokens.count();
    ensure!(
        tokens == TOKENS as usize,
        "{tokens} of {TOKENS} tokens: {}",
        String::from_utf8_lossy(&response)
    );
    Ok(first.unwrap_or_default())
}
