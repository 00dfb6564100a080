//! What a subcommand prints.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;

use crate::visible::visible_lines;

/// Prints a part of the result.
///
/// # Errors
/// It cannot be written, for example because the disk is full.
pub(super) fn print(text: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
    written.context("cannot write the result")
}

/// Prints a line of the result.
///
/// # Errors
/// Those of [`print`].
pub(super) fn print_line(line: impl Display) -> anyhow::Result<()> {
    print(format_args!("{line}\n"))
}

/// Reports on stderr what happens. It may quote other programs, and a full disk is no reason to stop.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible_lines(text));
}
