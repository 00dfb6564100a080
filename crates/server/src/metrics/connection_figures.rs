//! Metrics of connections.

use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::Exposition;

/// The connections since the start.
#[derive(Debug, Default)]
pub(crate) struct ConnectionFigures {
    opened: AtomicU64,
    closed: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionFigures {
    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that had to make room for another.
    pub(crate) fn count_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection for which there was no room.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, page: &mut Exposition) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order: a connection that ends between the two must not make the difference negative.
        let closed = read(&self.closed);
        page.gauge(
            "farthing_connections_open",
            "Connections that are open.",
            read(&self.opened).saturating_sub(closed),
        );
        page.counter(
            "farthing_connections_evicted_total",
            "Connections that waited for their peer and were closed to make room for another.",
            read(&self.evicted),
        );
        page.counter(
            "farthing_connections_refused_total",
            "Connections refused because all others were being answered.",
            read(&self.refused),
        );
    }
}
