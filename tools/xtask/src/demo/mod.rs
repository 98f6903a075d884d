//! The demo: a root, two regions and four edge nodes on this machine, each in a network of its own, shown and checked step by
//! step.

mod apart;
mod calm;
mod placed;
mod show;
mod storm;
mod topology;
mod update;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::Args;
use skerry_ground::region::{Master, SOON};
use skerry_ground::{Registry, Run, Snapshot, binary, catch_interrupts, until};

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::{images, is_root};
use show::{Show, Step};
use topology::{Ground, Tree};

const KIND: &str = "demo";

/// How many of the last lines of each log are shown when a step fails.
const LOG_LINES: usize = 15;

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
    let mut show = Show::new("Skerry: a root, two regions, four edge nodes, and links that break");
    let (run, stage) = set_stage(root, &mut show)?;
    let played = play(&mut show, &run, stage);
    let stage = played.inspect_err(|_| println!("Taking everything down."))?;
    if options.keep {
        keep(stage, run)?;
        return show.end();
    }
    show.step("Take everything down", |step| take_down(step, stage, run, &before))?;
    show.end()
}

/// Everything that runs. It ends from the top down.
struct Stage {
    tree: Tree,
    registry: Registry,
    ground: Ground,
}

fn set_stage(root: &Path, show: &mut Show) -> Result<(Run, Stage)> {
    let images = show.step("Build images from Debian packages", |_| images::run(root))?;
    let (ground, run) = show.step("Lay out the network", |step| {
        let run = Run::start(KIND)?;
        let ground = Ground::new(&run)?;
        step.note("A root, two regions with two nodes each, and a registry: each machine a network namespace, around one bridge:");
        for host in ground.hosts() {
            step.note(format!("{:9} {}", host.name(), host.address()));
        }
        Ok((ground, run))
    })?;
    let registry = show.step("Start a registry with TLS and a password, and push the images", |step| {
        let registry = Registry::start(&ground.registry)?;
        for image in &images {
            let reference = registry.push(&image.layout, &image.name_and_tag())?;
            let there = registry.digest(&image.name_and_tag())?;
            step.check(format!("pushed {reference}"), there == image.digest)?;
        }
        Ok(registry)
    })?;
    let tree = show.step("Start the root's master", |step| calm::start_root(step, &ground, &registry))?;
    Ok((run, Stage { tree, registry, ground }))
}

/// All that is shown between the start of the master and the end.
fn play(show: &mut Show, run: &Run, mut stage: Stage) -> Result<Stage> {
    let acted = acts(show, run, &mut stage);
    if acted.is_err() {
        for path in stage.tree.logs() {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            println!("The last lines of {}:", path.display());
            println!("{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }
    acted.map(|()| stage)
}

fn acts(show: &mut Show, run: &Run, stage: &mut Stage) -> Result<()> {
    let Stage { tree, registry, ground } = stage;
    show.step("Make two regions below it", |step| calm::add_regions(step, ground, tree))?;
    show.step("Let four nodes join, at three sites", |step| calm::join(step, tree))?;
    show.step("Apply a manifest at the root", |step| calm::apply(step, run, tree, registry))?;
    show.step("See where things run, and why", |step| calm::placement(step, tree))?;
    show.step("Fetch the page from each instance", |step| calm::fetch(step, ground, tree))?;
    show.step("Send a message through the broker", |step| calm::message(step, tree))?;
    show.step("Cut the link of a node", |step| storm::cut(step, ground, tree))?;
    let again =
        show.step("Kill a container on the node that is cut off", |step| storm::kill_container(step, tree))?;
    show.step("Kill two masters and an agent, and start them again", |step| {
        storm::kill_daemons(step, ground, tree)
    })?;
    show.step("Heal the link", |step| storm::heal(step, ground, tree, &again))?;
    show.step("Look back", |step| storm::look_back(step, tree))?;
    show.step("Cut a region off from the root", |step| apart::cut(step, tree))?;
    let manifest = show.step("Apply something in the region that is cut off", |step| {
        apart::apply(step, run, tree, registry)
    })?;
    show.step("Heal the link between the masters", |step| apart::heal(step, tree))?;
    show.step("Roll out a new version while requests keep coming", |step| {
        update::rolling(step, ground, tree, &manifest)
    })?;
    show.step("Roll out a version that is bad", |step| update::bad(step, ground, tree, &manifest))
}

fn take_down(step: &mut Step, stage: Stage, run: Run, before: &Snapshot) -> Result<()> {
    let Stage { tree, registry, ground } = stage;
    let far = tree.far()?;
    step.skerry_on(far.name, &far.operator, &["delete", "workload", "beacon", "--wait"])?;
    for workload in ["web", "broker", "hello"] {
        step.skerry(&tree.operator, &["delete", "workload", workload, "--wait"])?;
    }
    until("nodes without containers", SOON, || Ok(tree.containers().is_empty().then_some(())))?;
    step.check("no container runs on any node", tree.containers().is_empty())?;
    drop((tree, registry, ground));
    let name = run.name().to_owned();
    run.take_down()?;
    let left = Snapshot::take()?.left_by(before, &[&name]);
    step.note(left.join("\n"));
    step.check("no process, mount, namespace, cgroup or file of the demo is left", left.is_empty())
}

fn keep(stage: Stage, run: Run) -> Result<()> {
    let Stage { tree, registry, ground } = stage;
    let skerry = binary("skerry").map_or_else(|_| "skerry".to_owned(), |path| path.display().to_string());
    let alias = |name: &str, master: &Master| {
        println!(
            "  alias {name}='nsenter --net={} env SKERRY_CONFIG={} {skerry}'",
            master.host().namespace().path().display(),
            master.context().display()
        );
    };
    let far = tree.far()?;
    println!(
        "Everything is left running. Have the command at hand, as an operator of the root and of a region:\n"
    );
    alias("skerry", &tree.root);
    alias(&format!("skerry-{}", far.name), &far.master);
    let node = tree.cut_off()?;
    let wan = ground.wan.namespace().name();
    println!();
    for (command, purpose) in [
        ("skerry get allocations -A -w".to_owned(), "watch what runs where"),
        ("skerry explain web".to_owned(), "why it runs there"),
        ("skerry describe workload web".to_owned(), "one workload, with its events"),
        (
            format!("skerry apply -f {}", run.folder().join("edge.yaml").display()),
            "change it and apply it again; then 'skerry rollout status web -w'",
        ),
        (format!("skerry-{} get nodes", far.name), "what the region sees itself"),
        (format!("ip -n {wan} link set to-{} down", node.name()), "pull the plug of a node"),
        (format!("ip -n {wan} link set to-{} up", node.name()), "and put it back"),
        (format!("nsenter --net={} sh", node.host().namespace().path().display()), "a shell on that node"),
        ("cargo xtask demo --stop".to_owned(), "take everything down"),
    ] {
        println!("  {command}\n      {purpose}");
    }
    println!();
    tree.leave();
    registry.leave();
    run.leave();
    Ok(())
}
