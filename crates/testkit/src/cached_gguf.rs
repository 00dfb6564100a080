//! Models that tests use if they are there.

use std::path::PathBuf;
use std::{env, fs};

/// A GGUF file, known by its size, wherever in Farthing's cache it lies.
pub fn cached_gguf(bytes: u64) -> Option<PathBuf> {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let cache = variable("FARTHING_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("farthing")))
        .or_else(|| Some(env::home_dir()?.join(".cache/farthing")))?;
    let mut directories = vec![cache];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            // Through symbolic links: the hub's cache keeps its files behind them.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.len() == bytes && path.extension().is_some_and(|e| e == "gguf") {
                return Some(path);
            }
        }
    }
    None
}
