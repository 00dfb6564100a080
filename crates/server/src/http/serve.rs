//! Accepts connections and shuts down gracefully.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::app::App;
use super::routes;
use crate::http::admission::Peer;
use crate::http::json_body::BodyTimeout;
use crate::lifecycle::Lifecycle;

/// Time limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, and again for its body, so that slow senders cannot hold
    /// connections. Also closes idle connections.
    pub read: Duration,
    /// For running answers to end during shutdown.
    pub shutdown: Duration,
}

/// Time for cut-off streams to send their error before connections are dropped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `stop` completes. Running requests then have the shutdown timeout to end before
/// they are cut off.
pub async fn serve(
    mut listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()>,
    timeouts: Timeouts,
) {
    let lifecycle = app.lifecycle.clone();
    let router = routes::router(app).layer(Extension(BodyTimeout(timeouts.read)));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            (stream, peer) = Listener::accept(&mut listener) => {
                connections.spawn(converse(stream, router.clone().layer(Extension(Peer(peer.ip()))), lifecycle.clone(), timeouts.read));
            }
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    lifecycle.drain();
    let drained = async { while connections.join_next().await.is_some() {} };
    let deadline = async {
        tokio::time::sleep(timeouts.shutdown).await;
        lifecycle.cut_off();
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = drained => {}
        () = deadline => {}
    }
}

/// Handles the requests of one connection.
async fn converse(stream: TcpStream, router: Router, lifecycle: Lifecycle, read_timeout: Duration) {
    // Each token is a small packet that must be sent at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = lifecycle.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}
