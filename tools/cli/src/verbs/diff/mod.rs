//! `diff`: manifests against what the master has. Exit codes are those of diff(1): 0 the same, 1 different, 2 trouble.

mod lines;

use skerry_api::v1;
use skerry_manifest::documents;

use self::lines::unified;
use crate::args::DiffArgs;
use crate::failure::Failure;
use crate::fetch::{Query, list};
use crate::kind::Kind;
use crate::manifests::{self, Written};
use crate::master::Master;
use crate::print::{has_color, out};

/// `skerry diff`.
pub(crate) async fn run(args: DiffArgs) -> Result<(), Failure> {
    match compare(&args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Differs),
        Err(failure @ Failure::Output(_)) => Err(failure),
        Err(failure) => Err(Failure::Trouble(Box::new(failure))),
    }
}

/// Prints what differs, and says whether anything does. Both sides are in the canonical form, so that only what means
/// something is told.
async fn compare(args: &DiffArgs) -> Result<bool, Failure> {
    let written = manifests::read_all(&args.filename)?;
    let master = Master::open(&args.server)?;
    let mut differs = false;
    for one in &written {
        let present = present(&master, one).await?;
        let text = unified(&one.shown(), &present, &one.document.to_yaml(), has_color());
        differs |= !text.is_empty();
        out(&text)?;
    }
    Ok(differs)
}

/// What the master has, in the canonical form; empty when there is nothing.
async fn present(master: &Master, one: &Written) -> Result<String, Failure> {
    let query = Query { tenant: one.tenant(), name: one.name(), ..Query::default() };
    let manifest = match one.kind() {
        Kind::Tenant => list::<v1::Tenant>(master, &query).await?.items.pop().map(|found| found.manifest),
        Kind::Site => list::<v1::Site>(master, &query).await?.items.pop().map(|found| found.manifest),
        _ => list::<v1::Workload>(master, &query).await?.items.pop().map(|found| found.manifest),
    };
    let Some(manifest) = manifest.filter(|text| !text.is_empty()) else { return Ok(String::new()) };
    let found = documents(&manifest)
        .map_err(|errors| Failure::Answer(errors.first().map(ToString::to_string).unwrap_or_default()))?;
    Ok(found.first().map(|one| one.document.to_yaml()).unwrap_or_default())
}
