//! One connection, from the handshake to its close.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, header};
use axum::{Extension, Router};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::admission::Peer;
use super::connections::Connection;
use super::error::ApiError;
use super::peer_stream::PeerStream;
use super::request_body::RequestBody;
use super::timeouts::Timeouts;
use super::tls::Tls;
use crate::lifecycle::Lifecycle;

/// What one connection may keep of a request's head, and of an answer that its peer does not read. The
/// kernel keeps about twice as many bytes to be sent, and a chunk is never split.
const BUFFER_BYTES: usize = 32 << 10;
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How long a peer may take to read why it is refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What all connections share.
pub(crate) struct Conversations {
    pub router: Router,
    pub lifecycle: Lifecycle,
    pub timeouts: Timeouts,
    pub tls: Option<Tls>,
}

impl Conversations {
    /// Handles the requests of one connection, until it ends or must make room for another.
    pub(crate) async fn converse(&self, stream: TcpStream, connection: Connection) {
        set_options(&stream);
        let connection = Arc::new(connection);
        let conversation = async {
            let router = self.router_for(&stream);
            match &self.tls {
                Some(tls) => match self.shake_hands(stream, tls).await {
                    Ok(stream) => self.answer(stream, router, &connection).await,
                    Err(error) => tracing::debug!("a TLS handshake failed: {error}"),
                },
                None => self.answer(stream, router, &connection).await,
            }
        };
        tokio::select! {
            () = conversation => {}
            () = connection.closed() => {}
        }
    }

    async fn shake_hands(&self, stream: TcpStream, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0];
            stream.peek(&mut first).await?;
            if first[0].is_ascii_uppercase() {
                refuse(stream, &ApiError::NotTls).await;
                return Err(io::Error::other("the peer speaks HTTP without TLS"));
            }
            tls.acceptor().accept(stream).await
        };
        tokio::select! {
            stream = tokio::time::timeout(self.timeouts.handshake, handshake) => stream?,
            () = self.lifecycle.draining() => Err(io::Error::other("the server is shutting down")),
        }
    }

    /// The routes, which learn the address that the connection comes from.
    fn router_for(&self, stream: &TcpStream) -> Router {
        let router = self.router.clone();
        match stream.peer_addr() {
            Ok(peer) => router.layer(Extension(Peer(peer.ip()))),
            Err(_) => router,
        }
    }

    async fn answer<S>(&self, stream: S, router: Router, connection: &Arc<Connection>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = PeerStream::new(stream, connection.clone(), self.timeouts.write);
        let service = service_fn(|request| respond(router.clone(), request, connection));
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.read)
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        let ended = tokio::select! {
            ended = http.as_mut() => ended,
            () = self.lifecycle.draining() => {
                http.as_mut().graceful_shutdown();
                http.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection broke: {error:?}");
        }
    }
}

/// Sends an error to a peer whose request is not read.
pub(crate) async fn refuse(mut stream: TcpStream, error: &ApiError) {
    let body = serde_json::to_string(&error.body());
    let body = body.expect("the wire types have string keys and no failing serializers");
    let response = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        error.status(),
        body.len()
    );
    let sent = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await?;
        // A close with unread bytes would destroy the response.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(REFUSAL_TIMEOUT, sent).await {
        tracing::debug!("a refused connection broke: {error}");
    }
}

fn set_options(stream: &TcpStream) {
    // Each token is a small packet that must be sent at once.
    let nodelay = stream.set_nodelay(true);
    let buffer = SockRef::from(stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    if let Err(error) = nodelay.and(buffer) {
        tracing::debug!("cannot set the options of a socket: {error}");
    }
}

/// Answers one request. If a part of its body is left over that is too large to be read, the
/// connection ends with the response.
async fn respond(
    router: Router,
    request: Request<Incoming>,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, Infallible> {
    let answering = Answering::begin(connection.clone());
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let (body, unread) = RequestBody::new(body, connection.clone());
    let request = Request::from_parts(parts, Body::new(body));
    let mut response = TowerToHyperService::new(router).call(request).await?;
    if !unread.drain(&headers, connection).await {
        connection.linger();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response.map(|body| {
        Body::new(ResponseBody {
            body,
            _answering: answering,
        })
    }))
}

/// The time in which a connection answers a request.
struct Answering {
    connection: Arc<Connection>,
}

impl Answering {
    fn begin(connection: Arc<Connection>) -> Self {
        connection.update(|state| state.answers = true);
        Self { connection }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connection.update(|state| state.answers = false);
    }
}

/// The body of a response. The request is answered once it is dropped.
struct ResponseBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
