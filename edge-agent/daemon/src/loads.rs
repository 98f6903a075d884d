//! What allocations use, from the cgroups of their containers, and the gauges that they publish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skerry_agent_state::{AgentState, ContainerRef};
use skerry_runtime::Runtime;
use skerry_types::{AllocationId, AllocationLoad, Bytes, MilliCpu};
use tokio::time::Instant;

use crate::gauges;
use crate::starts::runtime_reference;

/// From one look to the next, at least: what scales by load wants to hear of it within a minute.
const EVERY: Duration = Duration::from_secs(15);
/// And for each container that runs: a look at one costs 0.1 ms of processor time in agent and keeper together, so that all of
/// it stays below a thousandth of a processor.
const EVERY_PER_CONTAINER: Duration = Duration::from_millis(100);

/// A container that is to be looked at: its name and its process id, which tells its starts apart.
type Which = (ContainerRef, u32);

/// What containers used up to now.
#[derive(Debug)]
pub(crate) struct Samples {
    at: Instant,
    seen: BTreeMap<Which, Sample>,
}

/// What a container used up to now.
#[derive(Debug, Clone, Default)]
struct Sample {
    /// Processor time in nanoseconds since its start.
    cpu_ns: u64,
    memory_bytes: u64,
    gauges: BTreeMap<String, u64>,
}

/// Makes loads of samples.
#[derive(Debug)]
pub(crate) struct Meter {
    last: Option<Samples>,
    next: Instant,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { last: None, next: Instant::now() + EVERY }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// The containers to look at, and sets the next time. `None` when there is none and was none the last time.
    pub(crate) fn begin(&mut self, state: &AgentState) -> Option<Vec<Which>> {
        let running = state.lifecycles().flat_map(|lifecycle| {
            let allocation = lifecycle.id();
            lifecycle.running().map(|(container, pid)| {
                (ContainerRef { allocation: allocation.clone(), container: container.clone() }, pid)
            })
        });
        let running: Vec<Which> = running.collect();
        let count = u32::try_from(running.len()).unwrap_or(u32::MAX);
        self.next = Instant::now() + EVERY.max(EVERY_PER_CONTAINER.saturating_mul(count));
        let were_none = self.last.as_ref().is_none_or(|last| last.seen.is_empty());
        (!running.is_empty() || !were_none).then_some(running)
    }

    /// What was used since the last samples. An allocation with a container that was not among them has to wait for the next.
    pub(crate) fn take(&mut self, samples: Samples) -> Vec<AllocationLoad> {
        let last = self.last.replace(samples);
        let (Some(last), Some(samples)) = (last, &self.last) else { return Vec::new() };
        let passed =
            u64::try_from(samples.at.saturating_duration_since(last.at).as_nanos()).unwrap_or(u64::MAX);
        let mut loads: BTreeMap<AllocationId, Option<AllocationLoad>> = BTreeMap::new();
        for (which, sample) in &samples.seen {
            let id = &which.0.allocation;
            let load = loads.entry(id.clone()).or_insert_with(|| Some(nothing(id)));
            let Some(before) = last.seen.get(which).filter(|_| passed > 0) else {
                *load = None;
                continue;
            };
            if let Some(load) = load {
                // Nanoseconds of a processor in nanoseconds: thousandths of a processor.
                let used = sample.cpu_ns.saturating_sub(before.cpu_ns);
                let milli = u128::from(used) * 1000 / u128::from(passed);
                load.cpu.0 = load.cpu.0.saturating_add(u64::try_from(milli).unwrap_or(u64::MAX));
                load.memory.0 = load.memory.0.saturating_add(sample.memory_bytes);
                for (name, value) in &sample.gauges {
                    let sum = load.gauges.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(*value);
                }
            }
        }
        loads.into_values().flatten().collect()
    }
}

fn nothing(id: &AllocationId) -> AllocationLoad {
    AllocationLoad { id: id.clone(), cpu: MilliCpu(0), memory: Bytes(0), gauges: BTreeMap::new() }
}

/// Looks at containers, one after the other. Those that have gone meanwhile are left out.
pub(crate) async fn sample(runtime: Arc<Runtime>, containers: Vec<Which>) -> Samples {
    let mut seen = BTreeMap::new();
    let at = Instant::now();
    for which in containers {
        if let Ok(Some(stats)) = runtime.stats(&runtime_reference(which.0.clone())).await {
            let gauges = gauges::read(which.1);
            seen.insert(
                which,
                Sample { cpu_ns: stats.cpu_usage_ns, memory_bytes: stats.memory_bytes, gauges },
            );
        }
    }
    Samples { at, seen }
}

#[cfg(test)]
mod tests {
    use skerry_types::ContainerName;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn samples(at: Instant, seen: &[(&str, &str, u32, u64, u64)]) -> Samples {
        let sample = |&(allocation, container, pid, cpu_ms, memory): &(&str, &str, u32, u64, u64)| {
            let container = ContainerRef {
                allocation: AllocationId::new(allocation).unwrap(),
                container: ContainerName::new(container).unwrap(),
            };
            let gauges = BTreeMap::from([("queue".to_owned(), cpu_ms)]);
            let sample = Sample { cpu_ns: cpu_ms * 1_000_000, memory_bytes: memory * MIB, gauges };
            ((container, pid), sample)
        };
        Samples { at, seen: seen.iter().map(sample).collect() }
    }

    fn take(meter: &mut Meter, samples: Samples) -> Vec<(String, u64, u64)> {
        let loads = meter.take(samples).into_iter();
        loads.map(|load| (load.id.to_string(), load.cpu.0, load.memory.0 / MIB)).collect()
    }

    #[tokio::test]
    async fn gauges_of_an_allocation_add_up() {
        let (mut meter, start) = (Meter::new(), Instant::now());
        let both = [("web-0-1", "a", 7, 500, 10), ("web-0-1", "b", 8, 250, 5)];
        meter.take(samples(start, &both));
        let loads = meter.take(samples(start + Duration::from_secs(10), &both));
        assert_eq!(loads[0].gauges, [("queue".to_owned(), 750)].into());
    }

    #[tokio::test]
    async fn loads_are_what_was_used_between_two_looks() {
        let (mut meter, start) = (Meter::new(), Instant::now());
        let later = |seconds: u64| start + Duration::from_secs(seconds);
        let first = samples(start, &[("web-0-1", "a", 7, 500, 10), ("web-0-1", "b", 8, 0, 5)]);
        assert_eq!(take(&mut meter, first), []);
        let second = samples(later(10), &[("web-0-1", "a", 7, 3_000, 12), ("web-0-1", "b", 8, 500, 5)]);
        assert_eq!(take(&mut meter, second), [("web-0-1".to_owned(), 300, 17)]);
        // One was started anew, and another allocation is there.
        let third = samples(
            later(20),
            &[("web-0-1", "a", 7, 4_000, 12), ("web-0-1", "b", 9, 100, 5), ("db-0-2", "a", 3, 100, 5)],
        );
        assert_eq!(take(&mut meter, third), []);
        let fourth = samples(
            later(30),
            &[("web-0-1", "a", 7, 4_000, 12), ("web-0-1", "b", 9, 1_100, 5), ("db-0-2", "a", 3, 10_100, 5)],
        );
        let expect = [("db-0-2".to_owned(), 1000, 5), ("web-0-1".to_owned(), 100, 17)];
        assert_eq!(take(&mut meter, fourth), expect);
        assert_eq!(take(&mut meter, samples(later(30), &[("db-0-2", "a", 3, 10_100, 5)])), []);
    }
}
