//! The file that keys are kept in.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{Key, KeyFileError, Secret, Terms};

const MAX_BYTES: u64 = 16 << 20;

/// A TOML file with one `[[keys]]` table per key. Readers see either the old file or the new one,
/// and two writers take turns.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    keys: Vec<Key>,
}

impl KeyFile {
    /// The file at `path`. It need not exist to add the first key.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, the revoked ones too, in the order in which they were made.
    ///
    /// # Errors
    /// The file cannot be read, or a key in it is invalid.
    pub fn read(&self) -> Result<Vec<Key>, KeyFileError> {
        let unreadable = |error| self.unreadable(error);
        let metadata = fs::metadata(&self.path).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(KeyFileError::NotAKeyFile {
                path: self.path.clone(),
            });
        }
        let text = fs::read_to_string(&self.path).map_err(unreadable)?;
        let document: Document = toml::from_str(&text).map_err(|error| self.invalid(&error))?;
        self.check(&document.keys)?;
        Ok(document.keys)
    }

    /// Makes a key, and returns its text.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be read or written.
    pub fn add(&self, name: &str, terms: Terms) -> Result<Secret, KeyFileError> {
        let secret =
            Secret::generate().map_err(|error| self.unreadable(io::Error::other(error)))?;
        self.change(|keys| {
            if keys
                .iter()
                .any(|key| key.revoked.is_none() && key.name == name)
            {
                return Err(KeyFileError::NameTaken(name.to_owned()));
            }
            keys.push(Key {
                id: secret.id().to_owned(),
                name: name.to_owned(),
                sha256: secret.hash(),
                created: now(),
                revoked: None,
                terms,
            });
            Ok(())
        })?;
        Ok(secret)
    }

    /// Revokes the key with this name or id, and returns it.
    ///
    /// # Errors
    /// There is no such key, or the file cannot be read or written.
    pub fn revoke(&self, name_or_id: &str) -> Result<Key, KeyFileError> {
        self.change(|keys| {
            let mut valid = keys.iter_mut().filter(|key| key.revoked.is_none());
            let key = valid.find(|key| key.name == name_or_id || key.id == name_or_id);
            let key = key.ok_or_else(|| KeyFileError::NoSuchKey(name_or_id.to_owned()))?;
            key.revoked = Some(now());
            Ok(key.clone())
        })
    }

    /// Replaces the file by a changed one.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let _turn = self.take_turn().map_err(|error| self.unreadable(error))?;
        let mut keys = match self.read() {
            Err(KeyFileError::Unreadable { error, .. }) if error.kind() == ErrorKind::NotFound => {
                Vec::new()
            }
            read => read?,
        };
        let changed = change(&mut keys)?;
        self.check(&keys)?;
        let document = Document { keys };
        let text = toml::to_string_pretty(&document).map_err(|error| self.invalid(&error))?;
        self.write(&text).map_err(|error| self.unreadable(error))?;
        Ok(changed)
    }

    /// Waits until no other process changes the file. The lock is a file of its own, because the key
    /// file is replaced.
    fn take_turn(&self) -> io::Result<File> {
        let directory = self.directory();
        fs::create_dir_all(directory)?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(name))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Only its owner may read the file.
    fn write(&self, text: &str) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.directory())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    fn check(&self, keys: &[Key]) -> Result<(), KeyFileError> {
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for key in keys {
            let name = &key.name;
            let wrong = |what: &str| Err(self.invalid(&format!("the key {name:?} {what}")));
            if !is_printable(name) || !is_printable(&key.terms.tenant) {
                return wrong("needs a name and a tenant of 1 to 128 printable characters");
            }
            if !ids.insert(&key.id) {
                return wrong("has the id of another key");
            }
            if key.revoked.is_none() && !names.insert(name) {
                return wrong("has the name of another key");
            }
            if key.terms.usd_per_day.is_some_and(|usd| usd < Decimal::ZERO) {
                return wrong("has a negative usd_per_day");
            }
        }
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> KeyFileError {
        KeyFileError::Unreadable {
            path: self.path.clone(),
            error,
        }
    }

    fn invalid(&self, message: &impl ToString) -> KeyFileError {
        KeyFileError::Invalid {
            path: self.path.clone(),
            message: message.to_string(),
        }
    }
}

fn is_printable(name: &str) -> bool {
    (1..=128).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// To the second: the file is read by people too.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
