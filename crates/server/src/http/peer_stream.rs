//! The bytes to and from a peer that may stop reading at any time.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Connection;

/// While writing is blocked, the peer must take this many bytes within the write timeout.
const LEAST_PROGRESS_BYTES: usize = 16 << 10;

/// How long, and for how many bytes, a close waits for what the peer still sends.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 << 20;

/// A stream whose writes have a timeout, and whose close does not destroy the answer. A socket that is
/// closed with unread bytes resets the connection, and the peer loses what it has not read yet. So the
/// write side is closed first, and what still arrives is read and dropped, within limits.
pub(crate) struct PeerStream<S> {
    stream: S,
    connection: Arc<Connection>,
    write_timeout: Duration,
    /// Runs while writing is blocked.
    blocked: Option<Blocked>,
    closing: Closing,
}

struct Blocked {
    timer: Pin<Box<Sleep>>,
    written_bytes: usize,
}

enum Closing {
    WriteSide,
    Lingering {
        timer: Pin<Box<Sleep>>,
        read_bytes: usize,
    },
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PeerStream<S> {
    pub(crate) fn new(stream: S, connection: Arc<Connection>, write_timeout: Duration) -> Self {
        Self {
            stream,
            connection,
            write_timeout,
            blocked: None,
            closing: Closing::WriteSide,
        }
    }

    /// Runs the timer while writing is blocked.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            return write;
        }
        let blocked = self.blocked.get_or_insert_with(|| {
            self.connection.update(|state| state.is_blocked = true);
            Blocked {
                timer: Box::pin(sleep(self.write_timeout)),
                written_bytes: 0,
            }
        });
        ready!(blocked.timer.as_mut().poll(context));
        let message = format!("the peer did not read for {:?}", self.write_timeout);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }

    /// A peer that reads a byte now and then makes no progress.
    fn wrote(&mut self, bytes: usize) {
        let Some(blocked) = &mut self.blocked else {
            return;
        };
        blocked.written_bytes += bytes;
        if blocked.written_bytes >= LEAST_PROGRESS_BYTES {
            blocked.written_bytes = 0;
            let deadline = Instant::now() + self.write_timeout;
            blocked.timer.as_mut().reset(deadline);
        }
    }

    fn unblock(&mut self) {
        if self.blocked.take().is_some() {
            self.connection.update(|state| state.is_blocked = false);
        }
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream), context);
        if let Poll::Ready(Ok(bytes)) = written {
            self.wrote(bytes);
        }
        self.watch(context, written)
    }

    /// Reads and drops what the peer still sends. Without [`Connection::linger`] it only does so if
    /// something has already arrived.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering { timer, read_bytes } = &mut self.closing else {
            return Poll::Ready(());
        };
        let mut scratch = [0; 8192];
        loop {
            let mut unread = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {
                    *read_bytes += unread.filled().len();
                    if *read_bytes >= LINGER_BYTES {
                        return Poll::Ready(());
                    }
                }
                // The peer has closed its side, or the connection is broken.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if *read_bytes == 0 && !self.connection.lingers() => {
                    return Poll::Ready(());
                }
                Poll::Pending => return timer.as_mut().poll(context),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// After this the stream has taken all that was written before.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.unblock();
        }
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::WriteSide) {
            let closed = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch(context, closed))?;
            self.unblock();
            self.closing = Closing::Lingering {
                timer: Box::pin(sleep(LINGER)),
                read_bytes: 0,
            };
        }
        ready!(self.poll_linger(context));
        self.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}
