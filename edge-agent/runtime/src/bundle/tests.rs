use std::path::Path;

use serde_json::{Value, json};
use skerry_types::Capabilities;

use super::config::tests::spec;
use super::*;
use crate::image::ImageConfig;

const V1: NodeTraits =
    NodeTraits { cgroups: CgroupVersion::V1 { swap: true }, open_files_hard: 4096, architecture: "x86_64" };
const V2: NodeTraits = NodeTraits { cgroups: CgroupVersion::V2, ..V1 };

fn config() -> ContainerConfig {
    let image = ImageConfig { entrypoint: vec!["/web".to_owned()], ..ImageConfig::default() };
    ContainerConfig::settle(&spec(), &image).unwrap()
}

fn specify(config: &ContainerConfig, user: &User, node: &NodeTraits) -> Value {
    let paths = BundlePaths {
        rootfs: Path::new("/r/rootfs"),
        netns: Path::new("/r/netns/web-0-1"),
        etc: Path::new("/r/etc"),
        cgroup: "/skerry/web-0-1/web",
        token: None,
    };
    specification(config, user, "web-0", &paths, node).unwrap()
}

fn root() -> User {
    User { home: Some("/root".to_owned()), ..User::default() }
}

#[test]
fn nothing_is_lost_in_the_types_of_the_runtime() {
    for node in [V1, V2] {
        let mut written = specify(&config(), &root(), &node);
        let read: oci_spec::runtime::Spec = serde_json::from_value(written.clone()).unwrap();
        let mut again = serde_json::to_value(&read).unwrap();
        for value in [&mut written, &mut again] {
            sort_names(value);
        }
        assert_eq!(again, written);
    }
}

/// The types hold capabilities as unordered sets.
fn sort_names(spec: &mut Value) {
    for set in spec["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        let mut names: Vec<String> = serde_json::from_value(set.clone()).unwrap();
        names.sort();
        *set = json!(names);
    }
}

#[test]
fn a_specification_on_version_1() {
    let spec = specify(&config(), &root(), &V1);
    assert_eq!(
        spec["linux"]["resources"],
        json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 67_108_864, "swap": 67_108_864},
            "cpu": {"shares": 256, "period": 100_000, "quota": 50_000},
            "pids": {"limit": 100},
        })
    );
    assert_eq!(spec["linux"]["cgroupsPath"], json!("/skerry/web-0-1/web"));
    assert_eq!(
        spec["linux"]["namespaces"],
        json!([
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            {"type": "network", "path": "/r/netns/web-0-1"},
        ])
    );
    assert!(!spec["mounts"].to_string().contains("cgroup"), "{}", spec["mounts"]);
    assert_eq!(spec["process"]["noNewPrivileges"], json!(true));
    assert_eq!(spec["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]));
    assert_eq!(spec["root"], json!({"path": "/r/rootfs", "readonly": false}));
}

#[test]
fn a_specification_on_version_2() {
    let spec = specify(&config(), &root(), &V2);
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "cgroup"})));
    let mounts = spec["mounts"].as_array().unwrap();
    let cgroup = mounts.iter().find(|mount| mount["destination"] == "/sys/fs/cgroup").unwrap();
    assert!(cgroup["options"].as_array().unwrap().contains(&json!("ro")));
}

#[test]
fn swap_is_left_out_where_it_cannot_be_counted() {
    let node = NodeTraits { cgroups: CgroupVersion::V1 { swap: false }, ..V1 };
    let spec = specify(&config(), &root(), &node);
    assert_eq!(spec["linux"]["resources"]["memory"], json!({"limit": 67_108_864}));
}

#[test]
fn small_amounts_of_cpu_stay_above_what_the_kernel_takes() {
    let mut config = config();
    config.cpu = skerry_types::MilliCpu(1);
    config.limits.cpu = Some(skerry_types::MilliCpu(1));
    let spec = specify(&config, &root(), &V1);
    assert_eq!(spec["linux"]["resources"]["cpu"], json!({"shares": 2, "period": 100_000, "quota": 1_000}));
    config.limits.cpu = None;
    let spec = specify(&config, &root(), &V1);
    assert_eq!(spec["linux"]["resources"]["cpu"], json!({"shares": 2}));
}

#[test]
fn only_root_starts_with_the_default_capabilities() {
    let mut config = config();
    config.capabilities = Capabilities { add: vec!["NET_RAW".to_owned()], drop: Vec::new() };
    let sets = |user: &User| specify(&config, user, &V1)["process"]["capabilities"].clone();
    let for_root = sets(&root());
    assert_eq!(for_root["effective"], for_root["bounding"]);
    assert_eq!(for_root["ambient"], json!([]));
    let other = sets(&User { uid: 101, gid: 101, ..User::default() });
    assert_eq!(other["ambient"], json!(["CAP_NET_RAW"]));
    assert_eq!(other["effective"], json!(["CAP_NET_RAW"]));
    assert_eq!(other["bounding"], for_root["bounding"]);
}

#[test]
fn environment_has_what_programs_expect() {
    let mut config = config();
    config.env = vec!["PATH=/own".to_owned(), "A=1".to_owned()];
    let env = specify(&config, &root(), &V1)["process"]["env"].clone();
    assert_eq!(env, json!(["HOSTNAME=web-0", "HOME=/root", "PATH=/own", "A=1"]));
    config.env.clear();
    let env = specify(&config, &User::default(), &V1)["process"]["env"].clone();
    assert_eq!(env, json!([DEFAULT_PATH, "HOSTNAME=web-0", "HOME=/"]));
}
