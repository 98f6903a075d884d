//! A keeper under test, a client for it, and what both leave behind cleaned up.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use skerry_keeper_protocol::world::{FILE_OPTIONS, MASKED_PATHS, READ_ONLY_PATHS, SPECIAL_MOUNTS};
use skerry_keeper_protocol::{
    ClientMessage, ContainerKey, ContainerRecord, CreateRequest, Event, Exit, Failure, FrameBuffer, Identity,
    LogPolicy, PROTOCOL_VERSION, ProcessIdentity, Reply, Request, RequestId, ServerMessage, decode, encode,
    parse_log_line,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(20);
const BUSYBOX: &str = "/bin/busybox";
static NODES: AtomicU32 = AtomicU32::new(0);

/// Asks again and again, until an answer or the end of patience.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program under test: the one that cargo built, or another, such as the static one that ships.
pub fn program() -> PathBuf {
    std::env::var_os("SKERRY_KEEPER_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_skerry-keeper").into(), PathBuf::from)
}

pub fn key(name: &str) -> ContainerKey {
    name.parse().unwrap()
}

/// A keeper with directories, a root filesystem and a cgroup of its own.
pub struct Node {
    pub dir: tempfile::TempDir,
    pub keeper: Child,
    cgroup: String,
}

impl Node {
    pub fn start() -> Self {
        // Orphans of a killed keeper come to the test, which can then say when they are reaped.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let dir = tempfile::tempdir().unwrap();
        make_rootfs(&dir.path().join("rootfs"));
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/skerry-keeper-test-{}-{number}", std::process::id());
        let keeper = spawn_keeper(dir.path());
        let node = Self { dir, keeper, cgroup };
        node.client();
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A greeted connection.
    pub fn client(&self) -> Client {
        let socket = self.path("run/keeper.sock");
        // A process that a killed keeper was about to start holds its socket for a moment more.
        let is_keeper = |stream: &UnixStream| {
            let peer = rustix::net::sockopt::socket_peercred(stream).unwrap();
            u32::try_from(peer.pid.as_raw_nonzero().get()) == Ok(self.keeper.id())
        };
        let connect = || UnixStream::connect(&socket).ok().filter(is_keeper);
        let stream = eventually("the keeper listens", connect);
        let mut client = Client::new(stream);
        let hello = client.call(Request::Hello { version: PROTOCOL_VERSION });
        assert!(matches!(hello, Ok(Reply::Hello { .. })), "{hello:?}");
        client
    }

    /// Kills the keeper as the kernel would.
    pub fn kill_keeper(&mut self) {
        self.keeper.kill().unwrap();
        self.keeper.wait().unwrap();
        // A process that it was about to start holds its locks for a moment more, and the next keeper would give up.
        for lock in ["run/keeper.lock", "state/keeper.lock"] {
            let file = std::fs::File::open(self.path(lock)).unwrap();
            eventually("the lock is free", || flock(&file, FlockOperation::NonBlockingLockExclusive).ok());
        }
    }

    pub fn restart_keeper(&mut self) {
        self.keeper = spawn_keeper(self.dir.path());
    }

    pub fn cgroup_of(&self, name: &str) -> String {
        format!("{}/{name}", self.cgroup)
    }

    /// A request to run a shell script.
    pub fn shell(&self, name: &str, script: &str) -> CreateRequest {
        self.bundle(name, &["/bin/sh", "-c", script], |_| {})
    }

    /// A request for a bundle that `change` has changed.
    pub fn bundle(&self, name: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> CreateRequest {
        let bundle = self.path(&format!("bundles/{name}"));
        std::fs::create_dir_all(&bundle).unwrap();
        let mut spec = base_spec(&self.path("rootfs"), args);
        change(&mut spec);
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        CreateRequest {
            key: key(name),
            identity: Identity::try_from(format!("identity of {name}").into_bytes()).unwrap(),
            bundle,
            cgroups_path: self.cgroup_of(name).parse().unwrap(),
            log: LogPolicy { dir: self.path(&format!("logs/{name}")), max_bytes: 1 << 20, max_files: 3 },
            deadline_ms: 15_000,
            kill_at_ms: None,
        }
    }

    /// A request to run a shell script in what an ordinary container sees, with `files` of the node bound in, that `change` has
    /// changed.
    pub fn ordinary(
        &self,
        name: &str,
        script: &str,
        files: &[(&Path, &str)],
        change: impl FnOnce(&mut Value),
    ) -> CreateRequest {
        let special = SPECIAL_MOUNTS.iter().map(|mount| {
            json!({
                "destination": mount.destination, "type": mount.kind, "source": mount.kind,
                "options": mount.options,
            })
        });
        let files = files.iter().map(|(source, destination)| {
            json!({"destination": destination, "type": "bind", "source": source, "options": FILE_OPTIONS})
        });
        let mounts: Vec<Value> = special.chain(files).collect();
        self.bundle(name, &["/bin/sh", "-c", script], |spec| {
            spec["mounts"] = json!(mounts);
            spec["hostname"] = json!("ordinary");
            spec["linux"]["maskedPaths"] = json!(MASKED_PATHS);
            spec["linux"]["readonlyPaths"] = json!(READ_ONLY_PATHS);
            change(spec);
        })
    }

    /// Entries of a container's current log, as `stream tag text`.
    pub fn log(&self, name: &str) -> Vec<String> {
        let text = std::fs::read(self.path(&format!("logs/{name}/current.log"))).unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let line =
                    parse_log_line(line).unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(line)));
                let tag = if line.partial { "P" } else { "F" };
                format!("{} {tag} {}", line.stream.as_str(), String::from_utf8_lossy(line.text))
            })
            .collect()
    }

    pub fn wait_for_log(&self, name: &str, line: &str) {
        eventually(&format!("{line:?} in the log of {name}"), || {
            self.log(name).iter().any(|entry| entry == line).then_some(())
        });
    }

    /// What is left of a container, by path.
    pub fn traces(&self, name: &str) -> Vec<PathBuf> {
        let own = [self.path("run/containers").join(name), self.path("state/containers").join(name)];
        let groups = cgroup_mounts().into_iter().map(|mount| mount.join(&self.cgroup_of(name)[1..]));
        own.into_iter().chain(groups).filter(|path| path.exists()).collect()
    }

    /// Directories of this node's cgroup that are left.
    pub fn cgroup_traces(&self) -> Vec<PathBuf> {
        cgroup_mounts()
            .into_iter()
            .map(|mount| mount.join(&self.cgroup[1..]))
            .filter(|path| path.exists())
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = std::fs::read_to_string(self.path("keeper.log")).unwrap_or_default();
            eprintln!("keeper said:\n{text}");
        }
        self.keeper.kill().ok();
        self.keeper.wait().ok();
        for mount in cgroup_mounts() {
            clear_cgroup(&mount.join(&self.cgroup[1..]));
        }
    }
}

fn spawn_keeper(dir: &Path) -> Child {
    let log = std::fs::OpenOptions::new().append(true).create(true).open(dir.join("keeper.log")).unwrap();
    Command::new(program())
        .args(["--log-level", "debug", "--run-dir"])
        .arg(dir.join("run"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn make_rootfs(rootfs: &Path) {
    assert!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: apt-get install busybox-static");
    for name in ["bin", "proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    std::fs::copy(BUSYBOX, rootfs.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "cat", "dd", "head", "tail", "tr", "yes", "echo", "true", "kill"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
}

fn base_spec(rootfs: &Path, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": rootfs, "readonly": false},
        "process": {
            "cwd": "/",
            "args": args,
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
            },
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
            ],
            "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 64}},
        },
    })
}

fn cgroup_mounts() -> Vec<PathBuf> {
    let unified = Path::new("/sys/fs/cgroup");
    let mut mounts = vec![unified.to_owned()];
    mounts.extend(
        std::fs::read_dir(unified).unwrap().flatten().map(|entry| entry.path()).filter(|p| p.is_dir()),
    );
    mounts
}

fn clear_cgroup(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for child in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        clear_cgroup(&child);
    }
    let end = Instant::now() + Duration::from_secs(5);
    while std::fs::remove_dir(dir).is_err() && dir.exists() && Instant::now() < end {
        let pids = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in
            pids.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG).ok();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A blocking client.
pub struct Client {
    pub stream: UnixStream,
    frames: FrameBuffer,
    messages: VecDeque<ServerMessage>,
    next_id: u64,
}

impl Client {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, frames: FrameBuffer::default(), messages: VecDeque::new(), next_id: 1 }
    }

    pub fn send(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.stream.write_all(&encode(&ClientMessage { id, request }).unwrap()).unwrap();
        id
    }

    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        let id = self.send(request);
        self.reply(id)
    }

    pub fn reply(&mut self, wanted: RequestId) -> Result<Reply, Failure> {
        self.find(|message| match message {
            ServerMessage::Reply { id, result } if *id == wanted => Some(result.clone()),
            _ => None,
        })
    }

    pub fn create(&mut self, request: CreateRequest) -> ProcessIdentity {
        match self.call(Request::Create(Box::new(request))) {
            Ok(Reply::Created { process }) => process,
            other => panic!("{other:?}"),
        }
    }

    pub fn exit(&mut self, name: &str) -> Exit {
        self.find(|message| match message {
            ServerMessage::Event(Event::Exited { key, exit }) if key.as_str() == name => Some(*exit),
            _ => None,
        })
    }

    pub fn signal(&mut self, name: &str, signal: i32) -> Result<Reply, Failure> {
        self.call(Request::Signal { key: key(name), signal, all: false })
    }

    pub fn delete(&mut self, name: &str, force: bool) -> Result<Reply, Failure> {
        self.call(Request::Delete { key: key(name), force })
    }

    pub fn inspect(&mut self, name: &str) -> Result<ContainerRecord, Failure> {
        match self.call(Request::Inspect { key: key(name) })? {
            Reply::Container(record) => Ok(*record),
            other => panic!("{other:?}"),
        }
    }

    pub fn list(&mut self) -> Vec<ContainerRecord> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|record: &ContainerRecord| record.key.clone());
            match self.call(Request::List { after }) {
                Ok(Reply::Containers { records, more }) => {
                    all.extend(records);
                    if !more {
                        return all;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes the first message, past or to come, that `pick` accepts.
    fn find<T>(&mut self, pick: impl Fn(&ServerMessage) -> Option<T>) -> T {
        let mut seen = 0;
        loop {
            while seen < self.messages.len() {
                if let Some(found) = pick(&self.messages[seen]) {
                    self.messages.remove(seen);
                    return found;
                }
                seen += 1;
            }
            assert!(self.receive(), "the keeper closed the connection");
        }
    }

    /// Reads once; `false` at the end of the stream.
    pub fn receive(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let count =
            self.stream.read(&mut buffer).unwrap_or_else(|error| panic!("no message in time: {error}"));
        self.frames.push(&buffer[..count]);
        while let Some(payload) = self.frames.next_payload().unwrap() {
            self.messages.push_back(decode(payload).unwrap());
        }
        count > 0
    }
}
