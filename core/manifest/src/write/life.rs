//! The life of a workload in its canonical form.

use skerry_types::{
    JobPolicy, OnDisconnect, OnReturn, Overlap, RestartPolicy, RestartWhen, Scale, ScaleTarget, Schedule,
    TimeZone, UpdatePolicy, Wave, WaveSize, Window, show_duration,
};

use super::decimal_text;
use crate::raw;

const DAY_MINUTES: u16 = 24 * 60;

pub(super) fn restart(policy: &RestartPolicy) -> raw::Restart {
    raw::Restart {
        policy: Some(match policy.when {
            RestartWhen::Always => raw::RestartWhen::Always,
            RestartWhen::OnFailure => raw::RestartWhen::OnFailure,
            RestartWhen::Never => raw::RestartWhen::Never,
        }),
        backoff: show_duration(policy.backoff),
        max_backoff: show_duration(policy.max_backoff),
    }
}

pub(super) fn job(policy: &JobPolicy) -> raw::Job {
    raw::Job {
        parallelism: Some(policy.parallelism),
        retries: Some(policy.retries),
        deadline: policy.deadline.map(show_duration),
    }
}

pub(super) fn schedule(schedule: &Schedule) -> raw::Schedule {
    raw::Schedule {
        cron: schedule.cron.clone(),
        timezone: match &schedule.timezone {
            TimeZone::Site => raw::SITE.to_owned(),
            TimeZone::Named(name) => name.clone(),
        },
        overlap: match schedule.overlap {
            Overlap::Allow => raw::Overlap::Allow,
            Overlap::Forbid => raw::Overlap::Forbid,
            Overlap::Replace => raw::Overlap::Replace,
        },
        starting_deadline: schedule.starting_deadline.map(show_duration),
    }
}

pub(super) fn on_disconnect(policy: &OnDisconnect) -> raw::OnDisconnect {
    raw::OnDisconnect {
        replace_after: Some(policy.replace_after.map_or_else(|| raw::NEVER.to_owned(), show_duration)),
        on_return: match policy.on_return {
            OnReturn::KeepOriginal => raw::OnReturn::KeepOriginal,
            OnReturn::KeepNew => raw::OnReturn::KeepNew,
            OnReturn::KeepHealthiest => raw::OnReturn::KeepHealthiest,
        },
        stop_after: policy.stop_after.map(show_duration),
    }
}

pub(super) fn scale(scale: &Scale) -> raw::Scale {
    let unset = raw::Scale {
        min: scale.min,
        max: scale.max,
        cpu: None,
        memory: None,
        metric: None,
        stabilization: show_duration(scale.stabilization),
        step: scale.step,
    };
    match &scale.target {
        ScaleTarget::Cpu(hundredths) => raw::Scale { cpu: Some(format!("{hundredths}%")), ..unset },
        ScaleTarget::Memory(hundredths) => raw::Scale { memory: Some(format!("{hundredths}%")), ..unset },
        ScaleTarget::Metric { name, value_milli } => {
            let value = decimal_text(*value_milli, 3);
            raw::Scale { metric: Some(raw::Metric { name: name.clone(), value }), ..unset }
        }
    }
}

pub(super) fn update(policy: &UpdatePolicy) -> raw::Update {
    raw::Update {
        strategy: raw::Strategy::Rolling,
        max_unavailable: policy.max_unavailable,
        max_surge: policy.max_surge,
        canary: policy.canary,
        auto_promote: policy.auto_promote,
        auto_revert: policy.auto_revert,
        min_healthy: Some(show_duration(policy.min_healthy)),
        deadline: show_duration(policy.deadline),
        waves: policy.waves.iter().map(wave).collect(),
        abort_percent: policy.abort_percent,
        window: policy.window.map(window),
        per_site: policy.per_site,
    }
}

fn wave(wave: &Wave) -> raw::Wave {
    let (count, percent) = match wave.size {
        WaveSize::Count(count) => (Some(count), None),
        WaveSize::Percent(percent) => (None, Some(percent)),
    };
    raw::Wave {
        matches: wave.matches.to_string(),
        count,
        percent,
        healthy_for: show_duration(wave.healthy_for),
    }
}

fn window(window: Window) -> raw::Window {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let days = (0..).zip(raw::Day::ALL).filter(|(bit, _)| window.days >> bit & 1 == 1);
    raw::Window {
        days: days.map(|(_, day)| day).collect(),
        from: time(window.from_minute),
        to: time((window.from_minute + window.minutes) % DAY_MINUTES),
    }
}
