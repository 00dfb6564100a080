//! Where adapters may come from: nothing is read but what the operator has allowed.

use std::collections::HashSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::models::{HubAdapters, ModelSourceError};

/// The places that adapters are read from. Looking there blocks.
#[derive(Clone, Debug, Default)]
pub struct AdapterSources {
    /// Whatever lies below it may be loaded.
    directory: Option<PathBuf>,
    /// Named one by one on the command line.
    named: HashSet<PathBuf>,
    hub: Option<HubAdapters>,
}

/// What an adapter is made of.
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter is there, or not, or could not be fetched.
type Found = Result<Option<PathBuf>, ModelSourceError>;

impl AdapterSources {
    /// `directory` may be searched, by requests too; each of `named` may be loaded again.
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

    /// Lets adapters come from the hub too.
    pub(crate) fn with_hub(self, hub: HubAdapters) -> Self {
        Self {
            hub: Some(hub),
            ..self
        }
    }

    /// Whether a name that nobody has loaded may still be found.
    pub(super) fn may_have_more(&self) -> bool {
        self.directory.is_some() || self.hub.is_some()
    }

    /// The adapter that lies under `name` in the directory, else on the hub.
    pub(super) fn by_name(&self, name: &str) -> Found {
        let is_plain = |path: &Path| {
            let mut components = path.components();
            components.all(|component| matches!(component, Component::Normal(_)))
        };
        let directory = self.directory.iter().filter(|_| is_plain(Path::new(name)));
        let path = directory.map(|directory| directory.join(name)).next();
        match path.and_then(|path| self.checked(&path)) {
            Some(path) => Ok(Some(path)),
            None => self.on_hub(name),
        }
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

    /// Where an adapter really is, if that is an allowed place. Everything else is as if it were not
    /// there, so that nobody can learn what is.
    pub(super) fn checked(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().ok()?;
        if self.named.contains(&path) {
            return Some(path);
        }
        let hub = self.hub.as_ref().map(HubAdapters::root);
        let roots = self.directory.iter().chain(&hub);
        let root = roots.into_iter().find(|root| path.starts_with(root))?;
        // A link out of the root may hide in a file as well.
        let is_inside = |file: &str| {
            let file = path.join(file).canonicalize();
            file.is_ok_and(|file| file.starts_with(root))
        };
        let has_no_weights = path.join(WEIGHTS).symlink_metadata().is_err();
        (is_inside(CONFIG) && (is_inside(WEIGHTS) || has_no_weights)).then_some(path)
    }

    /// A word on where adapters may be, for whoever looked elsewhere.
    pub(super) fn hint(&self) -> String {
        match &self.directory {
            Some(directory) => format!(
                ": adapters are loaded from below {} (--adapter-dir)",
                directory.display()
            ),
            None => ": start the server with --adapter-dir to load adapters from there".to_owned(),
        }
    }

    fn on_hub(&self, id: &str) -> Found {
        let found = self.hub.as_ref().and_then(|hub| hub.get(id));
        match found.transpose() {
            // A name that the hub does not know is a name that does not exist.
            Err(ModelSourceError::Hub { reason, .. }) => {
                tracing::info!(id, "the hub has no such adapter: {reason}");
                Ok(None)
            }
            found => Ok(found?.and_then(|path| self.checked(&path))),
        }
    }
}
