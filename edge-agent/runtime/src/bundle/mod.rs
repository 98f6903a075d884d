//! Makes the OCI bundle of a container: `config.json` as the keeper's worker reads it, and the small files bound into it.
//!
//! The specification is written as plain JSON; a test reads it back through the types of `oci-spec` and loses nothing.

mod capability;
mod cgroup;
mod config;
mod device;
mod error;
mod seccomp;
mod user;

use std::path::Path;

use serde_json::{Value, json};
use skerry_keeper_protocol::world::{
    FILE_OPTIONS, MASKED_PATHS, READ_ONLY_PATHS, SPECIAL_MOUNTS, SpecialMount,
};

pub use cgroup::CgroupVersion;
pub use config::ContainerConfig;
pub use device::Device;
pub use error::BundleError;
pub use user::User;

use capability::CapabilitySets;

/// Where a program is looked for when the image does not say.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where an exclusive container reads its fencing token.
const TOKEN_AT: &str = "/run/skerry/fencing-token";
/// One period of the processor quota in microseconds: the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel refuses a quota below one millisecond and shares below two.
const CPU_QUOTA_MIN_US: u64 = 1_000;
const CPU_SHARES_MIN: u64 = 2;
/// Soft limit on open files, for programs that go through all of them; they may raise it to the hard limit.
const OPEN_FILES_SOFT: u64 = 1024;

/// Facts about the node that a specification depends on.
#[derive(Debug, Clone, Copy)]
pub struct NodeTraits {
    /// Its cgroups.
    pub cgroups: CgroupVersion,
    /// Hard limit on open files of this process: no container gets a higher one, as raising it needs a right of its own.
    pub open_files_hard: u64,
    /// As `std::env::consts::ARCH` names it.
    pub architecture: &'static str,
}

impl NodeTraits {
    /// Looks at the node.
    pub fn detect() -> Self {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        Self {
            cgroups: CgroupVersion::detect(),
            open_files_hard: limit.map_or(OPEN_FILES_SOFT, |(_, hard)| hard),
            architecture: std::env::consts::ARCH,
        }
    }
}

/// Paths that a specification names.
#[derive(Debug, Clone, Copy)]
pub struct BundlePaths<'a> {
    /// The mounted root file system.
    pub rootfs: &'a Path,
    /// The allocation's network namespace.
    pub netns: &'a Path,
    /// Holds `hosts`, `hostname` and `resolv.conf`.
    pub etc: &'a Path,
    /// Absolute, such as `/skerry/web-0-1/web`.
    pub cgroup: &'a str,
    /// The file that holds the fencing token of what is exclusive.
    pub token: Option<&'a Path>,
}

/// Resolves a container's user in its mounted root file system.
pub fn resolve_user(rootfs: &Path, text: &str) -> Result<User, BundleError> {
    user::resolve(rootfs, text)
}

/// The runtime specification of a container. Pure.
pub fn specification(
    config: &ContainerConfig,
    user: &User,
    hostname: &str,
    paths: &BundlePaths<'_>,
    node: &NodeTraits,
) -> Result<Value, BundleError> {
    let capabilities = capability::resolve(&config.capabilities)?;
    let is_v2 = node.cgroups == CgroupVersion::V2;
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
        json!({"type": "network", "path": paths.netns}),
    ];
    if is_v2 {
        namespaces.push(json!({"type": "cgroup"}));
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": paths.rootfs, "readonly": config.read_only},
        "hostname": hostname,
        "process": process(config, user, hostname, &capabilities, node),
        "mounts": mounts(paths, is_v2),
        "linux": {
            "cgroupsPath": paths.cgroup,
            "namespaces": namespaces,
            "resources": resources(config, node.cgroups),
            "devices": config.devices.iter().map(Device::node).collect::<Vec<_>>(),
            "seccomp": seccomp::filter(node.architecture, &capabilities.bounding),
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
        },
    }))
}

fn process(
    config: &ContainerConfig,
    user: &User,
    hostname: &str,
    capabilities: &CapabilitySets,
    node: &NodeTraits,
) -> Value {
    let is_root = user.uid == 0;
    // Another user than root starts without capabilities, but for those that were asked for by name: they come through
    // `execve` as ambient ones, which must be inheritable too.
    let effective = if is_root { &capabilities.bounding } else { &capabilities.added };
    let ambient: &[&str] = if is_root { &[] } else { &capabilities.added };
    json!({
        "terminal": false,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": config.args,
        "env": environment(config, user, hostname),
        "cwd": config.cwd,
        "capabilities": {
            "bounding": capabilities.bounding,
            "effective": effective,
            "permitted": effective,
            "inheritable": ambient,
            "ambient": ambient,
        },
        "rlimits": [{
            "type": "RLIMIT_NOFILE",
            "soft": OPEN_FILES_SOFT.min(node.open_files_hard),
            "hard": node.open_files_hard,
        }],
        "noNewPrivileges": true,
    })
}

fn environment(config: &ContainerConfig, user: &User, hostname: &str) -> Vec<String> {
    let has = |name: &str| config.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let mut env = Vec::with_capacity(config.env.len() + 3);
    if !has("PATH") {
        env.push(DEFAULT_PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if !has("HOME") {
        env.push(format!("HOME={}", user.home.as_deref().unwrap_or("/")));
    }
    env.extend(config.env.iter().cloned());
    env
}

fn mounts(paths: &BundlePaths<'_>, is_v2: bool) -> Vec<Value> {
    let special = |mount: SpecialMount| {
        let SpecialMount { destination, kind, options } = mount;
        json!({"destination": destination, "type": kind, "source": kind, "options": options})
    };
    let file = |at: String, source: &Path| json!({"destination": at, "type": "bind", "source": source, "options": FILE_OPTIONS});
    let mut mounts: Vec<Value> = SPECIAL_MOUNTS.into_iter().map(special).collect();
    // On version 1 libcontainer leaves a cgroup mount writable: a container could raise its own limits. There is none.
    if is_v2 {
        let cgroup = json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        });
        mounts.push(cgroup);
    }
    let names = ["hosts", "hostname", "resolv.conf"];
    mounts.extend(names.map(|name| file(format!("/etc/{name}"), &paths.etc.join(name))));
    mounts.extend(paths.token.map(|token| file(TOKEN_AT.to_owned(), token)));
    mounts
}

fn resources(config: &ContainerConfig, cgroups: CgroupVersion) -> Value {
    let memory = i64::try_from(config.limits.memory.0).unwrap_or(i64::MAX);
    let mut memory = json!({"limit": memory});
    if cgroups != (CgroupVersion::V1 { swap: false }) {
        // The limit of memory and swap together: the container gets no swap.
        memory["swap"] = memory["limit"].clone();
    }
    let mut cpu = json!({"shares": (config.cpu.0 * 1024 / 1000).max(CPU_SHARES_MIN)});
    if let Some(limit) = config.limits.cpu {
        cpu["period"] = json!(CPU_PERIOD_US);
        cpu["quota"] = json!((limit.0 * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US));
    }
    // All devices are refused; the runtime lets in the harmless ones (null, zero, random, tty) itself.
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    devices.extend(config.devices.iter().map(Device::rule));
    json!({
        "devices": devices,
        "memory": memory,
        "cpu": cpu,
        "pids": {"limit": config.limits.pids},
    })
}

#[cfg(test)]
mod tests;
