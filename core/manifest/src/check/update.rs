//! How a workload goes from one generation to the next.

use std::time::Duration;

use skerry_types::{Selector, UpdatePolicy, Wave, WaveSize, Window};

use super::{exactly_one, span};
use crate::faults::Faults;
use crate::limits;
use crate::path::Path;
use crate::problem::Problem;
use crate::raw::{self, Life};

const DAY_MINUTES: u16 = 24 * 60;

/// `instances` is the most that there can be, other than of a daemon.
pub(super) fn update(
    update: &raw::Update,
    spec: &raw::Spec,
    instances: u32,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<UpdatePolicy> {
    let raw::Strategy::Rolling = update.strategy;
    if update.max_unavailable == 0 && update.max_surge == 0 && !faults.touch(path) {
        faults.add(path, Problem::NothingMoves);
    }
    let canary_path = path.field("canary");
    if spec.kind != Life::Daemon && update.canary > instances && !faults.touch(&canary_path) {
        faults.add(&canary_path, Problem::CanaryOverInstances { canary: update.canary, instances });
    }
    let day = Duration::ZERO..=Duration::from_hours(24);
    let min_healthy = match &update.min_healthy {
        Some(text) => span(text, &day, &path.field("min_healthy"), faults),
        None => Some(min_healthy(&spec.containers)),
    };
    let deadline = &(Duration::from_secs(1)..=limits::SPAN_MAX);
    let deadline = span(&update.deadline, deadline, &path.field("deadline"), faults);
    let waves = waves(&update.waves, &path.field("waves"), faults);
    let window = match &update.window {
        Some(raw) => Some(window(raw, &path.field("window"), faults)?),
        None => None,
    };
    Some(UpdatePolicy {
        max_unavailable: update.max_unavailable,
        max_surge: update.max_surge,
        canary: update.canary,
        auto_promote: update.auto_promote,
        auto_revert: update.auto_revert,
        min_healthy: min_healthy?,
        deadline: deadline?,
        waves,
        abort_percent: update.abort_percent,
        window,
        per_site: update.per_site,
    })
}

/// How long an instance must be ready where nobody says: without a probe, that a container runs is all that is known of it.
fn min_healthy(containers: &[raw::Container]) -> Duration {
    let is_probed = |container: &raw::Container| container.health.is_some() || container.ready.is_some();
    if containers.iter().all(is_probed) {
        limits::DEFAULT_MIN_HEALTHY_PROBED
    } else {
        limits::DEFAULT_MIN_HEALTHY
    }
}

fn waves(waves: &[raw::Wave], path: &Path<'_>, faults: &mut Faults<'_>) -> Vec<Wave> {
    let mut checked = Vec::new();
    for (index, raw) in waves.iter().enumerate() {
        checked.extend(wave(raw, &path.index(index), faults));
    }
    checked
}

fn wave(wave: &raw::Wave, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Wave> {
    let matches = faults.take(&path.field("match"), wave.matches.parse::<Selector>());
    let healthy_for =
        span(&wave.healthy_for, &(Duration::ZERO..=limits::SPAN_MAX), &path.field("healthy_for"), faults);
    let size = match (wave.count, wave.percent) {
        (Some(count), None) => WaveSize::Count(count),
        (None, percent) => WaveSize::Percent(percent.unwrap_or(100)),
        (Some(_), Some(_)) => {
            exactly_one([("count", true), ("percent", true)], path, faults);
            return None;
        }
    };
    Some(Wave { matches: matches?, size, healthy_for: healthy_for? })
}

fn window(window: &raw::Window, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<Window> {
    let from = minute(&window.from, &path.field("from"), faults);
    let to = minute(&window.to, &path.field("to"), faults);
    let days = (0..).zip(raw::Day::ALL).filter(|(_, day)| window.days.contains(day));
    let (from, to) = (from?, to?);
    let open = (DAY_MINUTES + to - from) % DAY_MINUTES;
    Some(Window {
        days: days.fold(0, |set, (bit, _)| set | 1 << bit),
        from_minute: from,
        minutes: if open == 0 { DAY_MINUTES } else { open },
    })
}

/// The minute of the day that `02:00` means.
fn minute(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<u16> {
    let part = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number: &u16| digits && *number < below)
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| part(hour, 24).zip(part(minute, 60)));
    if parts.is_none() {
        faults.add(path, Problem::TimeOfDay { found: text.to_owned() });
    }
    parts.map(|(hour, minute)| hour * 60 + minute)
}
