//! What stays bounded amid everything: looked at at every mishap, by what is on disk and what is under way.
//!
//! The bounds follow from how many workloads a master knows and how many allocations a node holds; none of them follows from how
//! long a run is.

use crate::event::{MasterAt, NodeAt};
use crate::world::World;

/// Events that a master keeps, and one that makes room.
const MASTER_EVENTS: usize = 4097;
/// Events that wait at a node, and one that makes room.
const NODE_EVENTS: usize = 257;
/// Versions that are kept of a workload.
const REVISIONS: usize = 10;
/// Workloads amid their deletion of which a table may have rows yet: their rows go in more than one batch.
const LEAVING: usize = 16;
/// What an allocation may have under way at a time: one thing by itself, and for each of its two containers a start or a removal,
/// a signal and two looks.
const OPERATIONS: usize = 9;

impl World {
    pub(crate) fn check_bounds(&mut self) {
        let masters = (0..self.masters.len()).find_map(|at| self.master_beyond(at));
        let nodes = || (0..self.hosts.len()).find_map(|at| self.node_beyond(at));
        if let Some(what) = masters.or_else(nodes) {
            self.fail(what);
        }
    }

    fn master_beyond(&self, at: MasterAt) -> Option<String> {
        let (name, disk) = (&self.masters[at].name, &self.masters[at].disk);
        let workloads = disk.count("workload");
        let of_each = |rows: usize| rows * (workloads + LEAVING);
        let bounds = [
            ("event", MASTER_EVENTS),
            ("revision", of_each(REVISIONS)),
            ("split", of_each(1)),
            ("rollout", of_each(1)),
            ("job", of_each(1)),
            ("scale", of_each(1)),
        ];
        let over = bounds.into_iter().find(|(table, most)| disk.count(table) > *most);
        over.map(|(table, most)| {
            let rows = disk.count(table);
            format!("amid the storm {name} stores {rows} rows of {table}, {most} at most for {workloads} workloads")
        })
    }

    fn node_beyond(&self, at: NodeAt) -> Option<String> {
        let host = &self.hosts[at];
        let agent = host.agent.as_ref()?;
        let held = agent.lifecycles().count();
        // What is discarded is not held.
        let discarded =
            host.containers.values().filter(|c| agent.lifecycles().all(|l| *l.id() != c.intent.id));
        let most = OPERATIONS * (held + discarded.count() + 1);
        let (events, lives, rows) =
            (host.disk.count("event"), host.disk.count("life"), host.disk.count("intent"));
        let under_way = host.ops.len();
        let is_bounded = events <= NODE_EVENTS && lives <= rows && under_way <= most;
        (!is_bounded).then(|| {
            format!(
                "amid the storm n{at} holds {held} allocations with {rows} rows, {lives} lives, {events} events, and has \
                 {under_way} operations under way"
            )
        })
    }
}
