//! What may be typed behind `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FileArgs, OutputArgs};

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
