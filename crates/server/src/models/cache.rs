//! The cache of downloaded files, so that the next start needs no network.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use super::error::ModelSourceError;

/// The directory of files that Farthing downloads itself. Files from the hub are in Hugging Face's
/// own cache, which other programs share.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// The expected properties of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileIdentity<'a> {
    /// Its name in the cache.
    pub(crate) name: &'a str,
    pub(crate) size_bytes: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: &'a str,
}

impl Cache {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// `$FARTHING_CACHE`, else `$XDG_CACHE_HOME/farthing`, else `~/.cache/farthing`.
    pub(crate) fn from_env() -> Result<Self, ModelSourceError> {
        let variable = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        variable("FARTHING_CACHE")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("farthing")))
            .or_else(|| Some(variable("HOME")?.join(".cache/farthing")))
            .map(Self::at)
            .ok_or(ModelSourceError::NoCache)
    }

    /// The directory of one model. It is created if missing. `name` is one path component.
    pub(crate) fn entry(&self, name: &str) -> Result<CacheEntry, ModelSourceError> {
        let directory = self.root.join(name);
        fs::create_dir_all(&directory).map_err(ModelSourceError::io(&directory))?;
        Ok(CacheEntry { directory })
    }
}

/// The directory of one model.
#[derive(Debug)]
pub(crate) struct CacheEntry {
    directory: PathBuf,
}

/// The prefix of incomplete downloads. The holder of the lock may remove them.
const PARTIAL: &str = ".partial-";

impl CacheEntry {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file that was stored here before. Its size and its recorded hash are checked; its content
    /// is not hashed again.
    pub(crate) fn find(&self, identity: FileIdentity) -> Option<PathBuf> {
        let path = self.directory.join(identity.name);
        let size_bytes = fs::metadata(&path).ok()?.len();
        let note = fs::read_to_string(self.note(identity)).ok()?;
        (size_bytes == identity.size_bytes && note.trim() == identity.sha256).then_some(path)
    }

    /// Waits until no other process downloads this model, and removes incomplete downloads. The
    /// lock is released with the returned file, even if the process is killed.
    pub(crate) fn lock(&self, say: &dyn Fn(&str)) -> Result<File, ModelSourceError> {
        let path = self.directory.join(".lock");
        let failed = || ModelSourceError::io(&path);
        let file = File::create(&path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say("another process is downloading this model, waiting for it");
                file.lock().map_err(failed())?;
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        for entry in fs::read_dir(&self.directory).map_err(failed())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                // A file that cannot be removed only takes space.
                let _ = if entry.path().is_dir() {
                    fs::remove_dir_all(entry.path())
                } else {
                    fs::remove_file(entry.path())
                };
            }
        }
        Ok(file)
    }

    /// A directory for a download, on the same file system. It is removed when dropped.
    pub(crate) fn temporary(&self) -> Result<TempDir, ModelSourceError> {
        TempDir::with_prefix_in(PARTIAL, &self.directory)
            .map_err(ModelSourceError::io(&self.directory))
    }

    /// Copies a file into the cache. It gets its name only after its size and hash are verified and
    /// it is written to disk.
    pub(crate) fn store(
        &self,
        identity: FileIdentity,
        content: &mut dyn Read,
    ) -> Result<PathBuf, ModelSourceError> {
        let failed = || ModelSourceError::io(&self.directory);
        let mut partial =
            NamedTempFile::with_prefix_in(PARTIAL, &self.directory).map_err(failed())?;
        // Reading one byte more than expected detects a longer file.
        let mut content = content.take(identity.size_bytes + 1);
        let found = copy_and_hash(&mut content, &mut partial).map_err(failed())?;
        if found != identity.sha256 {
            return Err(ModelSourceError::Hash {
                what: identity.name.to_owned(),
                expected: identity.sha256.to_owned(),
                found,
            });
        }
        partial.as_file().sync_all().map_err(failed())?;
        let path = self.directory.join(identity.name);
        partial
            .persist(&path)
            .map_err(|error| failed()(error.error))?;

        let mut note = NamedTempFile::with_prefix_in(PARTIAL, &self.directory).map_err(failed())?;
        writeln!(note, "{}", identity.sha256).map_err(failed())?;
        note.persist(self.note(identity))
            .map_err(|error| failed()(error.error))?;
        Ok(path)
    }

    fn note(&self, identity: FileIdentity) -> PathBuf {
        self.directory.join(format!("{}.sha256", identity.name))
    }
}

/// The SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, ModelSourceError> {
    let failed = || ModelSourceError::io(path);
    let mut file = File::open(path).map_err(failed())?;
    copy_and_hash(&mut file, &mut io::sink()).map_err(failed())
}

fn copy_and_hash(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(format!("{:x}", hash.finalize())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..length]);
        to.write_all(&buffer[..length])?;
    }
}
