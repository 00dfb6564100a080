//! What a server takes before it loads a model, so that errors come before a long load.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

use super::config::Config;
use super::open_files;
use crate::access::CallerKeys;
use crate::http::tls::Tls;

/// The address, the certificate, the keys, and room for connections.
pub(super) struct Reserved {
    pub listener: TcpListener,
    pub tls: Option<Tls>,
    pub keys: Option<Arc<CallerKeys>>,
    pub max_connections: usize,
}

impl Reserved {
    /// Takes what the config names. The address comes first.
    pub(super) fn take(config: &Config) -> anyhow::Result<Self> {
        let max_connections = open_files::max_connections();
        let listener = bind(config.http.address)?;
        let tls = config.http.tls.clone().map(|files| files.open());
        let keys = config.http.keys.as_ref();
        let keys = keys.map(|file| CallerKeys::open(file, config.price.per_hour()));
        Ok(Self {
            listener,
            tls: tls.transpose()?,
            keys: keys.transpose()?.map(Arc::new),
            max_connections,
        })
    }
}

/// Connections that may wait to be accepted. Linux uses at most `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Otherwise a restart would have to wait for earlier connections to time out.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listener().with_context(|| {
        format!("cannot listen on {address}: choose another with --host and --port")
    })
}
