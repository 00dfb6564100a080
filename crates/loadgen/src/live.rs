//! What is seen of a load while it runs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Counters that all requests of a load share.
#[derive(Debug)]
pub(crate) struct Live {
    began: Instant,
    sent: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicUsize,
    pieces: AtomicU64,
    ttft_microseconds: AtomicU64,
}

/// What a progress bar shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Which load this is, for people.
    pub load: String,
    /// Requests of this load, where that is known beforehand.
    pub requests: Option<usize>,
    /// Seconds that this load takes, where that is known beforehand.
    pub duration_seconds: Option<f64>,
    /// Since it began.
    pub elapsed_seconds: f64,
    /// Requests that were sent.
    pub sent: usize,
    /// Answers that came.
    pub answered: usize,
    /// Requests without an answer.
    pub failed: usize,
    /// Pieces of text that came, about as many as tokens.
    pub pieces: u64,
    /// Of the answers so far, in seconds.
    pub mean_ttft: Option<f64>,
}

impl Live {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            sent: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            pieces: AtomicU64::new(0),
            ttft_microseconds: AtomicU64::new(0),
        }
    }

    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(crate) fn pieces(&self, pieces: usize) {
        self.pieces.fetch_add(pieces as u64, Relaxed);
    }

    /// A request ended; with its seconds to the first text, if it was answered.
    pub(crate) fn ended(&self, ttft: Option<f64>) {
        match ttft {
            Some(ttft) => {
                self.ttft_microseconds
                    .fetch_add((ttft * 1e6) as u64, Relaxed);
                self.answered.fetch_add(1, Relaxed);
            }
            None => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    pub(crate) fn progress(
        &self,
        load: &str,
        requests: Option<usize>,
        duration_seconds: Option<f64>,
    ) -> Progress {
        let answered = self.answered.load(Relaxed);
        let ttft = self.ttft_microseconds.load(Relaxed) as f64 / 1e6;
        Progress {
            load: load.to_owned(),
            requests,
            duration_seconds,
            elapsed_seconds: self.began.elapsed().as_secs_f64(),
            sent: self.sent.load(Relaxed),
            answered,
            failed: self.failed.load(Relaxed),
            pieces: self.pieces.load(Relaxed),
            mean_ttft: (answered > 0).then(|| ttft / answered as f64),
        }
    }
}
