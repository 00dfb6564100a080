//! Progress of a running load.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Counters shared by all requests of a load.
#[derive(Debug)]
pub(crate) struct Live {
    began: Instant,
    sent: AtomicUsize,
    answered: AtomicUsize,
    failed: AtomicUsize,
    pieces: AtomicU64,
    ttft_microseconds: AtomicU64,
}

/// The content of a progress bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Name of the load.
    pub load: String,
    /// Number of requests, if known.
    pub requests: Option<usize>,
    /// Duration in seconds, if known.
    pub duration_seconds: Option<f64>,
    /// Seconds since the start.
    pub elapsed_seconds: f64,
    /// Requests sent.
    pub sent: usize,
    /// Requests answered.
    pub answered: usize,
    /// Requests failed.
    pub failed: usize,
    /// Pieces of text received, about one per token.
    pub pieces: u64,
    /// Mean time to first token so far, in seconds.
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

    /// Counts a finished request. `ttft` is its time to first token, if it was answered.
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
