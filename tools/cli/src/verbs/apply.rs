//! `apply`: manifests to the master, one workload at a time.

use serde_json::{Value, json};
use skerry_api::v1;
use skerry_api::v1::apply_response::Outcome;
use skerry_types::WorkloadKey;

use crate::args::{ApplyArgs, Output};
use crate::failure::Failure;
use crate::manifests::{self, Written};
use crate::master::Master;
use crate::print::{document, out, say};

/// `skerry apply`. Everything is checked here before anything is sent; what the master refuses after that is told for each
/// workload, and the others are still applied.
pub(crate) async fn run(args: ApplyArgs) -> Result<(), Failure> {
    let written = manifests::read_all(&args.filename)?;
    let master = Master::open(&args.server)?;
    let mut done = Vec::new();
    let mut refused = 0;
    for (index, one) in written.iter().enumerate() {
        match send(&master, one, args.dry_run).await {
            Ok(answer) => {
                let document = report(&one.spec.key, &answer, args.dry_run, args.output.output)?;
                done.extend(document);
            }
            Err(error) if error.is_answer() => {
                say(&format!("workload/{}: {error}", one.spec.key));
                refused += 1;
            }
            Err(error) => {
                finish(&done, args.output.output)?;
                say_unsent(&written, index, refused);
                return Err(error.into());
            }
        }
    }
    finish(&done, args.output.output)?;
    let applied = written.len() - refused;
    match refused {
        0 => Ok(()),
        _ => {
            Err(Failure::Told(format!("{applied} of {} workloads applied, {refused} refused", written.len())))
        }
    }
}

/// The canonical form is sent, so that the master reads one document whatever the file looked like.
async fn send(
    master: &Master,
    one: &Written,
    dry_run: bool,
) -> Result<v1::ApplyResponse, crate::transport::CallError> {
    let manifest = skerry_manifest::to_manifest(&one.spec).to_string();
    master.call(|mut client| async move { client.apply(v1::ApplyRequest { manifest, dry_run }).await }).await
}

/// Tells of one workload; documents are kept for the end.
fn report(
    key: &WorkloadKey,
    answer: &v1::ApplyResponse,
    dry_run: bool,
    output: Output,
) -> Result<Option<Value>, Failure> {
    match output {
        Output::Table | Output::Wide => out(&line(key, answer, dry_run))?,
        Output::Name => out(&format!("workload/{key}\n"))?,
        Output::Json | Output::Yaml => return Ok(Some(as_document(key, answer, dry_run))),
    }
    Ok(None)
}

fn line(key: &WorkloadKey, answer: &v1::ApplyResponse, dry_run: bool) -> String {
    let outcome = outcome_text(answer.outcome());
    if dry_run {
        return format!("workload/{key} {outcome} (dry run)\n");
    }
    format!("workload/{key} {outcome} (generation {})\n", answer.generation)
}

fn as_document(key: &WorkloadKey, answer: &v1::ApplyResponse, dry_run: bool) -> Value {
    json!({
        "tenant": key.tenant.as_str(),
        "name": key.name.as_str(),
        "outcome": outcome_text(answer.outcome()),
        "generation": answer.generation,
        "dryRun": dry_run,
    })
}

fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Created => "created",
        Outcome::Changed => "changed",
    }
}

fn finish(done: &[Value], output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => out(&document::json(&Value::Array(done.to_vec()))?)?,
        Output::Yaml => out(&document::yaml_all(done)?)?,
        Output::Table | Output::Wide | Output::Name => {}
    }
    Ok(())
}

/// The master went away in the middle: what it has and what it may not have.
fn say_unsent(written: &[Written], failed: usize, refused: usize) {
    for (index, one) in written.iter().enumerate().skip(failed) {
        let what = if index == failed { "not known to be applied" } else { "not sent" };
        say(&format!("workload/{}: {what}", one.spec.key));
    }
    let applied = failed - refused;
    say(&format!("{applied} of {} workloads applied; it is safe to apply all of them again", written.len()));
}

#[cfg(test)]
mod tests {
    use skerry_types::{TenantName, WorkloadName};

    use super::*;

    #[test]
    fn results_are_one_line_each() {
        let key = |tenant: &str| WorkloadKey {
            tenant: TenantName::new(tenant).unwrap(),
            name: WorkloadName::new("web").unwrap(),
        };
        let answer = v1::ApplyResponse {
            generation: 3,
            outcome: Outcome::Changed.into(),
            ..v1::ApplyResponse::default()
        };
        assert_eq!(line(&key("default"), &answer, false), "workload/web changed (generation 3)\n");
        assert_eq!(line(&key("acme"), &answer, true), "workload/acme/web changed (dry run)\n");
    }
}
