//! A directory of adapters, and what a server makes of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use farthing_model::{Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, ModelConfig};
use farthing_server::{
    AdapterLoader, AdapterSources, Adapters, AdaptersConfig, Backend, HostCapacity,
};
use farthing_testkit::{RandomAdapter, tiny_llama};
use tempfile::TempDir;

/// Holds `legal` from the start.
pub(crate) struct Shelf {
    directory: TempDir,
    checkpoint: Arc<Checkpoint>,
}

/// Number of adapters that fit into host memory.
pub(crate) const HOST_ADAPTERS: usize = 3;
/// Requests that may wait for an adapter.
pub(crate) const MAX_WAITING: usize = 2;
pub(crate) const MAX_RANK: usize = 16;

impl Shelf {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = tiny_llama(259, 64);
        fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let checkpoint = Checkpoint::open(directory.path(), LoadFormat::Dummy, 7).unwrap();
        let shelf = Self {
            checkpoint: Arc::new(checkpoint),
            directory,
        };
        shelf.put("legal", 1);
        shelf
    }

    /// Puts an adapter there, a different one for each seed.
    pub(crate) fn put(&self, name: &str, seed: u64) {
        RandomAdapter::new(seed).write(&self.directory().join(name), self.base());
    }

    pub(crate) fn base(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().join("adapters")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory().join(name).display().to_string()
    }

    /// What is on the shelf just now.
    pub(crate) fn adapter(&self, name: &str) -> LoraAdapter {
        let directory = self.directory().join(name);
        self.loader().load(name, &directory).unwrap()
    }

    /// What answers call it.
    pub(crate) fn generation(&self, name: &str) -> String {
        self.adapter(name).id().to_string()[..16].to_owned()
    }

    pub(crate) fn adapters(&self, engine: Arc<dyn Backend>) -> Adapters {
        let directory = self.directory();
        let adapters = Adapters::new(AdaptersConfig {
            engine,
            loader: self.loader(),
            sources: AdapterSources::new(Some(&directory), []).unwrap(),
            capacity: HostCapacity {
                adapters: HOST_ADAPTERS,
                bytes: 1 << 20,
            },
            max_waiting: MAX_WAITING,
        })
        .unwrap();
        let legal = Arc::new(self.adapter("legal"));
        adapters
            .adopt("legal", &directory.join("legal"), legal)
            .unwrap();
        adapters
    }

    fn loader(&self) -> AdapterLoader {
        AdapterLoader {
            chat_template: None,
            base: self.checkpoint.clone(),
            compute_type: ComputeType::F32,
            device: DeviceKind::Cpu,
            max_rank: MAX_RANK,
        }
    }
}
