use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run::{Marks, kill_all};
use crate::{Namespace, Run, cgroup, mount, namespace};

/// RFC 2544 sets 198.18.0.0/15 aside for measurements between devices: no pool of container addresses uses it.
const NETWORK: [u8; 3] = [198, 18, 0];
const BRIDGE: &str = "wan";
const UPLINK: &str = "uplink";

/// The network between hosts: a bridge in a namespace of its own, with one cable to each host.
#[derive(Debug)]
pub struct Wan {
    namespace: Namespace,
    run: String,
    folder: PathBuf,
    hosts: u8,
}

impl Wan {
    /// Makes the bridge, with the address 198.18.0.1 that hosts use as their gateway.
    pub fn new(run: &Run) -> Result<Self> {
        let namespace = Namespace::add(format!("{}-wan", run.name()))?;
        namespace.ip(&format!("link add {BRIDGE} type bridge"))?;
        namespace.ip(&format!("address add {}/24 dev {BRIDGE}", address(1)))?;
        namespace.ip(&format!("link set {BRIDGE} up"))?;
        Ok(Self { namespace, run: run.name().to_owned(), folder: run.folder().to_owned(), hosts: 0 })
    }

    /// The namespace of the bridge; a program in it sees all hosts and is on no host.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds a host with the next address, from 198.18.0.2 on. `name` is at most ten lower-case letters and digits.
    pub fn host(&mut self, name: &str) -> Result<Host> {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        ensure!(plain && (1..=10).contains(&name.len()), "{name:?} cannot be the name of a host");
        self.hosts = self.hosts.checked_add(1).filter(|hosts| *hosts < 253).context("the wan is full")?;
        let host = Host {
            name: name.to_owned(),
            namespace: Namespace::add(format!("{}-{name}", self.run))?,
            wan: self.namespace.clone(),
            address: address(self.hosts + 1),
            folder: self.folder.join(name),
            cgroup: format!("{}/{name}", self.run),
        };
        for folder in [host.disk(), host.memory()] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        host.plug_in()?;
        Ok(host)
    }
}

/// How a host's link fails.
#[derive(Debug, Clone)]
pub enum Cut {
    /// Nothing passes, and nothing tells either side so.
    Both,
    /// What the host sends is lost; what is sent to it arrives.
    FromHost,
    /// What is sent to the host is lost; what it sends arrives.
    ToHost,
    /// Nothing passes between the host and the other host of this name.
    Between(String),
    /// The cable is out: the host sees its interface go down.
    Unplugged,
    /// This share of packets, 0 to 99 percent, is lost in each direction.
    Loss(u8),
}

/// What passed over a host's link since it was plugged in, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes the host received, with Ethernet headers.
    pub received_bytes: u64,
    /// Bytes the host sent, with Ethernet headers.
    pub sent_bytes: u64,
}

/// A machine: a network namespace on the [`Wan`], a folder that survives a power cut and one that does not.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    namespace: Namespace,
    wan: Namespace,
    address: Ipv4Addr,
    folder: PathBuf,
    cgroup: String,
}

impl Host {
    /// The name given when it was added.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the wan.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A command that will run on the host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// The folder that survives [`Host::power_cut`].
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The folder that a power cut empties: for sockets and what else lives in `/run`.
    pub fn memory(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// A path for a log file of this host.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The cgroup, without a leading `/`, that the host's programs should make their own cgroups below.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Breaks the link in one more way, until [`Host::heal`].
    pub fn cut(&self, cut: &Cut) -> Result<()> {
        let port = self.port();
        let (from, to) = (format!("iifname \"{port}\""), format!("oifname \"{port}\""));
        match cut {
            Cut::Both => self.refuse(&[format!("{from} drop"), format!("{to} drop")]),
            Cut::FromHost => self.refuse(&[format!("{from} drop")]),
            Cut::ToHost => self.refuse(&[format!("{to} drop")]),
            Cut::Between(other) => {
                let other = port_of(other);
                self.refuse(&[
                    format!("{from} oifname \"{other}\" drop"),
                    format!("{to} iifname \"{other}\" drop"),
                ])
            }
            Cut::Loss(percent) => {
                let lose = format!("numgen random mod 100 < {percent} drop");
                self.refuse(&[format!("{from} {lose}"), format!("{to} {lose}")])
            }
            Cut::Unplugged => self.wan.ip(&format!("link set {port} down")).map(drop),
        }
    }

    /// Makes the link whole again.
    pub fn heal(&self) -> Result<()> {
        // `add` first, so that a link that was never cut heals too.
        let table = self.table();
        self.wan.nft(&format!("add table bridge {table}; delete table bridge {table}"))?;
        self.wan.ip(&format!("link set {} up", self.port())).map(drop)
    }

    /// Gives the host another address on the wan, as a lease that was not renewed does; [`Host::address`] stays the first one, and
    /// so does what a power cut brings back.
    pub fn moves_to(&self, last: u8) -> Result<Ipv4Addr> {
        let inside = &self.namespace;
        inside.ip(&format!("address flush dev {UPLINK}"))?;
        inside.ip(&format!("address add {}/24 dev {UPLINK}", address(last)))?;
        inside.ip(&format!("route add default via {}", address(1)))?;
        Ok(address(last))
    }

    /// Bytes over the link so far.
    pub fn traffic(&self) -> Result<Traffic> {
        let text = self.wan.ip(&format!("-s -j link show dev {}", self.port()))?;
        let links: Value = serde_json::from_str(&text).context("reading what ip prints")?;
        let count =
            |direction: &str| links.pointer(&format!("/0/stats64/{direction}/bytes")).and_then(Value::as_u64);
        let (Some(sent_bytes), Some(received_bytes)) = (count("rx"), count("tx")) else {
            anyhow::bail!("ip tells no counters of {}: {text}", self.port());
        };
        Ok(Traffic { received_bytes, sent_bytes })
    }

    /// Takes the power away: every process of the host is killed; its mounts, cgroups, namespace and what was in memory
    /// are gone. [`Host::power_on`] gives the namespace back, with the same address and a whole link.
    pub fn power_cut(&self) -> Result<()> {
        kill_all(&Marks::new(&[self.namespace.name().to_owned()], &self.cgroup, &self.folder))?;
        mount::unmount_below(&self.folder)?;
        for folder in cgroup::all().into_iter().rev() {
            if folder.to_string_lossy().contains(&format!("/{}/", self.cgroup)) {
                fs::remove_dir(&folder).with_context(|| format!("removing cgroup {}", folder.display()))?;
            }
        }
        namespace::delete(self.namespace.name())?;
        fs::remove_dir_all(self.memory()).context("emptying the host's memory")
    }

    /// Brings the host back after [`Host::power_cut`], with no process on it.
    pub fn power_on(&self) -> Result<()> {
        fs::create_dir_all(self.memory()).context("making the host's memory")?;
        Namespace::add(self.namespace.name().to_owned())?;
        self.plug_in()?;
        self.heal()
    }

    /// Every process of the host, its containers' too.
    pub fn processes(&self) -> Vec<crate::Seen> {
        Marks::new(&[self.namespace.name().to_owned()], &self.cgroup, &self.folder)
            .select(&crate::processes())
    }

    /// The folder of the host, which holds all others of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn plug_in(&self) -> Result<()> {
        let (port, inside) = (self.port(), &self.namespace);
        // A power cut takes the namespace, but its end of the cable goes only when the kernel gets to it.
        drop(self.wan.ip(&format!("link delete {port}")));
        self.wan.ip(&format!("link add {port} type veth peer name {UPLINK} netns {}", inside.name()))?;
        self.wan.ip(&format!("link set {port} master {BRIDGE} up"))?;
        inside.ip(&format!("address add {}/24 dev {UPLINK}", self.address))?;
        inside.ip(&format!("link set {UPLINK} up"))?;
        inside.ip(&format!("route add default via {}", address(1))).map(drop)
    }

    /// Adds rules at all places where the bridge handles a frame.
    fn refuse(&self, rules: &[String]) -> Result<()> {
        let chains = ["forward", "input", "output"]
            .map(|hook| {
                let rules = rules.join("; ");
                format!("chain at_{hook} {{ type filter hook {hook} priority 0; {rules}; }};")
            })
            .concat();
        self.wan.nft(&format!("table bridge {} {{ {chains} }}", self.table())).map(drop)
    }

    fn table(&self) -> String {
        format!("cut_{}", self.name)
    }

    fn port(&self) -> String {
        port_of(&self.name)
    }
}

fn port_of(host: &str) -> String {
    format!("to-{host}")
}

fn address(last: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, last)
}
