//! The log on stderr. It never delays an answer: if stderr is not read, lines are dropped and counted.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::visible::visible;

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
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .init();
    guard
}

/// Writes a field so that no text of a caller can end the line or command the terminal.
fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = visible(&format!("{value:?}"));
    match field.name() {
        "message" => line.write_str(&value),
        // Where a library's line comes from, which the line says already.
        name if name.starts_with("log.") => Ok(()),
        name => write!(line, "{name}={value}"),
    }
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

/// Prints the error that ends the program. It may quote a file that someone else wrote.
pub fn print_error(error: &str) {
    use std::io::Write;
    let lines: Vec<_> = error.lines().map(visible).collect();
    let _ = writeln!(io::stderr(), "error: {}", lines.join("\n"));
}
