//! What every ordinary container sees beside its image.
//!
//! The agent writes it into bundles, and the keeper makes it before it knows which container it is for. A bundle that says
//! something else is served too, only later.

/// A file system that the kernel makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialMount {
    /// Where it is mounted.
    pub destination: &'static str,
    /// Its type, which is also its source.
    pub kind: &'static str,
    /// As mount(8) names them.
    pub options: &'static [&'static str],
}

/// The file systems that come before all others, in the order in which they are mounted.
pub const SPECIAL_MOUNTS: [SpecialMount; 6] = [
    SpecialMount { destination: "/proc", kind: "proc", options: &["nosuid", "noexec", "nodev"] },
    SpecialMount {
        destination: "/dev",
        kind: "tmpfs",
        options: &["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    SpecialMount {
        destination: "/dev/pts",
        kind: "devpts",
        options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    SpecialMount {
        destination: "/dev/shm",
        kind: "tmpfs",
        options: &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    SpecialMount { destination: "/dev/mqueue", kind: "mqueue", options: &["nosuid", "noexec", "nodev"] },
    SpecialMount { destination: "/sys", kind: "sysfs", options: &["nosuid", "noexec", "nodev", "ro"] },
];

/// How a file of the node is bound into a container.
pub const FILE_OPTIONS: [&str; 5] = ["bind", "ro", "nosuid", "noexec", "nodev"];

/// What shows the node through `/proc` and `/sys` and is not namespaced.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What changes the node through `/proc` and is not namespaced.
pub const READ_ONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
