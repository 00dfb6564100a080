//! Accepts connections and shuts down gracefully.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router, middleware};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::admission::identify;
use super::app::App;
use super::connections::Connections;
use super::conversation::{Conversations, refuse};
use super::cors::{self, CorsOrigin};
use super::error::ApiError;
use super::hosts::{self, HostName, Hosts};
use super::routes;
use super::timeouts::Timeouts;
use super::tls::Tls;
use crate::http::json_body::BodyTimeout;

/// How connections are served.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Time limits.
    pub timeouts: Timeouts,
    /// The most connections that may be open.
    pub max_connections: usize,
    /// Names that requests may be sent to. Without one, a server that listens on a loopback address
    /// accepts names of this machine, and other servers accept every name.
    pub allowed_hosts: Vec<HostName>,
    /// Origins of web pages that may use the API.
    pub cors_origins: Vec<CorsOrigin>,
    /// Without it, connections are not encrypted.
    pub tls: Option<Tls>,
}

/// More connections than any load needs. It limits the memory that idle ones take.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;

impl ServeConfig {
    /// Without TLS and CORS.
    pub fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            max_connections: MAX_CONNECTIONS,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            tls: None,
        }
    }
}

/// Time for cut-off streams to send their error before connections are dropped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Connections above the limit that may be told so at the same time.
const MAX_REFUSALS: usize = 32;

/// Serves until `stop` completes. Running requests then have the shutdown timeout to end before
/// they are cut off.
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = ()>,
    config: ServeConfig,
) {
    let lifecycle = app.lifecycle.clone();
    let timeouts = config.timeouts;
    let connections = Connections::new(config.max_connections, app.books.metrics.clone());
    let conversations = Arc::new(Conversations {
        router: router(app, &listener, &config),
        lifecycle: lifecycle.clone(),
        timeouts,
        tls: config.tls,
    });
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            stream = accept(&listener, &connections) => match connections.admit().await {
                Some(connection) => {
                    let conversations = conversations.clone();
                    tasks.spawn(async move { conversations.converse(stream, connection).await });
                }
                // Without a handshake, a peer that speaks TLS cannot be told.
                None if conversations.tls.is_none() => {
                    if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        tasks.spawn(async move {
                            refuse(stream, &ApiError::TooManyConnections).await;
                            drop(permit);
                        });
                    }
                }
                None => {}
            },
            Some(_) = tasks.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    lifecycle.drain();
    let drained = async { while tasks.join_next().await.is_some() {} };
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

/// The routes behind what holds for all requests.
fn router(app: App, listener: &TcpListener, config: &ServeConfig) -> Router {
    let hosts = match listener.local_addr() {
        Ok(address) => Hosts::new(address.ip(), config.allowed_hosts.clone()),
        // It cannot be known that the address is not a loopback address.
        Err(_) => Hosts::Local(config.allowed_hosts.clone()),
    };
    let router = routes::router(app)
        .layer(Extension(BodyTimeout(config.timeouts.read)))
        .layer(middleware::from_fn_with_state(hosts, hosts::check));
    let router = match cors::layer(&config.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    // Outside of all others, so that what they refuse has an id, too.
    router.layer(middleware::from_fn(identify))
}

/// The pause after a failed accept, so that a lack of descriptors costs no time of the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Waits for the next connection.
async fn accept(listener: &TcpListener, connections: &Connections) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!("cannot accept a connection: {error}");
                connections.close_longest_waiting();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the next connection may be accepted all the same.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
