//! The progress of a benchmark on the terminal.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use farthing_loadgen::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar with live figures. It shows nothing if the output is not a terminal.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    /// The state at the start of the current interval, for the recent rate.
    last: Mutex<Rate>,
}

#[derive(Default)]
struct Rate {
    load: String,
    at: f64,
    pieces: u64,
    per_second: f64,
}

/// The interval of the recent rate in seconds.
const RATE_SECONDS: f64 = 2.0;

impl ProgressLine {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            last: Mutex::default(),
        }
    }

    pub(super) fn show(&self, progress: &Progress) {
        let ended = progress.answered + progress.failed;
        match (progress.requests, progress.duration_seconds) {
            (Some(requests), _) => {
                self.bar.set_length(requests as u64);
                self.bar.set_position(ended as u64);
            }
            (None, duration) => {
                let milliseconds = |seconds: f64| Duration::from_secs_f64(seconds).as_millis();
                self.bar
                    .set_length(milliseconds(duration.unwrap_or(0.0)) as u64);
                self.bar
                    .set_position(milliseconds(progress.elapsed_seconds) as u64);
            }
        }
        self.bar.set_prefix(progress.load.clone());
        let per_second = self.tokens_per_second(progress);
        let ttft = progress
            .mean_ttft
            .map(|it| format!(", TTFT {:.0} ms", it * 1000.0));
        let failed = (progress.failed > 0).then(|| format!(", {} failed", progress.failed));
        self.bar.set_message(format!(
            "{ended} done, {} running, {per_second:.0} tok/s{}{}",
            progress.sent - ended,
            ttft.unwrap_or_default(),
            failed.unwrap_or_default()
        ));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn tokens_per_second(&self, progress: &Progress) -> f64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.load != progress.load {
            *last = Rate {
                load: progress.load.clone(),
                ..Rate::default()
            };
        }
        let seconds = progress.elapsed_seconds - last.at;
        if seconds >= RATE_SECONDS {
            last.per_second = (progress.pieces - last.pieces) as f64 / seconds;
            last.at = progress.elapsed_seconds;
            last.pieces = progress.pieces;
        }
        last.per_second
    }
}
