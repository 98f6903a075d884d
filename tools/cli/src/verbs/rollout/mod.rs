//! `rollout`: how far an update is, and steering it.

mod follow;
mod plan;
mod text;

use serde_json::{Value, json};
use skerry_api::v1;

pub(crate) use self::text::sentence;
use self::text::{history_document, history_rows};
use super::workload_of;
use crate::age::now;
use crate::args::{FileRolloutArgs, Output, RolloutArgs, RolloutStatusArgs, RolloutVerb, UndoArgs};
use crate::failure::Failure;
use crate::manifests;
use crate::master::Master;
use crate::print::report::{self, Looks, Report};
use crate::print::table::Table;
use crate::print::{document, has_color, out, say};
use crate::rows::qualified;
use crate::transport::CallError;

/// `skerry rollout ...`.
pub(crate) async fn run(verb: RolloutVerb) -> Result<(), Failure> {
    match verb {
        RolloutVerb::Status(args) => status(args).await,
        RolloutVerb::Pause(args) => steer(args, Steer::Pause).await,
        RolloutVerb::Resume(args) => steer(args, Steer::Resume).await,
        RolloutVerb::Promote(args) => steer(args, Steer::Promote).await,
        RolloutVerb::Undo(UndoArgs { of, to }) => steer(of, Steer::Undo(to.unwrap_or(0))).await,
        RolloutVerb::History(args) => history(args).await,
        RolloutVerb::Plan(args) => plan(args).await,
    }
}

/// Which workload, and how its update is told of.
struct Subject {
    master: Master,
    tenant: String,
    name: String,
    output: Output,
}

impl Subject {
    fn open(args: &RolloutArgs) -> Result<Self, Failure> {
        let (tenant, name) = workload_of(&args.tenant, &args.workload)?;
        Ok(Self { master: Master::open(&args.server)?, tenant, name, output: args.output.output })
    }

    fn shown(&self) -> String {
        format!("workload/{}", qualified(&self.tenant, &self.name))
    }

    fn request(&self) -> v1::RolloutRequest {
        v1::RolloutRequest { tenant: self.tenant.clone(), name: self.name.clone() }
    }

    async fn look(&self) -> Result<v1::Rollout, CallError> {
        let request = self.request();
        self.master.call(|mut client| async move { client.rollout_status(request).await }).await
    }

    async fn history(&self) -> Result<Vec<v1::Revision>, CallError> {
        let request = self.request();
        let answer =
            self.master.call(|mut client| async move { client.rollout_history(request).await }).await?;
        Ok(answer.revisions)
    }
}

async fn status(args: RolloutStatusArgs) -> Result<(), Failure> {
    let subject = Subject::open(&args.of)?;
    if args.watch {
        return follow::follow(&subject, args.timeout).await;
    }
    let found = subject.look().await?;
    let text = format!("{}: {}\n", subject.shown(), sentence(&found, now()));
    report::one(subject.output, &subject.shown(), &text, || json!(found))
}

/// What is done to an update.
#[derive(Debug, Clone, Copy)]
enum Steer {
    Pause,
    Resume,
    Promote,
    /// To this generation; 0 for the last one that was well.
    Undo(u64),
}

async fn steer(args: RolloutArgs, what: Steer) -> Result<(), Failure> {
    let subject = Subject::open(&args)?;
    let request = subject.request();
    let found = subject
        .master
        .call(|mut client| async move {
            match what {
                Steer::Pause => client.pause_rollout(request).await,
                Steer::Resume => client.resume_rollout(request).await,
                Steer::Promote => client.promote_rollout(request).await,
                Steer::Undo(to_generation) => {
                    let v1::RolloutRequest { tenant, name } = request;
                    client.undo_rollout(v1::UndoRolloutRequest { tenant, name, to_generation }).await
                }
            }
        })
        .await?;
    let done = match what {
        Steer::Pause => "paused",
        Steer::Resume => "resumed",
        Steer::Promote => "promoted",
        Steer::Undo(_) => "goes back",
    };
    let shown = subject.shown();
    let text = format!("{shown} {done}: {}\n", sentence(&found, now()));
    report::one(subject.output, &shown, &text, || json!(found))
}

async fn history(args: RolloutArgs) -> Result<(), Failure> {
    let subject = Subject::open(&args)?;
    let found = subject.history().await?;
    let documents = || Value::Array(found.iter().map(history_document).collect());
    match subject.output {
        Output::Json => out(&document::json(&documents())?)?,
        Output::Yaml => out(&document::yaml(&documents())?)?,
        Output::Name => found.iter().try_for_each(|one| out(&format!("{}\n", one.generation)))?,
        Output::Table | Output::Wide if found.is_empty() => {
            say(&format!("{} has no earlier generations", subject.shown()));
        }
        Output::Table | Output::Wide => {
            let is_wide = subject.output == Output::Wide;
            let mut titles = vec!["GENERATION", "STATE", "AGE", "IMAGES"];
            if is_wide {
                titles.insert(3, "ENDED");
            }
            out(&Table::new(titles, has_color()).whole(&history_rows(&found, now(), is_wide)))?;
        }
    }
    Ok(())
}

async fn plan(args: FileRolloutArgs) -> Result<(), Failure> {
    let written = manifests::read_workloads(&args.filename)?;
    let master = Master::open(&args.server)?;
    let looks = Looks::of(args.output.output);
    let mut report = Report::new(args.output.output);
    let mut refused = 0;
    for one in &written {
        let request = v1::RolloutPlanRequest { manifest: one.manifest() };
        match master.call(|mut client| async move { client.rollout_plan(request).await }).await {
            Ok(found) => {
                for warning in &found.warnings {
                    say(&format!("{}: warning: {warning}", one.shown()));
                }
                report.add(&one.shown(), &plan::text(&one.shown(), &found, looks), || json!(found))?;
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
        _ => Err(Failure::Told(format!("{refused} of {} workloads cannot be planned", written.len()))),
    }
}
