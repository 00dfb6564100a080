//! The memory that the process may still allocate.

use std::fs;

/// Bytes that can be allocated without swapping: what the machine has available, or the limit of
/// the container's control group. `None` if the system does not report it.
pub(crate) fn bytes() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|meminfo| {
            let line = meminfo
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))?;
            let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        });
    match (machine, control_group()) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// What is left of the limit of this control group (version 2). Its page cache counts as free,
/// because the kernel reclaims that first.
fn control_group() -> Option<usize> {
    let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let limit: usize = read("memory.max")?.trim().parse().ok()?;
    let current: usize = read("memory.current")?.trim().parse().ok()?;
    let cache: usize = read("memory.stat")?
        .lines()
        .find_map(|line| line.strip_prefix("file "))
        .and_then(|bytes| bytes.parse().ok())?;
    Some(limit.saturating_sub(current.saturating_sub(cache)))
}
