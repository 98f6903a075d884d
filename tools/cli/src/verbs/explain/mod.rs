//! `explain`: why instances are where they are, or where they would go.

mod text;

use serde_json::json;
use skerry_api::v1;
use skerry_api::v1::explain_request::What;

pub(crate) use self::text::{explanation_text, standing};
use super::workload_of;
use crate::args::ExplainArgs;
use crate::failure::Failure;
use crate::manifests;
use crate::master::Master;
use crate::print::report::{self, Looks, Report};
use crate::print::say;
use crate::rows::qualified;
use crate::transport::CallError;

/// `skerry explain`.
pub(crate) async fn run(args: ExplainArgs) -> Result<(), Failure> {
    match &args.workload {
        Some(workload) => of_workload(&args, workload).await,
        None => of_files(&args).await,
    }
}

async fn of_workload(args: &ExplainArgs, workload: &str) -> Result<(), Failure> {
    let (tenant, name) = workload_of(&args.tenant, workload)?;
    let shown = format!("workload/{}", qualified(&tenant, &name));
    let master = Master::open(&args.server)?;
    let what = What::Workload(v1::WorkloadName { tenant, name });
    let found = ask(&master, what).await?;
    let looks = Looks::of(args.output.output);
    report::one(args.output.output, &shown, &text(&shown, &found, looks), || json!(found))
}

async fn of_files(args: &ExplainArgs) -> Result<(), Failure> {
    if args.tenant.is_given() {
        return Err(Failure::Usage("with -f the manifests name the tenant: leave --tenant out".to_owned()));
    }
    let written = manifests::read_workloads(&args.filename)?;
    let master = Master::open(&args.server)?;
    let mut report = Report::new(args.output.output);
    let mut refused = 0;
    for one in &written {
        match of_manifest(&master, one.manifest()).await {
            Ok(found) => {
                let text = text(&one.shown(), &found, Looks::of(args.output.output));
                report.add(&one.shown(), &text, || json!(found))?;
            }
            Err(error) if error.is_answer() => {
                say(&format!("{}: {error}", one.shown()));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.finish()?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::Told(format!("{refused} of {} workloads cannot be explained", written.len()))),
    }
}

fn text(shown: &str, found: &v1::Explanation, looks: Looks) -> String {
    let place =
        if found.region.is_empty() { String::new() } else { format!(" in region '{}'", found.region) };
    explanation_text(&format!("{shown}{place}: {}", standing(found)), found, looks)
}

/// Where the instances of a manifest would go.
pub(crate) async fn of_manifest(master: &Master, manifest: String) -> Result<v1::Explanation, CallError> {
    ask(master, What::Manifest(manifest)).await
}

async fn ask(master: &Master, what: What) -> Result<v1::Explanation, CallError> {
    let request = v1::ExplainRequest { what: Some(what) };
    master.call(|mut client| async move { client.explain(request).await }).await
}
