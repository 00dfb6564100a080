//! Where adapters may be read from: only from places that the operator has permitted.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use crate::models::{HubAdapters, ModelSourceError};
use crate::visible::visible;

/// The places that adapters may be read from. All methods block.
#[derive(Clone, Debug, Default)]
pub struct AdapterSources {
    /// Every adapter below it may be loaded.
    directory: Option<PathBuf>,
    /// Directories named on the command line.
    named: HashSet<PathBuf>,
    hub: Option<HubAdapters>,
}

/// The files of an adapter.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The directory of an adapter, `None` if there is none, or an error if it could not be fetched.
type Found = Result<Option<PathBuf>, ModelSourceError>;

impl AdapterSources {
    /// Requests may search `directory`; each of `named` may be loaded again.
    ///
    /// # Errors
    /// One of them does not exist.
    pub fn new<'a>(
        directory: Option<&Path>,
        named: impl IntoIterator<Item = &'a Path>,
    ) -> io::Result<Self> {
        Ok(Self {
            directory: directory.map(Path::canonicalize).transpose()?,
            named: named
                .into_iter()
                .map(Path::canonicalize)
                .collect::<io::Result<_>>()?,
            hub: None,
        })
    }

    /// Also permits adapters from the hub.
    pub(crate) fn with_hub(self, hub: HubAdapters) -> Self {
        Self {
            hub: Some(hub),
            ..self
        }
    }

    /// Whether an adapter that is not loaded may be found by its name.
    pub(super) fn may_have_more(&self) -> bool {
        self.directory.is_some() || self.hub.is_some()
    }

    /// The adapter called `name` in the directory, else on the hub.
    pub(super) fn by_name(&self, name: &str) -> Found {
        let directory = self.directory.as_deref();
        match directory.and_then(|directory| self.named_in(directory, name)) {
            Some(path) => Ok(Some(path)),
            None => self.on_hub(name),
        }
    }

    /// The adapter that has exactly this name in the directory. Each adapter has one name, so that
    /// callers cannot multiply it by `a//b`, `./a`, links to directories, or `A` where the file system
    /// ignores case.
    fn named_in(&self, directory: &Path, name: &str) -> Option<PathBuf> {
        let parts: Vec<_> = name.split('/').collect();
        let is_plain = |part: &&str| {
            let mut components = Path::new(part).components();
            matches!(components.next(), Some(Component::Normal(only)) if only == *part)
                && components.next().is_none()
        };
        if visible(name) != name || !parts.iter().all(is_plain) {
            return None;
        }
        let named = directory.join(name);
        let path = self.checked(&named).filter(|path| *path == named)?;
        let mut parent = directory.to_owned();
        for part in parts {
            let mut entries = fs::read_dir(&parent).ok()?;
            entries
                .find(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() == *part))?
                .ok()?;
            parent.push(part);
        }
        Some(path)
    }

    /// The adapter at `path`, relative to the directory or absolute, else on the hub.
    pub(super) fn by_path(&self, path: &str) -> Found {
        let local = match &self.directory {
            Some(directory) => self.checked(&directory.join(path)),
            None => self.checked(Path::new(path)),
        };
        match local {
            Some(path) => Ok(Some(path)),
            None => self.on_hub(path),
        }
    }

    /// The real path of an adapter, if it is in a permitted place. Everything else is reported as
    /// missing, so that nobody can probe for files.
    pub(super) fn checked(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().ok()?;
        if self.named.contains(&path) {
            return Some(path);
        }
        let hub = self.hub.as_ref().map(HubAdapters::root);
        let roots = self.directory.iter().chain(&hub);
        let root = roots.into_iter().find(|root| path.starts_with(root))?;
        // A file may be a link that leads out of the root.
        let is_inside = |file: &str| {
            let file = path.join(file).canonicalize();
            file.is_ok_and(|file| file.starts_with(root))
        };
        let has_no_weights = path.join(WEIGHTS).symlink_metadata().is_err();
        (is_inside(CONFIG) && (is_inside(WEIGHTS) || has_no_weights)).then_some(path)
    }

    /// A hint about the permitted places, for an error message.
    pub(super) fn hint(&self) -> String {
        match &self.directory {
            Some(directory) => format!(
                ": adapters are loaded from the adapter directory {}",
                directory.display()
            ),
            None => ": this server has no adapter directory".to_owned(),
        }
    }

    fn on_hub(&self, id: &str) -> Found {
        let found = self.hub.as_ref().and_then(|hub| hub.get(id));
        match found.transpose() {
            // If the hub does not know the name, it does not exist.
            Err(ModelSourceError::Hub { reason, .. }) => {
                tracing::info!(id, "the hub has no such adapter: {reason}");
                Ok(None)
            }
            found => Ok(found?.and_then(|path| self.checked(&path))),
        }
    }
}
