//! The container's specification: what is refused, and what is completed.

use crate::cgroup::Hierarchies;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use skerry_keeper_protocol::CgroupPath;
use std::io;
use std::path::{Path, PathBuf};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a bundle is not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpecError {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a runtime specification", .path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot write {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
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

/// Reads `config.json` of `bundle`, checks and completes it, and writes it as a bundle of its own into `checked`.
pub(super) fn write_checked_bundle(
    bundle: &Path,
    checked: &Path,
    cgroup: &CgroupPath,
    hierarchies: &Hierarchies,
) -> Result<(), SpecError> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|source| SpecError::Read { path: path.clone(), source })?;
    let mut spec: Spec = serde_json::from_slice(&text).map_err(|source| SpecError::Parse { path, source })?;
    check(&spec, hierarchies)?;
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    if let Some(missing) = rootfs.filter(|rootfs| !rootfs.is_dir()) {
        return Err(SpecError::NoRootfs(missing));
    }
    complete(&mut spec, bundle, cgroup, hierarchies);
    let path = checked.join("config.json");
    let text = serde_json::to_vec(&spec)
        .map_err(|source| SpecError::Write { path: path.clone(), source: source.into() })?;
    std::fs::create_dir_all(checked)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| SpecError::Write { path, source })
}

fn check(spec: &Spec, hierarchies: &Hierarchies) -> Result<(), SpecError> {
    let process = spec.process().as_ref().ok_or(SpecError::Missing("process"))?;
    let linux = spec.linux().as_ref().ok_or(SpecError::Missing("linux section"))?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(SpecError::Missing("command"));
    }
    if spec.root().is_none() {
        return Err(SpecError::Missing("root filesystem"));
    }
    if process.terminal() == Some(true) {
        return Err(SpecError::Unsupported("a terminal"));
    }
    if spec.hooks().as_ref().is_some_and(|hooks| hooks.poststop().is_some()) {
        return Err(SpecError::Unsupported("poststop hooks"));
    }
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let own_mounts = namespaces
        .iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Mount && namespace.path().is_none());
    if !own_mounts {
        return Err(SpecError::SharedMounts);
    }
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    // libcontainer makes devices and links in the container's /dev, which would then be the node's.
    if mounts.iter().any(|mount| mount.destination() == "/dev" && mount.typ().as_deref() != Some("tmpfs")) {
        return Err(SpecError::Unsupported("a /dev that is no tmpfs"));
    }
    match mounts.iter().find(|mount| writable_cgroup(mount, hierarchies)) {
        Some(mount) => Err(SpecError::CgroupMount(mount.destination().clone())),
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

fn complete(spec: &mut Spec, bundle: &Path, cgroup: &CgroupPath, hierarchies: &Hierarchies) {
    if let Some(root) = spec.root_mut() {
        let absolute = bundle.join(root.path());
        root.set_path(absolute);
    }
    if let Some(process) = spec.process_mut() {
        // With seccomp, libcontainer fails on an explicit "false".
        if process.no_new_privileges() == Some(false) {
            process.set_no_new_privileges(None);
        }
        let mut environment = process.env().clone().unwrap_or_default();
        if !environment.iter().any(|entry| entry.starts_with("PATH=")) {
            environment.push(DEFAULT_PATH.to_owned());
        }
        process.set_env(Some(environment));
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(PathBuf::from(cgroup.as_str())));
        if let Some(memory) = linux.resources_mut().as_mut().and_then(|all| all.memory_mut().as_mut()) {
            // Without a limit on memory and swap together, a memory limit only moves pages out to swap.
            let unlimited = memory.swap().is_none_or(|swap| swap <= 0);
            if let Some(limit) = memory.limit().filter(|limit| *limit > 0 && unlimited) {
                memory.set_swap(counts_swap(hierarchies, cgroup).then_some(limit));
            }
        }
    }
}

/// Whether this kernel limits swap per cgroup; writing the limit fails otherwise.
fn counts_swap(hierarchies: &Hierarchies, cgroup: &CgroupPath) -> bool {
    if !hierarchies.is_split() {
        return true;
    }
    // The cgroup is not made yet: the hierarchy's root tells.
    hierarchies
        .directory("memory", cgroup)
        .and_then(|directory| {
            directory.ancestors().nth(cgroup.relative().components().count()).map(Path::to_owned)
        })
        .is_some_and(|mount| mount.join("memory.memsw.limit_in_bytes").exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn base() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}, "env": ["A=1"]},
            "linux": {
                "namespaces": [{"type": "mount"}],
                "cgroupsPath": "/elsewhere",
                "resources": {"memory": {"limit": 1000}},
            },
        })
    }

    fn split() -> Hierarchies {
        Hierarchies::Split(std::collections::BTreeMap::new())
    }

    fn unified() -> Hierarchies {
        Hierarchies::Unified("/sys/fs/cgroup".into())
    }

    fn checked(spec: &Value, hierarchies: &Hierarchies) -> Result<Value, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        let out = dir.path().join("out");
        write_checked_bundle(dir.path(), &out, &"/c/d".parse().unwrap(), hierarchies)
            .map_err(|error| error.to_string())?;
        let text = std::fs::read(out.join("config.json")).unwrap();
        let mut value: Value = serde_json::from_slice(&text).unwrap();
        let root = value["root"]["path"].as_str().unwrap().to_owned();
        value["root"]["path"] = json!(root.strip_prefix(dir.path().to_str().unwrap()));
        Ok(value)
    }

    #[test]
    fn gaps_are_filled() {
        let mut spec = base();
        spec["process"]["noNewPrivileges"] = json!(false);
        let got = checked(&spec, &unified()).unwrap();
        assert_eq!(got["root"]["path"], json!("/rootfs"));
        assert_eq!(got["linux"]["cgroupsPath"], json!("/c/d"));
        assert_eq!(got["linux"]["resources"]["memory"]["swap"], json!(1000));
        assert_eq!(got["process"]["env"], json!(["A=1", DEFAULT_PATH]));
        assert_eq!(got["process"].get("noNewPrivileges"), None);
    }

    #[test]
    fn a_swap_limit_that_is_given_stays() {
        let mut spec = base();
        spec["linux"]["resources"]["memory"]["swap"] = json!(3000);
        assert_eq!(checked(&spec, &unified()).unwrap()["linux"]["resources"]["memory"]["swap"], json!(3000));
        spec["linux"]["resources"]["memory"]["swap"] = json!(-1);
        assert_eq!(checked(&spec, &unified()).unwrap()["linux"]["resources"]["memory"]["swap"], json!(1000));
    }

    #[test]
    fn refusals() {
        let check = |change: &dyn Fn(&mut Value), hierarchies: &Hierarchies, expect: Option<&str>| {
            let mut spec = base();
            change(&mut spec);
            match (checked(&spec, hierarchies), expect) {
                (Ok(_), None) => {}
                (Err(message), Some(part)) => assert!(message.contains(part), "{message}"),
                (got, expect) => panic!("{got:?}, but {expect:?} was expected"),
            }
        };
        let cgroup = |options: Value| {
            move |spec: &mut Value| {
                spec["mounts"] =
                    json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}]);
            }
        };
        check(&|_| {}, &split(), None);
        check(&cgroup(json!(["ro"])), &split(), Some("/sys/fs/cgroup"));
        check(&cgroup(json!(["ro"])), &unified(), None);
        check(&cgroup(json!([])), &unified(), Some("/sys/fs/cgroup"));
        let bind = |spec: &mut Value| {
            spec["mounts"] = json!([{
                "destination": "/x", "type": "bind", "source": "/sys/fs/cgroup/memory", "options": ["bind", "ro"],
            }]);
        };
        check(&bind, &split(), Some("/x"));
        check(&|spec| spec["process"]["terminal"] = json!(true), &split(), Some("a terminal"));
        check(&|spec| spec["process"]["args"] = json!([]), &split(), Some("no command"));
        check(&|spec| spec["linux"]["namespaces"] = json!([]), &split(), Some("mount namespace"));
        check(&|spec| spec["hooks"] = json!({"poststop": []}), &split(), Some("poststop"));
        let dev = |spec: &mut Value| {
            spec["mounts"] = json!([{"destination": "/dev", "type": "bind", "source": "/dev"}]);
        };
        check(&dev, &unified(), Some("a /dev"));
        check(&|spec| spec["root"]["path"] = json!("other"), &split(), Some("other is not there"));
        check(&|spec| drop(spec.as_object_mut().unwrap().remove("root")), &split(), Some("root filesystem"));
        check(&|spec| *spec = json!(7), &split(), Some("not a runtime specification"));
    }
}
