//! `skerry-master`: the authority for one region.

use std::io::IsTerminal;

use anyhow::Result;
use clap::{Parser, Subcommand};
use skerry_master::{Flags, Settings, init, run};
use tracing_subscriber::EnvFilter;

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
    /// Make the CA, the first operator's certificate and a context file for it; done once, however often it is called
    Init,
    /// Run the master [default]
    Run,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("SKERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).init();
    let settings = Settings::settle(arguments.flags)?;
    match arguments.verb {
        Some(Verb::Init) => report(&settings),
        Some(Verb::Run) | None => {
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(settings))
        }
    }
}

fn report(settings: &Settings) -> Result<()> {
    let made = init(settings)?;
    let word = if made.created { "made" } else { "was there already" };
    println!("the CA of {} {word}", made.id);
    println!("operator's context: {}", made.context.display());
    println!(
        "next: start 'skerry-master', then 'skerry --config {} token create --site SITE'",
        made.context.display()
    );
    Ok(())
}
