//! What can be waited for, and whether it is so. Pure: what the master said in, a verdict out.

use std::fmt;
use std::str::FromStr;

use skerry_api::v1::{Allocation, Node, Workload};
use skerry_types::WallTime;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::print::counted;
use crate::rows::{node_state, phase_text, wanted, workload_step};

/// The phases of an allocation, as the API writes them.
const PHASES: [&str; 9] =
    ["pending", "pulling", "starting", "running", "backoff", "stopping", "stopped", "completed", "failed"];

/// Allocations of a drained node whose reasons stand in one line.
const BLOCKED_SHOWN: usize = 3;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Every instance of the present generation runs and is heard from.
    Running,
    /// It is not in the region any more.
    Deleted,
    /// Nothing of it runs any more.
    Stopped,
    /// Every completion that the job asks for is there.
    Completed,
    /// Nothing is left on the node, and nothing comes.
    Drained,
    /// The node is heard from.
    Reachable,
    /// The node is not heard from.
    Unreachable,
    /// Every allocation is in this phase.
    Phase(String),
}

/// Why a text is not a goal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GoalError {
    #[error("write running, deleted, stopped, completed, reachable, unreachable, drained or phase=PHASE")]
    Unknown,
    #[error("there is no phase '{0}': {list}", list = PHASES.join(", "))]
    Phase(String),
}

impl FromStr for Goal {
    type Err = GoalError;

    fn from_str(text: &str) -> Result<Self, GoalError> {
        match text {
            "running" => Ok(Self::Running),
            "deleted" => Ok(Self::Deleted),
            "stopped" => Ok(Self::Stopped),
            "completed" => Ok(Self::Completed),
            "drained" => Ok(Self::Drained),
            "reachable" => Ok(Self::Reachable),
            "unreachable" => Ok(Self::Unreachable),
            _ => {
                let phase = text.strip_prefix("phase=").ok_or(GoalError::Unknown)?;
                if PHASES.contains(&phase) {
                    Ok(Self::Phase(phase.to_owned()))
                } else {
                    Err(GoalError::Phase(phase.to_owned()))
                }
            }
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Deleted => f.write_str("deleted"),
            Self::Stopped => f.write_str("stopped"),
            Self::Completed => f.write_str("completed"),
            Self::Drained => f.write_str("drained"),
            Self::Reachable => f.write_str("reachable"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Phase(phase) => f.write_str(phase),
        }
    }
}

impl Goal {
    /// Whether things of that kind can come to this.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), Failure> {
        let of_node = matches!(self, Self::Reachable | Self::Unreachable | Self::Drained);
        match kind {
            Kind::Node if of_node || *self == Self::Deleted => Ok(()),
            Kind::Workload | Kind::Allocation if !of_node => Ok(()),
            Kind::Node => Err(Failure::Usage(format!(
                "a node is never '{self}': wait for reachable, unreachable, drained or deleted"
            ))),
            Kind::Workload | Kind::Allocation => Err(Failure::Usage(format!(
                "{self} is said of nodes: wait for running, stopped, completed, deleted or phase=PHASE"
            ))),
            other => Err(Failure::Usage(format!(
                "there is nothing to wait for of {other}s: only of workloads, allocations and nodes"
            ))),
        }
    }

    /// Whether a workload's allocations have to be looked at one by one.
    pub(crate) fn needs_allocations(&self) -> bool {
        matches!(self, Self::Stopped | Self::Phase(_))
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Reached,
    /// Not yet; where it is, for people.
    Ahead(String),
    /// It is not there, so it cannot come to be.
    Absent,
}

/// How far a workload is.
pub(crate) fn workload(goal: &Goal, found: Option<&Workload>, allocations: &[Allocation]) -> Standing {
    let Some(found) = found else {
        return match goal {
            Goal::Deleted | Goal::Stopped => Standing::Reached,
            _ => Standing::Absent,
        };
    };
    let present: Vec<&Allocation> =
        allocations.iter().filter(|one| one.generation == found.generation).collect();
    let reached = match goal {
        Goal::Running => !found.deleting && found.running.saturating_sub(found.unreachable) >= wanted(found),
        Goal::Stopped => allocations.iter().all(is_over),
        Goal::Completed => found.kind == "job" && found.completed >= wanted(found),
        Goal::Phase(phase) => {
            let wanted = usize::try_from(wanted(found)).unwrap_or(usize::MAX);
            present.len() >= wanted && present.iter().all(|one| one.phase == *phase && one.reachable)
        }
        Goal::Deleted | Goal::Reachable | Goal::Unreachable | Goal::Drained => false,
    };
    if reached { Standing::Reached } else { Standing::Ahead(progress(goal, found, &present)) }
}

fn progress(goal: &Goal, found: &Workload, present: &[&Allocation]) -> String {
    match goal {
        Goal::Phase(phase) => {
            let there = present.iter().filter(|one| one.phase == *phase).count();
            format!("{}: {there} of {} {phase}", crate::rows::Row::name(found), wanted(found))
        }
        Goal::Deleted | Goal::Stopped if !found.deleting => {
            format!("{} and it is not being deleted", workload_step(found))
        }
        Goal::Completed => {
            let Workload { completed, active, failed, .. } = found;
            let instances = wanted(found);
            let name = crate::rows::Row::name(found);
            format!("{name}: {completed} of {instances} completed, {active} active, {failed} failed")
        }
        _ => workload_step(found),
    }
}

/// How far an allocation is.
pub(crate) fn allocation(goal: &Goal, found: Option<&Allocation>) -> Standing {
    let Some(found) = found else {
        return match goal {
            Goal::Deleted | Goal::Stopped => Standing::Reached,
            _ => Standing::Absent,
        };
    };
    let reached = match goal {
        Goal::Running => found.reachable && found.phase == "running",
        Goal::Stopped => is_over(found),
        Goal::Completed => found.reachable && found.phase == "completed",
        Goal::Phase(phase) => found.reachable && found.phase == *phase,
        Goal::Deleted | Goal::Reachable | Goal::Unreachable | Goal::Drained => false,
    };
    if reached {
        return Standing::Reached;
    }
    let message = if found.message.is_empty() { String::new() } else { format!(": {}", found.message) };
    Standing::Ahead(format!("{} on {} {}{message}", found.id, found.node, phase_text(found)))
}

/// How far a node is. One that is not there may still join.
pub(crate) fn node(goal: &Goal, name: &str, found: Option<&Node>, now: WallTime) -> Standing {
    let reached = match (goal, found) {
        (Goal::Deleted, found) => found.is_none(),
        (Goal::Reachable, Some(found)) => found.reachable,
        (Goal::Unreachable, Some(found)) => !found.reachable,
        (Goal::Drained, Some(found)) => found.draining.as_ref().is_some_and(|drain| drain.remaining == 0),
        (Goal::Unreachable | Goal::Drained, None) => return Standing::Absent,
        _ => false,
    };
    if reached {
        return Standing::Reached;
    }
    Standing::Ahead(
        found.map_or_else(|| format!("{name} has not joined"), |found| node_step(goal, name, found, now)),
    )
}

/// Where a node stands, and what holds a drain up.
fn node_step(goal: &Goal, name: &str, found: &Node, now: WallTime) -> String {
    let state = node_state(found.reachable, found.last_seen_ms, now);
    if *goal != Goal::Drained {
        return format!("{name}: {state}");
    }
    let Some(draining) = &found.draining else {
        return format!("{name}: {state}, and it is not being drained");
    };
    let why = if draining.blocked.is_empty() {
        String::new()
    } else {
        format!(": {}", blocked_text(name, &draining.blocked))
    };
    format!("{name}: {state}, {} left{why}", counted(draining.remaining, "allocation"))
}

/// Which allocations are still there and why; of many the first few, and where the others are told.
fn blocked_text(node: &str, blocked: &[String]) -> String {
    let first = blocked.iter().take(BLOCKED_SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    match blocked.len().saturating_sub(BLOCKED_SHOWN) {
        0 => first,
        more => format!("{first}; and {more} more: 'skerry describe node {node}' tells them all"),
    }
}

/// Whether an allocation has nothing running any more, as last heard of.
fn is_over(allocation: &Allocation) -> bool {
    matches!(allocation.phase.as_str(), "stopped" | "completed" | "failed")
}

#[cfg(test)]
mod tests {
    use skerry_api::v1;

    use super::*;

    fn web(instances: u32, running: u32, unreachable: u32) -> Workload {
        Workload {
            name: "web".to_owned(),
            tenant: "default".to_owned(),
            generation: 2,
            instances,
            running,
            unreachable,
            placed: instances,
            ..Workload::default()
        }
    }

    fn instance(generation: u64, phase: &str, reachable: bool) -> Allocation {
        Allocation { generation, phase: phase.to_owned(), reachable, ..Allocation::default() }
    }

    #[test]
    fn goals_are_words_and_phases() {
        let check = |text: &str, goal: Option<Goal>| assert_eq!(text.parse().ok(), goal, "{text}");
        check("running", Some(Goal::Running));
        check("phase=backoff", Some(Goal::Phase("backoff".to_owned())));
        check("phase=happy", None);
        check("happy", None);
        check("", None);
    }

    #[test]
    fn running_is_never_said_of_what_is_not_heard_from() {
        let check = |found: &Workload, reached: bool| {
            let standing = workload(&Goal::Running, Some(found), &[]);
            assert_eq!(standing == Standing::Reached, reached, "{standing:?}");
        };
        check(&web(3, 3, 0), true);
        check(&web(3, 2, 0), false);
        check(&web(3, 3, 1), false);
        check(&web(0, 0, 0), true);
        check(&Workload { deleting: true, ..web(0, 0, 0) }, false);
        assert_eq!(workload(&Goal::Running, None, &[]), Standing::Absent);
        assert_eq!(allocation(&Goal::Running, Some(&instance(2, "running", true))), Standing::Reached);
        assert!(matches!(
            allocation(&Goal::Running, Some(&instance(2, "running", false))),
            Standing::Ahead(text) if text.contains("was running")
        ));
    }

    #[test]
    fn a_phase_is_of_the_present_generation_and_stopped_of_all() {
        let phase = Goal::Phase("completed".to_owned());
        let old = instance(1, "running", true);
        let done = instance(2, "completed", true);
        let both = [old, done.clone()];
        assert_eq!(workload(&phase, Some(&web(1, 0, 0)), &both), Standing::Reached);
        assert!(matches!(workload(&phase, Some(&web(2, 0, 0)), &both), Standing::Ahead(_)));
        assert!(matches!(workload(&Goal::Stopped, Some(&web(1, 0, 0)), &both), Standing::Ahead(_)));
        assert_eq!(workload(&Goal::Stopped, Some(&web(1, 0, 0)), &[done]), Standing::Reached);
        assert_eq!(workload(&Goal::Stopped, None, &[]), Standing::Reached);
        assert_eq!(workload(&Goal::Deleted, None, &[]), Standing::Reached);
        assert!(matches!(workload(&Goal::Deleted, Some(&web(1, 0, 0)), &[]), Standing::Ahead(_)));
    }

    #[test]
    fn a_node_that_has_not_joined_may_still_do_so() {
        let now = WallTime(0);
        assert!(matches!(node(&Goal::Reachable, "n1", None, now), Standing::Ahead(_)));
        let up = Node { reachable: true, ..Node::default() };
        assert_eq!(node(&Goal::Reachable, "n1", Some(&up), now), Standing::Reached);
        assert!(matches!(node(&Goal::Unreachable, "n1", Some(&up), now), Standing::Ahead(_)));
        assert_eq!(node(&Goal::Deleted, "n1", None, now), Standing::Reached);
    }

    #[test]
    fn a_drain_says_what_holds_it_up() {
        let now = WallTime(0);
        let check = |draining: Option<v1::Draining>, expect: Option<&str>| {
            let found = Node { reachable: true, draining, ..Node::default() };
            let standing = node(&Goal::Drained, "n1", Some(&found), now);
            assert_eq!(standing, expect.map_or(Standing::Reached, |text| Standing::Ahead(text.to_owned())));
        };
        let blocked = vec!["web-0-1: no other node has 64Mi of memory free".to_owned()];
        let left = v1::Draining { remaining: 2, blocked, ..v1::Draining::default() };
        check(
            Some(left),
            Some("n1: reachable, 2 allocations left: web-0-1: no other node has 64Mi of memory free"),
        );
        let blocked = (1..=5).map(|at| format!("web-{at}-1: why")).collect();
        let left = v1::Draining { remaining: 6, blocked, ..v1::Draining::default() };
        check(
            Some(left),
            Some(
                "n1: reachable, 6 allocations left: web-1-1: why; web-2-1: why; web-3-1: why; and 2 more: \
                 'skerry describe node n1' tells them all",
            ),
        );
        check(Some(v1::Draining::default()), None);
        check(None, Some("n1: reachable, and it is not being drained"));
        assert_eq!(node(&Goal::Drained, "n1", None, now), Standing::Absent);
    }

    #[test]
    fn a_job_is_completed_when_all_of_it_is() {
        let job = |completed| Workload { kind: "job".to_owned(), completed, ..web(3, 0, 0) };
        assert_eq!(workload(&Goal::Completed, Some(&job(3)), &[]), Standing::Reached);
        assert!(matches!(
            workload(&Goal::Completed, Some(&job(2)), &[]),
            Standing::Ahead(text) if text == "web: 2 of 3 completed, 0 active, 0 failed"
        ));
    }

    #[test]
    fn goals_fit_kinds() {
        assert!(Goal::Running.check(Kind::Workload).is_ok());
        assert!(Goal::Running.check(Kind::Node).is_err());
        assert!(Goal::Reachable.check(Kind::Node).is_ok());
        assert!(Goal::Reachable.check(Kind::Workload).is_err());
        assert!(Goal::Deleted.check(Kind::Site).is_err());
    }
}
