//! `version`, `schema` and `completion`: what the command says of itself.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use serde_json::{Value, json};
use skerry_api::v1;

use crate::args::{Cli, Output, ShellName, VersionArgs};
use crate::failure::Failure;
use crate::master::Master;
use crate::print::{document, out, out_bytes};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `skerry version`. The client's is printed even when the master cannot be asked.
pub(crate) async fn version(args: VersionArgs) -> Result<(), Failure> {
    let asked = if args.client { Ok(None) } else { ask(&args).await.map(Some) };
    let (server, failure) = match asked {
        Ok(server) => (server, None),
        Err(failure) => (None, Some(failure)),
    };
    out(&version_text(server.as_ref(), args.output.output)?)?;
    failure.map_or(Ok(()), Err)
}

async fn ask(args: &VersionArgs) -> Result<v1::VersionResponse, Failure> {
    let master = Master::open(&args.server)?;
    Ok(master.call(|mut client| async move { client.version(v1::VersionRequest {}).await }).await?)
}

fn version_text(server: Option<&v1::VersionResponse>, output: Output) -> Result<String, Failure> {
    let document =
        || json!({"client": {"version": VERSION}, "server": server.map_or(Value::Null, |one| json!(one))});
    match output {
        Output::Json => document::json(&document()),
        Output::Yaml => document::yaml(&document()),
        Output::Name => Ok(format!("skerry/{VERSION}\n")),
        Output::Table | Output::Wide => {
            let mut text = format!("client   {VERSION}\n");
            if let Some(server) = server {
                let v1::VersionResponse { version, region, trust_domain } = server;
                text = format!("{text}server   {version} (region {region}, trust domain {trust_domain})\n");
            }
            Ok(text)
        }
    }
}

/// `skerry schema`.
pub(crate) fn schema() -> Result<(), Failure> {
    Ok(out(&document::json(skerry_manifest::schema())?)?)
}

/// `skerry completion`.
pub(crate) fn completion(shell: ShellName) -> Result<(), Failure> {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "skerry", &mut script);
    Ok(out_bytes(&script)?)
}
