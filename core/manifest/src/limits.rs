//! Bounds and defaults of a manifest, each with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

use skerry_types::{Bandwidth, Bytes, MilliCpu, MilliGpu};

/// Longest manifest text in bytes: several hundred workloads, and little enough to hold many at once at a master.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of lists and maps; the deepest field stands at 6.
pub const DEPTH_MAX: usize = 32;
/// Most values in one text, copies that aliases make included: an alias bomb ends here, at some tens of megabytes.
pub const NODES_MAX: usize = 250_000;
/// Most errors that are told of one text; more would hide the first ones.
pub const ERRORS_MAX: usize = 50;

/// Most instances of one workload: five digits keep an allocation's row and a share's count small.
pub const INSTANCES_MAX: u32 = 10_000;
/// Most containers of an instance: they share one network namespace and one fate, which more do not bear.
pub const CONTAINERS_MAX: usize = 16;
/// Most ports of an instance: each with a host port costs a row in the node's packet filter.
pub const PORTS_MAX: usize = 64;
/// Most labels of a workload.
pub const LABELS_MAX: usize = 64;
/// Most environment variables of a container.
pub const ENV_MAX: usize = 256;
/// Longest name of an environment variable in bytes.
pub const ENV_NAME_BYTES_MAX: usize = 256;
/// Most words of `command` and of `args`.
pub const WORDS_MAX: usize = 256;
/// Longest word of `command` or `args` and longest value of a variable in bytes: a quarter of what the kernel takes in one
/// string (128 KiB), so that the whole can still fit into [`SPEC_BYTES_MAX`].
pub const WORD_BYTES_MAX: usize = 32 * 1024;
/// Largest workload in bytes when written as JSON, which is never smaller than the form that is stored. Half of the largest
/// row of a store, so that an intent row with its port bindings fits.
pub const SPEC_BYTES_MAX: usize = 128 * 1024;
/// Longest image reference in bytes: a repository of 255, a tag of 128, a digest of 71 and a host.
pub const IMAGE_BYTES_MAX: usize = 512;
/// Longest user or group name: what `useradd` takes.
pub const USER_BYTES_MAX: usize = 32;
/// Most entries of `add` and of `drop`: more than the kernel has capabilities.
pub const CAPABILITIES_MAX: usize = 64;
/// Most entries of `prefer`: each is held against every node at every placement.
pub const PREFER_MAX: usize = 16;
/// Most entries of `spread`.
pub const SPREAD_MAX: usize = 8;
/// Most entries of `tolerate`.
pub const TOLERATE_MAX: usize = 32;
/// Largest weight of a preference, either way.
pub const WEIGHT_MAX: i32 = 100;

/// Most processor time of a container: more than any machine has, and sums of it stay far from overflow.
pub const CPU_MAX: MilliCpu = MilliCpu(1_024_000);
/// Smallest memory limit: below it the kernel ends a container before its program starts.
pub const MEMORY_LIMIT_MIN: Bytes = Bytes(4 << 20);
/// Most memory of a container.
pub const MEMORY_MAX: Bytes = Bytes(16 << 40);
/// Most disk of a container.
pub const DISK_MAX: Bytes = Bytes(1 << 50);
/// Largest limit of processes and threads: the kernel's own for a 64-bit machine.
pub const PIDS_MAX: u32 = 4_194_304;
/// Shortest wait before a restart: a crash loop faster than this would take a core.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
pub const BACKOFF_MAX: Duration = Duration::from_hours(24);

/// One instance: more is a decision.
pub const DEFAULT_INSTANCES: u32 = 1;
/// A tenth of a core: enough for a small daemon, and ten of them still share the smallest gateway's core.
pub const DEFAULT_CPU: MilliCpu = MilliCpu(100);
/// As the memory limit follows it, low enough to be noticed before it hurts neighbours.
pub const DEFAULT_MEMORY: Bytes = Bytes(64 << 20);
/// Room for a small image, its writable layer and its logs.
pub const DEFAULT_DISK: Bytes = Bytes(128 << 20);
/// More than a threaded server takes, and a fork bomb ends early.
pub const DEFAULT_PIDS: u32 = 512;
/// A wait that a person hardly sees, for the first restart.
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
/// A crash loop costs a node at most twelve starts an hour.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_mins(5);
/// From the stop signal to the kill: what a server needs to finish its requests.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// How long an instance must be ready to count as well where a container has no probe: most that end at once do so sooner.
pub const DEFAULT_MIN_HEALTHY: Duration = Duration::from_secs(10);
/// The same where every container has one, which has looked already: what falls over its first request does so by then.
pub const DEFAULT_MIN_HEALTHY_PROBED: Duration = Duration::from_secs(3);
/// A preference without a weight counts half of the most.
pub const DEFAULT_WEIGHT: i32 = 50;

/// Highest priority of a workload.
pub const PRIORITY_MAX: u8 = 100;
/// Most places to be near to.
pub const NEAR_MAX: usize = 8;
/// Most entries of `affinity` and of `anti_affinity`: each is held against what runs on every node.
pub const AFFINITY_MAX: usize = 16;
/// Most waves of an update: more than an operator can follow.
pub const WAVES_MAX: usize = 32;
/// Most retries of a job's instance.
pub const RETRIES_MAX: u32 = 1_000;
/// Largest weight of a tenant.
pub const TENANT_WEIGHT_MAX: u32 = 1_000;
/// Most bandwidth of a container: more than any machine has, and sums of it stay far from overflow.
pub const BANDWIDTH_MAX: Bandwidth = Bandwidth(10_000_000_000_000);
/// Most graphics processors of a container: more than any machine has.
pub const GPU_MAX: MilliGpu = MilliGpu(64_000);
/// Most failures in a row that a probe waits for.
pub const PROBE_FAILURES_MAX: u32 = 100;
/// Longest path of an HTTP probe in bytes.
pub const PROBE_PATH_BYTES_MAX: usize = 1024;
/// Shortest and longest time between two looks: faster costs more than most containers do.
pub const PROBE_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Shortest and longest wait for an answer.
pub const PROBE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(10);
/// Shortest and longest time in which a container need not be well yet.
pub const PROBE_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// Longest span of a policy: whoever wants more means for ever.
pub const SPAN_MAX: Duration = Duration::from_hours(24 * 366);
/// Shortest and longest wait between the word to stop and the stop signal: balancers look every few seconds, and what is
/// told to stop must not stand in the way of a drain for long.
pub const STOP_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(10);
/// Shortest and longest wait between the stop signal and the kill.
pub const STOP_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// Highest hundredths of a scale target: a container may use more than it reserves, in bounds.
pub const SCALE_PERCENT_MAX: u32 = 1_000;
/// Longest name of a metric in bytes.
pub const METRIC_BYTES_MAX: usize = 128;

/// What a failed instance of a job gets: enough for a bad node, not for a bad program.
pub const DEFAULT_RETRIES: u32 = 3;
/// A restart of a node is over by then, and so is most that happens to a link.
pub const DEFAULT_REPLACE_AFTER: Duration = Duration::from_mins(10);
/// Finds a dead container within half a minute, at a cost that is not seen.
pub const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Long for a machine that does its work, short for a person.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// One failure may be chance.
pub const DEFAULT_PROBE_FAILURES: u32 = 3;
/// What most programs need to start.
pub const DEFAULT_PROBE_GRACE: Duration = Duration::from_secs(30);
/// Rides out the gaps between bursts.
pub const DEFAULT_STABILIZATION: Duration = Duration::from_mins(5);
/// Fast enough for a morning, slow enough for a mistake in a metric.
pub const DEFAULT_STEP: u32 = 4;
