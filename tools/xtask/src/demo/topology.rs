//! The machines of the demo, and Skerry's processes on them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use skerry_ground::region::{Container, Master, Node, Operator, registries_file};
use skerry_ground::{Cut, Host, Registry, Run, Wan};

/// The region above all others; it has no nodes of its own.
pub(super) const ROOT: &str = "north";

/// The regions below it, each with its nodes by site.
const REGIONS: [(&str, &[(&str, &str)]); 2] = [
    ("east", &[("oslo", "oslo1"), ("oslo", "oslo2")]),
    ("west", &[("bergen", "bergen1"), ("voss", "voss1")]),
];

/// The node whose link is cut, and its region, which is cut off from the root later.
pub(super) const CUT_OFF: (&str, &str) = ("west", "bergen1");

/// How often a node says on an idle link that it is there. The default of 25 s would make the demo wait more than a minute to
/// see that a link is cut.
const KEEP_ALIVE: &str = "1s";

/// The machines: everything is around one bridge.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) wan: Wan,
    pub(super) root: Host,
    pub(super) registry: Host,
    masters: Vec<Host>,
    nodes: Vec<Vec<Host>>,
}

impl Ground {
    pub(super) fn new(run: &Run) -> Result<Self> {
        let mut wan = Wan::new(run).context("making the network")?;
        let root = wan.host(ROOT)?;
        let registry = wan.host("registry")?;
        let (mut masters, mut nodes) = (Vec::new(), Vec::new());
        for (region, members) in REGIONS {
            masters.push(wan.host(region)?);
            nodes.push(members.iter().map(|(_, name)| wan.host(name)).collect::<Result<_>>()?);
        }
        Ok(Self { wan, root, registry, masters, nodes })
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        let regions = self.masters.iter().zip(&self.nodes);
        [&self.root, &self.registry]
            .into_iter()
            .chain(regions.flat_map(|(master, nodes)| std::iter::once(master).chain(nodes)))
    }
}

/// A region below the root, with its processes.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) name: &'static str,
    pub(super) master: Master,
    pub(super) operator: Operator,
    pub(super) nodes: Vec<Node>,
    members: &'static [(&'static str, &'static str)],
}

impl Region {
    /// The sites, each with the numbers of its nodes.
    pub(super) fn sites(&self) -> Vec<(&'static str, Vec<usize>)> {
        let mut sites: Vec<(&str, Vec<usize>)> = Vec::new();
        for (number, (site, _)) in self.members.iter().enumerate() {
            match sites.last_mut() {
                Some((name, nodes)) if name == site => nodes.push(number),
                _ => sites.push((site, vec![number])),
            }
        }
        sites
    }

    /// Cuts the link to the root's master, and nothing else.
    pub(super) fn cut_uplink(&self) -> Result<()> {
        self.master.host().cut(&Cut::Between(ROOT.to_owned()))
    }
}

/// All of Skerry's processes.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Master,
    pub(super) operator: Operator,
    pub(super) regions: Vec<Region>,
}

impl Tree {
    /// Makes the root; gives what `skerry-master init` printed too. Nothing runs yet.
    pub(super) fn init(ground: &Ground, registry: &Registry) -> Result<(Self, String)> {
        let registries = registries_file(registry, &ground.root.disk())?;
        let (root, said) = Master::init(&ground.root, ROOT, &registries)?;
        let operator = root.operator();
        Ok((Self { root, operator, regions: Vec::new() }, said))
    }

    /// Makes the region of this number with a token of the root's; gives what `skerry-master init` printed. Nothing of it runs.
    pub(super) fn add(&mut self, ground: &Ground, number: usize, token: &str) -> Result<String> {
        let (name, members) = REGIONS[number];
        let registries = self.root.host().disk().join("registries.toml");
        let (master, said) = Master::init_below(&ground.masters[number], name, token, &registries)?;
        let flags = ["--keep-alive", KEEP_ALIVE];
        let nodes = ground.nodes[number].iter().map(|host| Node::new(host, &registries, &flags)).collect();
        let operator = master.operator();
        self.regions.push(Region { name, master, operator, nodes, members });
        Ok(said)
    }

    /// The names of the regions below the root, in the order of their numbers.
    pub(super) fn names() -> [&'static str; 2] {
        REGIONS.map(|(name, _)| name)
    }

    /// The region that gets cut off, with the node that does.
    pub(super) fn far(&self) -> Result<&Region> {
        self.regions.iter().find(|region| region.name == CUT_OFF.0).context("there is no far region")
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.regions.iter().flat_map(|region| &region.nodes)
    }

    /// A node by name.
    pub(super) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes().find(|node| node.name() == name).with_context(|| format!("there is no node {name}"))
    }

    /// The node that is cut off.
    pub(super) fn cut_off(&self) -> Result<&Node> {
        self.node(CUT_OFF.1)
    }

    /// Every container of every node, as the kernel shows them.
    pub(super) fn containers(&self) -> Vec<Container> {
        let mut all: Vec<Container> = self.nodes().flat_map(Node::containers).collect();
        all.sort();
        all
    }

    /// Log files of all daemons, for whoever looks for a cause.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let regions = self.regions.iter().map(|region| region.master.log_path());
        std::iter::once(self.root.log_path()).chain(regions).chain(self.nodes().map(Node::log_path)).collect()
    }

    /// Leaves all processes running.
    pub(super) fn leave(self) {
        self.root.leave();
        for region in self.regions {
            region.master.leave();
            region.nodes.into_iter().for_each(Node::leave);
        }
    }
}
