//! `token`: what nodes join with.

use std::time::Duration;

use serde_json::json;
use skerry_api::v1;

use super::get::show_all;
use crate::age::{ahead, millis, now};
use crate::args::{Output, TokenVerb};
use crate::failure::Failure;
use crate::master::Master;
use crate::print::{document, out, say};

/// `skerry token ...`.
pub(crate) async fn run(verb: TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create { site, ttl, uses, output, server } => {
            create(&Master::open(&server)?, site, ttl, uses, output.output).await
        }
        TokenVerb::List { output, server } => {
            show_all::<v1::Token>(&Master::open(&server)?, output.output).await
        }
        TokenVerb::Revoke { id, output, server } => revoke(&Master::open(&server)?, id, output.output).await,
    }
}

/// The token alone goes to standard output, so that a script can take it; what it is good for goes to standard error.
async fn create(
    master: &Master,
    site: String,
    ttl: Duration,
    uses: u32,
    output: Output,
) -> Result<(), Failure> {
    let request = v1::CreateTokenRequest { site: site.clone(), ttl_ms: millis(ttl), uses, region: None };
    let answer = master.call(|mut client| async move { client.create_token(request).await }).await?;
    let value = json!({
        "id": answer.id,
        "token": answer.token,
        "site": site,
        "uses": uses,
        "expires_at_ms": answer.expires_at_ms,
    });
    let text = match output {
        Output::Table | Output::Wide => format!("{}\n", answer.token),
        Output::Name => format!("token/{}\n", answer.id),
        Output::Json => document::json(&value)?,
        Output::Yaml => document::yaml(&value)?,
    };
    let times = if uses == 1 { "once".to_owned() } else { format!("{uses} times") };
    let ends = ahead(now(), answer.expires_at_ms);
    say(&format!(
        "token {}: lets a node join site '{site}' {times}, ends {ends}, is not shown again",
        answer.id
    ));
    Ok(out(&text)?)
}

async fn revoke(master: &Master, id: String, output: Output) -> Result<(), Failure> {
    let request = v1::RevokeTokenRequest { id: id.clone() };
    master.call(|mut client| async move { client.revoke_token(request).await }).await?;
    let text = match output {
        Output::Table | Output::Wide => format!("token/{id} revoked\n"),
        Output::Name => format!("token/{id}\n"),
        Output::Json => document::json(&json!({"id": id, "revoked": true}))?,
        Output::Yaml => document::yaml(&json!({"id": id, "revoked": true}))?,
    };
    Ok(out(&text)?)
}
