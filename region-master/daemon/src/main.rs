//! `skerry-master`: the authority for one region.

use std::io::IsTerminal;

use anyhow::Result;
use clap::{Parser, Subcommand};
use skerry_heap::Thrift;
use skerry_master::{Flags, Settings, init, restored, run};
use tracing_subscriber::EnvFilter;

/// Measured with thousands of nodes: two arenas hold a fifth less than sixteen, and cost nothing.
const THRIFT: Thrift = Thrift { arenas: 2, trim_at: 1 << 20, map_from: 256 << 10 };

/// The authority for one region: keeps what operators asked for, places it on nodes, and certifies nodes.
#[derive(Debug, Parser)]
#[command(name = "skerry-master", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the CA, the first operator's certificate and a context file for it; done once, however often it is called. With
    /// --parent or --join-token the CA is certified by the region above
    Init,
    /// Say that the data directory was put back to an older copy, before the master starts on it: what runs goes on, and what the
    /// copy does not know is shown as Orphaned. A master that is not told notices by what its nodes hold
    Restored,
    /// Run the master [default]
    Run,
}

fn main() -> Result<()> {
    THRIFT.settle();
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("SKERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).init();
    let settings = Settings::settle(arguments.flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.verb {
        Some(Verb::Init) => runtime.block_on(report(&settings)),
        Some(Verb::Restored) => runtime.block_on(report_restored(&settings)),
        Some(Verb::Run) | None => runtime.block_on(run(settings)),
    }
}

async fn report(settings: &Settings) -> Result<()> {
    let made = init(settings).await?;
    let word = if made.created { "made" } else { "was there already" };
    match made.parent {
        Some(parent) => println!("the CA of {}, under region {parent}, {word}", made.id),
        None => println!("the CA of {} {word}", made.id),
    }
    println!("operator's context: {}", made.context.display());
    println!(
        "next: start 'skerry-master', then 'skerry token create --site SITE --config {}'",
        made.context.display()
    );
    Ok(())
}

async fn report_restored(settings: &Settings) -> Result<()> {
    let region = restored(settings).await?;
    println!(
        "region {region} begins another life: its nodes compare everything when they are back, and stop nothing"
    );
    println!("next: start 'skerry-master', then look for Orphaned in 'skerry get allocations'");
    Ok(())
}
