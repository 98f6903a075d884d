//! What is so of a workload's instances, in the words of the planner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skerry_rollout::rolling::{Health, Member, Reach, Replica};
use skerry_rollout::waves;
use skerry_schedule::{Zone, window_is_open, window_opens_after};
use skerry_types::{
    AllocationId, AllocationStatus, Attributes, ContainerStatus, Desired, InstanceIndex, InstanceSet,
    NodeName, Phase, ReasonCode, WorkloadKey, WorkloadKind, WorkloadSpec,
};

use crate::records::{AllocationRecord, WorkloadRecord};
use crate::state::RegionState;

/// Restarts after which an instance that waits for its next start counts as failing: one may fall over something that was not
/// there yet.
const RESTARTS_FAILING: u32 = 2;

/// How long a node may be away before a move is called done without it: twice the longest pause between two attempts to dial.
const ABSENT_AFTER: Duration = Duration::from_mins(2);

impl RegionState {
    /// The instances of `set` and their copies, in order of their numbers.
    pub(crate) fn members(&mut self, record: &WorkloadRecord, set: &InstanceSet) -> Vec<Member> {
        let mut replicas: BTreeMap<InstanceIndex, Vec<(NodeName, Replica)>> = BTreeMap::new();
        for allocation in self.allocations_of(&record.spec.key).filter(|a| a.intent.desired == Desired::Run) {
            let replica = self.replica(&record.spec, allocation);
            replicas.entry(allocation.intent.instance).or_default().push((allocation.node.clone(), replica));
        }
        let waves = self.waves(record, set, &replicas);
        let member = |instance: InstanceIndex| {
            let copies = replicas.remove(&instance).unwrap_or_default();
            let site =
                copies.first().and_then(|(node, _)| self.nodes.get(node)).map(|node| node.site.clone());
            Member {
                instance,
                open: copies.first().is_none_or(|(node, _)| self.window_is_open(&record.spec, node)),
                site,
                wave: waves.get(&instance).copied().unwrap_or(record.spec.update.waves.len()),
                replicas: copies.into_iter().map(|(_, replica)| replica).collect(),
            }
        };
        set.iter().map(member).collect()
    }

    fn replica(&self, spec: &WorkloadSpec, allocation: &AllocationRecord) -> Replica {
        let intent = &allocation.intent;
        Replica {
            id: intent.id.clone(),
            current: Arc::ptr_eq(&intent.spec, &spec.instance) || intent.spec == spec.instance,
            health: self.health(spec, &intent.id, self.status_of(allocation).map(Arc::as_ref)),
            reach: self.reach(spec, &allocation.node),
            drain: self.drain_of(spec, &allocation.node),
            age: self.now.wall.since(allocation.placed_at),
        }
    }

    fn health(&self, spec: &WorkloadSpec, id: &AllocationId, status: Option<&AllocationStatus>) -> Health {
        let Some(status) = status else { return Health::Starting };
        let fails = is_failing(status);
        if status.phase == Phase::Completed || spec.kind == WorkloadKind::Cron && !fails {
            return Health::Ready(Duration::MAX);
        }
        match self.life.ready.get(id) {
            Some(since) if status.ready_since.is_some() => Health::Ready(self.now.mono.since(*since)),
            _ if fails => Health::Failing,
            _ if status.phase == Phase::Running => Health::Unready,
            _ => Health::Starting,
        }
    }

    fn reach(&self, spec: &WorkloadSpec, node: &NodeName) -> Reach {
        let Some(since) = self.life.away.get(node) else { return Reach::Reachable };
        let away = self.now.mono.since(*since);
        if spec.on_disconnect.replace_after.is_some_and(|after| away >= after) {
            Reach::Lost
        } else {
            Reach::Unreachable
        }
    }

    /// While nodes of the workload's are away for only a moment, how long until they count as not heard from: a link that is
    /// dialled anew and a master that starts are no reason to call anything over.
    pub(crate) fn next_absence(&self, record: &WorkloadRecord) -> Option<Duration> {
        let nodes = self.allocations_of(&record.spec.key).map(|allocation| &allocation.node);
        let away = nodes.filter_map(|node| self.life.away.get(node)).map(|since| self.now.mono.since(*since));
        away.filter(|away| *away < ABSENT_AFTER).map(|away| ABSENT_AFTER.saturating_sub(away)).max()
    }

    /// When the next node of the workload's becomes lost to it.
    pub(crate) fn next_loss(&self, record: &WorkloadRecord) -> Option<Duration> {
        let after = record.spec.on_disconnect.replace_after?;
        let nodes = self.allocations_of(&record.spec.key).map(|allocation| &allocation.node);
        let away = nodes.filter_map(|node| self.life.away.get(node)).map(|since| self.now.mono.since(*since));
        away.filter(|away| *away < after).map(|away| after.saturating_sub(away)).min()
    }

    /// The wave of each member, the same from the beginning of a generation to its end.
    fn waves(
        &mut self,
        record: &WorkloadRecord,
        set: &InstanceSet,
        replicas: &BTreeMap<InstanceIndex, Vec<(NodeName, Replica)>>,
    ) -> BTreeMap<InstanceIndex, usize> {
        let key = &record.spec.key;
        if record.spec.update.waves.is_empty() || !self.life.rollouts.contains_key(key) {
            return BTreeMap::new();
        }
        let known = self.life.moving.get(key).map(|moving| &moving.waves);
        if let Some((generation, waves)) = known
            && *generation == record.generation
        {
            return waves.clone();
        }
        let nodes =
            set.iter().filter_map(|instance| Some((instance, replicas.get(&instance)?.first()?.0.clone())));
        let assigned = self.assign_waves(&record.spec, &nodes.collect::<Vec<_>>());
        let moving = self.life.moving.entry(key.clone()).or_default();
        moving.at = self.now.mono;
        moving.waves = (record.generation, assigned.clone());
        assigned
    }

    pub(crate) fn assign_waves(
        &self,
        spec: &WorkloadSpec,
        nodes: &[(InstanceIndex, NodeName)],
    ) -> BTreeMap<InstanceIndex, usize> {
        let attributes: Vec<(InstanceIndex, Attributes)> = nodes
            .iter()
            .map(|(instance, node)| (*instance, self.cluster_attributes(node).unwrap_or_default()))
            .collect();
        let members: Vec<(InstanceIndex, &Attributes)> = attributes.iter().map(|(i, a)| (*i, a)).collect();
        let waves = waves::assign(&spec.update.waves, &members);
        members.iter().map(|(instance, _)| *instance).zip(waves).collect()
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

    /// A node said something of an allocation: keeps since when it is ready.
    pub(crate) fn note_ready(&mut self, status: &AllocationStatus) {
        if status.ready_since.is_some() {
            self.life.ready.entry(status.id.clone()).or_insert(self.now.mono);
        } else {
            self.life.ready.remove(&status.id);
        }
    }

    /// Something about a workload's instances changed: looks at it now, or a little later when it has many instances and was
    /// looked at just before, so that ten thousand reports do not cost ten thousand looks at ten thousand instances.
    pub(crate) fn look_at(&mut self, key: &WorkloadKey) {
        const PER_INSTANCE: Duration = Duration::from_micros(50);
        let many = self.by_workload.get(key).map_or(0, std::collections::BTreeSet::len);
        let gap = PER_INSTANCE * u32::try_from(many).unwrap_or(u32::MAX);
        let looked = self.life.moving.get(key).map(|moving| moving.looked);
        match looked.map(|looked| looked + gap).filter(|at| many > 100 && *at > self.now.mono) {
            Some(at) => self.life.timers.hasten(key, at),
            None => drop(self.dirty.insert(key.clone())),
        }
    }
}

fn is_failing(status: &AllocationStatus) -> bool {
    let often = |container: &ContainerStatus| container.restarts >= RESTARTS_FAILING;
    let hopeless = status.reason.as_ref().is_some_and(|reason| {
        matches!(
            reason.code,
            ReasonCode::ImageNotFound
                | ReasonCode::ImageInvalid
                | ReasonCode::RegistryUnauthorized
                | ReasonCode::CreateFailed
                | ReasonCode::InitFailed
        )
    });
    match status.phase {
        Phase::Failed => true,
        Phase::Backoff => hopeless || status.containers.iter().any(often),
        _ => false,
    }
}
