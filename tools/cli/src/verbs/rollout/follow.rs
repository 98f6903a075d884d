//! `rollout status -w`: each change of an update, until it has ended.

use std::time::Duration;

use serde_json::json;
use skerry_api::v1;
use skerry_types::show_duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Subject;
use super::text::sentence;
use crate::age::now;
use crate::args::Output;
use crate::failure::Failure;
use crate::fetch::{List, Query, list, list_after};
use crate::print::{document, out, say};
use crate::transport::CallError;

/// Shortest time between two looks at a region that changes all the time.
const PACE: Duration = Duration::from_millis(250);
/// How long a master that does not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time that is waited for when no limit was given: longer than any update takes.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Prints where the update stands each time that it changes, until it has ended or the time is up. A master that is gone for a
/// while is asked again.
pub(super) async fn follow(subject: &Subject, limit: Option<Duration>) -> Result<(), Failure> {
    let until = Instant::now() + limit.unwrap_or(FOREVER);
    let query = Query { tenant: subject.tenant.clone(), name: subject.name.clone(), ..Query::default() };
    let (mut last, mut change, mut course) = (String::new(), 0, Course::default());
    loop {
        let earliest = Instant::now() + PACE;
        let left = until.saturating_duration_since(Instant::now());
        match timeout(left, look(subject, &query, change, left)).await {
            Err(_) => {
                let what = format!("the update of {} has not ended", subject.shown());
                let waited = show_duration(limit.unwrap_or(FOREVER));
                return Err(Failure::TimedOut { what, waited, last });
            }
            Ok(Ok((found, seen))) => {
                change = seen;
                last = show(subject, &found, last)?;
                if let Some(end) = course.end(&found) {
                    let end = match end {
                        Ok(()) => taken_back(subject, &course, &found).await?,
                        Err(why) => Err(why),
                    };
                    return end.map_err(|why| Failure::Told(format!("{} {why}", subject.shown())));
                }
            }
            Ok(Err(error)) if error.may_pass() => {
                say(&format!("{error}; asking again in {}", show_duration(RETRY)));
                change = 0;
                sleep(RETRY).await;
            }
            Ok(Err(error)) => return Err(error.into()),
        }
        sleep_until(earliest.min(until)).await;
    }
}

/// Where the update stands, as soon as anything changed since `change`. The number comes from before the look, so that no
/// change is missed.
async fn look(
    subject: &Subject,
    query: &Query,
    change: u64,
    patience: Duration,
) -> Result<(v1::Rollout, u64), CallError> {
    let seen: List<v1::Workload> = if change == 0 {
        list(&subject.master, query).await?
    } else {
        list_after(&subject.master, query, change, patience).await?
    };
    Ok((subject.look().await?, seen.change))
}

/// Prints it when it is news, and gives what was printed last.
fn show(subject: &Subject, found: &v1::Rollout, last: String) -> Result<String, Failure> {
    let told = sentence(&v1::Rollout { ended_at_ms: 0, ..found.clone() }, now());
    if told == last {
        return Ok(last);
    }
    let text = match subject.output {
        Output::Table | Output::Wide => format!("{}: {told}\n", subject.shown()),
        Output::Name => format!("{}\n", subject.shown()),
        Output::Json => document::json_line(&json!(found)),
        Output::Yaml => format!("---\n{}", document::yaml(&json!(found))?),
    };
    out(&text)?;
    Ok(told)
}

/// Whether another generation than the first is out because the first one failed: it may have been taken back between two
/// looks.
async fn taken_back(
    subject: &Subject,
    course: &Course,
    found: &v1::Rollout,
) -> Result<Result<(), String>, CallError> {
    if found.generation == course.first {
        return Ok(Ok(()));
    }
    let revisions = subject.history().await?;
    let failed = revisions.iter().any(|one| one.generation == course.first && one.state == "failed");
    Ok(if failed { Err(format!("is back at generation {}", found.generation)) } else { Ok(()) })
}

/// What was seen of an update so far.
#[derive(Debug, Default)]
struct Course {
    /// The generation that it was of at first; 0 before anything was seen.
    first: u64,
    /// It is being taken back, or was.
    reverting: bool,
}

impl Course {
    /// Whether it has ended, and how: with why not, when it did not go out. A newer apply is followed, as it is what people
    /// want to see.
    fn end(&mut self, found: &v1::Rollout) -> Option<Result<(), String>> {
        if self.first == 0 {
            self.first = found.generation;
        }
        match found.state.as_str() {
            "done" if self.reverting => Some(Err(format!("is back at generation {}", found.generation))),
            "done" => Some(Ok(())),
            "failed" => Some(Err(format!("did not get to generation {}", found.generation))),
            "superseded" => Some(Err(format!("was changed again after generation {}", found.generation))),
            state => {
                self.reverting |= state == "reverting";
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_that_is_taken_back_did_not_succeed() {
        let check = |states: &[&str], expect: Option<bool>| {
            let mut course = Course::default();
            let mut last = None;
            for state in states {
                last = course.end(&v1::Rollout { state: (*state).to_owned(), ..v1::Rollout::default() });
            }
            assert_eq!(last.map(|end| end.is_ok()), expect, "{states:?}");
        };
        check(&["running", "paused", "waiting_promotion"], None);
        check(&["running", "done"], Some(true));
        check(&["running", "failed"], Some(false));
        check(&["running", "reverting"], None);
        check(&["running", "reverting", "done"], Some(false));
        check(&["superseded"], Some(false));
    }
}
