//! Where the adapters are, and how often they had to move.

use std::collections::HashSet;

use farthing_model::AdapterPoolStats;

use super::exposition::Exposition;
use crate::adapters::HostFigures;

pub(super) fn render(page: &mut Exposition, device: &AdapterPoolStats, host: &HostFigures) {
    let resident: HashSet<_> = device.resident.iter().collect();
    let on_device = host.named.iter().filter(|(id, _)| resident.contains(id));
    let on_device = on_device.count();
    let in_memory = host
        .named
        .iter()
        .filter(|(_, in_memory)| *in_memory)
        .count();
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
        "Bytes of adapters. What is on the device is in host memory too.",
        ["tier"],
        [(["device"], device.resident_bytes), (["host"], host.bytes)],
    );
    page.gauges(
        "farthing_adapter_capacity",
        "Adapters that fit.",
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
            "Those that did not.",
            device.misses,
            counters.misses,
        ),
        (
            "farthing_adapter_loads_total",
            "Adapters brought there.",
            device.loads,
            counters.loads,
        ),
        (
            "farthing_adapter_evictions_total",
            "Adapters that had to leave for others.",
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
        "Names that were pointed to another generation.",
        counters.swaps,
    );
}
