//! A time window.

use crate::LedgerError;

/// A range of whole minutes, in seconds since 1970 in UTC; the end is exclusive. The ledger keeps
/// device time by minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: i64,
    end: i64,
}

pub(crate) const MICROS: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60;

impl Window {
    /// The years 1970 to 9999.
    pub const ALL: Self = Self {
        start: 0,
        end: 253_402_300_800,
    };

    /// A window from `start` up to `end`.
    ///
    /// # Errors
    /// The window is empty, or an end is not a whole minute between the years 1970 and 9999.
    pub fn new(start: i64, end: i64) -> Result<Self, LedgerError> {
        let known = Self::ALL.start..=Self::ALL.end;
        if !known.contains(&start) || !known.contains(&end) {
            let message = "invalid window: it must be between the years 1970 and 9999";
            return Err(LedgerError::Window(message.to_owned()));
        }
        if start % MINUTE != 0 || end % MINUTE != 0 {
            let message = "the ledger keeps the device's time by the minute: a window begins and \
                           ends at whole minutes";
            return Err(LedgerError::Window(message.to_owned()));
        }
        if start >= end {
            let message = "invalid window: it must end after it begins";
            return Err(LedgerError::Window(message.to_owned()));
        }
        Ok(Self { start, end })
    }

    /// The first second.
    pub fn start(self) -> i64 {
        self.start
    }

    /// The second after the last.
    pub fn end(self) -> i64 {
        self.end
    }

    pub(crate) fn start_us(self) -> i64 {
        self.start * MICROS
    }

    pub(crate) fn end_us(self) -> i64 {
        self.end * MICROS
    }
}
