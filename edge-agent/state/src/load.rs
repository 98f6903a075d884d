//! When what an allocation uses is news.

use std::collections::BTreeSet;

use skerry_types::AllocationLoad;

/// Told when it moved by more than one part in this many of what was told last.
const PART: u64 = 10;
/// Processor time of a container that does nothing: moves within this are noise, and an idle link is silent.
const CPU_NOISE_MILLI: u64 = 10;
/// Memory that comes and goes by itself.
const MEMORY_NOISE: u64 = 1 << 20;

/// Whether one of its numbers moved by more than a tenth since it was told.
pub(crate) fn moved(told: &AllocationLoad, seen: &AllocationLoad) -> bool {
    let names: BTreeSet<&String> = told.gauges.keys().chain(seen.gauges.keys()).collect();
    let gauge = |name: &&String| match (told.gauges.get(*name), seen.gauges.get(*name)) {
        (Some(told), Some(seen)) => number_moved(*told, *seen, 0),
        _ => true,
    };
    number_moved(told.cpu.0, seen.cpu.0, CPU_NOISE_MILLI)
        || number_moved(told.memory.0, seen.memory.0, MEMORY_NOISE)
        || names.iter().any(gauge)
}

fn number_moved(told: u64, seen: u64, noise: u64) -> bool {
    told.abs_diff(seen) > (told / PART).max(noise)
}
