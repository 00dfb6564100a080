//! The signal that ends a benchmark early.

use std::sync::Arc;

use tokio::sync::watch;

/// Once it is set, no more requests are sent. Running requests are waited for, and the results so
/// far are reported.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    requested: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Sets the signal. It cannot be reset.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }

    pub(crate) fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Completes when the signal is set.
    pub(crate) async fn requested(&self) {
        // The sender lives as long as this borrow, so waiting cannot fail.
        let _ = self
            .requested
            .subscribe()
            .wait_for(|requested| *requested)
            .await;
    }
}
