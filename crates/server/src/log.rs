//! The log on stderr. It never delays an answer: if stderr is not read, lines are dropped and counted.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for stderr.
const MAX_LINES: usize = 8192;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts logging at the level of `RUST_LOG`, `info` by default. Waiting lines are written when the
/// result is dropped.
pub fn start() -> WorkerGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_LINES)
        .finish(io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .init();
    guard
}

/// Number of lines that were dropped because stderr was not read.
pub(crate) fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Prints a line of the start. A closed stdout is no reason to stop.
pub(crate) fn print(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = write!(io::stdout(), "{text}");
}
