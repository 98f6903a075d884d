//! The machines of the demo, and Skerry's processes on them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use skerry_ground::region::{Container, Master, Node, Operator, registries_file};
use skerry_ground::{Host, Registry, Run, Wan};

/// Nodes by site. The last one is the one whose link is cut.
const NODES: [(&str, &str); 3] = [("oslo", "oslo1"), ("oslo", "oslo2"), ("bergen", "bergen1")];

/// How often a node says on an idle link that it is there. The default of 25 s would make the demo wait more than a minute to
/// see that a link is cut.
const KEEP_ALIVE: &str = "1s";

/// The machines: everything is around one bridge.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) wan: Wan,
    pub(super) master: Host,
    pub(super) registry: Host,
    pub(super) nodes: Vec<Host>,
}

impl Ground {
    pub(super) fn new(run: &Run) -> Result<Self> {
        let mut wan = Wan::new(run).context("making the network")?;
        let master = wan.host("master")?;
        let registry = wan.host("registry")?;
        let nodes = NODES.iter().map(|(_, name)| wan.host(name)).collect::<Result<_>>()?;
        Ok(Self { wan, master, registry, nodes })
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.master, &self.registry].into_iter().chain(&self.nodes)
    }
}

/// Skerry's processes.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) master: Master,
    pub(super) nodes: Vec<Node>,
    pub(super) operator: Operator,
}

impl Region {
    /// Makes the region; gives what `skerry-master init` printed too. Nothing runs yet.
    pub(super) fn init(ground: &Ground, registry: &Registry) -> Result<(Self, String)> {
        let registries = registries_file(registry, &ground.master.disk())?;
        let (master, said) = Master::init(&ground.master, "north", &registries)?;
        let flags = ["--keep-alive", KEEP_ALIVE];
        let nodes = ground.nodes.iter().map(|host| Node::new(host, &registries, &flags)).collect();
        let operator = master.operator();
        Ok((Self { master, nodes, operator }, said))
    }

    /// The sites, each with the numbers of its nodes.
    pub(super) fn sites() -> Vec<(&'static str, Vec<usize>)> {
        let mut sites: Vec<(&str, Vec<usize>)> = Vec::new();
        for (number, (site, _)) in NODES.iter().enumerate() {
            match sites.last_mut() {
                Some((name, nodes)) if name == site => nodes.push(number),
                _ => sites.push((site, vec![number])),
            }
        }
        sites
    }

    /// The node that is cut off, and its site.
    pub(super) fn cut_off(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }

    /// Every container of every node, as the kernel shows them.
    pub(super) fn containers(&self) -> Vec<Container> {
        let mut all: Vec<Container> = self.nodes.iter().flat_map(Node::containers).collect();
        all.sort();
        all
    }

    /// Log files of all daemons, for whoever looks for a cause.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        std::iter::once(self.master.log_path()).chain(self.nodes.iter().map(Node::log_path)).collect()
    }

    /// Leaves all processes running.
    pub(super) fn leave(self) {
        self.master.leave();
        self.nodes.into_iter().for_each(Node::leave);
    }
}
