//! What may be typed about placement: `explain`, `rebalance` and `diff`.

use std::path::PathBuf;

use clap::Args;

use super::{OutputArgs, ServerArgs, TenantArgs};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A workload's name, or workload/NAME
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(crate) workload: Option<String>,
    /// Tell where the workloads of these manifests would go, and change nothing
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RebalanceArgs {
    /// Only tell which moves would help; nothing is moved
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A file, a folder of .yaml, .yml and .json files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
