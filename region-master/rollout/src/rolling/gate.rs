//! Which members may move: canaries, waves, an operator's word, and what went wrong so far.
//!
//! One region decides that for a workload, over its own members and what the regions below say of theirs. Those are told how
//! far they may go and move their own members within that, also while nothing is heard from above.

use std::collections::BTreeSet;
use std::time::Duration;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{Hold, InstanceIndex, Leave, PartProgress, UpdatePolicy};

use super::{Course, Member, Part, Progress, State};

/// Which members may move to the current generation, and what that means for the whole.
#[derive(Debug)]
pub(super) struct Gate {
    canaries: BTreeSet<InstanceIndex>,
    /// Waves before this one are released.
    waves: usize,
    /// Members of later waves that go ahead of theirs.
    ahead: BTreeSet<InstanceIndex>,
    pub(super) progress: Progress,
    /// How far regions below may go.
    pub(super) leave: Leave,
    /// Canaries of each of them.
    pub(super) dealt: Vec<u32>,
    /// When a wait of the gate is over.
    pub(super) again_in: Option<Duration>,
}

impl Gate {
    pub(super) fn new(policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> Self {
        let mut gate = Self {
            canaries: BTreeSet::new(),
            waves: 0,
            ahead: BTreeSet::new(),
            progress: count(policy, members),
            leave: Leave { reverts: !course.has_former, ..Leave::FREE },
            dealt: Vec::new(),
            again_in: course.unsure_for,
        };
        let left =
            members.iter().any(|member| !member.is_deferred() && !member.is_settled(policy.min_healthy));
        gate.choose_canaries(policy, course, members);
        gate.count_waves(policy, course, members);
        gate.decide(policy, course, members);
        gate.let_broken_ahead(policy, members);
        gate.add_parts(policy, course, members);
        let below = course.homeless > 0 || course.parts.iter().any(Part::is_left);
        gate.progress.done = !left && !below && course.unsure_for.is_none();
        gate.progress.state = gate.state(policy, course);
        if let State::Failed(_) = gate.progress.state {
            (gate.leave.hold, gate.waves) = (Hold::GivenUp, 0);
            gate.canaries.clear();
            gate.ahead.clear();
        }
        gate
    }

    /// Whether this member may move.
    pub(super) fn is_open(&self, member: &Member<'_>) -> bool {
        let is_named = |set: &BTreeSet<InstanceIndex>| set.contains(&member.instance);
        member.wave < self.waves || is_named(&self.canaries) || is_named(&self.ahead)
    }

    /// Chooses the canaries among the members and deals out the rest to the regions below.
    fn choose_canaries(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) {
        let own = if course.has_former { policy.canary } else { 0 };
        let count = course.told.as_ref().map_or(own, |leave| leave.canaries);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        // Those that have moved stay the canaries; the rest are the first that are heard from. One that has nothing to lose
        // goes before one that runs: as a canary that one may have to wait for ever until the others run, too.
        let (moved, mut rest): (Vec<_>, Vec<_>) =
            members.iter().filter(|m| !m.is_deferred()).partition(|m| m.current().next().is_some());
        rest.sort_by_key(|member: &&Member<'_>| member.is_available());
        let chosen: Vec<&Member<'_>> = moved.into_iter().chain(rest).take(wanted).collect();
        self.canaries.extend(chosen.iter().map(|member| member.instance));
        self.wait_for(policy.min_healthy, &chosen);
        let mut well = chosen.iter().all(|member| member.is_settled(policy.min_healthy));
        self.dealt = deal(count.saturating_sub(number(chosen.len())), &course.parts);
        well &= self.dealt.iter().zip(&course.parts).all(|(dealt, part)| part.is_well(*dealt));
        self.progress.canaries_well = well;
    }

    /// Counts the waves, from the first, that are well for as long as they are to be, here and below.
    fn count_waves(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) {
        let here = members.iter().map(|member| member.wave + 1).max().unwrap_or(1);
        let waves = if course.parts.is_empty() { here } else { here.max(policy.waves.len() + 1) };
        let mut heard: Vec<Vec<&Member<'_>>> = vec![Vec::new(); waves];
        for member in members.iter().filter(|member| !member.is_deferred() || member.awaited) {
            heard[member.wave].push(member);
        }
        // What has moved is well before more does, in whatever wave it is: an instance that finds its place elsewhere is in none.
        let moves = |member: &Member<'_>| {
            member.current().next().is_some() || !course.has_former && member.live().next().is_none()
        };
        let moved: Vec<&Member<'_>> = members.iter().filter(|m| !m.is_deferred() && moves(m)).collect();
        let (mut done, unproven) = (0, self.is_unproven(course));
        while let Some(heard) = heard.get(done) {
            // A wave that nobody is in yet is not over.
            if done >= course.dealt && done < policy.waves.len() {
                break;
            }
            let healthy_for = policy.waves.get(done).map_or(Duration::ZERO, |wave| wave.healthy_for);
            let least = policy.min_healthy.max(healthy_for);
            self.wait_for(least, heard);
            self.wait_for(least, &moved);
            let below = course.parts.iter().any(|part| part.holds_up(number(done)));
            if below || unproven || !heard.iter().chain(&moved).all(|member| member.is_settled(least)) {
                break;
            }
            done += 1;
        }
        self.progress.wave = (done.min(waves - 1), waves);
        // Whoever has no member in the last waves has nothing to do in them.
        self.progress.waves_done =
            number(if done == waves { done.max(policy.waves.len() + 1) } else { done });
    }

    /// Whether nobody who moved, here or below, has shown that it runs: an update may be what silenced them.
    fn is_unproven(&self, course: &Course) -> bool {
        let parts = || course.parts.iter().map(Part::counts);
        let moved = self.progress.updated > 0 || parts().any(|part| part.updated > 0);
        let well = self.progress.settled > 0 || parts().any(|part| part.settled > 0);
        course.told.is_none() && moved && !well
    }

    /// Releases members, by what is told from above or decided here.
    fn decide(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) {
        let told = course.told.clone();
        let leave = told.unwrap_or_else(|| self.own_leave(policy, course, members));
        if leave.hold != Hold::Moves {
            self.canaries.clear();
        } else if leave.promoted {
            self.waves = usize::try_from(leave.waves).unwrap_or(usize::MAX);
        }
        self.leave = Leave { canaries: 0, ..leave };
    }

    /// Broken members of later waves go ahead of them where they use up all gaps that an update may make: the waves that are
    /// released would wait for them for ever, and they for those. They have nothing to lose; as few go as give one gap.
    fn let_broken_ahead(&mut self, policy: &UpdatePolicy, members: &[Member<'_>]) {
        if policy.max_surge > 0 || self.waves == 0 {
            return;
        }
        let later: Vec<&Member<'_>> =
            members.iter().filter(|member| member.wave >= self.waves && member.is_broken()).collect();
        let used = number(later.len()).saturating_add(self.progress.failed);
        if used < policy.max_unavailable || !self.is_waited_for(members) {
            return;
        }
        let mut first = later;
        first.sort_by_key(|member| member.wave);
        let most = usize::try_from(used - policy.max_unavailable).unwrap_or(usize::MAX).saturating_add(1);
        self.ahead = first.into_iter().take(most).map(|member| member.instance).collect();
    }

    /// Whether a member that may move needs a gap for it.
    fn is_waited_for(&self, members: &[Member<'_>]) -> bool {
        members.iter().any(|member| {
            !member.is_deferred()
                && member.current().next().is_none()
                && member.is_available()
                && self.is_open(member)
        })
    }

    fn own_leave(&self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) -> Leave {
        let hold = match (&course.failed, course.paused) {
            (Some(_), _) => Hold::GivenUp,
            (None, true) => Hold::Paused,
            (None, false) => Hold::Moves,
        };
        let waits = policy.canary > 0 && course.has_former;
        let all = policy.auto_promote || course.promoted || !self.is_partial(course, members);
        let promoted = !waits || self.progress.canaries_well && all;
        // What takes back a failed one has nothing to try out, and those that it broke wait for it.
        let next = if mutant::is(Mutant::ReleasesWavesEarly) { 2 } else { 1 };
        let waves = if course.has_former { self.progress.waves_done.saturating_add(next) } else { u32::MAX };
        Leave { hold, promoted, waves, reverts: !course.has_former, ..Leave::FREE }
    }

    /// Whether members are left that the canaries' success would release.
    fn is_partial(&self, course: &Course, members: &[Member<'_>]) -> bool {
        let here = |member: &Member<'_>| {
            member.current().next().is_none() && !self.canaries.contains(&member.instance)
        };
        members.iter().any(here)
            || course.parts.iter().any(|part| part.progress.updated < part.progress.total)
    }

    /// Adds what regions below say, and what is under way here.
    fn add_parts(&mut self, policy: &UpdatePolicy, course: &Course, members: &[Member<'_>]) {
        let under_way = members.iter().filter(|member| {
            !member.is_deferred()
                && !member.is_settled(policy.min_healthy)
                && (member.current().next().is_some()
                    || member.open && self.is_open(member) && !member.is_lost())
        });
        let under_way = number(under_way.count());
        let progress = &mut self.progress;
        progress.total += course.homeless;
        progress.under_way = under_way + course.homeless;
        for PartProgress { total, updated, under_way, settled, deferred, failed, waiting, .. } in
            course.parts.iter().map(Part::counts)
        {
            progress.total += total;
            progress.updated += updated;
            progress.under_way += under_way;
            progress.settled += settled;
            progress.deferred += deferred;
            progress.failed += failed;
            progress.waiting += waiting;
        }
    }

    fn state(&self, policy: &UpdatePolicy, course: &Course) -> State {
        if let Some(why) = course.failed.clone().or_else(|| self.failure(policy, course)) {
            return State::Failed(why);
        }
        match self.leave.hold {
            Hold::GivenUp => State::Failed("the region that owns the workload gave it up".to_owned()),
            Hold::Paused => State::Paused,
            Hold::Moves if self.leave.promoted => {
                let is_over =
                    self.progress.done && !self.has_waves_left(policy, course) && !self.is_unheard(course);
                if is_over { State::Done } else { State::Running }
            }
            Hold::Moves if self.progress.canaries_well && !policy.auto_promote => State::WaitingPromotion,
            Hold::Moves => State::Running,
        }
    }

    /// Whether nobody at all is known to be well, for want of anybody who is heard from. All that is left would move at once when it is
    /// back.
    fn is_unheard(&self, course: &Course) -> bool {
        course.told.is_none() && self.progress.total > 0 && self.progress.settled == 0
    }

    /// Whether another region may wait for a wave of this one to have been well for long enough.
    fn has_waves_left(&self, policy: &UpdatePolicy, course: &Course) -> bool {
        let is_bound = course.told.as_ref().is_some_and(|leave| leave.waves < u32::MAX);
        is_bound && self.progress.waves_done <= number(policy.waves.len())
    }

    /// Why the move is to be given up, if this region is the one to say so.
    fn failure(&self, policy: &UpdatePolicy, course: &Course) -> Option<String> {
        let progress = &self.progress;
        if course.told.is_some() || !course.has_former || progress.total == 0 {
            return None;
        }
        let tried = progress.updated;
        if progress.failed > 0
            && u64::from(progress.failed) * 100 >= u64::from(policy.abort_percent) * u64::from(tried)
        {
            return Some(format!("{} of {tried} updated instances do not run", progress.failed));
        }
        let is_late = progress.under_way > 0 && course.since_progress >= policy.deadline;
        (is_late && !course.paused).then(|| {
            format!("no instance became healthy for {}", skerry_types::show_duration(policy.deadline))
        })
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

/// Deals canaries out to regions. Those where some have moved keep theirs, unless they are away and theirs were not well.
fn deal(count: u32, parts: &[Part]) -> Vec<u32> {
    let mut missing = count;
    let mut dealt = vec![0; parts.len()];
    for (dealt, part) in dealt.iter_mut().zip(parts) {
        let moved = part.progress.updated.min(missing);
        if part.reachable || part.is_well(moved) {
            *dealt = moved;
            missing -= moved;
        }
    }
    for (dealt, part) in dealt.iter_mut().zip(parts).filter(|(_, part)| part.reachable) {
        let heard = part.progress.total.saturating_sub(part.progress.deferred);
        let more = heard.saturating_sub(*dealt).min(missing);
        *dealt += more;
        missing -= more;
    }
    dealt
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn count(policy: &UpdatePolicy, members: &[Member<'_>]) -> Progress {
    let many =
        |wanted: &dyn Fn(&Member<'_>) -> bool| number(members.iter().filter(|member| wanted(member)).count());
    Progress {
        total: number(members.len()),
        updated: many(&|member| member.current().next().is_some()),
        settled: many(&|member| member.is_settled(policy.min_healthy)),
        deferred: many(&|member| member.is_deferred() && member.current().next().is_none()),
        failed: many(&|member| member.has_failed()),
        waiting: many(&|member| !member.open && !member.is_deferred() && member.current().next().is_none()),
        wave: (0, 1),
        ..Progress::default()
    }
}
