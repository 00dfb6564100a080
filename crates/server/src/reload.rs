//! Asks the parts of the server that read files to read them again.

use tokio::sync::watch;

/// A request to reload: SIGHUP sends one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    count: watch::Sender<u64>,
}

/// The requests to reload, as one part of the server receives them.
pub struct ReloadRequests {
    count: watch::Receiver<u64>,
}

impl Reload {
    /// Asks all parts to reload.
    pub fn request(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// The requests from now on.
    pub fn requests(&self) -> ReloadRequests {
        ReloadRequests {
            count: self.count.subscribe(),
        }
    }
}

impl ReloadRequests {
    /// Returns after the next request. Several requests may count as one.
    pub async fn next(&mut self) {
        if self.count.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
