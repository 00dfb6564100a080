//! How answers and lists name adapters.

use serde::Serialize;

/// The adapter that computed an answer. A name may refer to other weights later; a generation
/// always identifies the same weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedAdapter {
    /// The name in the request.
    pub name: String,
    /// The first 16 hexadecimal digits of the SHA-256 of its config and weights.
    pub generation: String,
}

/// The answer of `GET /v1/lora_adapters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "list")]
pub struct AdapterList {
    /// Sorted by name.
    pub data: Vec<AdapterCard>,
}

/// A named adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "lora_adapter")]
pub struct AdapterCard {
    /// The name for requests.
    pub id: String,
    /// When it got this name, in Unix seconds.
    pub created: u64,
    /// The generation, as in [`UsedAdapter`].
    pub generation: String,
    /// The source of its weights.
    pub root: String,
    /// Its base model.
    pub parent: String,
    /// The fastest memory that holds it.
    pub tier: AdapterTier,
    /// Whether it is never evicted from host memory.
    pub pinned: bool,
    /// Its rank.
    pub rank: usize,
    /// Size in memory.
    pub size_bytes: usize,
}

/// The memories that can hold an adapter, fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterTier {
    /// A slot on the device.
    Device,
    /// In host memory.
    Host,
    /// The source of its weights.
    Disk,
}
