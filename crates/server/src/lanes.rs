//! Turns for work whose cost grows with what a caller sent.

use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// Runs work on other threads than those that serve connections. A server has one, for bodies, texts and
/// answers together. Few large texts are worked on at once,
/// which bounds the memory that they take together, and small ones do not wait for large ones. Large ones
/// have a low priority, so that they hardly slow down the engine's steps.
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
    /// The work panicked, or no thread could be started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LostWork> {
        let lane = if bytes <= SMALL_BYTES {
            &self.small
        } else if bytes <= MEDIUM_BYTES {
            &self.medium
        } else {
            &self.large
        };
        // Lanes are never closed.
        let turn = lane.clone().acquire_owned().await.ok();
        let work = move || {
            let result = work();
            // The turn ends with the work, also if the caller has left.
            drop(turn);
            result
        };
        if bytes <= MEDIUM_BYTES {
            return tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| LostWork);
        }
        // A thread cannot get its priority back, so this one serves nothing else.
        let (sender, receiver) = oneshot::channel();
        let started = thread::Builder::new()
            .name("large-text".to_owned())
            .spawn(|| {
                yield_to_others();
                // The caller may have left.
                let _ = sender.send(work());
            });
        started.map_err(|_| LostWork)?;
        receiver.await.map_err(|_| LostWork)
    }
}

/// The work was not done.
#[derive(Debug, thiserror::Error)]
#[error("a thread for the request panicked, or could not be started")]
pub(crate) struct LostWork;

/// Gives this thread a tenth of a busy processor: the engine needs the rest, and the text must not wait
/// forever. On other systems than Linux the call would mean the process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        // Any process may do this; without it, the thread only competes with the others.
        let _ = rustix::process::setpriority_process(None, 10);
    }
}
