//! Time limits of connections.

use std::time::Duration;

/// Time limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and again for its body, so that slow senders cannot hold
    /// connections. Also closes idle connections.
    pub read: Duration,
    /// For a peer that reads nothing while there is something to write.
    pub write: Duration,
    /// For running answers to end during shutdown.
    pub shutdown: Duration,
}
