//! What may be typed. Every flag is read by each verb that takes it.

mod config;
mod life;
mod placing;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use skerry_types::{Selector, TenantName, parse_duration};

use crate::kind::{Target, TargetParser};
use crate::verbs::wait::Goal;

pub(crate) use self::config::{AddContextArgs, ConfigVerb};
pub(crate) use self::life::{
    DrainArgs, FileRolloutArgs, NodesArgs, RolloutArgs, RolloutStatusArgs, RolloutVerb, ScaleArgs, UndoArgs,
};
pub(crate) use self::placing::{DiffArgs, ExplainArgs, RebalanceArgs};
pub(crate) use self::token::{TokenCreateArgs, TokenVerb};

/// Operates workloads at edge sites through the master of a region, and through it all regions below.
#[derive(Debug, Parser)]
#[command(name = "skerry", version, arg_required_else_help = true, propagate_version = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add or change workloads, tenants and sites from manifests
    Apply(ApplyArgs),
    /// Compare manifests with what the master has; exit code 1 when they differ
    Diff(DiffArgs),
    /// List things, or show one: workloads, allocations, nodes, sites, regions, tenants, events, tokens
    Get(GetArgs),
    /// Tell all about one workload, allocation, node, site, region or tenant
    Describe(DescribeArgs),
    /// Tell why instances are where they are, or nowhere
    Explain(ExplainArgs),
    /// Remove a workload, a tenant or what was said of a site, or a node or region that is gone for good
    Delete(DeleteArgs),
    /// Change how many instances a workload has
    Scale(ScaleArgs),
    /// Follow and steer the update of a workload
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Let nodes take no further allocations
    Cordon(NodesArgs),
    /// Let nodes take allocations again; also ends a drain
    Uncordon(NodesArgs),
    /// Move everything away from nodes, so that they can be switched off
    Drain(DrainArgs),
    /// Propose moves that would free nodes
    Rebalance(RebalanceArgs),
    /// Print the logs of containers
    Logs(LogsArgs),
    /// Wait until something is so
    Wait(WaitArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Make, list and revoke join tokens for nodes and regions
    #[command(subcommand)]
    Token(TokenVerb),
    /// Choose which master to talk to
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print the versions of this command and of the master
    Version(VersionArgs),
    /// Print the JSON Schema of a manifest
    Schema,
    /// Print a completion script for a shell
    Completion {
        /// For which shell
        shell: ShellName,
    },
}

/// Which master, and how long to wait for its answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Talk to the master of this context instead of the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Give up on an answer after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) request_timeout: Duration,
}

/// Which context file.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// Read contexts from this file [default: ~/.config/skerry/config.toml]
    #[arg(long, value_name = "FILE", env = "SKERRY_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Print in this form
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORM")]
    pub(crate) output: Output,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// Whose things.
#[derive(Debug, Clone, Args)]
pub(crate) struct TenantArgs {
    /// Of this tenant [default: default]
    #[arg(short = 'n', long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl TenantArgs {
    /// The tenant to ask for.
    pub(crate) fn name(&self) -> String {
        self.tenant.clone().unwrap_or_else(|| TenantName::default().into())
    }

    /// Whether one was named.
    pub(crate) fn is_given(&self) -> bool {
        self.tenant.is_some()
    }
}

/// Which of many.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScopeArgs {
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    /// Of all tenants, and of this region and all below it
    #[arg(short = 'A', long, alias = "all-tenants", conflicts_with = "tenant")]
    pub(crate) all: bool,
    /// Only of this region, which may lie below
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
}

impl ScopeArgs {
    /// The tenant to ask for; empty for all.
    pub(crate) fn tenant(&self) -> String {
        if self.all { String::new() } else { self.tenant.name() }
    }

    /// Whether regions below the asked one are meant.
    pub(crate) fn below(&self) -> bool {
        self.all || self.region.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file, a folder of .yaml, .yml and .json files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Let the master check everything, tell what would go where, and change nothing
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "server")]
    pub(crate) dry_run: Option<DryRun>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Who checks when nothing is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// The master
    Server,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// A kind, or one thing as KIND/NAME
    #[arg(value_name = "KIND", value_parser = TargetParser, hide_possible_values = true)]
    pub(crate) target: Target,
    /// Only the one of this name; events: about this workload, allocation or node
    pub(crate) name: Option<String>,
    /// Only those whose labels match, as in 'app=web,tier in (a,b)'; nodes: whose attributes match
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<Selector>,
    /// Allocations and events: only of this workload
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Option<String>,
    /// Go on and print what changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// workload, allocation, node, site, region or tenant, or one thing as KIND/NAME
    #[arg(value_name = "KIND", value_parser = TargetParser, hide_possible_values = true)]
    pub(crate) target: Target,
    /// Which one
    pub(crate) name: Option<String>,
    /// The one in this region, where several regions have one of that name
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// workload, tenant, site, node or region, or one thing as KIND/NAME
    #[arg(value_name = "KIND", value_parser = TargetParser, hide_possible_values = true, required_unless_present = "filename", conflicts_with = "filename")]
    pub(crate) target: Option<Target>,
    /// Which one
    pub(crate) name: Option<String>,
    /// Remove what stands in these manifests
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Wait until nothing of a workload is left
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Duration,
    /// Yes, this node or region will never come back
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// An allocation's id, or workload/NAME for all of its allocations
    #[arg(value_name = "ALLOCATION|workload/NAME")]
    pub(crate) source: String,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on and print what is written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what was written in the last 5m, 1h, ...
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) since: Option<Duration>,
    /// Only the last lines, of each container
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tail: Option<u64>,
    /// Print when each line was written
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Of the allocation in this region, where several regions have one of that id
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// running, deleted, stopped, completed, reachable, unreachable, drained, or phase=PHASE
    #[arg(long = "for", value_name = "STATE")]
    pub(crate) goal: Goal,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// workload, allocation or node, or one thing as KIND/NAME
    #[arg(value_name = "KIND", value_parser = TargetParser, hide_possible_values = true)]
    pub(crate) target: Target,
    /// Which one
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// About this workload, allocation or node
    pub(crate) name: Option<String>,
    /// Only of this workload and its allocations
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Option<String>,
    /// Go on and print what happens
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Do not ask the master
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A shell that completion scripts exist for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }
}
