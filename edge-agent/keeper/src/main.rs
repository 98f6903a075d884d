//! `skerry-keeper`: the one small process on a node that owns all containers and outlives the agent.
//!
//! It is a single-threaded loop over signals, one Unix socket and the containers' output pipes. For each create it
//! starts itself again as a worker, and only the worker calls libcontainer: a create that hangs blocks nobody and is
//! killed at its deadline. Containers are its children, as it is their subreaper, so their exit codes are exact; each
//! container's identity and end are on disk before anyone hears of them, and a keeper that is killed leaves everything
//! to the next one. It knows no images, networks or volumes: it is given OCI bundles.
//!
//! Start at `keeper::Keeper` for the loop and at `worker` for what makes a container. The protocol is
//! the `skerry-keeper-protocol` crate.
//!
//! # Starting it
//!
//! `skerry-keeper --run-dir /run/skerry/keeper --state-dir /var/lib/skerry/keeper`, with both directories the same at
//! every start. It does not put itself into the background. To outlive the agent it needs
//!
//! - a session of its own (`setsid`), so that no signal to the agent's process group or terminal reaches it,
//! - a control group outside the agent's service (under systemd: a unit of its own, or `Delegate=` and
//!   `KillMode=process`),
//! - standard input from `/dev/null`, and standard output and error to a file or the journal rather than to a pipe of
//!   the agent's.
//!
//! A second keeper on the same directories is refused; an agent therefore connects first and starts one only when
//! nobody listens on `RUN-DIR/keeper.sock`. `SIGUSR2` upgrades it in place to the program at its own path; `SIGTERM`
//! ends it and leaves the containers running for its successor.

mod args;
mod cgroup;
mod clock;
mod diag;
mod footprint;
mod job;
mod journal;
mod keeper;
mod layout;
mod logs;
mod process;
mod worker;

use args::{Command, Settings};
use keeper::{Keeper, StartError};
use skerry_heap::Thrift;
use std::process::ExitCode;

fn main() -> ExitCode {
    Thrift::SMALL.settle();
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Keep(settings)) => keep(settings),
        Ok(Command::Worker(words)) => report(&worker::run(&words)),
        Ok(Command::Exec) => report(&worker::run_command()),
        Ok(Command::Version) => {
            println!("skerry-keeper {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skerry-keeper: {error}");
            ExitCode::from(2)
        }
    }
}

fn keep(settings: Settings) -> ExitCode {
    match Keeper::start(settings) {
        Ok(keeper) => report(&keeper.run()),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let cause = cause.unwrap_or_default();
            match error {
                // Nobody has to act: an agent that was restarted in the wrong moment finds the other.
                StartError::Taken { .. } => diag!(Warn, "{error}"),
                StartError::Io { .. } => diag!(Error, "{error}{cause}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn report(result: &std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            diag!(Error, "{error}");
            ExitCode::FAILURE
        }
    }
}
