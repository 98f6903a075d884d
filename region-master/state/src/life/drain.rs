//! Nodes that take nothing more, or are being emptied.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_rollout::rolling::Drain;
use skerry_types::{Desired, EventLevel, NodeName, WallTime, WorkloadKey, WorkloadKind, WorkloadSpec};

use super::calls::{DrainWhat, LifeError, LifeReply};
use crate::ledger::{DRAIN, Value, put};

use crate::state::RegionState;

/// A node that takes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrainRecord {
    /// Set while it is being emptied.
    pub(crate) draining: Option<Draining>,
}

/// How a node is being emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draining {
    pub(crate) since: WallTime,
    pub(crate) deadline: Option<WallTime>,
    pub(crate) force: bool,
    pub(crate) done: bool,
}

/// How far the emptying of a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainView {
    /// Since when.
    pub since: WallTime,
    /// When what is left is stopped all the same.
    pub deadline: Option<WallTime>,
    /// Whether it is stopped at once.
    pub force: bool,
    /// Allocations that are still there.
    pub remaining: u32,
    /// Why they are, a sentence for each.
    pub blocked: Vec<String>,
}

impl Draining {
    fn is_over(&self, now: WallTime) -> bool {
        self.force || self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

impl RegionState {
    /// Whether a node takes nothing more.
    pub(crate) fn is_cordoned(&self, node: &NodeName) -> bool {
        self.life.drains.contains_key(node)
    }

    /// What a drain means for a copy of this workload.
    pub(crate) fn drain_of(&self, spec: &WorkloadSpec, node: &NodeName) -> Drain {
        let Some(draining) = self.life.drains.get(node).and_then(|drain| drain.draining.as_ref()) else {
            return Drain::No;
        };
        match spec.kind {
            // A daemon belongs to its node: it goes last, and nowhere else.
            WorkloadKind::Daemon => Drain::No,
            // A run that has begun comes to its end, unless time is up.
            WorkloadKind::Job(_) if !draining.is_over(self.now.wall) => Drain::No,
            _ if draining.is_over(self.now.wall) => Drain::Forced,
            _ => Drain::Gentle,
        }
    }

    pub(crate) fn cordon(&mut self, node: &NodeName, on: bool) -> Result<LifeReply, LifeError> {
        self.known_node(node)?;
        let changed = on != self.is_cordoned(node);
        if changed && on {
            self.save_drain(node, DrainRecord { draining: None });
            self.tell_node(EventLevel::Info, node, "Cordoned", format!("node {node} takes nothing more"));
        } else if changed {
            self.life.drains.remove(node);
            self.outbox.batch().delete(DRAIN, node.as_str());
            self.tell_node(
                EventLevel::Info,
                node,
                "Uncordoned",
                format!("node {node} takes allocations again"),
            );
            self.drain_changed(node);
        }
        Ok(LifeReply::Cordoned(changed))
    }

    pub(crate) fn drain_nodes(
        &mut self,
        what: &DrainWhat,
        wait: Option<Duration>,
        force: bool,
    ) -> Result<LifeReply, LifeError> {
        let nodes: Vec<NodeName> = match what {
            DrainWhat::Node(node) => {
                self.known_node(node)?;
                vec![node.clone()]
            }
            DrainWhat::Site(site) => {
                let inside = self.nodes.iter().filter(|(_, node)| node.site == *site);
                inside.map(|(name, _)| name.clone()).collect()
            }
        };
        if let (DrainWhat::Site(site), true) = (what, nodes.is_empty()) {
            return Err(LifeError::NotFound { what: "site", name: site.to_string() });
        }
        let mut allocations = 0;
        for node in &nodes {
            let deadline = wait.map(|wait| {
                WallTime(self.now.wall.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            });
            let draining = Draining { since: self.now.wall, deadline, force, done: false };
            self.save_drain(node, DrainRecord { draining: Some(draining) });
            let count = self.running_on(node).count();
            allocations += u32::try_from(count).unwrap_or(u32::MAX);
            let message = format!("node {node} is being emptied of {count} allocations");
            self.tell_node(EventLevel::Info, node, "Draining", message);
        }
        Ok(LifeReply::Draining { nodes, allocations })
    }

    fn known_node(&self, node: &NodeName) -> Result<(), LifeError> {
        let known = self.nodes.contains_key(node);
        known.then_some(()).ok_or_else(|| LifeError::NotFound { what: "node", name: node.to_string() })
    }

    fn save_drain(&mut self, node: &NodeName, drain: DrainRecord) {
        put(self.outbox.batch(), &Value::DrainV1(node.clone(), drain.clone()));
        self.life.drains.insert(node.clone(), drain);
        self.drain_changed(node);
        self.seal_if_full();
    }

    pub(crate) fn forget_drain(&mut self, node: &NodeName) {
        if self.life.drains.remove(node).is_some() {
            self.outbox.batch().delete(DRAIN, node.as_str());
        }
    }

    fn drain_changed(&mut self, node: &NodeName) {
        self.cluster_upsert(node);
        self.look_at_node(node);
        self.look_at_daemons();
        self.room_appeared();
    }

    /// Looks at every workload that may want an instance on a node that changed.
    pub(crate) fn look_at_daemons(&mut self) {
        let daemons =
            self.workloads.iter().filter(|(_, workload)| workload.record.spec.kind == WorkloadKind::Daemon);
        let keys: Vec<WorkloadKey> = daemons.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.look_at(key);
        }
    }

    /// Looks at every workload with something on a node.
    pub(crate) fn look_at_node(&mut self, node: &NodeName) {
        for key in &self.workloads_on(node) {
            self.look_at(key);
        }
        self.changed = true;
    }

    /// The workloads with something on a node.
    pub(crate) fn workloads_on(&self, node: &NodeName) -> BTreeSet<WorkloadKey> {
        let ids = self.nodes.get(node).into_iter().flat_map(|node| &node.allocations);
        let records = ids.filter_map(|id| self.allocations.get(id));
        records.map(|record| record.intent.workload.clone()).collect()
    }

    pub(crate) fn running_on<'a>(
        &'a self,
        node: &NodeName,
    ) -> impl Iterator<Item = &'a crate::records::AllocationRecord> + use<'a> {
        let ids = self.nodes.get(node).into_iter().flat_map(|node| &node.allocations);
        ids.filter_map(|id| self.allocations.get(id))
    }

    /// Whether a node is being emptied and holds nothing but orphans, or is to be empty whatever it holds.
    pub(crate) fn is_emptied_of_others(&self, node: &NodeName) -> bool {
        let draining = self.life.drains.get(node).and_then(|drain| drain.draining.as_ref());
        let others = || self.running_on(node).any(|allocation| allocation.intent.desired != Desired::Keep);
        draining.is_some_and(|draining| draining.is_over(self.now.wall) || !others())
    }

    /// Whether a node holds anything but daemons and orphans.
    pub(crate) fn others_on(&self, node: &NodeName) -> bool {
        self.running_on(node).filter(|allocation| allocation.intent.desired != Desired::Keep).any(
            |allocation| {
                let workload = self.workloads.get(&allocation.intent.workload);
                workload.is_none_or(|workload| workload.record.spec.kind != WorkloadKind::Daemon)
            },
        )
    }

    /// When time is up for a node that holds something of this workload.
    pub(crate) fn next_eviction(&self, key: &WorkloadKey) -> Option<Duration> {
        if self.life.drains.is_empty() {
            return None;
        }
        let nodes = self.allocations_of(key).filter(|a| a.intent.desired != Desired::Stop).map(|a| &a.node);
        let drains = nodes.filter_map(|node| self.life.drains.get(node)?.draining.as_ref());
        let left = drains
            .filter(|draining| !draining.is_over(self.now.wall))
            .filter_map(|draining| draining.deadline);
        left.map(|deadline| deadline.since(self.now.wall)).min()
    }

    /// An allocation is gone from a node: a drain may be over, or down to its daemons.
    pub(crate) fn node_lightened(&mut self, node: &NodeName) {
        if self.is_cordoned(node) {
            self.life.homes.stale();
        }
        let Some(draining) = self.life.drains.get(node).and_then(|drain| drain.draining.clone()) else {
            return;
        };
        if !self.others_on(node) {
            self.look_at_node(node);
        }
        if self.running_on(node).next().is_none() && !draining.done {
            let done = Draining { done: true, ..draining };
            put(
                self.outbox.batch(),
                &Value::DrainV1(node.clone(), DrainRecord { draining: Some(done.clone()) }),
            );
            self.life.drains.insert(node.clone(), DrainRecord { draining: Some(done) });
            let message = format!(
                "nothing is left on node {node}: 'skerry uncordon {node}' lets it take allocations again"
            );
            self.tell_node(EventLevel::Info, node, "Drained", message);
        }
    }

    pub(crate) fn drain_view(&self, node: &NodeName) -> Option<DrainView> {
        let draining = self.life.drains.get(node)?.draining.as_ref()?;
        Some(DrainView {
            since: draining.since,
            deadline: draining.deadline,
            force: draining.force,
            remaining: u32::try_from(self.running_on(node).count()).unwrap_or(u32::MAX),
            blocked: self.running_on(node).filter_map(|allocation| self.blocked(allocation)).collect(),
        })
    }

    /// Why an allocation on a drained node is still there, if more than a moment is to blame.
    fn blocked(&self, allocation: &crate::records::AllocationRecord) -> Option<String> {
        let (id, key) = (&allocation.intent.id, &allocation.intent.workload);
        if !self.nodes.get(&allocation.node).is_some_and(|node| node.is_reachable()) {
            return Some(format!("{id}: the node is not heard from"));
        }
        match allocation.intent.desired {
            Desired::Run => {}
            Desired::Stop => return None,
            Desired::Keep => return Some(format!("{id}: it is an orphan, and goes last")),
        }
        let workload = self.workloads.get(key)?;
        if matches!(workload.record.spec.kind, WorkloadKind::Job(_)) {
            return Some(format!(
                "{id}: a job's run comes to its end by itself, or at the deadline of the drain"
            ));
        }
        let waits =
            workload.pending.iter().find(|pending| pending.instances.contains(allocation.intent.instance))?;
        let reasons: Vec<String> = waits.reasons.iter().map(ToString::to_string).collect();
        Some(format!("{id}: there is no room for another copy: {}", reasons.join("; ")))
    }
}
