//! What serves, for those who look at the page.

use std::fs;

use farthing_api::MemoryPlanCard;
use farthing_model::MemoryPlan;

/// What only the start knows of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// In words.
    pub device: String,
    /// What its memory is for.
    pub memory: MemoryPlan,
    /// Whether the price is an example, since nobody said what the machine costs.
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

/// Bytes of host memory that this process has; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
