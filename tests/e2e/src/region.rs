use std::collections::BTreeMap;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use skerry_ground::region::{registries_file, tail};
use skerry_ground::{Cut, Host, Registry, Run, Snapshot, Wan, image, image_dir, until};

use crate::{Below, Container, Master, Node, Operator, Plan, SOON};

/// Lines of each log that are shown when a test fails.
const SHOWN_LINES: usize = 80;

/// The host of the plan's own master.
const MASTER: &str = "master";

/// The plan's own region.
const ROOT: &str = "north";

/// A region of real processes.
#[derive(Debug)]
pub struct Region {
    /// The network between hosts.
    pub wan: Wan,
    /// The master.
    pub master: Master,
    /// The registry, if the plan has images.
    pub registry: Option<Registry>,
    /// The nodes by name, those of regions below too.
    pub nodes: BTreeMap<String, Node>,
    /// The first operator.
    pub operator: Operator,
    /// The regions below, by name.
    pub below: BTreeMap<String, Child>,
    /// Words that, on a line of a log, make an ERROR one that the test provokes.
    pub expected_errors: Vec<&'static str>,
    name: String,
    folder: PathBuf,
}

/// A region below another.
#[derive(Debug)]
pub struct Child {
    /// Its master.
    pub master: Master,
    /// Its first operator.
    pub operator: Operator,
    /// The host of the master of the region above.
    above: String,
    /// Each node's name and site.
    nodes: Vec<(String, String)>,
}

/// Lays the ground, runs `test` in it, removes every workload, compares each node with what it was, and takes everything down.
///
/// # Panics
/// With what went wrong, after the logs of all daemons were printed.
pub fn in_region(plan: &Plan<'_>, test: impl FnOnce(&mut Region) -> Result<()>) {
    if let Err(error) = run(plan, test) {
        panic!("{error:#}");
    }
}

fn run(plan: &Plan<'_>, test: impl FnOnce(&mut Region) -> Result<()>) -> Result<()> {
    let before = Snapshot::take()?;
    let run = Run::start("e2e")?;
    let name = run.name().to_owned();
    let mut region = Region::lay_out(&run, plan)?;
    let whole = catch_unwind(AssertUnwindSafe(|| {
        region.settle(plan)?;
        test(&mut region)?;
        region.end()
    }));
    let result = whole.unwrap_or_else(|panic| Err(anyhow!("{}", words_of(&*panic))));
    if result.is_err() {
        eprintln!("{}", region.everything_said());
    }
    drop(region);
    let down = run.take_down();
    result?;
    down.context("taking the region down")?;
    let left = Snapshot::take()?.left_by(&before, &[&name]);
    ensure!(left.is_empty(), "left on the machine: {left:#?}");
    Ok(())
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl Region {
    fn lay_out(run: &Run, plan: &Plan<'_>) -> Result<Self> {
        let mut wan = Wan::new(run)?;
        let host = wan.host(MASTER)?;
        let registry = match plan.images {
            [] => None,
            _ => Some(Registry::start(&wan.host("registry")?)?),
        };
        let registries = registries_file(registry.as_ref(), run.folder())?;
        let mut flags: Vec<OsString> = plan.master_flags.iter().map(OsString::from).collect();
        flags.extend(["--domain".into(), "e2e.example".into(), "--registries".into(), registries.into()]);
        let (master, _) = Master::init_with(&host, ROOT, &flags)?;
        let operator = Operator::new(wan.namespace(), master.context());
        Ok(Self {
            wan,
            master,
            registry,
            nodes: BTreeMap::new(),
            operator,
            below: BTreeMap::new(),
            expected_errors: Vec::new(),
            name: run.name().to_owned(),
            folder: run.folder().to_owned(),
        })
    }

    fn settle(&mut self, plan: &Plan<'_>) -> Result<()> {
        if let Some(registry) = &self.registry {
            for name in plan.images {
                let image = image::built(&image_dir(), name)?;
                registry.push(&image.layout, &image.name_and_tag())?;
            }
        }
        self.master.start()?;
        for below in plan.below {
            self.add_region(below, plan.agent_flags)?;
        }
        let own = self.operator.clone();
        self.join_all(plan.nodes, plan.agent_flags, &own, plan.unjoined)?;
        for below in plan.below {
            let operator = self.child(below.region)?.operator.clone();
            for (name, _) in below.nodes {
                self.node_mut(name)?.reachable(&operator)?;
            }
        }
        if !plan.unjoined {
            for (name, _) in plan.nodes {
                self.node_mut(name)?.reachable(&own)?;
            }
        }
        let below: usize = plan.below.iter().map(|below| below.nodes.len()).sum();
        until("the word of all nodes at the root", SOON, || {
            let nodes = own.list("nodes -A")?;
            let there = nodes.iter().filter(|node| node.get("reachable").is_some_and(|is| is == true));
            Ok((there.count() >= below).then_some(()))
        })
    }

    /// Makes a region below another, with its nodes on the way to join.
    fn add_region(&mut self, below: &Below<'_>, flags: &[&str]) -> Result<()> {
        let (above, operator) = match below.parent {
            None => (MASTER.to_owned(), self.operator.clone()),
            Some(parent) => {
                let parent = self.child(parent)?;
                (parent.master.host().name().to_owned(), parent.operator.clone())
            }
        };
        let host = self.wan.host(&format!("m{}", below.region))?;
        let token = operator.region_token(below.region)?;
        let (mut master, _) = Master::init_below(&host, below.region, &token, &self.registries_path())?;
        master.start()?;
        let operator = Operator::new(self.wan.namespace(), master.context());
        self.join_all(below.nodes, flags, &operator, false)?;
        let nodes = below.nodes.iter().map(|(name, site)| ((*name).to_owned(), (*site).to_owned())).collect();
        self.below.insert(below.region.to_owned(), Child { master, operator, above, nodes });
        Ok(())
    }

    /// Adds nodes; unless they are left to the test, starts them with a token of their site.
    fn join_all(
        &mut self,
        nodes: &[(&str, &str)],
        flags: &[&str],
        operator: &Operator,
        unjoined: bool,
    ) -> Result<()> {
        for (name, site) in nodes {
            self.add_node(name, flags)?;
            if !unjoined {
                let token = operator.token(site, 1)?;
                self.node_mut(name)?.start(Some(&token))?;
            }
        }
        Ok(())
    }

    /// Adds a host with an agent that has not joined. It notices a cut link in three seconds, unless `flags` say otherwise.
    pub fn add_node(&mut self, name: &str, flags: &[&str]) -> Result<()> {
        let host = self.wan.host(name)?;
        let mut all = if flags.contains(&"--keep-alive") { Vec::new() } else { vec!["--keep-alive", "1s"] };
        all.extend(flags);
        self.nodes.insert(name.to_owned(), Node::new(&host, &self.registries_path(), &all));
        Ok(())
    }

    /// Starts a node of the plan's own region that the plan left [`unjoined`](Plan::unjoined), and waits until it is heard from.
    pub fn join(&mut self, name: &str, site: &str) -> Result<()> {
        let (token, operator) = (self.operator.token(site, 1)?, self.operator.clone());
        let node = self.node_mut(name)?;
        node.try_join(&token)?.ok()?;
        node.start(None)?;
        node.reachable(&operator)
    }

    /// A host without any of Skerry's processes.
    pub fn bare_host(&mut self, name: &str) -> Result<Host> {
        self.wan.host(name)
    }

    /// Makes a join token.
    pub fn token(&self, site: &str, flags: &[&str]) -> Result<String> {
        let mut arguments = vec!["token", "create", "--site", site, "-o", "json"];
        arguments.extend(flags);
        let said = self.operator.run(&arguments)?.ok()?;
        let value: Value = serde_json::from_str(&said.out).context("reading the token")?;
        let token = value.get("token").and_then(Value::as_str);
        Ok(token.with_context(|| format!("no token in {}", said.out))?.to_owned())
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("the region has no node {name}"))
    }

    /// A region below.
    pub fn child(&self, region: &str) -> Result<&Child> {
        self.below.get(region).with_context(|| format!("there is no region {region} below"))
    }

    /// A region below, to start or end its master.
    pub fn child_mut(&mut self, region: &str) -> Result<&mut Child> {
        self.below.get_mut(region).with_context(|| format!("there is no region {region} below"))
    }

    /// Cuts the link between a region's master and the one above, and nothing else.
    pub fn cut_uplink(&self, region: &str) -> Result<()> {
        let child = self.child(region)?;
        child.master.host().cut(&Cut::Between(child.above.clone()))
    }

    /// Waits until the root shows a region as not connected.
    pub fn is_away(&self, region: &str) -> Result<()> {
        until(&format!("the root sees that {region} is away"), SOON, || {
            let regions = self.operator.list("regions -A")?;
            let found = regions.iter().find(|one| one["name"] == region);
            let found = found.with_context(|| format!("{region} is not listed: {regions:?}"))?;
            Ok((found["connected"] == false).then_some(()))
        })
    }

    /// Undoes [`Region::cut_uplink`].
    pub fn heal_uplink(&self, region: &str) -> Result<()> {
        self.child(region)?.master.host().heal()
    }

    /// All containers of all nodes.
    pub fn containers(&self) -> Vec<Container> {
        self.nodes.values().flat_map(Node::containers).collect()
    }

    /// The containers of a workload on the nodes of a region below.
    pub fn containers_in(&self, region: &str, workload: &str) -> Result<Vec<Container>> {
        let nodes = self.child(region)?.nodes.iter().filter_map(|(name, _)| self.nodes.get(name));
        Ok(nodes.flat_map(|node| node.containers_of(workload)).collect())
    }

    /// The nodes at a site, whichever region below has it.
    pub fn nodes_at(&self, site: &str) -> Vec<&Node> {
        let all = self.below.values().flat_map(|child| &child.nodes);
        all.filter(|(_, at)| at == site).filter_map(|(name, _)| self.nodes.get(name)).collect()
    }

    /// The containers of a workload at a site.
    pub fn containers_at(&self, site: &str, workload: &str) -> Vec<Container> {
        self.nodes_at(site).into_iter().flat_map(|node| node.containers_of(workload)).collect()
    }

    /// A node by name, to start or end its processes.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.get_mut(name).with_context(|| format!("the region has no node {name}"))
    }

    /// The full reference of an image that the plan names.
    pub fn image(&self, name: &str) -> Result<String> {
        let registry = self.registry.as_ref().context("the plan has no images")?;
        Ok(format!("{}/{}", registry.authority(), image::built(&image_dir(), name)?.name_and_tag()))
    }

    /// The registry.
    pub fn registry(&mut self) -> Result<&mut Registry> {
        self.registry.as_mut().context("the plan has no images")
    }

    /// The file that tells master and agents how to reach the registry.
    pub fn registries_path(&self) -> PathBuf {
        self.folder.join("registries.toml")
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The run's name, which stands in every process's paths.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says that a step of the test begins, for those who read a failure.
    pub fn step(&self, what: &str) {
        eprintln!("{} {}: {what}", self.name, since_start());
    }

    /// Deletes every workload at its owner, waits until nothing of it is left, and looks whether the nodes agree.
    pub fn clear(&mut self) -> Result<()> {
        let children = self.below.iter().map(|(region, child)| (region.as_str(), &child.operator));
        for (region, operator) in children.chain([(ROOT, &self.operator)]) {
            for name in owned(operator, region)? {
                let said = operator.run(&["delete", "workload", &name, "--wait", "--timeout", "60s"])?;
                // It may have been on its way out already.
                if !said.err.contains("there is no workload") {
                    said.ok().with_context(|| operator.whole_state())?;
                }
            }
        }
        for node in self.nodes.values() {
            node.is_clean()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.master.pid().is_some() && !self.nodes.is_empty() {
            self.step("everything is removed");
            self.clear()?;
        }
        self.no_unexpected_errors()
    }

    /// ERROR means that a person must act: none may be there but those that the test provokes.
    fn no_unexpected_errors(&self) -> Result<()> {
        let logs = self.nodes.values().flat_map(|node| [node.log(), node.keeper_log()]);
        for log in logs.chain(self.masters().map(|(_, master)| master.log())) {
            let bad = log.lines().find(|line| {
                let wrong = line.contains("ERROR") || line.contains("panicked at");
                wrong && !self.expected_errors.iter().any(|part| line.contains(part))
            });
            ensure!(bad.is_none(), "in a log: {}", bad.unwrap_or_default());
        }
        Ok(())
    }

    fn masters(&self) -> impl Iterator<Item = (&str, &Master)> {
        let below = self.below.iter().map(|(name, child)| (name.as_str(), &child.master));
        std::iter::once((ROOT, &self.master)).chain(below)
    }

    fn everything_said(&self) -> String {
        let mut parts = vec![format!("{}:", self.name)];
        if self.master.pid().is_some() {
            parts.push(self.operator.whole_state());
        }
        let shown = |what: &str, log: &str| {
            format!("--- {} {what}, the last lines\n{}", self.name, tail(log, SHOWN_LINES))
        };
        for (name, master) in self.masters() {
            parts.push(shown(&format!("master {name}"), &master.log()));
        }
        for (name, node) in &self.nodes {
            parts.push(shown(&format!("agent {name}"), &node.log()));
            parts.push(shown(&format!("keeper {name}"), &node.keeper_log()));
        }
        parts.join("\n")
    }
}

fn since_start() -> String {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    format!("{:5.1} s", START.get_or_init(Instant::now).elapsed().as_secs_f32())
}

/// The workloads that were applied at this region's own master.
fn owned(operator: &Operator, region: &str) -> Result<Vec<String>> {
    let is_own = |one: &&Value| one.pointer("/status/region").and_then(Value::as_str) == Some(region);
    let workloads = operator.list("workloads")?;
    let names = workloads.iter().filter(is_own).filter_map(|one| one.pointer("/metadata/name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}
