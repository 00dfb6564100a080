//! Why a SQLite file is refused.

use rusqlite::ErrorCode;

use crate::{LedgerError, Location};

pub(super) fn refusal(location: &Location, reason: impl ToString) -> LedgerError {
    LedgerError::Open {
        location: location.clone(),
        reason: reason.to_string(),
    }
}

/// The message of SQLite, and what to do.
pub(super) fn explained(location: &Location, error: &rusqlite::Error) -> LedgerError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "it is not a ledger, or damaged: use another file, or restore it from a backup"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "it is damaged: restore it from a backup, or save its rows with `sqlite3 FILE .recover`"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check that the file and its directory exist and may be written"
        }
        Some(ErrorCode::DiskFull) => "free some space on its disk",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it: end that program"
        }
        _ => return refusal(location, error),
    };
    refusal(location, format!("{error}: {advice}"))
}
