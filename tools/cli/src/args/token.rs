//! What may be typed behind `token`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use skerry_types::parse_duration;

use super::{OutputArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token with which nodes join a site, or a region joins below this one; it is shown once
    Create(TokenCreateArgs),
    /// List the tokens and what is left of them
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let nothing further join with a token
    Revoke {
        /// The token's id, from 'skerry token list'
        id: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["site", "region"]).required(true))]
pub(crate) struct TokenCreateArgs {
    /// The site that nodes join
    #[arg(long, value_name = "NAME")]
    pub(crate) site: Option<String>,
    /// Let a region join below this one; with a NAME, only that region
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(crate) region: Option<String>,
    /// How long it may be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// How many nodes or regions may join with it
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
