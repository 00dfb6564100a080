//! What remains to be done when a request is over.

use farthing_ledger::Outcome;
use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::closed::ClosedRequest;
use super::provider::Accounts;
use super::row::OpenRow;

/// Logs and records a closed request. If choices are still open because the caller left, this waits for
/// their usage first, in a task of its own: an engine needs a step for that.
pub(crate) struct Settlement {
    pub request: ClosedRequest,
    pub accounts: Accounts,
    /// Present if there is a ledger.
    pub row: Option<OpenRow>,
}

impl Settlement {
    pub(crate) fn run(self) {
        let is_complete = self.request.usage.is_complete();
        match Handle::try_current() {
            Ok(runtime) if !is_complete => {
                runtime.spawn(self.wait());
            }
            _ => self.finish(),
        }
    }

    async fn wait(mut self) {
        let usage = &mut self.request.usage;
        while !usage.is_complete() {
            match self.accounts.next().await {
                Some(closed) => usage.close_if_open(closed.choice, closed.usage),
                // The provider has ended: nothing more is known.
                None => break,
            }
        }
        self.finish();
    }

    fn finish(self) {
        // A refusal is logged with its response.
        if self.request.outcome != Outcome::Refused {
            self.request.log();
        }
        if let Some(row) = self.row {
            row.record(self.request);
        }
    }
}
