//! What operators want, what masters show and what runs are the same.

use std::collections::{BTreeMap, BTreeSet};

use skerry_region_state::{AllocationView, NodeView, RolloutState, WorkloadView};
use skerry_types::{
    AllocationId, ContainerState, Desired, HostPort, NodeName, Phase, Resources, WorkloadKey, WorkloadSpec,
};

use crate::event::MasterAt;
use crate::finale::Stage;
use crate::node::Host;
use crate::runtime::Container;
use crate::spec::{self, Rules};
use crate::world::World;

/// What a master shows.
struct Shown {
    allocations: Vec<AllocationView>,
    workloads: Vec<WorkloadView>,
}

impl World {
    /// Everybody shows what is so; the whole tree of it when `far`, else each master for its own nodes.
    pub(crate) fn check_agreement(&mut self, when: &str, far: bool) {
        let mut shown = Vec::new();
        for at in 0..self.masters.len() {
            let lists = self.allocations(at).zip(self.workloads(at));
            let Some((allocations, workloads)) = lists else {
                if !far {
                    // What it has just heard is on its way to disk.
                    return;
                }
                return self.fail(format!("{when}: the master of {} does not answer", self.masters[at].name));
            };
            shown.push(Shown { allocations, workloads });
        }
        let mut wrong: Vec<String> = Vec::new();
        for (at, lists) in shown.iter().enumerate() {
            // What has no room moves now and then, and is judged when all is over.
            let stuck: BTreeSet<_> =
                lists.workloads.iter().filter(|view| is_stuck(view)).map(|view| &view.spec.key).collect();
            let rests = lists.allocations.iter().filter(|view| !stuck.contains(&view.intent.workload));
            wrong.extend(rests.filter_map(|view| self.disagreement(view, far)));
            wrong.extend(self.unkept(at, lists, far));
        }
        for host in self.hosts.iter().take(self.machines()) {
            wrong.extend(surplus(host, &shown[host.master].allocations, far));
        }
        if far {
            for at in 0..self.masters.len() {
                wrong.extend(self.astray(at, &shown));
            }
            wrong.extend(self.misread());
        }
        if !wrong.is_empty() {
            self.fail(format!("{when}: {}", wrong.join("; ")));
        }
    }

    fn disagreement(&self, view: &AllocationView, far: bool) -> Option<String> {
        let id = &view.intent.id;
        let host = self.hosts.iter().find(|host| host.name == view.node)?;
        let status = view.status.as_deref();
        let phase = status.map(|status| status.phase);
        if !far && matches!(phase, None | Some(Phase::Pending | Phase::Pulling | Phase::Starting)) {
            // It was placed just now.
            return None;
        }
        if view.intent.desired != Desired::Run || !view.reachable || phase != Some(Phase::Running) {
            let reach = if view.reachable { "reachable" } else { "unreachable" };
            return Some(format!("{id} is {:?}, {reach}, {phase:?}", view.intent.desired));
        }
        let shown: BTreeSet<u32> = status?
            .containers
            .iter()
            .filter_map(|container| match container.state {
                ContainerState::Running { pid, .. } => Some(pid),
                _ => None,
            })
            .collect();
        let real: BTreeSet<u32> = running(host, id).map(|(pid, _)| *pid).collect();
        (shown != real).then(|| format!("{id} is shown to run as {shown:?} and runs as {real:?}"))
    }

    /// A master's store holds what it needs, and nothing that is over.
    fn unkept(&self, at: MasterAt, shown: &Shown, far: bool) -> Option<String> {
        let (name, disk) = (&self.masters[at].name, &self.masters[at].disk);
        if let Some(view) = shown.workloads.iter().find(|view| far && view.deleting) {
            return Some(format!("{} is being deleted from {name} for ever", view.spec.key));
        }
        // What waits for room is tried again now and then, and leaves tombstones for a moment.
        let tombstones = if self.stage == Stage::Silence { disk.count("tombstone") } else { 0 };
        let rows = (disk.count("workload"), tombstones, disk.is_idle());
        let want = (shown.workloads.len(), 0, true);
        if rows != want {
            return Some(format!("{name} stores (workloads, tombstones, idle) {rows:?}, not {want:?}"));
        }
        let is_leaf = self.masters.iter().all(|master| master.parent != Some(at));
        // Each node says its facts and one status for each of its allocations.
        let nodes = self.hosts.iter().filter(|host| host.master == at && host.past.copy_of.is_none()).count();
        // One that was placed just now has none yet.
        let told = shown.allocations.iter().filter(|view| far || view.status.is_some());
        let observed = (disk.count("observed"), nodes + told.count());
        if is_leaf && observed.0 != observed.1 {
            return Some(format!("{name} stores {} rows of its nodes, not {}", observed.0, observed.1));
        }
        let bounds = [
            ("event", 4097),
            ("revision", 10 * want.0),
            ("split", want.0),
            ("rollout", want.0),
            ("job", want.0),
        ];
        let over = bounds.into_iter().find(|(table, most)| disk.count(table) > *most);
        over.map(|(table, most)| format!("{name} stores {} {table}s, {most} at most", disk.count(table)))
    }

    /// Masters of the regions that may look after a workload of this one: itself, and those below that have none of the name.
    pub(crate) fn regions_for(&self, owner: MasterAt, spec: &WorkloadSpec) -> Vec<MasterAt> {
        let mut found = vec![owner];
        for (at, master) in self.masters.iter().enumerate() {
            let taken = master.state.owned().any(|own| own.key == spec.key);
            if master.parent.is_some_and(|parent| found.contains(&parent)) && !taken {
                found.push(at);
            }
        }
        found
    }

    /// What is not as the owner of a workload wants it.
    fn astray(&self, at: MasterAt, shown: &[Shown]) -> Vec<String> {
        let name = &self.masters[at].name;
        let own = shown[at].workloads.iter().filter(|view| view.owner == *name);
        own.flat_map(|view| self.errors_of(at, view, shown)).collect()
    }

    fn errors_of(&self, at: MasterAt, view: &WorkloadView, shown: &[Shown]) -> Vec<String> {
        let (spec, key) = (&view.spec, &view.spec.key);
        let regions = self.regions_for(at, spec);
        match Rules::of(key) {
            Rules::Job => return unfinished(view).into_iter().collect(),
            Rules::Daemon => return self.without_daemon(key, &regions, shown),
            _ => {}
        }
        let stuck = regions.iter().flat_map(|region| &shown[*region].workloads);
        let stuck = stuck.filter(|share| share.spec.key == *key).any(is_stuck);
        let none = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut places: BTreeMap<u32, Vec<&AllocationView>> = BTreeMap::new();
        let views = regions.iter().flat_map(|region| &shown[*region].allocations);
        for allocation in views.filter(|allocation| allocation.intent.workload == *key) {
            places.entry(allocation.intent.instance.0).or_default().push(allocation);
        }
        for (instance, copies) in &places {
            if *instance >= spec.instances || copies.len() > 1 && !stuck {
                wrong.push(format!("{} copies of instance {instance} of {key}", copies.len()));
            }
        }
        let (placed, wanted) = (u32::try_from(places.len()).unwrap_or(u32::MAX), spec.instances);
        // What has no room to move keeps its version, and is not counted.
        let is_current =
            |copies: &&Vec<&AllocationView>| copies.iter().any(|copy| copy.intent.spec == spec.instance);
        let current = u32::try_from(places.values().filter(is_current).count()).unwrap_or(u32::MAX);
        if (view.placed, view.running) != (current, current) && !stuck {
            let told = (view.placed, view.running);
            wrong.push(format!("{key} is shown to have (placed, running) {told:?}, and has {current}"));
        }
        // What a region hands on and takes back keeps its version until there is room to move it.
        let alone = self.masters.len() == 1;
        // A region that gave its part up holds up the whole.
        let whole = (alone || !stuck).then(|| Self::unmoved(view, if alone { &places } else { &none }));
        wrong.extend(whole.flatten());
        for region in &regions[1..] {
            let shares = shown[*region].workloads.iter().filter(|share| share.spec.key == *key);
            wrong.extend(shares.filter_map(|share| Self::unmoved(share, &BTreeMap::new())));
        }
        if placed < wanted && !stuck {
            wrong.extend(self.unplaced(view, wanted - placed, &regions, shown));
        }
        wrong
    }

    /// Every node has one copy of a daemon, unless it has no room for it and its region says so.
    fn without_daemon(&self, key: &WorkloadKey, regions: &[MasterAt], shown: &[Shown]) -> Vec<String> {
        let mut wrong = Vec::new();
        for host in self.hosts.iter().filter(|host| regions.contains(&host.master)) {
            let lists = &shown[host.master];
            let copies = held(&host.name, &lists.allocations).filter(|copy| copy.intent.workload == *key);
            let view = lists.workloads.iter().find(|view| view.spec.key == *key);
            let waits =
                view.is_some_and(|view| view.pending.iter().any(|pending| !pending.reasons.is_empty()));
            let copies = copies.count();
            if copies > 1 || copies == 0 && !waits {
                wrong.push(format!("{} has {copies} copies of daemon {key}", host.name));
            }
        }
        let views = regions.iter().flat_map(|region| &shown[*region].workloads);
        let views: Vec<&WorkloadView> = views.filter(|view| view.spec.key == *key).collect();
        // A region without room holds up the whole, also one that was done with its part when it lost the room.
        if !views.iter().any(|view| is_stuck(view) || waits_for_room(view)) {
            wrong.extend(views.iter().filter_map(|view| Self::unmoved(view, &BTreeMap::new())));
        }
        wrong
    }

    /// A rollout is over, and everything is of the new version. One that finds no room, and says so, may wait or have failed.
    fn unmoved(view: &WorkloadView, places: &BTreeMap<u32, Vec<&AllocationView>>) -> Option<String> {
        let key = &view.spec.key;
        let state = view.rollout.state;
        let stuck = is_stuck(view);
        if state != RolloutState::Done && !stuck {
            let (progress, message) = (&view.rollout.progress, &view.rollout.message);
            return Some(format!("the rollout of {key} is {state}: {message}; {progress:?}"));
        }
        if spec::is_bad(&view.spec.instance) {
            return Some(format!("{key} did not go back to a version that runs"));
        }
        let outdated =
            places.values().flatten().filter(|copy| copy.intent.spec != view.spec.instance).count();
        (outdated > 0 && !stuck).then(|| format!("{key} has {outdated} outdated instances"))
    }

    /// What has no place waits with a reason, and there is no room for it.
    fn unplaced(
        &self,
        view: &WorkloadView,
        missing: u32,
        regions: &[MasterAt],
        shown: &[Shown],
    ) -> Vec<String> {
        let (spec, key) = (&view.spec, &view.spec.key);
        let mut wrong = Vec::new();
        let waiting: u32 = view.pending.iter().map(|pending| pending.instances.len()).sum();
        if waiting != missing || view.pending.iter().any(|pending| pending.reasons.is_empty()) {
            wrong.push(format!(
                "{missing} instances of {key} have no place, and {waiting} wait with a reason"
            ));
        }
        let hosts = self.hosts.iter().filter(|host| regions.contains(&host.master));
        // What is told of room in other regions is rounded down, so that only a region by itself is held to the last bit.
        let alone = self.masters.len() == 1;
        let room = hosts
            .into_iter()
            .filter(|_| alone)
            .find(|host| has_room(host, spec, &shown[host.master].allocations));
        let why: Vec<String> =
            view.pending.iter().flat_map(|p| &p.reasons).map(ToString::to_string).collect();
        let why = why.join(", ");
        if why.contains("cordoned") {
            wrong.push(format!("{missing} of {key} wait for {why}, and no node is cordoned"));
        }
        wrong.extend(room.map(|host| {
            format!(
                "{missing} of {key} have no place for {why}, and {} of r{} has room",
                host.name, host.master
            )
        }));
        wrong
    }

    /// What the root says of every node in the tree, held against the nodes.
    fn misread(&mut self) -> Vec<String> {
        let Some(views) = self.nodes_below(0) else { return vec!["the root does not answer".to_owned()] };
        let shown: BTreeMap<&NodeName, &NodeView> = views.iter().map(|view| (&view.name, view)).collect();
        let mut wrong = Vec::new();
        for host in &self.hosts {
            let intents = self.masters[host.master].state.intents();
            let its: Vec<_> = intents.filter(|(node, _)| **node == host.name).map(|(_, i)| i).collect();
            let reserved = its.iter().fold(Resources::ZERO, |sum, intent| sum + intent.spec.resources());
            let real = (true, u32::try_from(its.len()).unwrap_or(u32::MAX), reserved);
            let told = shown.get(&host.name).map(|view| (view.reachable, view.allocations, view.reserved));
            if told != Some(real) {
                wrong.push(format!("the root says {told:?} of {}, and {real:?} is so", host.name));
            }
        }
        wrong
    }
}

/// A job comes to an end, unless something of it has no room.
fn unfinished(view: &WorkloadView) -> Option<String> {
    let job = view.job.as_ref();
    let is_over = job.is_some_and(|job| job.ended_at.is_some());
    (!is_over && view.pending.is_empty()).then(|| format!("job {} goes on for ever: {job:?}", view.spec.key))
}

/// Whether an update cannot go on: it failed for want of room beside what runs, or something waits for room.
fn is_stuck(view: &WorkloadView) -> bool {
    let state = view.rollout.state;
    // One that was stuck counts as done when everything was away for long; what was left out then has no room still.
    let no_room_beside = Rules::of(&view.spec.key).max_unavailable() == 0;
    no_room_beside || state == RolloutState::Failed || waits_for_room(view) && state != RolloutState::Done
}

fn waits_for_room(view: &WorkloadView) -> bool {
    view.pending.iter().any(|pending| !pending.reasons.is_empty())
}

fn running<'a>(host: &'a Host, id: &'a AllocationId) -> impl Iterator<Item = (&'a u32, &'a Container)> {
    host.containers.iter().filter(move |(_, container)| container.intent.id == *id && container.runs())
}

fn held<'a>(node: &'a NodeName, views: &'a [AllocationView]) -> impl Iterator<Item = &'a AllocationView> {
    views.iter().filter(move |view| view.node == *node)
}

fn has_room(host: &Host, spec: &WorkloadSpec, views: &[AllocationView]) -> bool {
    let used =
        held(&host.name, views).fold(Resources::default(), |sum, view| sum + view.intent.spec.resources());
    let fits = host.capacity.fits(&(used + spec.instance.resources()));
    let taken: BTreeSet<u16> =
        held(&host.name, views).flat_map(|view| view.intent.ports.iter().map(|port| port.host)).collect();
    let free = |port: &skerry_types::PortSpec| match port.host {
        HostPort::Fixed(number) => !taken.contains(&number),
        HostPort::Auto | HostPort::None => true,
    };
    fits && spec.instance.ports().all(free)
}

/// What is on a node that its region does not know of.
fn surplus(host: &Host, views: &[AllocationView], far: bool) -> Vec<String> {
    let known: BTreeMap<&AllocationId, &AllocationView> =
        held(&host.name, views).map(|view| (&view.intent.id, view)).collect();
    let mut wrong: Vec<String> = host
        .containers
        .values()
        .map(|container| &container.intent.id)
        .chain(host.sandboxes.keys())
        .filter(|id| !known.contains_key(id))
        .map(|id| format!("{} still has {id}", host.name))
        .collect();
    let lifecycles = host.agent.as_ref().map_or(0, |agent| agent.lifecycles().count());
    let rows = (host.disk.count("intent"), lifecycles);
    // What was placed just now is on its way.
    let told = known.values().filter(|view| far || view.status.is_some()).count();
    if ![rows.0, rows.1].iter().all(|rows| (told..=known.len()).contains(rows)) {
        wrong.push(format!("{} has (rows, lifecycles) {rows:?} where {} are its", host.name, known.len()));
    }
    if host.disk.count("event") > 257 || host.disk.count("life") > known.len() {
        wrong.push(format!("the ledger of {} is not bounded", host.name));
    }
    wrong
}
