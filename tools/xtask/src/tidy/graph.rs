//! Who may import whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Finding;

/// For each package of the workspace, the packages of the workspace that its code may import. A package that is not
/// listed may not exist: adding one is a decision about the house, so it is made here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("skerry-types", &[]),
    ("skerry-heap", &[]),
    ("skerry-schedule", &["skerry-types"]),
    ("skerry-manifest", &["skerry-types", "skerry-schedule"]),
    ("skerry-wire", &["skerry-types"]),
    ("skerry-api", &["skerry-types"]),
    ("skerry-allocator", &["skerry-types"]),
    ("skerry-federation", &["skerry-types"]),
    ("skerry-rollout", &["skerry-types", "skerry-schedule"]),
    ("skerry-link", &["skerry-types", "skerry-wire"]),
    ("skerry-store", &["skerry-types"]),
    ("skerry-registry", &["skerry-types"]),
    ("skerry-keeper-protocol", &[]),
    (
        "skerry-region-state",
        &[
            "skerry-types",
            "skerry-schedule",
            "skerry-manifest",
            "skerry-wire",
            "skerry-allocator",
            "skerry-federation",
            "skerry-rollout",
        ],
    ),
    (
        "skerry-agent-state",
        &["skerry-types", "skerry-schedule", "skerry-manifest", "skerry-wire", "skerry-allocator"],
    ),
    (
        "skerry-master",
        &[
            "skerry-types",
            "skerry-manifest",
            "skerry-wire",
            "skerry-link",
            "skerry-api",
            "skerry-store",
            "skerry-registry",
            "skerry-region-state",
            "skerry-heap",
        ],
    ),
    ("skerry-runtime", &["skerry-types", "skerry-registry", "skerry-keeper-protocol"]),
    ("skerry-keeper", &["skerry-keeper-protocol", "skerry-heap"]),
    (
        "skerry-agent",
        &[
            "skerry-types",
            "skerry-wire",
            "skerry-link",
            "skerry-store",
            "skerry-registry",
            "skerry-agent-state",
            "skerry-runtime",
            "skerry-heap",
        ],
    ),
    ("skerry-cli", &["skerry-types", "skerry-manifest", "skerry-api"]),
    (
        "skerry-sim",
        &[
            "skerry-types",
            "skerry-manifest",
            "skerry-wire",
            "skerry-allocator",
            "skerry-federation",
            "skerry-rollout",
            "skerry-region-state",
            "skerry-agent-state",
        ],
    ),
    ("skerry-ground", &[]),
    ("skerry-e2e", &["skerry-ground", "skerry-types", "skerry-wire", "skerry-link", "skerry-api"]),
    (
        "skerry-benches",
        &[
            "skerry-ground",
            "skerry-types",
            "skerry-api",
            "skerry-runtime",
            "skerry-allocator",
            "skerry-federation",
            "skerry-region-state",
            "skerry-rollout",
            "skerry-store",
            "skerry-wire",
        ],
    ),
    (
        "skerry-swarm",
        &["skerry-ground", "skerry-types", "skerry-wire", "skerry-link", "skerry-api", "skerry-agent-state"],
    ),
    ("xtask", &["skerry-ground"]),
];

/// Packages that may be a dev-dependency of any shell, for tests with real processes.
const FOR_TESTS: &[&str] = &["skerry-ground"];

/// The packages that never do IO: state machines, types and codecs.
pub(crate) const BRAINS: &[&str] = &[
    "skerry-types",
    "skerry-schedule",
    "skerry-manifest",
    "skerry-wire",
    "skerry-allocator",
    "skerry-federation",
    "skerry-rollout",
    "skerry-region-state",
    "skerry-agent-state",
];

/// Crates that do IO or keep time: no brain may reach one, not even through another crate.
const IO_CRATES: &[&str] = &[
    "async-std",
    "hyper",
    "mio",
    "nix",
    "quinn",
    "rand",
    "redb",
    "reqwest",
    "rtnetlink",
    "rustix",
    "sled",
    "socket2",
    "sysinfo",
    "tempfile",
    "tokio",
    "tonic",
    "ureq",
];

/// The part of `cargo metadata` that the rules read.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) workspace_members: BTreeSet<String>,
    pub(super) resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(super) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resolve {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Edge {
    pub(super) pkg: String,
    pub(super) dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EdgeKind {
    pub(super) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo about the workspace at `root`.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("running cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("reading the answer of cargo metadata")
    }
}

/// All findings about imports.
pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let members: Vec<&Package> =
        metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id)).collect();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let mut found: Vec<Finding> = members.iter().flat_map(|package| imports(package, &names)).collect();
    found.extend(brains_reach_io(metadata));
    found
}

fn imports(package: &Package, members: &BTreeSet<&str>) -> Vec<Finding> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
        return vec![Finding::new(
            &package.name,
            "this package is not on the import allow-list (tools/xtask/src/tidy/graph.rs); add it with what it may import",
        )];
    };
    let is_brain = BRAINS.contains(&package.name.as_str());
    package
        .dependencies
        .iter()
        .filter(|dependency| members.contains(dependency.name.as_str()))
        .filter(|dependency| {
            let name = dependency.name.as_str();
            let for_tests =
                !is_brain && dependency.kind.as_deref() == Some("dev") && FOR_TESTS.contains(&name);
            // A package may name itself for its own tests with other features.
            !allowed.contains(&name) && !for_tests && name != package.name
        })
        .map(|dependency| {
            Finding::new(
                &package.name,
                format!("may not import {}: see the imports in ARCHITECTURE.md", dependency.name),
            )
        })
        .collect()
}

fn brains_reach_io(metadata: &Metadata) -> Vec<Finding> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        if !metadata.workspace_members.contains(&package.id) || !BRAINS.contains(&package.name.as_str()) {
            continue;
        }
        for (reached, by) in reachable(&package.id, &nodes) {
            let Some(name) = names.get(reached.as_str()) else {
                continue;
            };
            if IO_CRATES.contains(name) {
                let by = names.get(by.as_str()).copied().unwrap_or("?");
                found.push(Finding::new(
                    &package.name,
                    format!("a brain reaches {name} (through {by}): brains do no IO"),
                ));
            }
        }
    }
    found
}

/// Every package that `start` links into its code, with the package that pulled it in first. Build scripts and
/// procedural macros run elsewhere and dev-dependencies are not in the code, but a macro's own tree is followed all the
/// same: a macro crate has no reason to bring IO either.
fn reachable(start: &str, nodes: &BTreeMap<&str, &Node>) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut open = vec![start.to_owned()];
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id.as_str()) else {
            continue;
        };
        for edge in &node.deps {
            let linked = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if linked && !seen.contains_key(&edge.pkg) {
                seen.insert(edge.pkg.clone(), id.clone());
                open.push(edge.pkg.clone());
            }
        }
    }
    seen
}
