//! What may be typed. Every flag is read by each verb that takes it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use skerry_types::{Selector, TenantName, parse_duration};

use crate::kind::{Target, TargetParser};
use crate::verbs::wait::Goal;

/// Operates workloads at edge sites through the master of a region.
#[derive(Debug, Parser)]
#[command(name = "skerry", version, arg_required_else_help = true, propagate_version = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add or change workloads from manifests
    Apply(ApplyArgs),
    /// List things, or show one: workloads, allocations, nodes, sites, regions, events, tokens
    Get(GetArgs),
    /// Tell all about one workload, allocation or node
    Describe(DescribeArgs),
    /// Remove a workload, or a node that is gone for good
    Delete(DeleteArgs),
    /// Print the logs of containers
    Logs(LogsArgs),
    /// Wait until something is so
    Wait(WaitArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Make, list and revoke join tokens for nodes
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
    /// Of all tenants
    #[arg(short = 'A', long, conflicts_with = "tenant")]
    pub(crate) all_tenants: bool,
}

impl ScopeArgs {
    /// The tenant to ask for; empty for all.
    pub(crate) fn tenant(&self) -> String {
        if self.all_tenants { String::new() } else { self.tenant.name() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file, a folder of .yaml, .yml and .json files, or - for standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Let the master check everything and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
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
pub(crate) struct DeleteArgs {
    /// workload or node, or one thing as KIND/NAME
    #[arg(value_name = "KIND", value_parser = TargetParser, hide_possible_values = true, required_unless_present = "filename", conflicts_with = "filename")]
    pub(crate) target: Option<Target>,
    /// Which one
    pub(crate) name: Option<String>,
    /// Remove the workloads of these manifests
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Wait until nothing of a workload is left
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Duration,
    /// Yes, this node will never come back
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
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// running, deleted, stopped, reachable, unreachable, or phase=PHASE
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

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token with which nodes join a site; it is shown once
    Create {
        /// The site that nodes join
        #[arg(long, value_name = "NAME")]
        site: String,
        /// How long it may be used
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
        ttl: Duration,
        /// How many nodes may join with it
        #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the tokens and what is left of them
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let no further node join with a token
    Revoke {
        /// The token's id, from 'skerry token list'
        id: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// List the contexts; the current one is marked
    GetContexts {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        file: FileArgs,
    },
    /// Print the name of the current context
    CurrentContext {
        #[command(flatten)]
        file: FileArgs,
    },
    /// Make a context the current one
    UseContext {
        /// Which one
        name: String,
        #[command(flatten)]
        file: FileArgs,
    },
    /// Add a context, or replace the one of that name
    AddContext(AddContextArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddContextArgs {
    /// What to call it
    pub(crate) name: String,
    /// Where the master listens: HOST, HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) server: String,
    /// File with the certificate of the CA
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: PathBuf,
    /// File with your certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: PathBuf,
    /// File with your key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The region, for people who read the file
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Make it the current one
    #[arg(long = "use")]
    pub(crate) make_current: bool,
    #[command(flatten)]
    pub(crate) file: FileArgs,
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
