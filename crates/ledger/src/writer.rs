//! The writer thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::device_minutes::DeviceMinutes;
use crate::pending_notes::{Note, PendingNotes};
use crate::status::SharedStatus;
use crate::store::{FLUSH_TIMEOUT, Flush, Store};
use crate::{DeviceSeconds, LedgerEntry, LedgerError};

/// A message to the writer.
pub(crate) enum Message {
    Entry(Box<LedgerEntry>),
    Note(Box<Note>),
    /// Write the waiting rows, by `until` at the latest, and end.
    Close {
        until: Instant,
    },
}

/// Collects rows and writes them together with the device time, in one transaction.
pub(crate) struct Writer {
    store: Box<dyn Store>,
    device: Box<dyn Fn() -> DeviceSeconds + Send>,
    minutes: DeviceMinutes,
    status: Arc<SharedStatus>,
    /// Rows with their numbers.
    waiting: Vec<(i64, LedgerEntry)>,
    next_seq: i64,
    /// Notes that someone waits for.
    notes: PendingNotes,
    /// When the latest note arrived.
    noted: Option<Instant>,
    /// When the next flush is due.
    due: Instant,
    /// Failed flushes since the last successful one.
    failures: u32,
    /// Maximum rows of the next flush. It shrinks with each failure, so that a slow database gets
    /// what it can write in time.
    batch_rows: usize,
}

pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
pub(crate) const BATCH_ROWS: usize = 512;
/// No flush has more rows than this, also after an outage.
const MAX_BATCH_ROWS: usize = 4096;
/// While notes arrive, a flush has at most this many rows, so that no note waits for long.
const ROWS_BETWEEN_NOTES: usize = 32;
/// How long notes are expected after the latest one.
const NOTES_EXPECTED: Duration = Duration::from_secs(10);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Delay after the first failed flush.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// While closing: how often to check for taken places.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the last attempt of a shutdown gets, also when its time is up.
const LAST_TRY: Duration = Duration::from_secs(1);
/// This many rows are passed to the log at once, with a pause before the next: a log has a bounded
/// queue and drops what does not fit.
const LOG_ROWS: usize = 1024;
const LOG_PAUSE: Duration = Duration::from_millis(50);

impl Writer {
    pub(crate) fn new(
        store: Box<dyn Store>,
        started_us: i64,
        device: Box<dyn Fn() -> DeviceSeconds + Send>,
        status: Arc<SharedStatus>,
    ) -> Self {
        Self {
            store,
            device,
            minutes: DeviceMinutes::new(started_us),
            status,
            waiting: Vec::new(),
            next_seq: 0,
            notes: PendingNotes::default(),
            noted: None,
            due: Instant::now(),
            failures: 0,
            batch_rows: MAX_BATCH_ROWS,
        }
    }

    /// Runs until it is told to close, or all senders are gone.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) -> Result<(), LedgerError> {
        loop {
            let patience = self.due.saturating_duration_since(Instant::now());
            let closing = match inbox.recv_timeout(patience) {
                Ok(message) => self.sort(message).or_else(|| self.drain(inbox)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Instant::now() + FLUSH_TIMEOUT),
            };
            let closing = self.write_notes(inbox).or(closing);
            if let Some(until) = closing {
                let until = self.take_the_rest(inbox, until);
                return self.close(inbox, until);
            }
            let is_full = self.failures == 0 && self.waiting.len() >= BATCH_ROWS;
            if is_full || Instant::now() >= self.due {
                self.flush();
            }
        }
    }

    /// Puts a message where it belongs. Returns until when to close, if it says so.
    fn sort(&mut self, message: Message) -> Option<Instant> {
        match message {
            Message::Entry(entry) => {
                self.put_down(*entry);
                if self.failures == 0 && self.waiting.len() == 1 {
                    self.due = self.due.min(Instant::now() + FLUSH_INTERVAL);
                }
            }
            Message::Note(note) => {
                self.notes.push(*note);
                self.noted = Some(Instant::now());
            }
            Message::Close { until } => return Some(until),
        }
        None
    }

    /// Sorts all messages that are there.
    fn drain(&mut self, inbox: &Receiver<Message>) -> Option<Instant> {
        let mut closing = None;
        while let Ok(message) = inbox.try_recv() {
            closing = self.sort(message).or(closing);
        }
        closing
    }

    /// Writes all notes that wait, in one transaction.
    fn write_notes(&mut self, inbox: &Receiver<Message>) -> Option<Instant> {
        if self.notes.is_empty() {
            return None;
        }
        let notes = std::mem::take(&mut self.notes);
        let mut open: HashMap<String, bool> = notes
            .request_ids()
            .map(|id| (id.to_owned(), self.status.is_announced(id)))
            .collect();
        let mut closing = None;
        if !open.is_empty() {
            // A request is announced until its row is in the inbox, so that it is found here.
            closing = self.drain(inbox);
            let known = self.waiting.len() + self.status.announced_places();
            let are_some_unknown = self.status.get().places_taken > known;
            for (_, entry) in &self.waiting {
                if let Some(is_open) = open.get_mut(&entry.request_id) {
                    *is_open = true;
                }
            }
            if are_some_unknown {
                open.values_mut().for_each(|is_open| *is_open = true);
            }
        }
        notes.write(self.store.as_mut(), &open);
        closing
    }

    /// Waits for the rows of all taken places, until the time that is returned at the latest.
    fn take_the_rest(&mut self, inbox: &Receiver<Message>, mut until: Instant) -> Instant {
        let are_open = |writer: &Self| writer.status.get().places_taken > writer.waiting.len();
        while are_open(self) && Instant::now() < until {
            // A place that is dropped sends no message.
            let Ok(message) = inbox.recv_timeout(LOOK_AGAIN) else {
                continue;
            };
            // Requests that still run need their notes.
            let closing = [self.sort(message), self.write_notes(inbox)];
            for sooner in closing.into_iter().flatten() {
                until = until.min(sooner);
            }
        }
        until
    }

    fn put_down(&mut self, entry: LedgerEntry) {
        self.waiting.push((self.next_seq, entry));
        self.next_seq += 1;
    }

    /// Writes the waiting rows. If that fails, they keep waiting and are retried later.
    fn flush(&mut self) {
        self.due = match self.write(false, Instant::now() + FLUSH_TIMEOUT) {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the ledger can be written again");
                }
                self.failures = 0;
                let pause = if self.waiting.is_empty() {
                    HEARTBEAT
                } else {
                    Duration::ZERO
                };
                Instant::now() + pause
            }
            Err(error) => {
                tracing::error!(waiting = self.waiting.len(), "{error}");
                self.failures += 1;
                let retry = FIRST_RETRY * 2_u32.saturating_pow(self.failures - 1);
                Instant::now() + retry.min(LONGEST_RETRY)
            }
        };
    }

    /// Writes one batch, and says with the last one that the run is closed.
    fn write(&mut self, is_closing: bool, until: Instant) -> Result<(), LedgerError> {
        let are_notes_expected = self
            .noted
            .is_some_and(|noted| noted.elapsed() < NOTES_EXPECTED);
        let most = match is_closing || !are_notes_expected {
            true => self.batch_rows,
            false => self.batch_rows.min(ROWS_BETWEEN_NOTES),
        };
        let rows = most.min(self.waiting.len());
        self.status.set_flush_began(Some(Instant::now()));
        // After the rows, so that the device time includes what they were charged.
        self.minutes.sample((self.device)());
        let written = self.store.write(&Flush {
            at_us: now_us(),
            until,
            entries: &self.waiting[..rows],
            minutes: &self.minutes.unsaved(),
            is_last: is_closing && rows == self.waiting.len(),
        });
        self.status.set_flush_began(None);
        let mut status = self.status.get();
        match written {
            Ok(()) => {
                status.written += rows as u64;
                status.places_taken -= rows;
                status.error = None;
                self.waiting.drain(..rows);
                self.minutes.saved();
                self.batch_rows = (self.batch_rows * 2).min(MAX_BATCH_ROWS);
                Ok(())
            }
            Err(error) => {
                status.failed_flushes += 1;
                status.error = Some(error.to_string());
                self.batch_rows = (self.batch_rows / 2).max(1);
                Err(error)
            }
        }
    }

    fn close(mut self, inbox: &Receiver<Message>, mut until: Instant) -> Result<(), LedgerError> {
        loop {
            // Rows that arrived late, or whose places were not waited for.
            if let Some(sooner) = self.drain(inbox) {
                until = until.min(sooner);
            }
            // Who still waits for a note is told that the ledger is closed.
            self.notes = PendingNotes::default();
            let is_end = self.waiting.len() <= self.batch_rows;
            let try_until =
                (Instant::now() + FLUSH_TIMEOUT).min(until.max(Instant::now() + LAST_TRY));
            let reason = match self.write(true, try_until) {
                Ok(()) if is_end => return Ok(()),
                Ok(()) if Instant::now() < until => continue,
                Ok(()) => "the time for it is up".to_owned(),
                Err(error) => error.to_string(),
            };
            self.failures += 1;
            let retry = FIRST_RETRY * self.failures;
            if Instant::now() + retry < until {
                match inbox.recv_timeout(retry) {
                    Ok(message) => {
                        if let Some(sooner) = self.sort(message) {
                            until = until.min(sooner);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(retry),
                }
                continue;
            }
            self.log_waiting();
            return Err(LedgerError::Unwritten {
                rows: self.waiting.len(),
                reason,
            });
        }
    }

    fn log_waiting(&self) {
        for (number, (_, entry)) in self.waiting.iter().enumerate() {
            if number > 0 && number % LOG_ROWS == 0 {
                std::thread::sleep(LOG_PAUSE);
            }
            tracing::error!(
                ?entry,
                "the ledger cannot be written: this row is only in the log"
            );
        }
    }
}

pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}
