//! `apply`: manifests to the master, one document at a time.

use serde_json::{Value, json};
use skerry_api::v1;
use skerry_api::v1::apply_response::Outcome;

use super::explain::{self, explanation_text, standing};
use crate::args::ApplyArgs;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::manifests::{self, Written};
use crate::master::Master;
use crate::print::report::{Looks, Report};
use crate::print::say;
use crate::transport::CallError;

/// `skerry apply`. Everything is checked here before anything is sent; what the master refuses after that is told for each
/// document, and the others are still applied.
pub(crate) async fn run(args: ApplyArgs) -> Result<(), Failure> {
    let written = manifests::read_all(&args.filename)?;
    let master = Master::open(&args.server)?;
    let dry_run = args.dry_run.is_some();
    let mut report = Report::new(args.output.output);
    let mut refused = 0;
    for (index, one) in written.iter().enumerate() {
        match send(&master, one, dry_run).await {
            Ok(answer) => {
                let text = text(one, &answer, dry_run, Looks::of(args.output.output));
                report.add(&one.shown(), &text, || as_document(one, &answer, dry_run))?;
            }
            Err(error) if error.is_answer() => {
                say(&format!("{}: {error}", one.shown()));
                refused += 1;
            }
            Err(error) => {
                report.finish()?;
                say_unsent(&written, index, refused);
                return Err(error.into());
            }
        }
    }
    report.finish()?;
    let applied = written.len() - refused;
    let what = things(&written);
    match (refused, dry_run) {
        (0, _) => Ok(()),
        (_, false) => {
            Err(Failure::Told(format!("{applied} of {} {what} applied, {refused} refused", written.len())))
        }
        (_, true) => Err(Failure::Told(format!("{refused} of {} {what} would be refused", written.len()))),
    }
}

/// What the master did, or would do.
struct Answer {
    applied: v1::ApplyResponse,
    /// Where a workload would go, when nothing was changed.
    explanation: Option<v1::Explanation>,
}

/// The canonical form is sent, so that the master reads one document whatever the file looked like.
async fn send(master: &Master, one: &Written, dry_run: bool) -> Result<Answer, CallError> {
    let manifest = one.manifest();
    let request = v1::ApplyRequest { manifest: manifest.clone(), dry_run };
    let applied = master.call(|mut client| async move { client.apply(request).await }).await?;
    let mut explanation = None;
    if dry_run && one.kind() == Kind::Workload {
        match explain::of_manifest(master, manifest).await {
            Ok(found) => explanation = Some(found),
            // It would be taken all the same.
            Err(error) if error.is_answer() => {
                say(&format!("{}: where it would go is not known: {error}", one.shown()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Answer { applied, explanation })
}

fn text(one: &Written, answer: &Answer, dry_run: bool, looks: Looks) -> String {
    let line = line(&one.shown(), &answer.applied, dry_run);
    match &answer.explanation {
        None => line + "\n",
        Some(found) => explanation_text(&format!("{line}: {}", standing(found)), found, looks),
    }
}

fn line(name: &str, answer: &v1::ApplyResponse, dry_run: bool) -> String {
    let outcome = outcome_text(answer.outcome());
    match (dry_run, answer.generation) {
        (true, _) => format!("{name} {outcome} (dry run)"),
        // Tenants and sites have no generations.
        (false, 0) => format!("{name} {outcome}"),
        (false, generation) => format!("{name} {outcome} (generation {generation})"),
    }
}

fn as_document(one: &Written, answer: &Answer, dry_run: bool) -> Value {
    let mut document = json!({
        "kind": one.kind().to_string(),
        "tenant": one.tenant(),
        "name": one.name(),
        "outcome": outcome_text(answer.applied.outcome()),
        "generation": answer.applied.generation,
        "dryRun": dry_run,
    });
    if let Some(explanation) = &answer.explanation {
        document["explanation"] = json!(explanation);
    }
    document
}

fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Created => "created",
        Outcome::Changed => "changed",
    }
}

/// `workloads`, or `documents` when there are also others.
fn things(written: &[Written]) -> &'static str {
    if written.iter().all(|one| one.kind() == Kind::Workload) { "workloads" } else { "documents" }
}

/// The master went away in the middle: what it has and what it may not have.
fn say_unsent(written: &[Written], failed: usize, refused: usize) {
    for (index, one) in written.iter().enumerate().skip(failed) {
        let what = if index == failed { "not known to be applied" } else { "not sent" };
        say(&format!("{}: {what}", one.shown()));
    }
    let applied = failed - refused;
    let what = things(written);
    say(&format!("{applied} of {} {what} applied; it is safe to apply all of them again", written.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_one_line_each() {
        let answer = |generation| v1::ApplyResponse {
            generation,
            outcome: Outcome::Changed.into(),
            ..v1::ApplyResponse::default()
        };
        assert_eq!(line("workload/web", &answer(3), false), "workload/web changed (generation 3)");
        assert_eq!(line("workload/acme/web", &answer(3), true), "workload/acme/web changed (dry run)");
        assert_eq!(line("tenant/acme", &answer(0), false), "tenant/acme changed");
    }
}
