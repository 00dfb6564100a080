//! A limit on what waits for callers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The unread events of all requests together, and their limit.
///
/// A caller that does not read may collect what its request generates: many only pause. Only if all
/// unread events together exceed the limit, the request with the most of them is cancelled. A caller
/// that reads has next to none, so no flood of others can cancel it. One request may take a part of
/// the limit, so that emptying a mailbox never delays a step for long.
pub(crate) struct Backlog<M> {
    limit_bytes: usize,
    bytes: AtomicUsize,
    mailboxes: Mutex<Vec<Weak<M>>>,
}

/// Something in which events wait.
pub(crate) trait HasUnread {
    /// Bytes of the events that wait.
    fn unread_bytes(&self) -> usize;
}

/// A request may have this part of the limit.
const REQUESTS_AT_THE_LIMIT: usize = 16;

impl<M: HasUnread> Backlog<M> {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            bytes: AtomicUsize::new(0),
            mailboxes: Mutex::default(),
        }
    }

    /// Bytes of all unread events.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn register(&self, mailbox: &Arc<M>) {
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if mailboxes.len() == mailboxes.capacity() {
            mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        }
        mailboxes.push(Arc::downgrade(mailbox));
    }

    /// Whether a request with this number of unread bytes has to be cancelled.
    pub(crate) fn is_too_much(&self, bytes: usize) -> bool {
        bytes > self.limit_bytes / REQUESTS_AT_THE_LIMIT
    }

    /// The request with the most unread bytes, if all together exceed the limit.
    pub(crate) fn slowest_beyond_the_limit(&self) -> Option<Arc<M>> {
        if self.bytes() <= self.limit_bytes {
            return None;
        }
        let mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let open = mailboxes.iter().filter_map(Weak::upgrade);
        let sized = open.map(|mailbox| (mailbox.unread_bytes(), mailbox));
        let (bytes, slowest) = sized.max_by_key(|(bytes, _)| *bytes)?;
        (bytes > 0).then_some(slowest)
    }
}
