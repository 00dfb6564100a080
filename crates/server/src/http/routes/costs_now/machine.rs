//! The machine that the server runs on.

use farthing_api::{AdapterMemoryCard, KvCacheCard, MachineCard};
use farthing_engine::EngineStats;
use farthing_model::BLOCK_SIZE;

use crate::http::app::App;
use crate::machine::resident_bytes;

pub(super) fn card(app: &App, stats: &EngineStats) -> MachineCard {
    let host = app.models.adapter_figures();
    let pool = &stats.adapter_pool;
    let machine = app.machine.as_deref();
    MachineCard {
        version: env!("CARGO_PKG_VERSION"),
        device: machine.map(|it| it.device.clone()),
        memory_plan: machine.map(|it| it.memory_card()),
        resident_bytes: resident_bytes(),
        kv_cache: KvCacheCard {
            blocks: stats.total_blocks,
            blocks_in_use: stats.total_blocks.saturating_sub(stats.free_blocks),
            tokens_per_block: BLOCK_SIZE,
        },
        adapters: AdapterMemoryCard {
            named: host.named.len(),
            on_device: pool.resident.len(),
            device_slots: pool.slots,
            device_bytes: pool.resident_bytes,
            host_bytes: host.bytes,
            host_capacity_bytes: host.capacity.bytes,
        },
    }
}
