//! The adapters that are served from the start, and the room for those that come later.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use farthing_model::{DeviceKind, LoraAdapter, MemoryPlan};

use super::config::{AdapterChoice, Config};
use super::free_memory;
use super::opened_model::OpenedModel;
use crate::adapters::{AdapterLoader, AdapterSources, Adapters, AdaptersConfig, HostCapacity};
use crate::models::{HubAdapters, LocalAdapter};
use crate::request::backend::Backend;

/// Adapters that are in host memory before the engine starts.
pub(crate) struct StartAdapters {
    loader: AdapterLoader,
    named: Vec<(LocalAdapter, Arc<LoraAdapter>)>,
    capacity: HostCapacity,
    /// The number of device slots.
    pub max_on_device: usize,
}

/// Two adapters are enough to separate the cost of an adapter in a step from the cost of its rows.
const DUMMY_ADAPTERS: usize = 2;
const DUMMY_ADAPTER_RANK: usize = 16;

impl StartAdapters {
    /// Reads the adapters of the command line and those that come with the model.
    pub(crate) fn read(config: &Config, model: &OpenedModel) -> anyhow::Result<Self> {
        let wanted = wanted(&config.adapters, model);
        if let Some(adapter) = wanted.iter().find(|it| model.names.contains(&it.name)) {
            bail!(
                "the adapter {:?} has the name of the model itself: rename it",
                adapter.name
            );
        }
        let loader = AdapterLoader {
            chat_template: model.text.template_text.clone(),
            base: model.checkpoint.clone(),
            compute_type: model.compute_type,
            device: config.model.device,
            max_rank: config.adapters.max_rank,
        };
        let read = |wanted: LocalAdapter| {
            if let Some(limit) = config.adapters.host_bytes {
                loader.check_size(&wanted.name, &wanted.directory, limit)?;
            }
            let adapter = loader.load(&wanted.name, &wanted.directory)?;
            anyhow::Ok((wanted, Arc::new(adapter)))
        };
        let named: Vec<_> = wanted.into_iter().map(read).collect::<Result<_, _>>()?;
        let max_on_device = config.adapters.max_on_device;
        Ok(Self {
            capacity: host_capacity(config, &named),
            max_on_device: if config.adapters_may_change() {
                max_on_device
            } else {
                max_on_device.min(named.len())
            },
            loader,
            named,
        })
    }

    /// The memory that adapters take on the device that the KV cache shares with them.
    pub(crate) fn reserved_bytes(&self, config: &Config, model: &OpenedModel) -> usize {
        match config.model.device {
            DeviceKind::Cpu => self.capacity.bytes,
            // Host memory does not count here; slots of a GPU are all of one size.
            DeviceKind::Cuda(_) => {
                let rank = config.adapters.max_rank;
                self.max_on_device * MemoryPlan::adapter_slot_bytes(model.config(), rank)
            }
        }
    }

    /// The adapters to time steps with: as many as fit in a batch. If none is named but some may come
    /// later, dummies take their place.
    pub(crate) fn to_time(
        &self,
        config: &Config,
        model: &OpenedModel,
    ) -> anyhow::Result<Vec<Arc<LoraAdapter>>> {
        if !self.are_dummies_timed() {
            let timed = self.named.iter().take(self.max_on_device);
            return Ok(timed.map(|(_, adapter)| adapter.clone()).collect());
        }
        let rank = DUMMY_ADAPTER_RANK.min(config.adapters.max_rank);
        let device = config.model.device;
        let dummy = |seed| {
            LoraAdapter::dummy(model.config(), rank, seed, model.compute_type, device).map(Arc::new)
        };
        let dummies = (0..DUMMY_ADAPTERS.min(self.max_on_device)).map(|seed| dummy(seed as u8));
        Ok(dummies.collect::<Result<_, _>>()?)
    }

    /// Whether [`Self::to_time`] returns dummies, which are not needed after calibration.
    pub(crate) fn are_dummies_timed(&self) -> bool {
        self.named.is_empty()
    }

    /// Makes the adapters available to requests.
    pub(crate) fn serve(
        self,
        config: &Config,
        engine: Arc<dyn Backend>,
    ) -> anyhow::Result<Adapters> {
        let paths = self.named.iter().map(|(local, _)| &*local.directory);
        let directory: Option<&Path> = config.adapters.directory.as_deref();
        let mut sources = AdapterSources::new(directory, paths).context("--adapter-dir")?;
        if config.adapters.from_hub {
            sources = sources.with_hub(HubAdapters::from_env(self.capacity.bytes)?);
        }
        let adapters = Adapters::new(AdaptersConfig {
            engine,
            loader: self.loader,
            sources,
            capacity: self.capacity,
            max_waiting: config.limits.max_queued_sequences,
        })
        .context("cannot start the thread that reads adapters")?;
        for (local, adapter) in self.named {
            adapters.adopt(&local.name, &local.directory, adapter)?;
        }
        Ok(adapters)
    }
}

/// The adapters of the command line, and those of the model whose names are not taken.
fn wanted(choice: &AdapterChoice, model: &OpenedModel) -> Vec<LocalAdapter> {
    let mut wanted = choice.named.clone();
    if choice.max_on_device > 0 {
        let is_free = |own: &&LocalAdapter| choice.named.iter().all(|it| it.name != own.name);
        wanted.extend(model.adapters.iter().filter(is_free).cloned());
    }
    wanted
}

/// The host memory for adapters. If no adapter can come later, it is the size of those that are there.
fn host_capacity(config: &Config, named: &[(LocalAdapter, Arc<LoraAdapter>)]) -> HostCapacity {
    let named_bytes = named.iter().map(|(_, adapter)| adapter.size_bytes()).sum();
    let bytes = if let Some(bytes) = config.adapters.host_bytes {
        bytes
    } else if config.adapters_may_change() {
        let quarter = free_memory::bytes().map_or(usize::MAX, |free| free / 4);
        quarter.min(4 << 30).max(named_bytes)
    } else {
        named_bytes
    };
    HostCapacity {
        adapters: config.adapters.max_in_host_memory,
        bytes,
    }
}
