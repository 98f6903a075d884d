//! Which members may move: canaries, waves, an operator's word, and what went wrong so far.

use std::collections::BTreeSet;
use std::time::Duration;

use skerry_types::{InstanceIndex, UpdatePolicy};

use super::{Course, Member, Progress, State};

/// Which members may move to the current generation, and what that means for the whole.
#[derive(Debug)]
pub(super) struct Gate {
    canaries: BTreeSet<InstanceIndex>,
    /// Waves before this one are released.
    waves: usize,
    pub(super) progress: Progress,
    /// When a wait of the gate is over.
    pub(super) again_in: Option<Duration>,
}

impl Gate {
    pub(super) fn new(policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> Self {
        let mut gate =
            Self { canaries: BTreeSet::new(), waves: 0, progress: count(policy, members), again_in: None };
        gate.progress.state = gate.open(policy, course, members);
        gate
    }

    /// Whether this member may move.
    pub(super) fn is_open(&self, member: &Member<'_>) -> bool {
        member.wave < self.waves || self.canaries.contains(&member.instance)
    }

    fn open(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> State {
        let left =
            members.iter().any(|member| !member.is_deferred() && !member.is_settled(policy.min_healthy));
        if let Some(why) = course.failed.clone().or_else(|| self.failure(policy, course, members)) {
            return State::Failed(why);
        }
        if course.paused {
            return State::Paused;
        }
        if !self.open_canaries(policy, course, members) {
            return State::Running;
        }
        if policy.canary > 0 && !policy.auto_promote && !course.promoted && self.is_partial(members) {
            return State::WaitingPromotion;
        }
        self.open_waves(policy, members);
        if left { State::Running } else { State::Done }
    }

    /// Whether members are left that the canaries' success would release.
    fn is_partial(&self, members: &[Member<'_>]) -> bool {
        members.iter().any(|member| member.current().next().is_none() && !self.is_open(member))
    }

    fn failure(&self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> Option<String> {
        let progress = &self.progress;
        if !course.has_former || members.is_empty() {
            return None;
        }
        let tried = progress.updated;
        if progress.failed > 0
            && u64::from(progress.failed) * 100 >= u64::from(policy.abort_percent) * u64::from(tried)
        {
            return Some(format!("{} of {tried} updated instances do not run", progress.failed));
        }
        let under_way = members.iter().any(|member| {
            !member.is_deferred()
                && member.current().next().is_some()
                && !member.is_settled(policy.min_healthy)
        });
        (under_way && course.since_progress >= policy.deadline).then(|| {
            format!("no instance became healthy for {}", skerry_types::show_duration(policy.deadline))
        })
    }

    /// Releases the canaries. True when they are well, or there are none to wait for.
    fn open_canaries(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> bool {
        if policy.canary == 0 || !course.has_former {
            return true;
        }
        // Those that have moved stay the canaries; the rest are the first that are heard from. One that has nothing to lose
        // goes before one that runs: as a canary that one may have to wait for ever until the others run, too.
        let (moved, mut rest): (Vec<_>, Vec<_>) =
            members.iter().filter(|m| !m.is_deferred()).partition(|m| m.current().next().is_some());
        rest.sort_by_key(|member: &&Member<'_>| member.is_available());
        let wanted = usize::try_from(policy.canary).unwrap_or(usize::MAX);
        let canaries: Vec<&Member<'_>> = moved.into_iter().chain(rest).take(wanted).collect();
        self.canaries.extend(canaries.iter().map(|member| member.instance));
        self.wait_for(policy.min_healthy, &canaries);
        canaries.iter().all(|member| member.is_settled(policy.min_healthy))
    }

    /// Releases every wave up to the first that is not done.
    fn open_waves(&mut self, policy: &UpdatePolicy, members: &[Member<'_>]) {
        let waves = members.iter().map(|member| member.wave + 1).max().unwrap_or(1);
        let mut heard: Vec<Vec<&Member<'_>>> = vec![Vec::new(); waves];
        for member in members.iter().filter(|member| !member.is_deferred()) {
            heard[member.wave].push(member);
        }
        for (wave, heard) in heard.iter().enumerate() {
            self.waves = wave + 1;
            self.progress.wave = (wave, waves);
            let healthy_for = policy.waves.get(wave).map_or(Duration::ZERO, |wave| wave.healthy_for);
            let least = policy.min_healthy.max(healthy_for);
            self.wait_for(least, heard);
            if !heard.iter().all(|member| member.is_settled(least)) {
                break;
            }
        }
    }

    /// Notes when the first of `members` that is ready but not for long enough will have been.
    fn wait_for(&mut self, least: Duration, members: &[&Member<'_>]) {
        let ready =
            members.iter().flat_map(|member| member.current()).filter_map(|replica| match replica.health {
                super::Health::Ready(since) if since < least => Some(least.saturating_sub(since)),
                _ => None,
            });
        self.again_in = ready.chain(self.again_in).min();
    }
}

fn count(policy: &UpdatePolicy, members: &[Member<'_>]) -> Progress {
    let many = |wanted: &dyn Fn(&Member<'_>) -> bool| {
        u32::try_from(members.iter().filter(|member| wanted(member)).count()).unwrap_or(u32::MAX)
    };
    Progress {
        total: many(&|_| true),
        updated: many(&|member| member.current().next().is_some()),
        settled: many(&|member| member.is_settled(policy.min_healthy)),
        deferred: many(&|member| member.is_deferred() && member.current().next().is_none()),
        failed: many(&|member| member.has_failed()),
        waiting: many(&|member| !member.open && !member.is_deferred() && member.current().next().is_none()),
        wave: (0, 1),
        state: State::Done,
    }
}
