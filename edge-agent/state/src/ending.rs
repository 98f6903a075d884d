//! What a container's end means: whether it starts again, and what people are told.

use serde::{Deserialize, Serialize};
use skerry_types::{
    AllocationIntent, ContainerName, ContainerStatus, Exit, Reason, ReasonCode, RestartPolicy, RestartWhen,
};

use crate::restart::restarts;
use crate::{Failure, Outcome};

/// Whether a container's part in its allocation's run is over, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It goes on.
    #[default]
    Open,
    Good,
    Bad,
}

/// Why a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    Itself,
    /// A health probe had it ended; what it saw.
    Unwell(String),
    /// Its allocation was told to stop or to rest.
    Asked,
}

/// What an exit or a failure leaves to tell.
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    /// Whether it is as it should be, so that there is no reason for anything.
    pub(crate) is_good: bool,
}

/// The restart policy as it is lived: what runs by a schedule comes to an end.
pub(crate) fn policy(intent: &AllocationIntent) -> RestartPolicy {
    let policy = intent.spec.restart;
    match policy.when {
        RestartWhen::Always if intent.spec.schedule.is_some() => {
            RestartPolicy { when: RestartWhen::OnFailure, ..policy }
        }
        _ => policy,
    }
}

pub(crate) fn verdict(cause: &Cause, policy: &RestartPolicy, is_init: bool, exit: &Exit) -> Verdict {
    let rests = policy.when == RestartWhen::Never;
    match cause {
        Cause::Unwell(_) if rests => Verdict::Bad,
        Cause::Asked | Cause::Unwell(_) => Verdict::Open,
        Cause::Itself if is_init && exit.is_success() => Verdict::Good,
        Cause::Itself if restarts(policy, exit) => Verdict::Open,
        Cause::Itself if exit.is_success() => Verdict::Good,
        Cause::Itself => Verdict::Bad,
    }
}

impl Ending {
    pub(crate) fn of(
        name: &ContainerName,
        is_init: bool,
        cause: &Cause,
        exit: &Exit,
        verdict: Verdict,
    ) -> Self {
        let next = match verdict {
            Verdict::Open => "it starts again after a wait",
            Verdict::Good if is_init => "its part is done",
            Verdict::Good | Verdict::Bad => "its restart policy lets it rest",
        };
        let kind = if is_init { "init container" } else { "container" };
        let (code, what) = match cause {
            Cause::Unwell(why) => {
                (ReasonCode::Unhealthy, format!("was not well ({why}) and was ended: {exit}"))
            }
            _ if is_init && !exit.is_success() => (ReasonCode::InitFailed, exit.to_string()),
            _ if exit.out_of_memory => (ReasonCode::OutOfMemory, exit.to_string()),
            _ => (ReasonCode::Exited, exit.to_string()),
        };
        Self {
            reason: Reason::new(code, format!("{kind} {name}: {what}; {next}")),
            is_good: verdict == Verdict::Good,
        }
    }

    /// A start that came to nothing.
    pub(crate) fn of_start(result: &Result<Outcome, Failure>) -> Self {
        let reason = match result {
            Err(failure) => failure.reason.clone(),
            Ok(other) => {
                Reason::new(ReasonCode::CreateFailed, format!("the runtime answered a start with {other:?}"))
            }
        };
        Self { reason, is_good: false }
    }

    /// A removal that came to nothing.
    pub(crate) fn of_removal(failure: &Failure) -> Self {
        Self { reason: failure.reason.clone(), is_good: false }
    }
}

/// The end of a log, cut to what a status may carry.
pub(crate) fn bounded(mut log_tail: String) -> String {
    let over = log_tail.len().saturating_sub(ContainerStatus::LOG_TAIL_MAX);
    let cut = (over..=log_tail.len()).find(|at| log_tail.is_char_boundary(*at)).unwrap_or_default();
    log_tail.drain(..cut);
    log_tail
}
