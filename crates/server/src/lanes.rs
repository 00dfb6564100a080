//! Turns for work whose cost grows with what a caller sent.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Runs work on other threads than those that serve connections. Few large texts are worked on at once,
/// which bounds the memory that they take together, and small ones do not wait for large ones.
#[derive(Clone, Debug)]
pub struct Lanes {
    small: Arc<Semaphore>,
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Texts up to this size have a lane of their own. Those of one choice seldom are larger.
pub(crate) const SMALL_BYTES: usize = 64 << 10;
const MEDIUM_BYTES: usize = 1 << 20;

impl Default for Lanes {
    fn default() -> Self {
        let lane = |turns| Arc::new(Semaphore::new(turns));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            small: lane(2 * cores),
            medium: lane(2),
            large: lane(1),
        }
    }
}

impl Lanes {
    /// Runs `work` on `bytes` bytes of input when it is their turn.
    ///
    /// # Errors
    /// The work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let lane = if bytes <= SMALL_BYTES {
            &self.small
        } else if bytes <= MEDIUM_BYTES {
            &self.medium
        } else {
            &self.large
        };
        // Lanes are never closed.
        let turn = lane.clone().acquire_owned().await.ok();
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            // The turn ends with the work, also if the caller has left.
            drop(turn);
            result
        });
        done.await
    }
}
