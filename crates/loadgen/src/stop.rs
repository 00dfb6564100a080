//! The signal that ends a benchmark early.

use std::sync::Arc;

use tokio::sync::watch;

/// Once it is set, no more requests are sent. Running requests are waited for, and the results so
/// far are reported.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    said: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Sets the signal. It cannot be reset.
    pub fn say(&self) {
        self.said.send_replace(true);
    }

    pub(crate) fn is_said(&self) -> bool {
        *self.said.borrow()
    }

    /// Completes when the signal is set.
    pub(crate) async fn said(&self) {
        // The sender lives as long as this borrow, so waiting cannot fail.
        let _ = self.said.subscribe().wait_for(|said| *said).await;
    }
}
