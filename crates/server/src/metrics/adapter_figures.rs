//! Metrics of adapters: where they are and how often they move.

use std::collections::HashSet;

use farthing_engine::EngineStats;
use farthing_scheduler::AdapterId;

use super::exposition::Exposition;
use crate::adapters::HostFigures;
use crate::clock::unix_microseconds;

pub(super) fn render(page: &mut Exposition, engine: &EngineStats, host: &HostFigures) {
    let device = &engine.adapter_pool;
    let resident: HashSet<_> = device.resident.iter().collect();
    let named = host.named.iter();
    let on_device = named.clone().filter(|it| resident.contains(&it.id)).count();
    let in_memory = named.filter(|it| it.in_memory).count();
    if device.slots > 0 {
        page.labelled(
            "vllm:lora_requests_info",
            "Adapters with requests, by name, and when that was so, in seconds since 1970.",
            &[
                ("max_lora", &device.slots.to_string()),
                (
                    "waiting_lora_adapters",
                    &names(host, &engine.waiting_adapters),
                ),
                (
                    "running_lora_adapters",
                    &names(host, &engine.running_adapters),
                ),
            ],
            unix_microseconds() as f64 / 1e6,
        );
    }
    page.gauges(
        "farthing_adapters",
        "Names of adapters, by the fastest memory that has them.",
        ["tier"],
        [
            (["device"], on_device),
            (["host"], in_memory.saturating_sub(on_device)),
            (["disk"], host.named.len() - in_memory),
        ],
    );
    page.gauges(
        "farthing_adapter_bytes",
        "Bytes of adapters. Adapters on the device are in host memory too.",
        ["tier"],
        [(["device"], device.resident_bytes), (["host"], host.bytes)],
    );
    page.gauges(
        "farthing_adapter_capacity",
        "Maximum number of adapters.",
        ["tier"],
        [
            (["device"], device.slots),
            (["host"], host.capacity.adapters),
        ],
    );
    page.gauge(
        "farthing_adapter_capacity_bytes",
        "Bytes of adapters that fit into host memory.",
        host.capacity.bytes as f64,
    );
    let counters = &host.counters;
    for (name, help, on_device, in_memory) in [
        (
            "farthing_adapter_hits_total",
            "Requests (host) and their choices (device) that found their adapter there.",
            device.hits,
            counters.hits,
        ),
        (
            "farthing_adapter_misses_total",
            "Requests (host) and their choices (device) that did not find their adapter there.",
            device.misses,
            counters.misses,
        ),
        (
            "farthing_adapter_loads_total",
            "Adapters loaded there.",
            device.loads,
            counters.loads,
        ),
        (
            "farthing_adapter_evictions_total",
            "Adapters evicted for others.",
            device.evictions,
            host.evictions,
        ),
    ] {
        let tiers = [("device", on_device), ("host", in_memory)];
        page.counters(name, help, "tier", tiers);
    }
    page.counter(
        "farthing_adapter_load_failures_total",
        "Adapters that could not be read.",
        counters.load_failures,
    );
    page.counter(
        "farthing_adapter_load_seconds_total",
        "Time spent reading adapters, off the engine's thread.",
        counters.load_seconds,
    );
    page.counter(
        "farthing_adapter_swaps_total",
        "Names that were changed to another generation.",
        counters.swaps,
    );
}

/// The names of these adapters, sorted and separated by commas. A generation without a name is left
/// out.
fn names(host: &HostFigures, adapters: &[AdapterId]) -> String {
    let named = host.named.iter().filter(|it| adapters.contains(&it.id));
    let names: Vec<_> = named.map(|it| it.name.as_str()).collect();
    names.join(",")
}
