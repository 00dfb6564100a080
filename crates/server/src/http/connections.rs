//! The open connections and their limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// Limits the open connections. At the limit, the connection that has waited for its peer the longest
/// makes room for a new one, so that idle and slow peers keep nobody out.
pub(crate) struct Connections {
    permits: Arc<Semaphore>,
    waiting: Arc<Mutex<WaitingConnections>>,
    metrics: Arc<Metrics>,
}

/// The connections that wait for their peer.
#[derive(Default)]
struct WaitingConnections {
    /// How to close them, by ticket. Tickets are in the order in which the connections began to wait.
    by_ticket: BTreeMap<u64, Arc<Notify>>,
    next_ticket: u64,
}

impl Connections {
    pub(crate) fn new(max: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            metrics,
        }
    }

    /// Makes room for a connection. `None` if there are as many as allowed, and all of them are being
    /// answered.
    pub(crate) async fn admit(&self) -> Option<Connection> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if self.close_longest_waiting() => {
                // Its task ends as soon as it runs.
                self.permits.clone().acquire_owned().await.ok()?
            }
            Err(_) => {
                self.metrics.connections().count_refused();
                return None;
            }
        };
        self.metrics.connections().count_opened();
        let connection = Connection {
            waiting: self.waiting.clone(),
            close: Arc::default(),
            state: Mutex::default(),
            lingers: AtomicBool::new(false),
            metrics: self.metrics.clone(),
            _permit: permit,
        };
        connection.update(|_| {});
        Some(connection)
    }

    /// Closes the connection that has waited for its peer the longest; `false` if none waits.
    pub(crate) fn close_longest_waiting(&self) -> bool {
        let longest = lock(&self.waiting).by_ticket.pop_first();
        if let Some((_, close)) = &longest {
            tracing::debug!("too many connections: one that waited for its peer is closed");
            self.metrics.connections().count_evicted();
            close.notify_one();
        }
        longest.is_some()
    }
}

/// One open connection. It waits for its peer unless a request is being answered; also while an answer
/// waits until the peer has sent the request's body or reads what was written.
pub(crate) struct Connection {
    waiting: Arc<Mutex<WaitingConnections>>,
    close: Arc<Notify>,
    state: Mutex<ConnectionState>,
    lingers: AtomicBool,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

/// What a connection does.
#[derive(Default)]
pub(crate) struct ConnectionState {
    /// A request is being answered.
    pub answers: bool,
    /// The rest of a request's body has not arrived.
    pub lacks_body: bool,
    /// The peer does not read.
    pub is_blocked: bool,
    /// Its ticket, while it waits for its peer. It is stale once the connection is being closed.
    ticket: Option<u64>,
}

impl ConnectionState {
    fn waits_for_peer(&self) -> bool {
        !self.answers || self.lacks_body || self.is_blocked
    }
}

impl Connection {
    /// Changes what the connection does.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ConnectionState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        match (state.waits_for_peer(), state.ticket) {
            (true, None) => {
                let mut waiting = lock(&self.waiting);
                let ticket = waiting.next_ticket;
                waiting.next_ticket += 1;
                waiting.by_ticket.insert(ticket, self.close.clone());
                state.ticket = Some(ticket);
            }
            (false, Some(ticket)) => {
                lock(&self.waiting).by_ticket.remove(&ticket);
                state.ticket = None;
            }
            _ => {}
        }
    }

    /// Returns once the connection must make room for another.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Lets the close of the connection wait for what the peer still sends.
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections().count_closed();
        if let Some(ticket) = lock(&self.state).ticket {
            lock(&self.waiting).by_ticket.remove(&ticket);
        }
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
