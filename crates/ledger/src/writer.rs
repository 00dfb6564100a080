//! The writer thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::device_minutes::DeviceMinutes;
use crate::status::SharedStatus;
use crate::store::{Flush, Store};
use crate::{DeviceSeconds, LedgerEntry, LedgerError};

/// A message to the writer.
pub(crate) enum Message {
    Entry(Box<LedgerEntry>),
    /// Write the waiting rows, by `until` at the latest, and end.
    Close {
        until: Instant,
    },
}

/// Collects rows and writes them together with the device time, in one transaction.
pub(crate) struct Writer {
    store: Box<dyn Store>,
    run: i64,
    device: Box<dyn Fn() -> DeviceSeconds + Send>,
    minutes: DeviceMinutes,
    status: Arc<SharedStatus>,
    /// Rows with their numbers.
    waiting: Vec<(i64, LedgerEntry)>,
    next_seq: i64,
    /// When the next flush is due.
    due: Instant,
    /// Failed flushes since the last successful one.
    failures: u32,
}

pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
pub(crate) const BATCH_ROWS: usize = 512;
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Delay after the first failed flush.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// While closing: how often to check for taken places.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Writer {
    pub(crate) fn new(
        store: Box<dyn Store>,
        run: i64,
        started_us: i64,
        device: Box<dyn Fn() -> DeviceSeconds + Send>,
        status: Arc<SharedStatus>,
    ) -> Self {
        Self {
            store,
            run,
            device,
            minutes: DeviceMinutes::new(started_us),
            status,
            waiting: Vec::new(),
            next_seq: 0,
            due: Instant::now(),
            failures: 0,
        }
    }

    /// Runs until it is told to close, or all senders are gone.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) -> Result<(), LedgerError> {
        loop {
            let patience = self.due.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(patience) {
                Ok(Message::Entry(entry)) => self.take(*entry),
                Ok(Message::Close { until }) => {
                    let until = self.take_the_rest(inbox, until);
                    return self.close(inbox, until);
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => return self.close(inbox, Instant::now()),
            }
        }
    }

    /// Waits for the rows of all taken places, until the time that is returned at the latest.
    fn take_the_rest(&mut self, inbox: &Receiver<Message>, mut until: Instant) -> Instant {
        let are_open = |writer: &Self| writer.status.get().places_taken > writer.waiting.len();
        while are_open(self) && Instant::now() < until {
            match inbox.recv_timeout(LOOK_AGAIN) {
                Ok(Message::Entry(entry)) => self.put_down(*entry),
                Ok(Message::Close { until: sooner }) => until = until.min(sooner),
                // A place that is dropped sends no message.
                Err(_) => {}
            }
        }
        until
    }

    fn put_down(&mut self, entry: LedgerEntry) {
        self.waiting.push((self.next_seq, entry));
        self.next_seq += 1;
    }

    fn take(&mut self, entry: LedgerEntry) {
        self.put_down(entry);
        if self.failures > 0 {
            return;
        }
        match self.waiting.len() {
            1 => self.due = self.due.min(Instant::now() + FLUSH_INTERVAL),
            rows if rows >= BATCH_ROWS => self.flush(),
            _ => {}
        }
    }

    /// Writes the waiting rows. If that fails, they keep waiting and are retried later.
    fn flush(&mut self) {
        self.due = match self.write(false) {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the ledger can be written again");
                }
                self.failures = 0;
                Instant::now() + HEARTBEAT
            }
            Err(error) => {
                tracing::error!(waiting = self.waiting.len(), "{error}");
                self.failures += 1;
                let retry = FIRST_RETRY * 2_u32.saturating_pow(self.failures - 1);
                Instant::now() + retry.min(LONGEST_RETRY)
            }
        };
    }

    fn write(&mut self, is_last: bool) -> Result<(), LedgerError> {
        // After the rows, so that the device time includes what they were charged.
        self.minutes.sample((self.device)());
        let written = self.store.write(&Flush {
            run: self.run,
            at_us: now_us(),
            entries: &self.waiting,
            minutes: &self.minutes.unsaved(),
            is_last,
        });
        let mut status = self.status.get();
        match written {
            Ok(()) => {
                status.written += self.waiting.len() as u64;
                status.places_taken -= self.waiting.len();
                status.error = None;
                self.waiting.clear();
                self.minutes.saved();
                Ok(())
            }
            Err(error) => {
                status.failed_flushes += 1;
                status.error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn close(mut self, inbox: &Receiver<Message>, mut until: Instant) -> Result<(), LedgerError> {
        loop {
            // Rows whose places were not waited for.
            while let Ok(message) = inbox.try_recv() {
                match message {
                    Message::Entry(entry) => self.put_down(*entry),
                    Message::Close { until: sooner } => until = until.min(sooner),
                }
            }
            let Err(error) = self.write(true) else {
                return Ok(());
            };
            self.failures += 1;
            let retry = FIRST_RETRY * self.failures;
            if Instant::now() + retry < until {
                match inbox.recv_timeout(retry) {
                    Ok(Message::Entry(entry)) => self.put_down(*entry),
                    Ok(Message::Close { until: sooner }) => until = until.min(sooner),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(retry),
                }
                continue;
            }
            for (_, entry) in &self.waiting {
                tracing::error!(
                    ?entry,
                    "the ledger cannot be written: this row is only in the log"
                );
            }
            return Err(LedgerError::Unwritten {
                rows: self.waiting.len(),
                reason: error.to_string(),
            });
        }
    }
}

pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}
