//! A node with a real keeper, in directories and a cgroup of its own.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use skerry_keeper_protocol::{ClientMessage, PROTOCOL_VERSION, Request, RequestId, encode};
use skerry_runtime::image::{Digest, Image, ImageConfig};
use skerry_runtime::{
    ContainerRef, ContainerStart, Runtime, RuntimeConfig, RuntimeEvent, RuntimeEvents, SandboxSpec, Started,
};
use skerry_types::{
    AllocationId, Bytes, Capabilities, ContainerName, ContainerSpec, Limits, MilliCpu, Resources,
};

use super::{DEADLINE, mounts_below};

/// The keeper's program, built if it is not; `SKERRY_KEEPER` names another build of it.
pub(crate) fn keeper_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = std::env::var_os("SKERRY_KEEPER") {
        return path.into();
    }
    let build = || {
        let built =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "skerry-keeper"]).status().unwrap();
        assert!(built.success(), "skerry-keeper cannot be built");
        // target/debug/deps/THIS -> target/debug
        let debug = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        debug.join("skerry-keeper")
    };
    BUILT.get_or_init(build).clone()
}

/// Takes everything down when dropped, also when the test failed.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: RuntimeConfig,
    pub(crate) image: Arc<Image>,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = RuntimeConfig {
            data_dir: dir.path().join("data"),
            run_dir: dir.path().join("run"),
            keeper_binary: keeper_binary(),
            cgroup_parent: format!("/skerry-test-{}-{name}", std::process::id()),
            bridge: "skerry0".to_owned(),
            pool: "10.210.0.0/22".parse().unwrap(),
            log_max_bytes: 1 << 20,
            log_max_files: 2,
            create_deadline: Duration::from_secs(20),
        };
        let image = Arc::new(busybox_image(&dir.path().join("layer")));
        Self { dir, config, image }
    }

    /// A runtime that knows of no allocation, and its events behind the first inventory.
    pub(crate) async fn open(&self) -> (Runtime, RuntimeEvents) {
        let (runtime, mut events) = Runtime::open(self.config.clone()).await.unwrap();
        runtime.reconcile(std::collections::BTreeMap::new()).await.unwrap();
        assert!(matches!(next(&mut events).await, RuntimeEvent::Inventory(_)));
        (runtime, events)
    }

    /// What is left of containers, anywhere.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = mounts_below(self.dir.path());
        for dir in ["run/netns", "run/etc", "run/bundles", "data/writable", "data/logs"] {
            let entries = std::fs::read_dir(self.dir.path().join(dir)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left.extend(self.cgroups().iter().map(|dir| dir.display().to_string()));
        left
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let ours = self.config.cgroup_parent.trim_start_matches('/');
        hierarchies.map(|hierarchy| hierarchy.path().join(ours)).filter(|dir| dir.exists()).collect()
    }

    pub(crate) fn keeper_pid(&self) -> Option<i32> {
        let mut stream = UnixStream::connect(self.config.run_dir.join("keeper/keeper.sock")).ok()?;
        hello(&mut stream);
        let credentials = nix::sys::socket::sockopt::PeerCredentials;
        Some(nix::sys::socket::getsockopt(&stream, credentials).unwrap().pid())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(mut stream) = UnixStream::connect(self.config.run_dir.join("keeper/keeper.sock")) {
            hello(&mut stream);
            send(&mut stream, 2, Request::Shutdown { force: true });
            stream.set_read_timeout(Some(DEADLINE)).ok();
            // Ends when the keeper has ended.
            stream.read_to_end(&mut Vec::new()).ok();
        }
        let mounts = mounts_below(self.dir.path());
        for dir in self.cgroups() {
            remove_cgroup(&dir);
        }
        for point in mounts.iter().rev().filter_map(|line| line.split(' ').nth(4)) {
            nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH).ok();
        }
    }
}

/// Groups go from the innermost on, each when its last process is gone.
fn remove_cgroup(dir: &Path) {
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroup(&entry.path());
    }
    let began = std::time::Instant::now();
    while dir.exists() && std::fs::remove_dir(dir).is_err() && began.elapsed() < DEADLINE {
        std::thread::yield_now();
    }
}

fn hello(stream: &mut UnixStream) {
    send(stream, 1, Request::Hello { version: PROTOCOL_VERSION });
}

fn send(stream: &mut UnixStream, id: u64, request: Request) {
    let frame = encode(&ClientMessage { id: RequestId(id), request }).unwrap();
    stream.write_all(&frame).ok();
}

/// One layer with a static busybox under the names of some of its programs.
fn busybox_image(layer: &Path) -> Image {
    for dir in ["bin", "etc", "tmp", "www"] {
        std::fs::create_dir_all(layer.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", layer.join("bin/busybox")).expect("install the busybox-static package");
    for name in [
        "sh", "cat", "echo", "id", "sleep", "unshare", "httpd", "hostname", "ip", "touch", "trap", "mount",
        "wget", "grep", "sort", "cmp", "head", "tr", "ls", "true",
    ] {
        symlink("busybox", layer.join("bin").join(name)).unwrap();
    }
    std::fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:101:102::/www:/bin/sh\n")
        .unwrap();
    std::fs::write(layer.join("etc/group"), "root:x:0:\nweb:x:102:\naudio:x:29:web\n").unwrap();
    std::fs::write(layer.join("www/index.html"), "hello from the edge\n").unwrap();
    Image {
        digest: Digest::of(b"busybox"),
        reference: "registry.example/busybox:1".to_owned(),
        config: ImageConfig {
            entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            ..ImageConfig::default()
        },
        layers: vec![layer.to_owned()],
        size: 0,
    }
}

pub(crate) fn sandbox(allocation: &str) -> SandboxSpec {
    SandboxSpec { allocation: AllocationId::new(allocation).unwrap(), ports: Vec::new(), address: None }
}

pub(crate) fn container(allocation: &str) -> ContainerRef {
    ContainerRef {
        allocation: AllocationId::new(allocation).unwrap(),
        container: ContainerName::new("main").unwrap(),
    }
}

/// A container that runs a shell script.
pub(crate) fn script(text: &str) -> ContainerSpec {
    ContainerSpec {
        name: ContainerName::new("main").unwrap(),
        image: "registry.example/busybox:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: vec![text.to_owned()],
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(100),
            memory: Bytes(32 << 20),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(32 << 20), pids: 50 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    }
}

pub(crate) async fn start(
    machine: &Machine,
    runtime: &Runtime,
    sandbox: &SandboxSpec,
    spec: &ContainerSpec,
) -> Started {
    let start = ContainerStart { spec, attempt: 0, image: machine.image.clone(), devices: &[], fence: None };
    runtime.start(sandbox, start).await.unwrap_or_else(|error| panic!("{}", error.reason().message))
}

pub(crate) async fn next(events: &mut RuntimeEvents) -> RuntimeEvent {
    tokio::time::timeout(DEADLINE, events.next()).await.expect("an event").expect("an open runtime")
}
