//! Adapters as answers and lists name them.

use serde::Serialize;

/// The adapter that computed an answer. A name may point to new weights tomorrow; a generation is
/// always the same ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedAdapter {
    /// What the request called it.
    pub name: String,
    /// The first 16 hexadecimal digits of the SHA-256 of its config and weights.
    pub generation: String,
}

/// What `GET /v1/lora_adapters` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "list")]
pub struct AdapterList {
    /// By name.
    pub data: Vec<AdapterCard>,
}

/// An adapter that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "lora_adapter")]
pub struct AdapterCard {
    /// What requests call it.
    pub id: String,
    /// When it got this name, in Unix seconds.
    pub created: u64,
    /// As in [`UsedAdapter`].
    pub generation: String,
    /// Where its weights come from.
    pub root: String,
    /// Its base model.
    pub parent: String,
    /// The fastest memory that has it.
    pub tier: AdapterTier,
    /// Whether it stays in host memory.
    pub pinned: bool,
    /// Its rank.
    pub rank: usize,
    /// Bytes in memory.
    pub size_bytes: usize,
}

/// The memories that an adapter may be in, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterTier {
    /// In a slot of the device.
    Device,
    /// In host memory.
    Host,
    /// Where it came from.
    Disk,
}
