//! What is so of a workload's instances, in the words of the planner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skerry_rollout::rolling::{Health, Member, Reach, Replica};
use skerry_schedule::{Zone, window_is_open, window_opens_after};
use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    Desired, InstanceIndex, InstanceSet, InstanceSpec, MonoTime, NodeName, WorkloadKey, WorkloadKind,
    WorkloadSpec,
};

use crate::allocations::{Allocation, Condition};
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// How long a node or a region may be away before a move goes on without it: twice the longest pause between two attempts to dial.
const ABSENT_AFTER: Duration = Duration::from_mins(2);

/// Copies of a workload and their nodes, in order of their instances.
pub(crate) struct Copies<'a> {
    places: Vec<(InstanceIndex, &'a NodeName)>,
    replicas: Vec<Replica<'a>>,
}

impl RegionState {
    /// The copies of a workload that should run.
    pub(crate) fn copies(&self, spec: &WorkloadSpec) -> Copies<'_> {
        let all = self.allocations.of(&spec.key).filter(|known| known.desired == Desired::Run);
        let mut sorted: Vec<(InstanceIndex, &Allocation)> =
            all.map(|known| (known.instance, known)).collect();
        sorted.sort_by_key(|(instance, _)| *instance);
        // Copies of a generation share its spec, so that it is compared once.
        let mut compared: Option<(&Arc<InstanceSpec>, bool)> = None;
        let mut copies = Copies { places: Vec::new(), replicas: Vec::with_capacity(sorted.len()) };
        for (instance, known) in sorted {
            let same = compared.filter(|(found, _)| Arc::ptr_eq(found, &known.spec)).map(|(_, same)| same);
            let current = same.unwrap_or_else(|| known.spec == spec.instance);
            compared = Some((&known.spec, current));
            copies.places.push((instance, &known.record.node));
            copies.replicas.push(self.replica(spec, known, current));
        }
        copies
    }

    /// The instances of `set` and their copies, in order of their numbers.
    pub(crate) fn members<'a>(
        &'a self,
        spec: &WorkloadSpec,
        set: &InstanceSet,
        waves: &BTreeMap<InstanceIndex, usize>,
        copies: &'a Copies<'a>,
    ) -> Vec<Member<'a>> {
        let mut at = 0;
        let member = |instance: InstanceIndex| {
            let rest = &copies.places[at..];
            at += rest.iter().take_while(|(other, _)| *other < instance).count();
            let rest = &copies.places[at..];
            let count = rest.iter().take_while(|(other, _)| *other == instance).count();
            let replicas = &copies.replicas[at..at + count];
            at += count;
            let node = rest.first().filter(|_| count > 0).map(|(_, node)| *node);
            let site = node.filter(|_| spec.update.per_site.is_some()).and_then(|node| self.nodes.get(node));
            Member {
                instance,
                awaited: node.is_some_and(|node| self.is_awaited(node)),
                open: node.is_none_or(|node| self.window_is_open(spec, node)),
                site: site.map(|node| node.site.clone()),
                wave: waves.get(&instance).copied().unwrap_or(spec.update.waves.len()),
                replicas,
            }
        };
        set.iter().map(member).collect()
    }

    fn replica<'a>(&self, spec: &WorkloadSpec, known: &'a Allocation, current: bool) -> Replica<'a> {
        Replica {
            id: known.id(),
            current,
            health: self.health(spec, known),
            reach: self.reach(spec, &known.record.node),
            drain: self.drain_of(spec, &known.record.node),
            age: self.now.wall.since(known.record.placed_at),
        }
    }

    fn health(&self, spec: &WorkloadSpec, known: &Allocation) -> Health {
        let rests = spec.kind == WorkloadKind::Cron;
        match (known.condition, known.ready) {
            (Condition::Silent, _) | (Condition::Starting, None) => Health::Starting,
            (Condition::Completed, _) => Health::Ready(Duration::MAX),
            // What waits for its time is as well as it will be once it could run.
            (Condition::Starting | Condition::Running, Some(_)) if rests => Health::Ready(Duration::MAX),
            (_, Some(since)) => Health::Ready(self.now.mono.since(since)),
            (Condition::Failing, None) => Health::Failing,
            (Condition::Running, None) => Health::Unready,
        }
    }

    fn reach(&self, spec: &WorkloadSpec, node: &NodeName) -> Reach {
        let Some(since) = self.life.away.get(node) else { return Reach::Reachable };
        let away = self.now.mono.since(*since);
        let is_over = spec.on_disconnect.replace_after.is_some_and(|after| away >= after);
        if is_over || mutant::is(Mutant::OfflineIsLost) { Reach::Lost } else { Reach::Unreachable }
    }

    /// Whether what is away since then is so for only a moment.
    pub(crate) fn is_brief(&self, since: MonoTime) -> bool {
        self.now.mono.since(since) < ABSENT_AFTER
    }

    /// Whether a node has not been heard from since the master began, a moment ago.
    fn is_awaited(&self, node: &NodeName) -> bool {
        let began = self.life.began;
        self.is_brief(began) && self.life.away.get(node).is_some_and(|since| *since <= began)
    }

    /// While nodes of the workload's are away for only a moment, how long until the first of them counts as not heard from: a link that
    /// is dialled anew and a master that starts are no reason to go on without anybody.
    pub(crate) fn next_absence(&self, record: &WorkloadRecord) -> Option<Duration> {
        let key = &record.spec.key;
        let away = self.absences(key).chain(self.absent_parts(key));
        let left =
            away.filter(|away| *away < ABSENT_AFTER).map(|away| ABSENT_AFTER.saturating_sub(away)).min();
        // Nodes that go one by one do not cost a look each.
        left.map(|left| left.max(Duration::from_secs(1)))
    }

    /// How long each node with something of a workload is away that is.
    fn absences(&self, key: &WorkloadKey) -> impl Iterator<Item = Duration> {
        let looked_at = (!self.life.away.is_empty()).then(|| self.allocations_of(key));
        let nodes = looked_at.into_iter().flatten().map(|allocation| &allocation.node);
        nodes.filter_map(|node| self.life.away.get(node)).map(|since| self.now.mono.since(*since))
    }

    /// When the next node of the workload's becomes lost to it.
    pub(crate) fn next_loss(&self, record: &WorkloadRecord) -> Option<Duration> {
        let after = record.spec.on_disconnect.replace_after?;
        let away = self.absences(&record.spec.key);
        away.filter(|away| *away < after).map(|away| after.saturating_sub(away)).min()
    }

    fn window_is_open(&self, spec: &WorkloadSpec, node: &NodeName) -> bool {
        let Some(window) = &spec.update.window else { return true };
        window_is_open(window, &self.zone_of(node), self.now.wall)
    }

    /// When the next window of a member opens.
    pub(crate) fn next_window(&self, record: &WorkloadRecord) -> Option<Duration> {
        let window = record.spec.update.window.as_ref()?;
        let nodes = self.allocations_of(&record.spec.key).map(|allocation| &allocation.node);
        let opens = nodes.filter_map(|node| window_opens_after(window, &self.zone_of(node), self.now.wall));
        opens.map(|at| at.since(self.now.wall)).min()
    }

    /// By which clock on the wall people live at a node's site.
    fn zone_of(&self, node: &NodeName) -> Zone {
        let name = self.timezone_of(node);
        name.and_then(|name| Zone::named(&name).ok()).unwrap_or(Zone::UTC)
    }

    /// Something about a workload's instances changed: looks at it now, or a little later when it has many instances and was
    /// looked at just before, so that ten thousand reports do not cost ten thousand looks at ten thousand instances.
    pub(crate) fn look_at(&mut self, key: &WorkloadKey) {
        self.look_after(key, Duration::from_micros(50));
    }

    /// The same for a node that went away or came back: it may have all workloads of its region on it, and after a master's start ten
    /// thousand nodes come back within seconds. What follows from that is counted in tens of seconds.
    pub(crate) fn look_at_reach(&mut self, key: &WorkloadKey) {
        self.look_after(key, Duration::from_micros(200));
    }

    fn look_after(&mut self, key: &WorkloadKey, per_instance: Duration) {
        let many = self.allocations.count_of(key);
        let gap = per_instance * u32::try_from(many).unwrap_or(u32::MAX);
        let looked = self.life.moving.get(key).map(|moving| moving.looked);
        match looked.map(|looked| looked + gap).filter(|at| many > 100 && *at > self.now.mono) {
            Some(at) => self.life.timers.hasten(key, at),
            None => drop(self.dirty.insert(key.clone())),
        }
    }
}
