//! A job's completions.

use std::time::Duration;

use skerry_types::{InstanceIndex, JobPolicy};

/// One completion that a job is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Its number.
    pub instance: InstanceIndex,
    /// How it stands.
    pub state: CompletionState,
    /// How often it has failed.
    pub failures: u32,
}

/// How a completion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionState {
    /// It has no allocation.
    Waiting,
    /// It has one that is on its way or runs.
    Active,
    /// It came to a good end.
    Done,
    /// Its last allocation failed.
    Failed,
}

/// What to do next for a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobPlan {
    /// Completions to start, or to start again.
    pub start: Vec<InstanceIndex>,
    /// Completions to end, for the job is over.
    pub stop: Vec<InstanceIndex>,
    /// How it stands.
    pub state: JobState,
    /// When its deadline comes.
    pub again_in: Option<Duration>,
}

/// How a job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JobState {
    /// It goes on.
    #[default]
    Active,
    /// Every completion came to a good end.
    Complete,
    /// It was given up, and why.
    Failed(String),
}

/// What to do next for a job that began `age` ago. `completions` are in order of their numbers, each once.
///
/// A completion that failed is tried again up to `retries` times; one that has used them up fails the job, and what still
/// runs of it is ended: its result cannot be whole any more. So does the deadline.
pub fn plan(policy: &JobPolicy, age: Duration, completions: &[Completion]) -> JobPlan {
    let count = |state| completions.iter().filter(|completion| completion.state == state).count();
    if count(CompletionState::Done) == completions.len() {
        return JobPlan { state: JobState::Complete, ..JobPlan::default() };
    }
    if let Some(why) = failure(policy, age, completions) {
        let active = completions.iter().filter(|completion| completion.state == CompletionState::Active);
        let stop = active.map(|completion| completion.instance).collect();
        return JobPlan { stop, state: JobState::Failed(why), ..JobPlan::default() };
    }
    let room = usize::try_from(policy.parallelism).unwrap_or(usize::MAX);
    let room = room.saturating_sub(count(CompletionState::Active));
    let waiting = completions
        .iter()
        .filter(|completion| matches!(completion.state, CompletionState::Waiting | CompletionState::Failed));
    JobPlan {
        start: waiting.take(room).map(|completion| completion.instance).collect(),
        again_in: policy.deadline.map(|deadline| deadline.saturating_sub(age)),
        ..JobPlan::default()
    }
}

fn failure(policy: &JobPolicy, age: Duration, completions: &[Completion]) -> Option<String> {
    if let Some(deadline) = policy.deadline.filter(|deadline| age >= *deadline) {
        return Some(format!(
            "it took longer than its deadline of {}",
            skerry_types::show_duration(deadline)
        ));
    }
    let spent = completions.iter().find(|completion| {
        completion.state == CompletionState::Failed && completion.failures > policy.retries
    })?;
    let (instance, failures) = (spent.instance, spent.failures);
    Some(format!("instance {instance} failed {failures} times, {} retries are allowed", policy.retries))
}

#[cfg(test)]
mod tests {
    use CompletionState::{Active, Done, Failed, Waiting};

    use super::*;

    fn completions(states: &[(CompletionState, u32)]) -> Vec<Completion> {
        let numbered = (0..).zip(states);
        numbered
            .map(|(n, (state, failures))| Completion {
                instance: InstanceIndex(n),
                state: *state,
                failures: *failures,
            })
            .collect()
    }

    #[test]
    fn a_job_is_worked_off() {
        let minute = Duration::from_mins(1);
        let policy = JobPolicy { parallelism: 2, retries: 1, deadline: Some(minute) };
        let check = |age, states: &[(CompletionState, u32)], start: &[u32], stop: &[u32], word: &str| {
            let plan = plan(&policy, Duration::from_secs(age), &completions(states));
            let numbers = |list: &[InstanceIndex]| list.iter().map(|i| i.0).collect::<Vec<_>>();
            assert_eq!(
                (numbers(&plan.start), numbers(&plan.stop)),
                (start.to_vec(), stop.to_vec()),
                "{states:?}"
            );
            let found = match &plan.state {
                JobState::Active => "active",
                JobState::Complete => "complete",
                JobState::Failed(why) => why,
            };
            assert!(found.contains(word), "{found}");
        };
        check(0, &[(Waiting, 0), (Waiting, 0), (Waiting, 0)], &[0, 1], &[], "active");
        check(0, &[(Active, 0), (Waiting, 0), (Waiting, 0)], &[1], &[], "active");
        check(0, &[(Active, 0), (Active, 0), (Waiting, 0)], &[], &[], "active");
        check(0, &[(Done, 0), (Failed, 1), (Waiting, 0)], &[1, 2], &[], "active");
        check(0, &[(Done, 0), (Failed, 2), (Active, 0)], &[], &[2], "instance 1 failed 2 times");
        check(60, &[(Done, 0), (Active, 0), (Waiting, 0)], &[], &[1], "deadline of 1m");
        check(90, &[(Done, 0), (Done, 1)], &[], &[], "complete");
    }

    #[test]
    fn the_deadline_is_named_in_time() {
        let policy = JobPolicy { parallelism: 1, retries: 0, deadline: Some(Duration::from_secs(10)) };
        let plan = plan(&policy, Duration::from_secs(4), &completions(&[(Active, 0)]));
        assert_eq!(plan.again_in, Some(Duration::from_secs(6)));
    }
}
