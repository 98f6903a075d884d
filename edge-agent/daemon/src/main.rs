//! `skerry-agent`, the program that runs on every node: reads the command line and starts what the library has. Start with [`carry_out`].

use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use skerry_agent::{Flags, Settings, import_images, join_once, run};
use skerry_heap::Thrift;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Threads for file work at a time: more would only queue at the disk, and each costs memory.
const BLOCKING_THREADS: usize = 8;
/// How long an idle one of them stays.
const THREAD_STAY: Duration = Duration::from_millis(500);

/// Runs the workloads that the region's master places on this node, and keeps them running without it.
#[derive(Debug, Parser)]
#[command(name = "skerry-agent", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Get a certificate for this node with a join token
    Join,
    /// Run the agent; joins first if there is a token and no certificate [default]
    Run,
    /// Images of this node
    #[command(subcommand)]
    Image(ImageVerb),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ImageVerb {
    /// Take in the images of an OCI archive or layout folder, as skopeo writes it, so that they need no registry
    Import {
        /// The archive or folder
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    Thrift::SMALL.settle();
    let arguments = Arguments::parse();
    start_logging();
    match carry_out(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skerry-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments) -> Result<()> {
    let verb = arguments.verb.unwrap_or(Verb::Run);
    if matches!(verb, Verb::Version) {
        println!("skerry-agent {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let settings = Settings::settle(arguments.flags)?;
    match verb {
        Verb::Join => {
            println!("{}", wait_for(join_once(&settings))??);
            Ok(())
        }
        Verb::Image(ImageVerb::Import { file }) => {
            print!("{}", wait_for(import_images(&settings, &file))??);
            Ok(())
        }
        Verb::Run | Verb::Version => wait_for(run(settings))?,
    }
}

/// One thread does everything but file work: that is enough for a node, and little memory.
fn wait_for<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_STAY)
        .thread_stack_size(512 * 1024)
        .build()
        .context("cannot start the async runtime")?;
    Ok(runtime.block_on(work))
}

/// Logs go to standard error; `SKERRY_LOG` chooses, such as `debug` or `info,skerry_link=debug`.
fn start_logging() {
    let wanted = std::env::var("SKERRY_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
}
