//! From an open port to the last answer.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::{App, routes};

/// How long cut-off streams have to say so before the connections are dropped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `stop` completes, lets what runs end within `shutdown_timeout`, then cuts it off.
///
/// # Errors
/// The port failed.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()> + Send + 'static,
    shutdown_timeout: Duration,
) -> io::Result<()> {
    let lifecycle = app.lifecycle().clone();
    // Tokens are small packets: they must not wait for each other.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!("cannot set TCP_NODELAY: {error}");
        }
    });
    let draining = lifecycle.clone();
    let server = axum::serve(listener, routes::router(app)).with_graceful_shutdown(async move {
        stop.await;
        draining.drain();
    });
    let deadline = async {
        lifecycle.draining().await;
        tokio::time::sleep(shutdown_timeout).await;
        lifecycle.cut_off();
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = deadline => Ok(()),
    }
}
