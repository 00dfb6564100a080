//! The limit of open files, which is also the limit of connections.

#[cfg(test)]
mod tests;

use crate::http::serve::MAX_CONNECTIONS;

/// Files that are not connections: weights, adapters, the ledger, devices and pipes.
const RESERVED: usize = 256;

/// Raises the limit of open files as far as the process may, and returns how many connections leave
/// enough of them for everything else.
pub(crate) fn max_connections() -> usize {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!("cannot raise the limit of open files: {error}");
            // What systems allow at least.
            1024
        }
    };
    connections_within(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// At least half of the descriptors are for connections.
fn connections_within(open_files: usize) -> usize {
    let reserved = RESERVED.min(open_files / 2);
    (open_files - reserved).clamp(1, MAX_CONNECTIONS)
}
