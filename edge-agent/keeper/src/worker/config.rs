//! The bundle's `config.json`: what the keeper runs, what it refuses, and what it completes.
//!
//! The fields are read one by one instead of through libcontainer's whole specification type: a field that would not
//! take effect is refused by name, and a third of the program's size (three regular-expression engines' worth of
//! tables for fields that nobody uses here) stays out.

use crate::cgroup::Hierarchies;
use libcontainer::oci_spec::runtime::{
    Hooks, Linux, LinuxCapabilities, LinuxDevice, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, LinuxSeccomp, Mount, PosixRlimit, Process, Root, Spec, User,
};
use serde::Deserialize;
use skerry_keeper_protocol::CgroupPath;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a bundle is not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot use {}", .path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the bundle has no {0}")]
    Missing(&'static str),
    #[error("the bundle asks for {0}, which the keeper does not do")]
    Unsupported(&'static str),
    #[error(
        "the bundle mounts a cgroup hierarchy at {}, where the container could raise its own limits",
        .0.display()
    )]
    CgroupMount(PathBuf),
    #[error("the bundle's root filesystem {} is not there", .0.display())]
    NoRootfs(PathBuf),
    #[error("the bundle has no mount namespace of its own")]
    SharedMounts,
}

/// What a bundle may say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    oci_version: String,
    root: Option<Root>,
    #[serde(default)]
    mounts: Vec<Mount>,
    process: Option<ProcessConfig>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<LinuxConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProcessConfig {
    #[serde(default)]
    terminal: bool,
    #[serde(default)]
    user: User,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    cwd: PathBuf,
    capabilities: Option<LinuxCapabilities>,
    rlimits: Option<Vec<PosixRlimit>>,
    #[serde(default)]
    no_new_privileges: bool,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LinuxConfig {
    uid_mappings: Option<Vec<LinuxIdMapping>>,
    gid_mappings: Option<Vec<LinuxIdMapping>>,
    sysctl: Option<HashMap<String, String>>,
    resources: Option<LinuxResources>,
    /// Replaced by what the create request says.
    #[serde(rename = "cgroupsPath")]
    _cgroups_path: Option<PathBuf>,
    #[serde(default)]
    namespaces: Vec<LinuxNamespace>,
    devices: Option<Vec<LinuxDevice>>,
    seccomp: Option<LinuxSeccomp>,
    rootfs_propagation: Option<String>,
    masked_paths: Option<Vec<String>>,
    readonly_paths: Option<Vec<String>>,
}

/// A specification that was checked and completed, and what libcontainer is not given of it.
#[derive(Debug)]
pub(super) struct Checked {
    /// For libcontainer.
    pub(super) spec: Spec,
    /// Absolute path of the root filesystem.
    pub(super) rootfs: PathBuf,
    /// Limits, with the memory limit bounding swap too.
    pub(super) resources: LinuxResources,
}

/// Reads `config.json` of `bundle`, for a container in `cgroup`.
pub(super) fn read(
    bundle: &Path,
    cgroup: &CgroupPath,
    hierarchies: &Hierarchies,
) -> Result<Checked, ConfigError> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|source| ConfigError::Parse { path, source })?;
    let process = config.process.ok_or(ConfigError::Missing("process"))?;
    let mut linux = config.linux.ok_or(ConfigError::Missing("linux section"))?;
    let root = config.root.ok_or(ConfigError::Missing("root filesystem"))?;
    check_process(&process, config.hooks.as_ref())?;
    check_mounts(&config.mounts, &linux.namespaces, hierarchies)?;
    let rootfs = bundle.join(root.path()).canonicalize().ok().filter(|rootfs| rootfs.is_dir());
    let rootfs = rootfs.ok_or_else(|| ConfigError::NoRootfs(bundle.join(root.path())))?;
    let mut resources = linux.resources.take().unwrap_or_default();
    bound_swap(&mut resources, cgroup, hierarchies);

    let mut spec = Spec::default();
    spec.set_version(config.oci_version);
    spec.set_root(Some(root));
    spec.set_mounts(Some(config.mounts));
    spec.set_process(Some(process_of(process)));
    spec.set_hostname(config.hostname);
    spec.set_domainname(config.domainname);
    spec.set_hooks(config.hooks);
    spec.set_annotations(config.annotations);
    spec.set_linux(Some(linux_of(linux, cgroup)));
    Ok(Checked { spec, rootfs, resources })
}

fn check_process(process: &ProcessConfig, hooks: Option<&Hooks>) -> Result<(), ConfigError> {
    if process.args.is_empty() {
        return Err(ConfigError::Missing("command"));
    }
    if process.terminal {
        return Err(ConfigError::Unsupported("a terminal"));
    }
    if hooks.is_some_and(|hooks| hooks.poststart().is_some() || hooks.poststop().is_some()) {
        return Err(ConfigError::Unsupported("hooks after the start"));
    }
    Ok(())
}

fn check_mounts(
    mounts: &[Mount],
    namespaces: &[LinuxNamespace],
    hierarchies: &Hierarchies,
) -> Result<(), ConfigError> {
    let own = |namespace: &LinuxNamespace| {
        namespace.typ() == LinuxNamespaceType::Mount && namespace.path().is_none()
    };
    if !namespaces.iter().any(own) {
        return Err(ConfigError::SharedMounts);
    }
    // libcontainer makes devices and links in the container's /dev, which would then be the node's.
    let dev = mounts.iter().find(|mount| mount.destination() == "/dev");
    if dev.is_some_and(|mount| mount.typ().as_deref() != Some("tmpfs")) {
        return Err(ConfigError::Unsupported("a /dev that is no tmpfs"));
    }
    match mounts.iter().find(|mount| writable_cgroup(mount, hierarchies)) {
        Some(mount) => Err(ConfigError::CgroupMount(mount.destination().clone())),
        None => Ok(()),
    }
}

/// Whether the container could change its limits through `mount`. On version 1 libcontainer ignores `ro`.
fn writable_cgroup(mount: &Mount, hierarchies: &Hierarchies) -> bool {
    let by_type = mount.typ().as_deref().is_some_and(|kind| kind == "cgroup" || kind == "cgroup2");
    let has = |name: &str| mount.options().as_deref().unwrap_or_default().iter().any(|option| option == name);
    let by_source = mount.source().as_ref().is_some_and(|source| {
        source.starts_with(CGROUP_ROOT) || (has("rbind") && Path::new(CGROUP_ROOT).starts_with(source))
    });
    (by_type || by_source) && (hierarchies.is_split() || !(has("ro") || has("rro")))
}

/// Without a limit on memory and swap together, a memory limit only moves pages out to swap.
fn bound_swap(resources: &mut LinuxResources, cgroup: &CgroupPath, hierarchies: &Hierarchies) {
    let Some(memory) = resources.memory_mut() else { return };
    let unlimited = memory.swap().is_none_or(|swap| swap <= 0);
    if let Some(limit) = memory.limit().filter(|limit| *limit > 0 && unlimited) {
        memory.set_swap(counts_swap(hierarchies, cgroup).then_some(limit));
    }
}

/// Whether this kernel limits swap per cgroup; writing the limit fails otherwise.
fn counts_swap(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> bool {
    // The cgroup is not made yet: the hierarchy's root tells.
    let depth = cgroup.relative().components().count();
    let mount = hierarchies
        .directory("memory", cgroup)
        .and_then(|directory| directory.ancestors().nth(depth).map(Path::to_owned));
    !hierarchies.is_split() || mount.is_some_and(|mount| mount.join("memory.memsw.limit_in_bytes").exists())
}

fn process_of(config: ProcessConfig) -> Process {
    let mut env = config.env;
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.starts_with(name));
    if !has(&env, "PATH=") {
        env.push(DEFAULT_PATH.to_owned());
    }
    // Without one, libcontainer asks the C library for it inside the container, which would load name service modules
    // out of the image into a process that still holds the worker's descriptors.
    if !has(&env, "HOME=") {
        env.push("HOME=/".to_owned());
    }
    let mut process = Process::default();
    process
        .set_user(config.user)
        .set_args(Some(config.args))
        .set_env(Some(env))
        .set_cwd(config.cwd)
        .set_capabilities(config.capabilities)
        .set_rlimits(config.rlimits)
        // With seccomp, libcontainer fails on an explicit "false".
        .set_no_new_privileges(config.no_new_privileges.then_some(true))
        .set_apparmor_profile(config.apparmor_profile)
        .set_oom_score_adj(config.oom_score_adj);
    process
}

fn linux_of(config: LinuxConfig, cgroup: &CgroupPath) -> Linux {
    let mut linux = Linux::default();
    linux
        .set_uid_mappings(config.uid_mappings)
        .set_gid_mappings(config.gid_mappings)
        .set_sysctl(config.sysctl)
        .set_resources(None)
        .set_cgroups_path(Some(PathBuf::from(cgroup.as_str())))
        .set_namespaces(Some(config.namespaces))
        .set_devices(config.devices)
        .set_seccomp(config.seccomp)
        .set_rootfs_propagation(config.rootfs_propagation)
        .set_masked_paths(config.masked_paths)
        .set_readonly_paths(config.readonly_paths);
    linux
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
