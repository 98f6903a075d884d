//! What the node says of itself: facts that hardly change, and what is in use.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use skerry_types::{AllocationLimit, Bytes, MilliCpu, MilliGpu, NodeFacts, NodeUsage, Resources};
use sysinfo::System;

use crate::Settings;

/// Usage is told when a part of it moved by more than this share of the machine: an idle node stays silent.
const TELL_SHARE: u64 = 10;

/// Looks at the machine.
pub(crate) struct Machine {
    system: Option<System>,
    data_dir: PathBuf,
    total: Resources,
    told: Option<NodeUsage>,
}

impl Machine {
    /// Takes the machine's measure.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_memory();
            // The first look is what the second is compared with.
            system.refresh_cpu_usage();
        }
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let memory = Bytes(system.as_ref().map_or(0, System::total_memory));
        let disk = disk(data_dir).0;
        Self {
            system,
            data_dir: data_dir.to_owned(),
            total: Resources { cpu: MilliCpu(cores * 1000), memory, disk, ..Resources::default() },
            told: None,
        }
    }

    /// What the node can give, and what it is.
    pub(crate) fn facts(&self, settings: &Settings) -> NodeFacts {
        let gpus = u64::try_from(settings.gpus.len()).unwrap_or(u64::MAX);
        let gpu = MilliGpu(gpus.saturating_mul(1000));
        let machine = Resources { bandwidth: settings.bandwidth, gpu, ..self.total };
        NodeFacts {
            capacity: machine.saturating_sub(&settings.reserve),
            machine,
            labels: settings.labels.clone(),
            taints: settings.taints.clone(),
            allocations: AllocationLimit::new(settings.pool.addresses()),
            port_range: settings.port_range,
            gpus: settings.gpus.clone(),
            arch: image_arch(std::env::consts::ARCH).to_owned(),
            os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            kernel: System::kernel_version().unwrap_or_default(),
            cgroup: cgroup_version(Path::new("/sys/fs/cgroup")).to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_id(),
            address: settings.address,
        }
    }

    /// What is in use, if that is news.
    pub(crate) fn news(&mut self) -> Option<NodeUsage> {
        let usage = NodeUsage { used: self.used() };
        let is_news = self.told.is_none_or(|told| differs(&told.used, &usage.used, &self.total));
        if !is_news {
            return None;
        }
        self.told = Some(usage);
        Some(usage)
    }

    /// Bytes free on the disk of the agent's data.
    pub(crate) fn free_disk(&self) -> Bytes {
        disk(&self.data_dir).1
    }

    fn used(&mut self) -> Resources {
        let (total, free) = disk(&self.data_dir);
        let disk = total.saturating_sub(free);
        let Some(system) = &mut self.system else { return Resources { disk, ..Resources::default() } };
        system.refresh_memory();
        system.refresh_cpu_usage();
        // A share of all cores in percent, so a tenth of it times the cores is thousandths of a core.
        let percent = f64::from(system.global_cpu_usage()).clamp(0.0, 100.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = percent.round() as u64;
        Resources {
            cpu: MilliCpu(self.total.cpu.0 * percent / 100),
            memory: Bytes(system.total_memory().saturating_sub(system.available_memory())),
            disk,
            ..Resources::default()
        }
    }
}

fn differs(told: &Resources, used: &Resources, total: &Resources) -> bool {
    let moved = |told: u64, used: u64, total: u64| told.abs_diff(used) > total / TELL_SHARE;
    moved(told.cpu.0, used.cpu.0, total.cpu.0)
        || moved(told.memory.0, used.memory.0, total.memory.0)
        || moved(told.disk.0, used.disk.0, total.disk.0)
}

/// Size of the file system of a directory, and what is free on it for everyone.
fn disk(dir: &Path) -> (Bytes, Bytes) {
    let Ok(stat) = rustix::fs::statvfs(dir) else { return (Bytes(0), Bytes(0)) };
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.f_frsize));
    // What only root may fill is not counted: it is a reserve of the system's.
    let reserved = stat.f_bfree.saturating_sub(stat.f_bavail);
    (bytes(stat.f_blocks.saturating_sub(reserved)), bytes(stat.f_bavail))
}

/// As images name architectures.
fn image_arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

fn cgroup_version(root: &Path) -> &'static str {
    if root.join("cgroup.controllers").exists() {
        "2"
    } else if root.join("unified/cgroup.procs").exists() {
        "hybrid"
    } else {
        "1"
    }
}

/// The kernel's name for this boot.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The address from which this machine reaches another one. Nothing is sent.
pub(crate) fn address_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tenth_is_news() {
        let gib = 1 << 30;
        let total = Resources {
            cpu: MilliCpu(4000),
            memory: Bytes(20 * gib),
            disk: Bytes(100 * gib),
            ..Resources::default()
        };
        let told = Resources {
            cpu: MilliCpu(1000),
            memory: Bytes(5 * gib),
            disk: Bytes(50 * gib),
            ..Resources::default()
        };
        let check =
            |used: Resources, expect: bool| assert_eq!(differs(&told, &used, &total), expect, "{used:?}");
        check(told, false);
        check(Resources { cpu: MilliCpu(1400), ..told }, false);
        check(Resources { cpu: MilliCpu(1401), ..told }, true);
        check(Resources { memory: Bytes(3 * gib), ..told }, false);
        check(Resources { memory: Bytes(3 * gib - 1), ..told }, true);
        check(Resources { disk: Bytes(61 * gib), ..told }, true);
    }

    #[test]
    fn this_machine_has_a_measure() {
        let mut machine = Machine::new(Path::new("/"));
        let total = machine.total;
        assert!(total.cpu.0 >= 1000 && total.memory.0 > 1 << 20 && total.disk.0 > 0, "{total:?}");
        let usage = machine.news().expect("the first look is news");
        assert!(total.fits(&usage.used), "{usage:?} of {total:?}");
        assert_eq!(boot_id().len(), 36);
    }

    #[test]
    fn the_own_address_depends_on_whom_to_reach() {
        let local = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(address_towards(local), Some(IpAddr::from([127, 0, 0, 1])));
    }
}
