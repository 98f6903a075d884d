//! `skerry`, the operator's command: what a person or a script says to a region's master.
//!
//! Each verb fetches, then prints; data goes to stdout and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 3 a wait timed out; `diff` has 1 for differences and 2 for trouble. Deliberately lacks: decisions. The master validates and
//! decides; what is checked here is checked early, so that a file with a mistake is refused before any part of it is sent.
//!
//! # The context file
//!
//! Which master to talk to stands in a TOML file: `--config`, else `$SKERRY_CONFIG`, else `~/.config/skerry/config.toml`.
//! `skerry-master init` writes one for the first operator. It is readable by its owner only (mode 0600).
//!
//! ```toml
//! current-context = "north"
//!
//! [contexts.north]
//! server = "https://127.0.0.1:7443"   # or "host:port"; the port is 7443 when left out
//! ca = "ca.pem"                       # PEM text, or a path; one or more certificates
//! cert = "operator.pem"               # PEM text, or a path; the operator's certificate and its chain
//! key = "operator.key"                # PEM text, or a path; PKCS #8
//! region = "north"                    # optional, for people
//! ```
//!
//! A value that begins with `-----BEGIN` is PEM text; any other is a path, relative to the folder of the file. The
//! master's certificate is checked against `ca` and the name `skerry-master`, so any address that leads to it will do.
//!
//! Start from `args` (what may be typed), `verbs` (one file per family), `rows` (what a table shows of each kind) and
//! `master` (calls, and what a failed one means).

mod age;
mod args;
mod context;
mod context_edit;
mod describe;
mod failure;
mod fetch;
mod kind;
mod manifests;
mod master;
mod print;
mod probe;
mod rows;
mod transport;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::say(&format!("error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(verbs::run(cli.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
