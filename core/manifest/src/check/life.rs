//! The life of a workload: jobs, schedules, restarts, disconnection, scale.

use std::time::Duration;

use skerry_schedule::{CompiledSchedule, ScheduleError};
use skerry_types::{
    JobPolicy, Lease, OnDisconnect, OnReturn, Overlap, RestartPolicy, RestartWhen, Scale, ScaleTarget,
    Schedule, TimeZone, show_duration,
};

use super::{amount, exactly_one, span, zone};
use crate::faults::Faults;
use crate::limits;
use crate::path::Path;
use crate::problem::Problem;
use crate::raw::{self, Life};

pub(super) fn restart(
    restart: &raw::Restart,
    kind: Life,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<RestartPolicy> {
    let bounds = limits::BACKOFF_MIN..=limits::BACKOFF_MAX;
    let backoff = span(&restart.backoff, &bounds, &path.field("backoff"), faults);
    let max_backoff = span(&restart.max_backoff, &bounds, &path.field("max_backoff"), faults);
    if kind.ends() && restart.policy == Some(raw::RestartWhen::Always) {
        let reason = "it comes to an end; write 'on_failure' or 'never'";
        faults.add(&path.field("policy"), Problem::WrongType { kind: kind.word(), reason });
    }
    let (backoff, max_backoff) = (backoff?, max_backoff?);
    if backoff > max_backoff && !faults.touch(path) {
        faults.add(
            &path.field("backoff"),
            Problem::BackoffOverMax {
                backoff: show_duration(backoff),
                max_backoff: show_duration(max_backoff),
            },
        );
    }
    let default = if kind.ends() { RestartWhen::Never } else { RestartWhen::Always };
    let when = restart.policy.map_or(default, |policy| match policy {
        raw::RestartWhen::Always => RestartWhen::Always,
        raw::RestartWhen::OnFailure => RestartWhen::OnFailure,
        raw::RestartWhen::Never => RestartWhen::Never,
    });
    Some(RestartPolicy { when, backoff, max_backoff })
}

pub(super) fn job(
    job: &raw::Job,
    restart: &raw::Restart,
    instances: u32,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> JobPolicy {
    let retries = job.retries.unwrap_or(limits::DEFAULT_RETRIES);
    let deadline = some_span(job.deadline.as_deref(), &path.field("deadline"), faults);
    let backoff = skerry_types::parse_duration(&restart.backoff).unwrap_or_default();
    if let Some(deadline) = deadline.filter(|deadline| retries > 0 && *deadline <= backoff) {
        let (deadline, backoff) = (show_duration(deadline), show_duration(backoff));
        faults.add(&path.field("deadline"), Problem::DeadlineBeforeRetry { deadline, backoff });
    }
    JobPolicy { parallelism: job.parallelism.unwrap_or(instances.max(1)), retries, deadline }
}

pub(super) fn schedule(
    schedule: &raw::Schedule,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Schedule> {
    let starting_deadline =
        some_span(schedule.starting_deadline.as_deref(), &path.field("starting_deadline"), faults);
    let zone = match schedule.timezone.as_str() {
        raw::SITE => Some(TimeZone::Site),
        name => zone(name, &path.field("timezone"), faults).map(TimeZone::Named),
    };
    let read = Schedule {
        cron: schedule.cron.clone(),
        // Its faults are told already.
        timezone: TimeZone::Site,
        overlap: match schedule.overlap {
            raw::Overlap::Allow => Overlap::Allow,
            raw::Overlap::Forbid => Overlap::Forbid,
            raw::Overlap::Replace => Overlap::Replace,
        },
        starting_deadline,
    };
    let compiled = CompiledSchedule::new(&read, None).map_err(|error| match error {
        ScheduleError::Cron(error) => Problem::Cron(error),
        ScheduleError::NeverDue { cron } => Problem::NeverDue { cron },
        ScheduleError::Zone(error) => Problem::TimeZone { name: error.name, nearest: String::new() },
    });
    faults.take(&path.field("cron"), compiled)?;
    Some(Schedule { timezone: zone?, ..read })
}

pub(super) fn on_disconnect(
    policy: &raw::OnDisconnect,
    kind: Life,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> OnDisconnect {
    let replace_path = path.field("replace_after");
    let stays = matches!(kind, Life::Daemon | Life::Cron);
    let replace_after = match policy.replace_after.as_deref() {
        None => (!stays).then_some(limits::DEFAULT_REPLACE_AFTER),
        text => span_or_never(text, &replace_path, faults),
    };
    if kind == Life::Daemon && replace_after.is_some() {
        let reason = "every node that matches has its own; write 'never' or leave it out";
        faults.add(&replace_path, Problem::WrongType { kind: kind.word(), reason });
    }
    let stop_after = span_or_never(policy.stop_after.as_deref(), &path.field("stop_after"), faults);
    OnDisconnect {
        replace_after,
        on_return: match policy.on_return {
            raw::OnReturn::KeepOriginal => OnReturn::KeepOriginal,
            raw::OnReturn::KeepNew => OnReturn::KeepNew,
            raw::OnReturn::KeepHealthiest => OnReturn::KeepHealthiest,
        },
        stop_after,
    }
}

/// The lease of what is exclusive.
pub(super) fn exclusive(
    spec: &raw::Spec,
    stop_grace: Duration,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<Lease> {
    let lease_path = path.field("lease");
    if !spec.exclusive {
        if spec.lease.is_some() {
            faults.add(&lease_path, Problem::LeaseOfNothing);
        }
        return None;
    }
    if spec.update.max_surge > 0 {
        faults.add(&path.field("update").field("max_surge"), Problem::ExclusiveSurge);
    }
    let length = match &spec.lease {
        Some(text) => span(text, &(Lease::MIN..=Lease::MAX), &lease_path, faults)?,
        None => Lease::DEFAULT.length(),
    };
    // They stop one after the other.
    let containers = u32::try_from(spec.containers.len()).unwrap_or(u32::MAX);
    let least = Lease::shortest_for(stop_grace.saturating_mul(containers));
    if length < least && !faults.touch(&lease_path) {
        let (lease, stop_grace) = (show_duration(length), show_duration(stop_grace));
        faults.add(&lease_path, Problem::LeaseTooShort { lease, stop_grace, least: show_duration(least) });
        return None;
    }
    faults.take(&lease_path, Lease::new(length))
}

pub(super) fn scale(scale: &raw::Scale, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Scale> {
    let stabilization = &(Duration::ZERO..=Duration::from_hours(24));
    let stabilization = span(&scale.stabilization, stabilization, &path.field("stabilization"), faults);
    if scale.min > scale.max && !faults.touch(path) {
        faults.add(&path.field("min"), Problem::MinOverMax { min: scale.min, max: scale.max });
    }
    let target = scale_target(scale, path, faults);
    Some(Scale {
        min: scale.min,
        max: scale.max,
        target: target?,
        stabilization: stabilization?,
        step: scale.step,
    })
}

fn scale_target(scale: &raw::Scale, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<ScaleTarget> {
    let targets = [
        ("cpu", scale.cpu.is_some()),
        ("memory", scale.memory.is_some()),
        ("metric", scale.metric.is_some()),
    ];
    let one = exactly_one(targets, path, faults)?;
    let path = path.field(one);
    match scale {
        raw::Scale { cpu: Some(cpu), .. } => amount::percent(cpu, &path, faults).map(ScaleTarget::Cpu),
        raw::Scale { memory: Some(memory), .. } => {
            amount::percent(memory, &path, faults).map(ScaleTarget::Memory)
        }
        raw::Scale { metric: Some(metric), .. } => {
            let value_path = path.field("value");
            let value_milli = amount::decimal(&metric.value, 3, &value_path, faults)?;
            let name_path = path.field("name");
            if metric.name.is_empty() {
                faults.add(&name_path, Problem::Empty { advice: "name the gauge that instances publish" });
            }
            if metric.name.len() > limits::METRIC_BYTES_MAX {
                let (bytes, max) = (metric.name.len(), limits::METRIC_BYTES_MAX);
                faults.add(&name_path, Problem::TooLong { bytes, max });
            }
            if value_milli == 0 {
                let (found, min, max) = ("0".to_owned(), "0.001".to_owned(), u64::MAX / 1000);
                faults.add(&value_path, Problem::OutOfBounds { found, min, max: max.to_string() });
            }
            Some(ScaleTarget::Metric { name: metric.name.clone(), value_milli })
        }
        _ => None,
    }
}

/// A span that may be absent.
fn some_span(text: Option<&str>, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Duration> {
    span(text?, &(Duration::from_secs(1)..=limits::SPAN_MAX), path, faults)
}

/// A span, or `never`, which absence means too.
fn span_or_never(text: Option<&str>, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Duration> {
    some_span(text.filter(|text| *text != raw::NEVER), path, faults)
}
