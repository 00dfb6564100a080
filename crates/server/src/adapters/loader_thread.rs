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

/// Reads adapters on one thread. It is always the same thread because an allocator keeps freed
/// memory for the thread that freed it: each thread of a pool would keep the memory of every
/// adapter that it has read.
pub(super) struct LoaderThread {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    name: String,
    directory: PathBuf,
    answer: oneshot::Sender<Result<LoraAdapter, AdapterError>>,
}

impl LoaderThread {
    /// Adapters of more than `limit_bytes` are not read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(loader: AdapterLoader, limit_bytes: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("adapter-loader".to_owned())
            .spawn(move || {
                for job in queue {
                    // Skip the job if its requester has gone.
                    if !job.answer.is_closed() {
                        job.run(&loader, limit_bytes);
                    }
                }
            })?;
        Ok(Self { jobs })
    }

    /// Reads the adapter in a directory, after the jobs that are queued already.
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
    /// If the loader panics, no answer is sent: the requester gets an error and the thread
    /// continues.
    fn run(self, loader: &AdapterLoader, limit_bytes: usize) {
        let read = catch_unwind(AssertUnwindSafe(|| {
            loader.check_size(&self.name, &self.directory, limit_bytes)?;
            loader.load(&self.name, &self.directory)
        }));
        if let Ok(read) = read {
            // The requester may have gone: then the adapter is dropped.
            let _ = self.answer.send(read);
        }
    }
}
