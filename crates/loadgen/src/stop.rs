//! The word that ends a benchmark early.

use std::sync::Arc;

use tokio::sync::watch;

/// Once it is said, no more requests are sent; those under way are waited for, and what was measured
/// until then is reported.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    said: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Says it, for good.
    pub fn say(&self) {
        self.said.send_replace(true);
    }

    pub(crate) fn is_said(&self) -> bool {
        *self.said.borrow()
    }

    /// Completes when it is said.
    pub(crate) async fn said(&self) {
        // The sender lives as long as this borrow of it: the wait cannot fail.
        let _ = self.said.subscribe().wait_for(|said| *said).await;
    }
}
