//! Lives of workloads.

use std::ops::RangeInclusive;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use skerry_types::{
    JobPolicy, OnDisconnect, OnReturn, Overlap, PortName, Probe, ProbeCheck, RestartWhen, Scale, ScaleTarget,
    Schedule, TimeZone, UpdatePolicy, Wave, WaveSize, Window, WorkloadKind,
};

use crate::workloads::{selector, text};

/// What depends on a workload's type.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) kind: WorkloadKind,
    pub(crate) restarts: RestartWhen,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) run_deadline: Option<Duration>,
    pub(crate) scale: Option<Scale>,
}

fn millis(bounds: RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    bounds.prop_map(Duration::from_millis)
}

/// Spans of policies: a second to a year.
fn span() -> impl Strategy<Value = Duration> {
    millis(1_000..=31_622_400_000)
}

pub(crate) fn life() -> impl Strategy<Value = Life> {
    let any = || select(vec![RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]);
    let ending = || select(vec![RestartWhen::OnFailure, RestartWhen::Never]);
    let kept =
        |kind| move |(restarts, scale)| Life { kind, restarts, schedule: None, run_deadline: None, scale };
    // Longer than any first wait before a retry.
    let deadline = option::of(millis(60_000..=31_622_400_000));
    let job = (1..=10_000_u32, 0..=1_000_u32, deadline).prop_map(|(parallelism, retries, deadline)| {
        WorkloadKind::Job(JobPolicy { parallelism, retries, deadline })
    });
    prop_oneof![
        (any(), option::of(scale())).prop_map(kept(WorkloadKind::Service)),
        (any(), Just(None)).prop_map(kept(WorkloadKind::Daemon)),
        (job, ending(), option::of(span())).prop_map(|(kind, restarts, run_deadline)| Life {
            kind,
            restarts,
            schedule: None,
            run_deadline,
            scale: None,
        }),
        (schedule(), ending(), option::of(span())).prop_map(|(schedule, restarts, run_deadline)| Life {
            kind: WorkloadKind::Cron,
            restarts,
            schedule: Some(schedule),
            run_deadline,
            scale: None,
        }),
    ]
}

prop_compose! {
    fn schedule()(
        cron in select(vec!["0 3 * * *", "*/5 1-3,7 1 jan,7 *", " * * * * sun "]),
        zone in option::of(select(vec!["Europe/Oslo", "UTC", "america/new_york"])),
        overlap in select(vec![Overlap::Allow, Overlap::Forbid, Overlap::Replace]),
        starting_deadline in option::of(span()),
    ) -> Schedule {
        let timezone = zone.map_or(TimeZone::Site, |name| TimeZone::Named(name.to_owned()));
        Schedule { cron: cron.to_owned(), timezone, overlap, starting_deadline }
    }
}

prop_compose! {
    fn scale()(
        (min, more) in (1..=5_000_u32, 0..=5_000_u32),
        target in prop_oneof![
            (1..=1_000_u32).prop_map(ScaleTarget::Cpu),
            (1..=1_000_u32).prop_map(ScaleTarget::Memory),
            ("[a-z_]{1,20}", 1..=u64::MAX)
                .prop_map(|(name, value_milli)| ScaleTarget::Metric { name, value_milli }),
        ],
        stabilization in millis(0..=86_400_000),
        step in 1..=10_000_u32,
    ) -> Scale {
        Scale { min, max: min + more, target, stabilization, step }
    }
}

prop_compose! {
    pub(crate) fn on_disconnect()(
        (replace_after, stop_after) in (option::of(span()), option::of(span())),
        on_return in select(vec![OnReturn::KeepOriginal, OnReturn::KeepNew, OnReturn::KeepHealthiest]),
    ) -> OnDisconnect {
        OnDisconnect { replace_after, on_return, stop_after }
    }
}

prop_compose! {
    pub(crate) fn update()(
        (max_unavailable, max_surge, canary) in (0..=10_000_u32, 1..=10_000_u32, 0..=10_000_u32),
        (auto_promote, auto_revert) in any::<(bool, bool)>(),
        (min_healthy, deadline) in (millis(0..=86_400_000), span()),
        waves in vec(wave(), 0..4),
        abort_percent in 1..=100_u32,
        window in option::of(window()),
        per_site in option::of(1..=10_000_u32),
    ) -> UpdatePolicy {
        UpdatePolicy {
            max_unavailable, max_surge, canary, auto_promote, auto_revert, min_healthy, deadline, waves, abort_percent,
            window, per_site,
        }
    }
}

prop_compose! {
    fn wave()(
        matches in option::of(selector()),
        size in prop_oneof![(1..=10_000_u32).prop_map(WaveSize::Count), (1..=100_u32).prop_map(WaveSize::Percent)],
        healthy_for in millis(0..=31_622_400_000),
    ) -> Wave {
        Wave { matches: matches.unwrap_or_default().parse().expect("a selector"), size, healthy_for }
    }
}

prop_compose! {
    fn window()(days in 1..=0b111_1111_u8, from_minute in 0..1440_u16, minutes in prop_oneof![Just(1440), 1..=1440_u16]) -> Window {
        Window { days, from_minute, minutes }
    }
}

pub(crate) fn probe() -> impl Strategy<Value = Probe> {
    let port = || PortName::new("any").expect("a name");
    let program = ("[a-z/]{1,9}", vec(text(), 0..3)).prop_map(|(program, mut args)| {
        args.insert(0, program);
        ProbeCheck::Exec { command: args }
    });
    let check = prop_oneof![
        "/[!-~]{0,20}".prop_map(move |path| ProbeCheck::Http { port: port(), path }),
        Just(ProbeCheck::Tcp { port: port() }),
        program,
    ];
    let times = (millis(1_000..=3_600_000), millis(100..=600_000), millis(0..=86_400_000));
    (check, 1..=100_u32, times).prop_map(|(check, failures, (interval, timeout, grace))| Probe {
        check,
        interval,
        timeout,
        failures,
        grace,
    })
}
