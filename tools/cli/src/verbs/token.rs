//! `token`: what nodes and regions join with.

use serde_json::json;
use skerry_api::v1;

use super::get::show_all;
use crate::age::{ahead, millis, now};
use crate::args::{Output, TokenCreateArgs, TokenVerb};
use crate::failure::Failure;
use crate::master::Master;
use crate::print::{document, out, report, say};
use crate::rows::scope_text;

/// `skerry token ...`.
pub(crate) async fn run(verb: TokenVerb) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(args) => create(args).await,
        TokenVerb::List { output, server } => {
            show_all::<v1::Token>(&Master::open(&server)?, output.output).await
        }
        TokenVerb::Revoke { id, output, server } => revoke(&Master::open(&server)?, id, output.output).await,
    }
}

/// The token alone goes to standard output, so that a script can take it; what it is good for goes to standard error.
async fn create(args: TokenCreateArgs) -> Result<(), Failure> {
    let master = Master::open(&args.server)?;
    let site = args.site.unwrap_or_default();
    let region = args.region.map(|name| v1::RegionScope { name });
    let request = v1::CreateTokenRequest {
        site: site.clone(),
        ttl_ms: millis(args.ttl),
        uses: args.uses,
        region: region.clone(),
    };
    let answer = master.call(|mut client| async move { client.create_token(request).await }).await?;
    let mut value = json!({
        "id": answer.id,
        "token": answer.token,
        "uses": args.uses,
        "expires_at_ms": answer.expires_at_ms,
    });
    match &region {
        Some(scope) => value["region"] = json!(scope.name),
        None => value["site"] = json!(site),
    }
    let text = match args.output.output {
        Output::Table | Output::Wide => format!("{}\n", answer.token),
        Output::Name => format!("token/{}\n", answer.id),
        Output::Json => document::json(&value)?,
        Output::Yaml => document::yaml(&value)?,
    };
    let times = if args.uses == 1 { "once".to_owned() } else { format!("{} times", args.uses) };
    let ends = ahead(now(), answer.expires_at_ms);
    let who = match &region {
        None => format!("lets a node join site '{site}'"),
        Some(_) => format!("lets {} join below this one", scope_text("", region.as_ref())),
    };
    say(&format!("token {}: {who} {times}, ends {ends}, is not shown again", answer.id));
    Ok(out(&text)?)
}

async fn revoke(master: &Master, id: String, output: Output) -> Result<(), Failure> {
    let request = v1::RevokeTokenRequest { id: id.clone() };
    master.call(|mut client| async move { client.revoke_token(request).await }).await?;
    report::one(
        output,
        &format!("token/{id}"),
        &format!("token/{id} revoked\n"),
        || json!({"id": id, "revoked": true}),
    )
}
