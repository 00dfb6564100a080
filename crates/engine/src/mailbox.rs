//! The channel from the engine thread to the caller of one request.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_scheduler::SequenceId;
use tokio::sync::Notify;

use crate::backlog::{Backlog, HasUnread};
use crate::sequence_event::SequenceEvent;

/// The events of one request that its caller has not read.
///
/// Unlike a channel of tokio it knows its size in bytes, and the engine can empty it although the
/// caller sleeps. The lock is held for a few moves only, so the engine thread does not wait for a
/// caller.
pub(crate) struct Mailbox {
    sequences: Range<u64>,
    unread: Mutex<Unread>,
    senders: AtomicUsize,
    news: Notify,
    backlog: Arc<Backlog<Mailbox>>,
}

#[derive(Default)]
struct Unread {
    events: VecDeque<SequenceEvent>,
    bytes: usize,
    reader: Reader,
}

/// What became of the caller.
#[derive(Clone, Copy, Default, PartialEq)]
enum Reader {
    #[default]
    Reads,
    /// It read too slowly: its events were dropped.
    CutOff,
    Left,
}

/// What became of an event.
pub(crate) enum Delivery {
    Sent,
    /// It was sent, but too many events of its request are unread.
    Overfull(Arc<Mailbox>),
    NoReader,
}

/// The engine's end. The channel is closed when the last sender is dropped.
pub(crate) struct EventSender {
    mailbox: Arc<Mailbox>,
}

/// The caller's end.
pub(crate) struct EventReceiver {
    mailbox: Arc<Mailbox>,
}

/// Opens the channel of a request with these sequences.
pub(crate) fn open(
    sequences: Range<u64>,
    backlog: &Arc<Backlog<Mailbox>>,
) -> (EventSender, EventReceiver) {
    let mailbox = Arc::new(Mailbox {
        sequences,
        unread: Mutex::default(),
        senders: AtomicUsize::new(1),
        news: Notify::new(),
        backlog: backlog.clone(),
    });
    backlog.register(&mailbox);
    let sender = EventSender {
        mailbox: mailbox.clone(),
    };
    (sender, EventReceiver { mailbox })
}

impl HasUnread for Mailbox {
    fn unread_bytes(&self) -> usize {
        self.unread().bytes
    }
}

impl Mailbox {
    /// The sequences of the request.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = SequenceId> {
        self.sequences.clone().map(SequenceId)
    }

    /// Drops what is unread. The caller gets [`SequenceEvent::CutOff`] instead, and nothing more.
    /// Returns `false` if the caller left or was cut off before.
    pub(crate) fn cut_off(&self) -> bool {
        let was_read = self.empty(Reader::CutOff);
        self.news.notify_one();
        was_read
    }

    fn empty(&self, reader: Reader) -> bool {
        let mut unread = self.unread();
        if unread.reader == Reader::Left {
            return false;
        }
        let before = std::mem::replace(&mut unread.reader, reader);
        let events = std::mem::take(&mut unread.events);
        self.backlog.remove(std::mem::take(&mut unread.bytes));
        drop(unread);
        drop(events);
        before == Reader::Reads
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        // The code under the lock does not panic.
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSender {
    pub(crate) fn send(&self, event: SequenceEvent) -> Delivery {
        let mailbox = &self.mailbox;
        let bytes = event.bytes();
        let mut unread = mailbox.unread();
        if unread.reader != Reader::Reads {
            return Delivery::NoReader;
        }
        unread.events.push_back(event);
        unread.bytes += bytes;
        let is_overfull = mailbox.backlog.is_too_much(unread.bytes);
        mailbox.backlog.add(bytes);
        drop(unread);
        mailbox.news.notify_one();
        if is_overfull {
            Delivery::Overfull(mailbox.clone())
        } else {
            Delivery::Sent
        }
    }

    /// Whether the caller is there and was not cut off.
    pub(crate) fn is_read(&self) -> bool {
        self.mailbox.unread().reader == Reader::Reads
    }
}

impl Clone for EventSender {
    fn clone(&self) -> Self {
        self.mailbox.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            mailbox: self.mailbox.clone(),
        }
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        if self.mailbox.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.mailbox.news.notify_one();
        }
    }
}

impl EventReceiver {
    /// The next event; `None` after the last sender was dropped.
    pub(crate) async fn recv(&mut self) -> Option<SequenceEvent> {
        loop {
            // Read before the queue: what the last sender sent is in it then.
            let is_closed = self.mailbox.senders.load(Ordering::Acquire) == 0;
            if let Some(event) = self.take() {
                return Some(event);
            }
            if is_closed {
                return None;
            }
            self.mailbox.news.notified().await;
        }
    }

    fn take(&self) -> Option<SequenceEvent> {
        let mut unread = self.mailbox.unread();
        if unread.reader == Reader::CutOff {
            return Some(SequenceEvent::CutOff);
        }
        let event = unread.events.pop_front()?;
        let bytes = event.bytes();
        unread.bytes -= bytes;
        self.mailbox.backlog.remove(bytes);
        Some(event)
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        self.mailbox.empty(Reader::Left);
    }
}
