//! What the machine does, how fast, and with which memory, as `GET /v1/costs/now` tells it.

use serde::Serialize;

/// A few seconds of the last minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// How long ago it ended.
    pub seconds_ago: f64,
    /// Tokens of all kinds.
    pub tokens_per_second: f64,
    /// The share of it in which steps ran.
    pub busy_share: f64,
}

/// Sequences of this moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// In the batch.
    pub running: usize,
    /// Waiting for a place in it.
    pub waiting: usize,
}

/// Times of the last minutes, by what passed in them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// The minutes.
    pub window_seconds: f64,
    /// From a request's arrival to a choice's first token.
    pub time_to_first_token: Quantiles,
    /// Between two tokens of a choice.
    pub inter_token: Quantiles,
    /// From a request's arrival to a choice's end.
    pub end_to_end: Quantiles,
    /// From a choice's arrival to its first step.
    pub queue: Quantiles,
}

/// Quantiles to within 3 %; absent where nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Seconds that half of them took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    /// Seconds that 95 % of them took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<f64>,
    /// Seconds that 99 % of them took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
}

/// What is served on what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineCard {
    /// Farthing's.
    pub version: &'static str,
    /// The device, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What its memory was planned for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_plan: Option<MemoryPlanCard>,
    /// Bytes of host memory that the process has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<usize>,
    /// The cache of keys and values.
    pub kv_cache: KvCacheCard,
    /// The adapters.
    pub adapters: AdapterMemoryCard,
}

/// Bytes by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlanCard {
    /// The model's weights.
    pub weights_bytes: usize,
    /// Blocks of the KV cache.
    pub kv_cache_bytes: usize,
    /// Room for adapters.
    pub adapter_bytes: usize,
    /// Activations of the largest step.
    pub workspace_bytes: usize,
    /// What a GPU keeps besides.
    pub runtime_bytes: usize,
    /// All of it.
    pub total_bytes: usize,
}

/// The cache of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KvCacheCard {
    /// Its blocks.
    pub blocks: usize,
    /// Those that sequences hold.
    pub blocks_in_use: usize,
    /// Tokens of each.
    pub tokens_per_block: usize,
}

/// How many adapters are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterMemoryCard {
    /// Names.
    pub named: usize,
    /// On the device.
    pub on_device: usize,
    /// Places on the device.
    pub device_slots: usize,
    /// Bytes on the device.
    pub device_bytes: usize,
    /// Bytes in host memory.
    pub host_bytes: usize,
    /// Bytes that fit there.
    pub host_capacity_bytes: usize,
}
