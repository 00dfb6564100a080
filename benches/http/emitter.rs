//! The tokens of both servers.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The model whose answers follow the schedule and never end.
pub(crate) const SCHEDULED: &str = "scheduled";
/// The model whose answers are there at once.
pub(crate) const SHORT: &str = "short";
/// The tokens of an answer of [`SHORT`].
pub(crate) const SHORT_TOKENS: usize = 16;

/// When streams get tokens.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    /// Each stream gets one token per interval.
    pub interval: Duration,
    /// The streams are in this many groups. A group gets its tokens at the same time.
    pub groups: u32,
}

/// Sends tokens to all streams, from a thread of its own as the engine does.
#[derive(Default)]
pub(crate) struct Emitter {
    streams: Mutex<Vec<UnboundedSender<String>>>,
}

impl Emitter {
    /// The tokens of a new stream.
    pub(crate) fn open(&self) -> UnboundedReceiver<String> {
        let (sender, receiver) = unbounded_channel();
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(sender);
        receiver
    }

    /// Sends for ever. A stream that is closed stays in the list: the process ends soon after.
    pub(crate) fn run(&self, schedule: Schedule) {
        let Schedule { interval, groups } = schedule;
        let mut due = Instant::now();
        loop {
            for group in 0..groups as usize {
                due += interval / groups;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
                for stream in streams.iter().skip(group).step_by(groups as usize) {
                    let _ = stream.send(token());
                }
            }
        }
    }
}

/// A token whose text is the time at which it was made.
pub(crate) fn token() -> String {
    format!("@{};", now_ns())
}

/// Nanoseconds since 1970: a clock that all processes share.
pub(crate) fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |it| it.as_nanos() as u64)
}

/// Finds the times of tokens in a stream of bytes.
#[derive(Default)]
pub(crate) struct TokenTimes {
    unfinished: Option<u64>,
}

impl TokenTimes {
    /// Calls `found` with each time that ends in these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8], mut found: impl FnMut(u64)) {
        for byte in bytes {
            match (byte, &mut self.unfinished) {
                (b'@', time) => *time = Some(0),
                (b'0'..=b'9', Some(time)) => *time = *time * 10 + u64::from(byte - b'0'),
                (_, time) => {
                    if let Some(time) = time.take() {
                        found(time);
                    }
                }
            }
        }
    }
}
