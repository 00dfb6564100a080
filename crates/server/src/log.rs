//! The log on stderr. It never delays an answer: if stderr is not read, lines are dropped and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::{panic, thread};

use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::visible::{visible, visible_lines};

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
    // A panic may quote a text, and the line that Rust prints for it has the text as it is.
    panic::set_hook(Box::new(|panic| {
        tracing::error!(thread = thread::current().name(), "{panic}");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let frames = backtrace.to_string();
            frames.lines().for_each(|frame| tracing::error!("{frame}"));
        }
    }));
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

/// Prints lines of the start, as they are. A closed stdout is no reason to stop.
pub(crate) fn print(lines: &[String]) {
    use std::io::Write;
    let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
}

/// Prints what the start does just now. It may quote a file, or another server.
pub(crate) fn print_progress(line: &str) {
    print(&[visible(line)]);
}

/// Prints the error that ends the program. It may quote a file that someone else wrote.
pub fn print_error(error: &str) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "error: {}", visible_lines(error));
}
