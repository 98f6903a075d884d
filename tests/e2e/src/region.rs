use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use skerry_ground::{Host, Registry, Run, Snapshot, Wan, image, image_dir};

use crate::node::tail;
use crate::{Master, Node, Operator};

/// Lines of each log that are shown when a test fails.
const SHOWN_LINES: usize = 80;

/// What a test's region is made of.
#[derive(Debug, Clone, Default)]
pub struct Plan<'p> {
    /// Name and site of each node.
    pub nodes: &'p [(&'p str, &'p str)],
    /// Images that are pushed to the registry; with none, there is no registry.
    pub images: &'p [&'p str],
    /// Flags of every start of the master.
    pub master_flags: &'p [&'p str],
    /// Flags of every start of each agent.
    pub agent_flags: &'p [&'p str],
    /// Whether nodes are left for the test to join and start.
    pub unjoined: bool,
}

/// A region of real processes.
#[derive(Debug)]
pub struct Region {
    /// The network between hosts.
    pub wan: Wan,
    /// The master.
    pub master: Master,
    /// The registry, if the plan has images.
    pub registry: Option<Registry>,
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// The first operator.
    pub operator: Operator,
    /// Words that, on a line of a log, make an ERROR one that the test provokes.
    pub expected_errors: Vec<&'static str>,
    name: String,
    folder: PathBuf,
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
        let host = wan.host("master")?;
        let registry = match plan.images {
            [] => None,
            _ => Some(Registry::start(&wan.host("registry")?)?),
        };
        let mut master_flags: Vec<String> = plan.master_flags.iter().map(|flag| (*flag).to_owned()).collect();
        if let Some(registry) = &registry {
            let file = run.folder().join("registries.toml");
            fs::write(&file, registries(registry, registry.password())).context("writing registries.toml")?;
            master_flags.extend(["--registries".to_owned(), file.display().to_string()]);
        }
        let master = Master::init(&host, &master_flags)?;
        let operator = Operator::new(wan.namespace(), master.context());
        let name = run.name().to_owned();
        let folder = run.folder().to_owned();
        let (nodes, expected_errors) = (BTreeMap::new(), Vec::new());
        Ok(Self { wan, master, registry, nodes, operator, expected_errors, name, folder })
    }

    fn settle(&mut self, plan: &Plan<'_>) -> Result<()> {
        if let Some(registry) = &self.registry {
            for name in plan.images {
                let image = image::built(&image_dir(), name)?;
                registry.push(&image.layout, &image.name_and_tag())?;
            }
        }
        self.master.start(&self.operator)?;
        for (name, site) in plan.nodes {
            self.add_node(name, plan.agent_flags)?;
            if !plan.unjoined {
                let token = self.token(site, &[])?;
                let node = self.node_mut(name)?;
                node.try_join(&token)?.ok()?;
                node.start()?;
            }
        }
        if !plan.unjoined {
            let operator = self.operator.clone();
            for (name, _) in plan.nodes {
                self.node_mut(name)?.reachable(&operator)?;
            }
        }
        Ok(())
    }

    /// Adds a host with an agent that has not joined.
    pub fn add_node(&mut self, name: &str, flags: &[&str]) -> Result<()> {
        let host = self.wan.host(name)?;
        let mut all = vec!["--keep-alive".to_owned(), "1s".to_owned()];
        if self.registry.is_some() {
            all.extend(["--registries".to_owned(), self.registries_path().display().to_string()]);
        }
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.nodes.insert(name.to_owned(), Node::new(&host, &all));
        Ok(())
    }

    /// A host without any of Skerry's processes.
    pub fn bare_host(&mut self, name: &str) -> Result<Host> {
        self.wan.host(name)
    }

    /// Makes a join token.
    pub fn token(&self, site: &str, flags: &[&str]) -> Result<String> {
        let mut arguments = vec!["token", "create", "--site", site, "-o", "json"];
        arguments.extend(flags);
        let said = self.operator.skerry(&arguments)?.ok()?;
        let value: Value = serde_json::from_str(&said.out).context("reading the token")?;
        let token = value.get("token").and_then(Value::as_str);
        Ok(token.with_context(|| format!("no token in {}", said.out))?.to_owned())
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("the region has no node {name}"))
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

    /// Deletes every workload, waits until nothing of it is left, and looks whether the nodes agree.
    pub fn clear(&mut self) -> Result<()> {
        let workloads = self.operator.list("workloads")?;
        let names = workloads.iter().filter_map(|one| one.pointer("/metadata/name").and_then(Value::as_str));
        for name in names {
            let said = self.operator.skerry(&["delete", "workload", name, "--wait", "--timeout", "60s"])?;
            // It may have been on its way out already.
            if !said.err.contains("there is no workload") {
                said.ok().with_context(|| self.operator.whole_state())?;
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
        for log in logs.chain([self.master.log()]) {
            let bad = log.lines().find(|line| {
                let wrong = line.contains("ERROR") || line.contains("panicked at");
                wrong && !self.expected_errors.iter().any(|part| line.contains(part))
            });
            ensure!(bad.is_none(), "in a log: {}", bad.unwrap_or_default());
        }
        Ok(())
    }

    fn everything_said(&self) -> String {
        let mut parts = vec![format!("{}:", self.name)];
        if self.master.pid().is_some() {
            parts.push(self.operator.whole_state());
        }
        let shown = |what: &str, log: &str| {
            format!("--- {} {what}, the last lines\n{}", self.name, tail(log, SHOWN_LINES))
        };
        parts.push(shown("master", &self.master.log()));
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

/// How to reach the registry, with this password.
pub(crate) fn registries(registry: &Registry, password: &str) -> String {
    let (authority, ca, user) = (registry.authority(), registry.ca(), registry.user());
    format!(
        "[host.\"{authority}\"]\nca = \"{}\"\nusername = \"{user}\"\npassword = \"{password}\"\n",
        ca.display()
    )
}
