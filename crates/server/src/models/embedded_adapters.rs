//! The adapters of the models in `models/`, embedded in the binary.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{
    cache::{Cache, FileIdentity},
    error::ModelSourceError,
};

/// An adapter in PEFT's format, made by `models/adapters/train.py`.
struct EmbeddedAdapter {
    name: &'static str,
    files: [(&'static str, &'static [u8]); 2],
}

const ADAPTERS: [EmbeddedAdapter; 2] = [
    EmbeddedAdapter {
        name: "payment-json",
        files: [
            (
                "adapter_config.json",
                include_bytes!("../../../../models/adapters/payment-json/adapter_config.json"),
            ),
            (
                "adapter_model.safetensors",
                include_bytes!(
                    "../../../../models/adapters/payment-json/adapter_model.safetensors"
                ),
            ),
        ],
    },
    EmbeddedAdapter {
        name: "address-lines",
        files: [
            (
                "adapter_config.json",
                include_bytes!("../../../../models/adapters/address-lines/adapter_config.json"),
            ),
            (
                "adapter_model.safetensors",
                include_bytes!(
                    "../../../../models/adapters/address-lines/adapter_model.safetensors"
                ),
            ),
        ],
    },
];

/// Writes an adapter into the cache if it is not there, and returns its directory.
pub(crate) fn unpack(name: &str, cache: &Cache) -> Result<PathBuf, ModelSourceError> {
    let adapter = ADAPTERS
        .iter()
        .find(|adapter| adapter.name == name)
        .ok_or_else(|| ModelSourceError::UnknownAdapter(name.to_owned()))?;
    let entry = cache.entry(&format!("adapter-{name}"))?;
    let _lock = entry.lock(&|_| ())?;
    for (file, mut content) in adapter.files {
        let identity = FileIdentity {
            name: file,
            size_bytes: content.len() as u64,
            sha256: &format!("{:x}", Sha256::digest(content)),
        };
        if entry.find(identity).is_none() {
            entry.store(identity, &mut content)?;
        }
    }
    Ok(entry.directory().to_owned())
}
