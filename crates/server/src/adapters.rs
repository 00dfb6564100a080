//! The adapters that requests may name: what each name refers to, and which adapters are in host
//! memory.
//!
//! There are three tiers: device slots (owned by the engine), host memory, and the disk from which
//! every adapter can be read again. An adapter on the device is in host memory too.

mod error;
mod host_memory;
mod loader;
mod loader_thread;
mod name_locks;
mod registry;
mod sources;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use tokio::sync::Semaphore;

use crate::models::ModelSourceError;
use crate::request::backend::Backend;

pub use error::AdapterError;
pub(crate) use error::FindError;
pub use host_memory::HostCapacity;
use host_memory::{Generation, GenerationInUse, Room};
pub use loader::AdapterLoader;
use loader_thread::LoaderThread;
use name_locks::NameLocks;
use registry::Registry;
pub(crate) use registry::{HostFigures, Named};
pub use sources::AdapterSources;

/// The number of adapters that may be read or wait for room at once. It bounds the memory that
/// adapters take beyond the capacity of host memory.
const MAX_READS: usize = 2;

/// All adapters that have a name or may get one.
///
/// A name refers to a generation, which is identified by the hash of its config and weights.
/// Loading in place makes the name refer to another generation. Requests that have begun keep the
/// old one, and it is freed after the last of them.
pub struct Adapters {
    registry: Mutex<Registry>,
    engine: Arc<dyn Backend>,
    loader: LoaderThread,
    sources: Arc<AdapterSources>,
    /// Serializes loads of the same name.
    name_locks: NameLocks,
    reads: Arc<Semaphore>,
    /// Limits the requests that wait for their adapter.
    waiting: Semaphore,
    max_waiting: usize,
}

/// The parts and limits of [`Adapters`].
pub struct AdaptersConfig {
    /// The engine that computes with the adapters.
    pub engine: Arc<dyn Backend>,
    /// Reads adapters from disk.
    pub loader: AdapterLoader,
    /// The places that adapters may be read from.
    pub sources: AdapterSources,
    /// The capacity of host memory. If it is 0 adapters, none are served.
    pub capacity: HostCapacity,
    /// The number of requests that may wait for an adapter to be read. More are refused.
    pub max_waiting: usize,
}

/// An adapter to load.
#[derive(Clone, Copy, Debug)]
pub struct NewAdapter<'a> {
    /// The name that requests will use.
    pub name: &'a str,
    /// Its path, as requested.
    pub path: &'a str,
    /// Whether it may replace an adapter of the same name.
    pub in_place: bool,
    /// Whether it stays in host memory.
    pub pinned: bool,
}

/// An adapter in use by one request. The request keeps this generation to its end, even if the name
/// is unloaded or refers to another generation by then.
#[derive(Clone)]
pub(crate) struct AdapterInUse {
    pub name: String,
    generation: GenerationInUse,
}

impl AdapterInUse {
    pub(crate) fn adapter(&self) -> &Arc<LoraAdapter> {
        self.generation.adapter()
    }

    /// The identifier of the weights in answers.
    pub(crate) fn generation(&self) -> String {
        generation(self.adapter().id())
    }
}

/// The identifier of an adapter's weights in answers: enough digits to be unique.
pub(crate) fn generation(id: AdapterId) -> String {
    format!("{id:.16}")
}

impl Adapters {
    /// Starts without names.
    ///
    /// # Errors
    /// The loader thread cannot be started.
    pub fn new(config: AdaptersConfig) -> io::Result<Self> {
        Ok(Self {
            registry: Mutex::new(Registry::new(config.capacity)),
            engine: config.engine,
            loader: LoaderThread::start(config.loader, config.capacity.bytes)?,
            sources: Arc::new(config.sources),
            name_locks: NameLocks::default(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            waiting: Semaphore::new(config.max_waiting),
            max_waiting: config.max_waiting,
        })
    }

    /// Serves an adapter under a name, as soon as all of it is in host memory.
    ///
    /// # Errors
    /// The name is taken, or the adapter cannot be served. Nothing has changed then.
    pub async fn load(&self, new: NewAdapter<'_>) -> Result<(), AdapterError> {
        let NewAdapter { name, path, .. } = new;
        if self.capacity().adapters == 0 {
            return Err(AdapterError::Off);
        }
        let _turn = self.name_locks.lock(name).await;
        if !new.in_place && self.named(name).is_some() {
            return Err(AdapterError::NameTaken(name.to_owned()));
        }
        let not_there = || AdapterError::NotThere {
            name: name.to_owned(),
            path: path.to_owned(),
            hint: self.sources.hint(),
        };
        let wanted = path.to_owned();
        let directory = self.locate(name, move |sources| sources.by_path(&wanted));
        let directory = directory.await?.ok_or_else(not_there)?;
        let replaces = self.named(name).is_some();
        let generation = self.read(name, &directory, replaces).await?;
        let named = Named::new(path, directory, new.pinned, generation.adapter());
        self.registry().point(name, named);
        self.engine.prefetch_adapter(generation.adapter().clone());
        tracing::info!(
            name,
            generation = self::generation(generation.adapter().id()),
            path,
            "adapter loaded"
        );
        Ok(())
    }

    /// Serves an adapter that is already in memory. Only used before the server accepts requests.
    ///
    /// # Errors
    /// It does not fit.
    pub fn adopt(
        &self,
        name: &str,
        directory: &Path,
        adapter: Arc<LoraAdapter>,
    ) -> Result<(), AdapterError> {
        let size_bytes = adapter.size_bytes();
        let mut registry = self.registry();
        let generation = match registry.host.find(adapter.id()) {
            Some(twin) => twin,
            None if registry.host.make_room(size_bytes) == Room::Made => {
                registry.host.insert(self.new_generation(adapter.clone()))
            }
            None => {
                return Err(AdapterError::NoRoom {
                    name: name.to_owned(),
                    size_bytes,
                });
            }
        };
        let path = directory.display().to_string();
        let named = Named::new(&path, directory.to_owned(), false, generation.adapter());
        registry.point(name, named);
        self.engine.prefetch_adapter(adapter);
        Ok(())
    }

    /// Removes a name. Requests that use its adapter continue.
    ///
    /// # Errors
    /// The name is unknown.
    pub async fn unload(&self, name: &str) -> Result<(), AdapterError> {
        let _turn = self.name_locks.lock(name).await;
        if self.registry().forget(name) {
            tracing::info!(name, "adapter unloaded");
            Ok(())
        } else {
            Err(AdapterError::Unknown(name.to_owned()))
        }
    }

    /// The adapter that a request names. It is read from disk if it is not in host memory.
    pub(crate) async fn find(&self, name: &str) -> Result<AdapterInUse, FindError> {
        let in_use = |generation| AdapterInUse {
            name: name.to_owned(),
            generation,
        };
        if let Some(generation) = self.registry().hit(name) {
            return Ok(in_use(generation));
        }
        if self.named(name).is_none() && !self.sources.may_have_more() {
            return Err(FindError::NotFound(name.to_owned()));
        }
        let limit = self.max_waiting;
        let _place = (self.waiting.try_acquire()).map_err(|_| FindError::QueueFull { limit })?;
        let _turn = self.name_locks.lock(name).await;
        // The previous holder of the lock may have loaded it.
        if let Some(generation) = self.registry().hit(name) {
            return Ok(in_use(generation));
        }
        let known = self.named(name);
        let wanted = (name.to_owned(), known.clone());
        let not_loadable = |error: AdapterError| {
            tracing::warn!(name, "{error}");
            AdapterError::NotLoadable(name.to_owned())
        };
        let directory = self.locate(name, move |sources| match wanted {
            (_, Some(known)) => Ok(sources.checked(&known.directory)),
            (name, None) => sources.by_name(&name),
        });
        let directory = directory.await.map_err(|error| {
            tracing::warn!(name, "{error}");
            AdapterError::Unreachable(name.to_owned())
        })?;
        let directory = directory.ok_or_else(|| FindError::NotFound(name.to_owned()))?;
        let generation = self.read(name, &directory, false).await;
        let generation = generation.map_err(not_loadable)?;
        let mut registry = self.registry();
        registry.counters.misses += 1;
        let adapter = generation.adapter();
        let named = match known {
            None => Named::new(name, directory, false, adapter),
            Some(known) => {
                if adapter.id() != known.id {
                    let (before, after) =
                        (self::generation(known.id), self::generation(adapter.id()));
                    tracing::warn!(name, before, after, "the adapter's files have changed");
                }
                Named {
                    created: known.created,
                    ..Named::new(&known.root, directory, known.pinned, adapter)
                }
            }
        };
        registry.point(name, named);
        drop(registry);
        Ok(in_use(generation))
    }

    /// All named adapters, sorted by name, and whether each is in host memory.
    pub(crate) fn list(&self) -> Vec<(String, Named, bool)> {
        let registry = self.registry();
        let names = registry.names.iter();
        names
            .map(|(name, named)| (name.clone(), named.clone(), registry.host.has(named.id)))
            .collect()
    }

    /// Whether a name that is not known now may be known later.
    pub(crate) fn may_change(&self) -> bool {
        self.sources.may_have_more()
    }

    pub(crate) fn figures(&self) -> HostFigures {
        self.registry().figures()
    }

    fn new_generation(&self, adapter: Arc<LoraAdapter>) -> Arc<Generation> {
        let engine = self.engine.clone();
        Arc::new(Generation { adapter, engine })
    }

    fn capacity(&self) -> HostCapacity {
        self.registry().host.capacity()
    }

    fn named(&self, name: &str) -> Option<Named> {
        self.registry().names.get(name).cloned()
    }

    /// Looks for an adapter in the permitted places. Blocking calls run on another thread.
    async fn locate(
        &self,
        name: &str,
        look: impl FnOnce(&AdapterSources) -> Result<Option<PathBuf>, ModelSourceError> + Send + 'static,
    ) -> Result<Option<PathBuf>, AdapterError> {
        let sources = self.sources.clone();
        let found = tokio::task::spawn_blocking(move || look(&sources)).await;
        let refused = |reason: String| AdapterError::Refused {
            name: name.to_owned(),
            reason,
        };
        found
            .map_err(|error| refused(error.to_string()))?
            .map_err(|error| refused(error.to_string()))
    }

    /// Reads an adapter into host memory as soon as there is room. An adapter that replaces another
    /// may exceed the capacity until the other is freed. Waiting for that could take for ever,
    /// because new requests keep using the old one.
    async fn read(
        &self,
        name: &str,
        directory: &Path,
        replaces: bool,
    ) -> Result<GenerationInUse, AdapterError> {
        // Held until the adapter has its place, so that only a few adapters wait in memory for
        // room.
        let permit = self.reads.clone().acquire_owned().await;
        let started = Instant::now();
        let loaded = self.loader.load(name, directory.to_owned()).await;
        self.registry().count_load(&loaded, started.elapsed());
        let generation = self.place(name, loaded?, replaces).await;
        drop(permit);
        generation
    }

    /// Gives an adapter a place in host memory. Waits while all others are in use.
    async fn place(
        &self,
        name: &str,
        adapter: LoraAdapter,
        replaces: bool,
    ) -> Result<GenerationInUse, AdapterError> {
        let size_bytes = adapter.size_bytes();
        let adapter = Arc::new(adapter);
        let freed = self.registry().host.freed();
        loop {
            let mut waiting = std::pin::pin!(freed.notified());
            // Register before checking, so that no notification is lost in between.
            waiting.as_mut().enable();
            {
                let mut registry = self.registry();
                if let Some(twin) = registry.host.find(adapter.id()) {
                    return Ok(twin);
                }
                let room = registry.host.make_room(size_bytes);
                if room == Room::Made || replaces {
                    return Ok(registry.host.insert(self.new_generation(adapter)));
                }
                if room == Room::Never {
                    return Err(AdapterError::NoRoom {
                        name: name.to_owned(),
                        size_bytes,
                    });
                }
            }
            waiting.await;
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change is a single call, so a panic leaves no inconsistent state.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
