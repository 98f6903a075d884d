//! What may be typed about the life of workloads and nodes: `scale`, `rollout`, `cordon` and `drain`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use skerry_types::parse_duration;

use super::{OutputArgs, ServerArgs, TenantArgs};

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The workload's name, or workload/NAME
    pub(crate) workload: String,
    /// How many instances it is to have
    #[arg(long, value_name = "COUNT")]
    pub(crate) instances: u32,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutVerb {
    /// Show how far the update of a workload is
    Status(RolloutStatusArgs),
    /// Let an update go no further until it is resumed
    Pause(RolloutArgs),
    /// Let a paused update go on
    Resume(RolloutArgs),
    /// Let the rest follow the canaries
    Promote(RolloutArgs),
    /// Go back to an earlier generation
    Undo(UndoArgs),
    /// List the generations of a workload that can be gone back to
    History(RolloutArgs),
    /// Show the waves in which manifests would go out, and change nothing
    Plan(FileRolloutArgs),
}

/// Which workload's update.
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// The workload's name, or workload/NAME
    pub(crate) workload: String,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RolloutStatusArgs {
    #[command(flatten)]
    pub(crate) of: RolloutArgs,
    /// Go on until the update has ended; exit code 1 when it failed
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How long to watch at most; exit code 3 when that is over
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "watch")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) of: RolloutArgs,
    /// To this generation, from 'skerry rollout history' [default: the last one that was well]
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) to: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct FileRolloutArgs {
    /// A file, a folder of .yaml, .yml and .json files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Which nodes.
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Names of nodes, or node/NAME
    #[arg(value_name = "NODE", required_unless_present = "site", conflicts_with = "site")]
    pub(crate) nodes: Vec<String>,
    /// All nodes of this site
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) of: NodesArgs,
    /// After this long, stop what could not be moved [default: wait for as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Stop everything at once, whether there is room elsewhere or not
    #[arg(long, conflicts_with = "deadline")]
    pub(crate) force: bool,
    /// Wait until nothing is left on the nodes
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Duration,
}
