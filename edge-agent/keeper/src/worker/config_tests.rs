//! Bundles that run, and bundles that do not.

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

fn checked(spec: &Value, hierarchies: &Hierarchies) -> Result<Checked, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
    std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    read(dir.path(), &"/c/d".parse().unwrap(), hierarchies).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

#[test]
fn gaps_are_filled() {
    let mut spec = base();
    spec["process"]["noNewPrivileges"] = json!(false);
    let got = checked(&spec, &unified()).unwrap();
    assert!(got.rootfs.is_absolute() && got.rootfs.ends_with("rootfs"));
    assert_eq!(got.resources.memory().unwrap().swap(), Some(1000));
    let linux = got.spec.linux().as_ref().unwrap();
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/c/d")));
    let process = got.spec.process().as_ref().unwrap();
    assert_eq!(process.env().as_deref().unwrap(), ["A=1", DEFAULT_PATH, "HOME=/"]);
    assert_eq!(process.no_new_privileges(), None);
}

#[test]
fn what_is_not_said_is_not_invented() {
    let got = checked(&base(), &split()).unwrap();
    let process = got.spec.process().as_ref().unwrap();
    assert!(process.capabilities().is_none() && process.rlimits().is_none());
    assert!(got.spec.mounts().as_ref().unwrap().is_empty() && got.spec.hooks().is_none());
    let linux = got.spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none() && linux.seccomp().is_none());
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 1);
    assert_eq!(got.spec.hostname(), &None);
}

#[test]
fn a_swap_limit_that_is_given_stays() {
    let check = |swap: i64, expect: i64| {
        let mut spec = base();
        spec["linux"]["resources"]["memory"]["swap"] = json!(swap);
        let got = checked(&spec, &unified()).unwrap();
        assert_eq!(got.resources.memory().unwrap().swap(), Some(expect));
    };
    check(3000, 3000);
    check(-1, 1000);
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
            spec["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}]);
        }
    };
    let bind = |at: &'static str, source: &'static str, option: &'static str| {
        move |spec: &mut Value| {
            spec["mounts"] =
                json!([{"destination": at, "type": "bind", "source": source, "options": [option, "ro"]}]);
        }
    };
    check(&|_| {}, &split(), None);
    check(&cgroup(json!(["ro"])), &split(), Some("/sys/fs/cgroup"));
    check(&cgroup(json!(["ro"])), &unified(), None);
    check(&cgroup(json!([])), &unified(), Some("/sys/fs/cgroup"));
    check(&bind("/x", "/sys/fs/cgroup/memory", "bind"), &split(), Some("/x"));
    check(&bind("/x", "/sys", "rbind"), &split(), Some("/x"));
    check(&bind("/x", "/sys", "bind"), &split(), None);
    check(&bind("/dev", "/dev", "bind"), &unified(), Some("a /dev"));
    check(&|spec| spec["process"]["terminal"] = json!(true), &split(), Some("a terminal"));
    check(&|spec| spec["process"]["args"] = json!([]), &split(), Some("no command"));
    check(&|spec| spec["process"]["scheduler"] = json!({}), &split(), Some("`scheduler`"));
    check(&|spec| spec["linux"]["intelRdt"] = json!({}), &split(), Some("`intelRdt`"));
    check(&|spec| spec["linux"]["namespaces"] = json!([]), &split(), Some("mount namespace"));
    check(&|spec| spec["hooks"] = json!({"poststop": []}), &split(), Some("hooks after"));
    check(&|spec| spec["root"]["path"] = json!("other"), &split(), Some("other is not there"));
    check(&|spec| drop(spec.as_object_mut().unwrap().remove("root")), &split(), Some("root filesystem"));
    check(&|spec| *spec = json!(7), &split(), Some("cannot use"));
}
