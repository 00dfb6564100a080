//! Finds the CUDA toolkit.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// The environment variables that candle's crates also read, in the same order.
const VARIABLES: [&str; 3] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"];

pub(crate) struct Toolkit {
    root: PathBuf,
}

impl Toolkit {
    pub(crate) fn find() -> Result<Self> {
        for variable in VARIABLES {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let named = VARIABLES.iter().find_map(env::var_os).map(PathBuf::from);
        let root = named.unwrap_or_else(|| "/usr/local/cuda".into());
        if !root.join("bin/nvcc").is_file() {
            let message = format!(
                "{} holds no bin/nvcc: set CUDA_HOME to a CUDA toolkit, or get one with \
                 `eval \"$(.ci/cuda-toolkit)\"`",
                root.display()
            );
            return Err(message.into());
        }
        Ok(Self { root })
    }

    pub(crate) fn nvcc(&self) -> PathBuf {
        self.root.join("bin/nvcc")
    }

    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Result<String> {
        let path = self.root.join("include").join(name);
        Ok(fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?)
    }

    /// The folder that contains this library.
    pub(crate) fn folder_of(&self, library: &str) -> Result<PathBuf> {
        [
            "lib64",
            "lib",
            "targets/x86_64-linux/lib",
            "targets/sbsa-linux/lib",
        ]
        .iter()
        .map(|folder| self.root.join(folder))
        .find(|folder| folder.join(library).is_file())
        .ok_or_else(|| format!("{} has no {library}", self.root().display()).into())
    }

    fn root(&self) -> &Path {
        &self.root
    }
}
