//! Starts and stops within the bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{OnReturn, SiteName, UpdatePolicy};

use super::gate::Gate;
use super::{Course, Drain, Health, Member, Plan, Reach, Replica, Start};

/// What may still be done in this step.
struct Bounds<'a> {
    /// Instances that may become unavailable.
    down: u32,
    /// Instances that may get a copy too many.
    surge: u32,
    /// Drained instances that may get a copy too many: one at a time even where updates may have none, for a drain never
    /// breaks before it makes.
    drain_surge: u32,
    /// Members under way on each site.
    busy: BTreeMap<&'a SiteName, u32>,
}

pub(super) fn plan(
    policy: &UpdatePolicy,
    on_return: OnReturn,
    gate: &Gate,
    course: &Course,
    members: &[Member<'_>],
) -> Plan {
    let mut plan = Plan {
        progress: gate.progress.clone(),
        leave: gate.leave.clone(),
        canaries: gate.dealt.clone(),
        again_in: gate.again_in,
        ..Plan::default()
    };
    let mut bounds = bounds(policy, members);
    for member in members {
        if member.live().next().is_none() {
            start_missing(member, gate, course, &mut plan);
        } else if member.current().any(Replica::is_wanted) {
            settle(policy, on_return, member, &mut plan);
            make_room(policy, gate, member, &mut bounds, &mut plan);
        } else if member.live().any(|replica| replica.drain == Drain::Forced) {
            evict(member, gate, course, &mut plan);
        } else if let Some(kept) = kept_of_former(on_return, member) {
            stop_beside(policy, member, kept, &mut plan);
        } else {
            replace(policy, gate, course, member, &mut bounds, &mut plan);
        }
    }
    plan
}

fn bounds<'a>(policy: &UpdatePolicy, members: &'a [Member<'_>]) -> Bounds<'a> {
    let count = |wanted: &dyn Fn(&Member<'_>) -> bool| {
        u32::try_from(members.iter().filter(|member| wanted(member)).count()).unwrap_or(u32::MAX)
    };
    let down = count(&|member| !member.is_deferred() && !member.is_steady(policy.min_healthy));
    let doubled = count(&|member| member.live().count() > 1);
    let mut busy: BTreeMap<&SiteName, u32> = BTreeMap::new();
    let moving = |member: &&Member<'_>| {
        !member.is_deferred() && member.current().next().is_some() && !member.is_settled(policy.min_healthy)
    };
    for site in members.iter().filter(moving).filter_map(|member| member.site.as_ref()) {
        *busy.entry(site).or_default() += 1;
    }
    Bounds {
        down: policy.max_unavailable.saturating_sub(down),
        surge: policy.max_surge.saturating_sub(doubled),
        drain_surge: policy.max_surge.max(1).saturating_sub(doubled),
        busy,
    }
}

/// In which generation a copy of this member starts, if there is one that it can start in.
fn start_missing(member: &Member<'_>, gate: &Gate, course: &Course, plan: &mut Plan) {
    // With no generation to come from, there is nothing to hold back for. A lost copy's replacement is of the generation that
    // the lost one had, unless it is its turn.
    let had_current = member.replicas.iter().any(|replica| replica.current);
    let current = !course.has_former || had_current || gate.is_open(member);
    plan.start.push(Start { instance: member.instance, current });
}

/// A member with a wanted copy: what is beside it goes as soon as that does not hurt.
fn settle(policy: &UpdatePolicy, on_return: OnReturn, member: &Member<'_>, plan: &mut Plan) {
    if member.live().nth(1).is_none() {
        return;
    }
    let wanted: Vec<&Replica<'_>> = member.current().filter(|replica| replica.is_wanted()).collect();
    stop_beside(policy, member, keep(on_return, &wanted), plan);
}

/// Where no copy is made beside another, one of the former generation that came by itself, as a node did with an older disk, may
/// hold the very room that the wanted one waits for.
fn make_room(
    policy: &UpdatePolicy,
    gate: &Gate,
    member: &Member<'_>,
    bounds: &mut Bounds<'_>,
    plan: &mut Plan,
) {
    let waits = member.current().all(|replica| !replica.is_ready());
    if policy.max_surge > 0 || bounds.down == 0 || !waits || !gate.is_open(member) || !member.open {
        return;
    }
    let former = member.live().filter(|replica| {
        !replica.current
            && replica.is_ready()
            && replica.drain == Drain::No
            && replica.reach == Reach::Reachable
    });
    let mut former = former.map(|replica| replica.id.clone()).peekable();
    if former.peek().is_some() {
        bounds.down -= 1;
        plan.stop.extend(former);
    }
}

/// Of several copies of the former generation the one that stays, when a lost node's copy is back beside its replacement: the
/// room of the others may be what an update waits for. One that runs beside a drained copy is that copy's successor.
fn kept_of_former<'a>(on_return: OnReturn, member: &Member<'a>) -> Option<&'a Replica<'a>> {
    let former: Vec<&Replica<'_>> = member.live().collect();
    let alike = former.iter().all(|replica| !replica.current && replica.drain == Drain::No);
    (former.len() > 1 && alike).then(|| keep(on_return, &former))
}

fn stop_beside(policy: &UpdatePolicy, member: &Member<'_>, kept: &Replica<'_>, plan: &mut Plan) {
    let others = member.live().filter(|replica| !std::ptr::eq(*replica, kept));
    for other in others {
        let careless = mutant::is(Mutant::BreaksBeforeMaking);
        let hurts = other.is_ready() && !kept.is_settled(policy.min_healthy) && !careless;
        match (hurts && other.drain != Drain::Forced, kept.health) {
            (false, _) if other.reach == Reach::Reachable => plan.stop.push(other.id.clone()),
            // A copy on a node that is not heard from is told to stop: it hears of it when its node is back.
            (false, _) if kept.is_settled(policy.min_healthy) => plan.stop.push(other.id.clone()),
            (true, Health::Ready(since)) => {
                let rest = policy.min_healthy.saturating_sub(since);
                plan.again_in = Some(plan.again_in.map_or(rest, |again| again.min(rest)));
            }
            _ => {}
        }
    }
}

/// Which of several wanted copies stays.
fn keep<'a>(on_return: OnReturn, wanted: &[&'a Replica<'a>]) -> &'a Replica<'a> {
    let ready_for = |replica: &Replica<'_>| match replica.health {
        Health::Ready(since) if replica.reach == Reach::Reachable => since,
        _ => Duration::ZERO,
    };
    let well = |replica: &Replica<'_>| replica.reach == Reach::Reachable && replica.is_ready();
    let best = wanted.iter().max_by(|a, b| {
        let by_policy = match on_return {
            OnReturn::KeepOriginal => a.age.cmp(&b.age),
            OnReturn::KeepNew => b.age.cmp(&a.age),
            OnReturn::KeepHealthiest => ready_for(a).cmp(&ready_for(b)),
        };
        well(a).cmp(&well(b)).then(by_policy).then_with(|| b.id.cmp(a.id))
    });
    best.expect("one is kept only of some")
}

/// The time of a drain is over: what is there goes, and another copy is sought at once, unless one is elsewhere.
fn evict(member: &Member<'_>, gate: &Gate, course: &Course, plan: &mut Plan) {
    let (forced, others): (Vec<&Replica<'_>>, Vec<_>) =
        member.live().partition(|replica| replica.drain == Drain::Forced);
    plan.stop.extend(forced.into_iter().map(|replica| replica.id.clone()));
    if others.is_empty() {
        start_missing(member, gate, course, plan);
    }
}

/// A member whose copies are all of another generation or on drained nodes.
fn replace<'a>(
    policy: &UpdatePolicy,
    gate: &Gate,
    course: &Course,
    member: &'a Member<'_>,
    bounds: &mut Bounds<'a>,
    plan: &mut Plan,
) {
    if member.is_deferred() {
        return;
    }
    let drained = member.live().any(|replica| replica.drain != Drain::No);
    let outdated = member.live().any(|replica| !replica.current);
    let moves = outdated && gate.is_open(member) && member.open;
    if drained && !(moves && member.live().all(|replica| replica.drain == Drain::No)) {
        return move_away(gate, course, member, bounds, plan);
    }
    if !moves || !site_is_free(policy, member, bounds) {
        return;
    }
    let start = Start { instance: member.instance, current: true };
    if !member.is_available() {
        // There is nothing to lose.
        stop_all(member, plan);
    } else if bounds.surge > 0 {
        bounds.surge -= 1;
        bounds.drain_surge = bounds.drain_surge.saturating_sub(1);
    } else if bounds.down > 0 {
        bounds.down -= 1;
        stop_all(member, plan);
    } else {
        return;
    }
    if let Some(site) = &member.site {
        *bounds.busy.entry(site).or_default() += 1;
    }
    plan.start.push(start);
}

/// A copy on a drained node: another one is made before it goes.
fn move_away(gate: &Gate, course: &Course, member: &Member<'_>, bounds: &mut Bounds<'_>, plan: &mut Plan) {
    let replacement = member.live().find(|replica| replica.drain == Drain::No);
    if let Some(other) = replacement {
        // One of the former generation took over, for the update holds.
        if other.is_ready() {
            let gone = member.live().filter(|replica| replica.drain != Drain::No);
            plan.stop.extend(gone.map(|replica| replica.id.clone()));
        }
    } else if !member.is_available() {
        stop_all(member, plan);
        start_missing(member, gate, course, plan);
    } else if bounds.drain_surge > 0 {
        bounds.drain_surge -= 1;
        bounds.surge = bounds.surge.saturating_sub(1);
        start_missing(member, gate, course, plan);
    }
}

fn stop_all(member: &Member<'_>, plan: &mut Plan) {
    plan.stop.extend(member.live().map(|replica| replica.id.clone()));
}

fn site_is_free(policy: &UpdatePolicy, member: &Member<'_>, bounds: &Bounds<'_>) -> bool {
    let Some((most, site)) = policy.per_site.zip(member.site.as_ref()) else { return true };
    bounds.busy.get(site).copied().unwrap_or(0) < most
}
