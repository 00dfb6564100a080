//! A figure in a sentence.

use std::fmt;

/// Shown with three significant digits, or all digits of its whole part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure(pub(crate) f64);

/// A share as a percentage, with the same digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percent(pub(crate) f64);

/// Smaller figures are shown as powers of ten.
const LEAST: f64 = 1e-6;
/// Larger figures are shown as powers of ten.
const MOST: f64 = 1e15;

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size == 0.0 {
            return f.write_str("0");
        }
        if !(LEAST..MOST).contains(&size) {
            return write!(f, "{:.2e}", self.0);
        }
        // The place of the first digit after rounding: 0.9999 is shown as 1.00.
        let first = format!("{size:.2e}");
        let place: i32 = first
            .split_once('e')
            .and_then(|(_, power)| power.parse().ok())
            .unwrap_or(0);
        let digits = usize::try_from(2 - place).unwrap_or(0);
        let text = format!("{:.digits$}", self.0);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let (sign, whole) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
        f.write_str(sign)?;
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        if fraction.is_empty() {
            return Ok(());
        }
        write!(f, ".{fraction}")
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", Figure(self.0 * 100.0))
    }
}
