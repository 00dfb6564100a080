//! The thread that reads adapters, one at a time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use farthing_model::LoraAdapter;
use tokio::sync::oneshot;

use super::error::AdapterError;
use super::loader::AdapterLoader;

/// Reads adapters on one thread for as long as it lives. One and always the same, because an
/// allocator keeps what a thread has freed for that thread's next allocations: with a pool of them,
/// each would keep the memory of the adapters that it has ever read.
pub(super) struct LoaderThread {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    name: String,
    directory: PathBuf,
    answer: oneshot::Sender<Result<LoraAdapter, AdapterError>>,
}

impl LoaderThread {
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(loader: AdapterLoader) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("adapter-loader".to_owned())
            .spawn(move || {
                for job in queue {
                    // Whoever asked may have left: then there is nobody to read for.
                    if !job.answer.is_closed() {
                        job.run(&loader);
                    }
                }
            })?;
        Ok(Self { jobs })
    }

    /// Reads the adapter of a directory, after those that were asked for before.
    pub(super) async fn load(
        &self,
        name: &str,
        directory: PathBuf,
    ) -> Result<LoraAdapter, AdapterError> {
        let (answer, read) = oneshot::channel();
        let job = Job {
            name: name.to_owned(),
            directory,
            answer,
        };
        let queued = self.jobs.send(job);
        let read = match queued {
            Ok(()) => read.await.ok(),
            Err(_) => None,
        };
        read.unwrap_or_else(|| {
            Err(AdapterError::Refused {
                name: name.to_owned(),
                reason: "reading it failed".to_owned(),
            })
        })
    }
}

impl Job {
    /// A loader that panics has read nothing; it is told by the answer that never comes, and the
    /// thread lives on.
    fn run(self, loader: &AdapterLoader) {
        let read = catch_unwind(AssertUnwindSafe(|| {
            loader.load(&self.name, &self.directory)
        }));
        if let Ok(read) = read {
            // Nobody listens any more: then the adapter goes.
            let _ = self.answer.send(read);
        }
    }
}
