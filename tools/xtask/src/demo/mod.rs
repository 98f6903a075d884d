//! The demo: one region with three edge nodes on this machine, each in a network of its own, shown and checked step by
//! step.

mod show;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use skerry_ground::image::Image;
use skerry_ground::{Host, Registry, Run, Snapshot, Wan, catch_interrupts};

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::{images, is_root};
use show::Show;

const KIND: &str = "demo";
const NODES: [&str; 3] = ["n1", "n2", "n3"];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave everything running at the end and print what to try.
    #[arg(long)]
    keep: bool,
    /// Only take down what an earlier `--keep` left running.
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
}

/// Runs the demo. Succeeds only when every step was checked and nothing is left behind.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.stop {
        let stopped = Run::sweep(KIND)?;
        println!("{} demo(s) taken down", stopped.len());
        return Ok(());
    }
    setup::run(&[Purpose::Build, Purpose::Images, Purpose::Run])?;
    ensure!(is_root(), "the demo makes network namespaces and containers: run it as root");
    println!("Building the binaries.");
    build::run(root, Profile::Quick)?;
    catch_interrupts()?;
    for name in Run::sweep(KIND)? {
        println!("Removed what an earlier demo ({name}) left behind.");
    }
    let before = Snapshot::take()?;
    let mut show = Show::new("Skerry: one region, three edge nodes, and links that break");
    let images = show.step("Build images from Debian packages", |_| images::run(root))?;
    let (ground, run) = show.step("Lay out the network", |step| {
        let run = Run::start(KIND)?;
        let ground = Ground::new(&run)?;
        step.note("A master, a registry and three nodes, each in a network namespace, around one bridge:");
        for host in ground.hosts() {
            step.note(format!("{:9} {}", host.name(), host.address()));
        }
        Ok((ground, run))
    })?;
    let registry = show.step("Start a registry with TLS and a password, and push the images", |step| {
        let registry = Registry::start(&ground.registry)?;
        for image in &images {
            let reference = registry.push(&image.layout, &image.name_and_tag())?;
            step.check(
                format!("pushed {reference}"),
                registry.digest(&image.name_and_tag())? == image.digest,
            )?;
        }
        Ok(registry)
    })?;
    if options.keep {
        keep(&ground, registry, run, &images);
        return Ok(());
    }
    show.step("Take everything down", |step| {
        drop(registry);
        let name = run.name().to_owned();
        run.take_down()?;
        let left = Snapshot::take()?.left_by(&before, &[&name]);
        step.note(left.join("\n"));
        step.check("no process, mount, namespace, cgroup or file of the demo is left", left.is_empty())
    })?;
    show.end();
    Ok(())
}

/// The machines of the demo.
#[derive(Debug)]
struct Ground {
    _wan: Wan,
    master: Host,
    registry: Host,
    nodes: Vec<Host>,
}

impl Ground {
    fn new(run: &Run) -> Result<Self> {
        let mut wan = Wan::new(run).context("making the network")?;
        let master = wan.host("master")?;
        let registry = wan.host("registry")?;
        let nodes = NODES.iter().map(|name| wan.host(name)).collect::<Result<_>>()?;
        Ok(Self { _wan: wan, master, registry, nodes })
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.master, &self.registry].into_iter().chain(&self.nodes)
    }
}

fn keep(ground: &Ground, registry: Registry, run: Run, images: &[Image]) {
    let names: Vec<String> = images.iter().map(Image::name_and_tag).collect();
    println!("Everything is left running. The registry {} holds {}.", registry.authority(), names.join(", "));
    println!("A shell on a node:    nsenter --net={} sh", ground.nodes[0].namespace().path().display());
    println!("Take it all down:     cargo xtask demo --stop");
    registry.leave();
    run.leave();
}
