//! A description of the machine for the page.

use std::fs;

use farthing_api::MemoryPlanCard;
use farthing_model::MemoryPlan;

/// Facts about the machine that are known at start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// A description of the device.
    pub device: String,
    /// The memory plan.
    pub memory: MemoryPlan,
    /// Whether the price is an example, because none was given.
    pub price_is_example: bool,
}

impl Machine {
    pub(crate) fn memory_card(&self) -> MemoryPlanCard {
        let MemoryPlan {
            weights_bytes,
            kv_cache_bytes,
            adapter_bytes,
            workspace_bytes,
            runtime_bytes,
            ..
        } = self.memory;
        MemoryPlanCard {
            weights_bytes,
            kv_cache_bytes,
            adapter_bytes,
            workspace_bytes,
            runtime_bytes,
            total_bytes: self.memory.total_bytes(),
        }
    }
}

/// The resident memory of this process in bytes; `None` if the system does not report it.
pub(crate) fn resident_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
