//! A request's body, of which the handler may leave a part unread.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming, SizeHint};

use super::connections::Connection;

/// What is read of an unread body before the response, so that the connection can be used again.
const MAX_DRAINED_BYTES: u64 = 256 << 10;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports to the connection when the body's rest has not arrived, and keeps what the handler does not read.
pub(crate) struct RequestBody {
    /// `None` only while it is dropped.
    body: Option<Incoming>,
    is_over: bool,
    is_awaited: bool,
    connection: Arc<Connection>,
    unread: UnreadBody,
}

/// The part of a request's body that its handler did not read.
#[derive(Clone, Default)]
pub(crate) struct UnreadBody {
    body: Arc<Mutex<Option<Incoming>>>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, connection: Arc<Connection>) -> (Self, UnreadBody) {
        let unread = UnreadBody::default();
        let body = Self {
            is_over: body.is_end_stream(),
            body: Some(body),
            is_awaited: false,
            connection,
            unread: unread.clone(),
        };
        (body, unread)
    }

    fn set_awaited(&mut self, is_awaited: bool) {
        if self.is_awaited != is_awaited {
            self.is_awaited = is_awaited;
            self.connection
                .update(|state| state.lacks_body = is_awaited);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        self.set_awaited(frame.is_pending());
        self.is_over |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.set_awaited(false);
        if !self.is_over && !self.is_end_stream() {
            *self.unread.slot() = self.body.take();
        }
    }
}

impl UnreadBody {
    fn slot(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rest of the body if it is small. `false` if the connection must be closed after the
    /// response, because more of the body may follow.
    pub(crate) async fn drain(&self, headers: &HeaderMap, connection: &Connection) -> bool {
        let Some(body) = self.slot().take() else {
            return true;
        };
        // A client that has not been told to continue may send the body or not.
        if headers.contains_key(header::EXPECT) || body.size_hint().lower() > MAX_DRAINED_BYTES {
            return false;
        }
        connection.update(|state| state.lacks_body = true);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, read_to_end(body)).await;
        connection.update(|state| state.lacks_body = false);
        drained.unwrap_or(false)
    }
}

/// `false` if the body is longer than [`MAX_DRAINED_BYTES`] or breaks off.
async fn read_to_end(body: Incoming) -> bool {
    let mut body = Body::new(Limited::new(body, MAX_DRAINED_BYTES as usize));
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}
