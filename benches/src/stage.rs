//! A region of release binaries to measure.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skerry_ground::region::{Master, Node, Operator, registries_file};
use skerry_ground::{Host, Registry, Run, Wan, image, image_dir, output};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest for a state to come; a measurement that takes longer has failed.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A master with nodes of one site, and a registry that holds `hello`.
pub(crate) struct Stage {
    pub(crate) nodes: Vec<Node>,
    pub(crate) master: Master,
    pub(crate) operator: Operator,
    /// `hello` by digest, so that applying it asks no registry.
    pub(crate) image: String,
    _registry: Registry,
    _wan: Wan,
    pub(crate) run: Run,
}

impl Stage {
    /// Sets the stage; all nodes have joined, with settings as shipped.
    pub(crate) fn new(nodes: usize) -> Result<Self> {
        let run = Run::start("bench")?;
        let mut wan = Wan::new(&run)?;
        let (master, registry) = (wan.host("master")?, wan.host("registry")?);
        let hosts: Vec<Host> =
            (1..=nodes).map(|number| wan.host(&format!("n{number}"))).collect::<Result<_>>()?;
        let registry = Registry::start(&registry)?;
        let hello = image::built(&image_dir(), "hello")?;
        let reference = registry.push(&hello.layout, &hello.name_and_tag())?;
        let image = format!("{reference}@{}", hello.digest);
        let registries = registries_file(&registry, &master.disk())?;
        let (mut master, _) = Master::init(&master, "north", &registries)?;
        master.start()?;
        let operator = master.operator();
        let mut nodes: Vec<Node> = hosts.iter().map(|host| Node::new(host, &registries, &[])).collect();
        let token = operator.token("oslo", u32::try_from(nodes.len().max(1))?)?;
        for node in &mut nodes {
            node.start(Some(&token))?;
        }
        for node in &mut nodes {
            let joined = operator.wait(&format!("node/{}", node.name()), "reachable", LIMIT);
            joined.or_else(|error| node.check().and(Err(error)))?;
        }
        Ok(Self { nodes, master, operator, image, _registry: registry, _wan: wan, run })
    }

    /// Runs `count` instances of `hello` on one node and waits until all run.
    pub(crate) fn run_hello(&self, name: &str, verb: &str, count: usize, node: &Node) -> Result<()> {
        let path = self.write(&self.hello(name, verb, count, node.name()))?;
        self.operator.skerry(&["apply", "-f", &path.display().to_string()])?;
        self.operator.wait(&format!("workload/{name}"), "running", LIMIT)
    }

    /// The manifest of `count` instances of `hello` on one node.
    pub(crate) fn hello(&self, name: &str, verb: &str, count: usize, node: &str) -> Value {
        json!({
            "apiVersion": "skerry/v1",
            "kind": "Workload",
            "metadata": {"name": name},
            "spec": {
                "type": "service",
                "instances": count,
                "containers": [{
                    "name": "main",
                    "image": self.image,
                    "args": [verb],
                    "resources": {"cpu": "10m", "memory": "16Mi", "disk": "1Mi"},
                }],
                "placement": {"require": format!("node.name={node}")},
            },
        })
    }

    /// Writes a manifest; gives its file.
    pub(crate) fn write(&self, manifest: &Value) -> Result<PathBuf> {
        let path = self.run.folder().join("manifest.json");
        std::fs::write(&path, manifest.to_string()).context("writing the manifest")?;
        Ok(path)
    }

    /// Removes a workload and waits until nothing of it is left.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.operator.skerry(&["delete", "workload", name, "--wait", "--timeout", "60s"]).map(drop)
    }
}

/// The unpacked root file system of `hello`, below `folder`.
pub(crate) fn rootfs(folder: &std::path::Path) -> Result<PathBuf> {
    let rootfs = folder.join("rootfs");
    std::fs::create_dir_all(&rootfs).context("making the root file system")?;
    let hello = image::built(&image_dir(), "hello")?;
    let read = |digest: &str| {
        let path = hello.layout.join("blobs").join(digest.replace(':', "/"));
        Ok::<_, anyhow::Error>((
            std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?,
            path,
        ))
    };
    let manifest: Value =
        serde_json::from_slice(&read(&hello.digest)?.0).context("reading the manifest of hello")?;
    for layer in manifest.get("layers").and_then(Value::as_array).into_iter().flatten() {
        let digest = layer.get("digest").and_then(Value::as_str).unwrap_or_default();
        let (_, path) = read(digest)?;
        output(Command::new("tar").arg("-xzf").arg(path).arg("-C").arg(&rootfs).stdin(Stdio::null()))?;
    }
    Ok(rootfs)
}
