//! The machine's load, latencies and memory in `GET /v1/costs/now`.

use serde::Serialize;

/// A few seconds of the last minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// How long ago the period ended.
    pub seconds_ago: f64,
    /// Tokens of all classes.
    pub tokens_per_second: f64,
    /// Fraction of the time in which steps ran.
    pub busy_share: f64,
}

/// Sequences at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Running sequences.
    pub running: usize,
    /// Waiting sequences.
    pub waiting: usize,
}

/// Latencies of the last minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// Length of the window.
    pub window_seconds: f64,
    /// From a request's arrival to a choice's first token.
    pub time_to_first_token: Quantiles,
    /// Between two tokens of a choice.
    pub inter_token: Quantiles,
    /// From a request's arrival to the end of a choice.
    pub end_to_end: Quantiles,
    /// From a choice's arrival to its first step.
    pub queue: Quantiles,
}

/// Quantiles with an error of at most 3 %. Absent if nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Number of measurements.
    pub count: u64,
    /// The median, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    /// The 95th percentile, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<f64>,
    /// The 99th percentile, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
}

/// The server and its memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineCard {
    /// Farthing's version.
    pub version: &'static str,
    /// Description of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The memory plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_plan: Option<MemoryPlanCard>,
    /// Host memory of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<usize>,
    /// The KV cache.
    pub kv_cache: KvCacheCard,
    /// The adapters.
    pub adapters: AdapterMemoryCard,
}

/// Planned memory by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlanCard {
    /// The model's weights.
    pub weights_bytes: usize,
    /// Blocks of the KV cache.
    pub kv_cache_bytes: usize,
    /// Adapters.
    pub adapter_bytes: usize,
    /// Activations of the largest step.
    pub workspace_bytes: usize,
    /// Other memory on a GPU.
    pub runtime_bytes: usize,
    /// The sum of all purposes.
    pub total_bytes: usize,
}

/// The KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KvCacheCard {
    /// Number of blocks.
    pub blocks: usize,
    /// Blocks that sequences hold.
    pub blocks_in_use: usize,
    /// Tokens per block.
    pub tokens_per_block: usize,
}

/// Where the adapters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterMemoryCard {
    /// Adapters with a name.
    pub named: usize,
    /// Adapters on the device.
    pub on_device: usize,
    /// Slots on the device.
    pub device_slots: usize,
    /// Size of the adapters on the device.
    pub device_bytes: usize,
    /// Size of the adapters in host memory.
    pub host_bytes: usize,
    /// Capacity of host memory for adapters.
    pub host_capacity_bytes: usize,
}
