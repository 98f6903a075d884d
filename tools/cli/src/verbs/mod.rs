//! What the command does, one file per family of verbs.

mod about;
mod apply;
mod config;
mod delete;
mod diff;
mod explain;
pub(crate) mod get;
mod lines;
pub(crate) mod listing;
mod logs;
mod nodes;
mod rebalance;
mod rollout;
mod scale;
mod token;
pub(crate) mod wait;
mod watch;

pub(crate) use self::rollout::sentence as rollout_sentence;

use crate::args::{TenantArgs, Verb};
use crate::describe;
use crate::failure::Failure;
use crate::kind::{Kind, Target};

/// Does what was typed.
pub(crate) async fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Apply(args) => apply::run(args).await,
        Verb::Diff(args) => diff::run(args).await,
        Verb::Get(args) => get::run(args).await,
        Verb::Describe(args) => describe::run(args).await,
        Verb::Explain(args) => explain::run(args).await,
        Verb::Delete(args) => delete::run(args).await,
        Verb::Scale(args) => scale::run(args).await,
        Verb::Rollout(verb) => rollout::run(verb).await,
        Verb::Cordon(args) => nodes::cordon(args, true).await,
        Verb::Uncordon(args) => nodes::cordon(args, false).await,
        Verb::Drain(args) => nodes::drain(args).await,
        Verb::Rebalance(args) => rebalance::run(args).await,
        Verb::Logs(args) => logs::run(args).await,
        Verb::Wait(args) => wait::run(args).await,
        Verb::Events(args) => get::events(args).await,
        Verb::Token(verb) => token::run(verb).await,
        Verb::Config(verb) => config::run(verb),
        Verb::Version(args) => about::version(args).await,
        Verb::Schema => about::schema(),
        Verb::Completion { shell } => about::completion(shell),
    }
}

/// The name that stands behind a kind, either as `KIND NAME` or as `KIND/NAME`.
pub(crate) fn name_of(target: &Target, name: Option<String>) -> Result<Option<String>, Failure> {
    match (target.name.clone(), name) {
        (Some(first), Some(second)) => Err(Failure::Usage(format!(
            "'{first}' and '{second}': write {kind}/{first} or {kind} {first}, for one {kind} at a time",
            kind = target.kind
        ))),
        (first, second) => Ok(first.or(second)),
    }
}

/// As [`name_of`], where a name must be given.
pub(crate) fn required_name(target: &Target, name: Option<String>) -> Result<String, Failure> {
    name_of(target, name)?
        .ok_or_else(|| Failure::Usage(format!("which {kind}? write {kind}/NAME", kind = target.kind)))
}

/// Tenant and name of a workload that was typed as `NAME`, `TENANT/NAME` or `workload/NAME`.
pub(crate) fn workload_of(tenant: &TenantArgs, text: &str) -> Result<(String, String), Failure> {
    let name = match text.parse::<Target>() {
        Ok(Target { kind: Kind::Workload, name: Some(name) }) => name,
        Ok(Target { kind, name: Some(_) }) => {
            return Err(Failure::Usage(format!("this is about workloads, not about {kind}s")));
        }
        _ => text.to_owned(),
    };
    Ok(split_tenant(Kind::Workload, tenant.name(), name))
}

/// `TENANT/NAME`, as it is printed for other tenants than the default, names both.
pub(crate) fn split_tenant(kind: Kind, tenant: String, name: String) -> (String, String) {
    if !kind.has_tenant() || kind == Kind::Event {
        return (tenant, name);
    }
    match name.split_once('/') {
        Some((tenant, name)) => (tenant.to_owned(), name.to_owned()),
        None => (tenant, name),
    }
}
