//! Daemons: one instance on each node that matches.

use skerry_rollout::rolling;
use skerry_types::InstanceSet;

use crate::placing::Pending;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

impl RegionState {
    pub(crate) fn reconcile_daemon(&mut self, record: &WorkloadRecord) {
        let key = &record.spec.key;
        let homes = self.homes(&record.spec);
        let numbers: InstanceSet = homes.keys().copied().collect();
        // Instances on nodes that are not to have one.
        self.stop_where(key, |known| homes.get(&known.instance) != Some(&known.record.node));
        let (course, waves) = (self.course(key), self.waves(record, &numbers));
        let copies = self.copies(&record.spec);
        let members = self.members(&record.spec, &numbers, &waves, &copies);
        let plan = rolling::plan(&record.spec.update, record.spec.on_disconnect.on_return, &course, &members);
        for id in &plan.stop {
            self.stop(id);
        }
        let mut pending: Vec<Pending> = Vec::new();
        for start in plan.start.iter().filter(|start| start.current || course.has_former) {
            let Some(node) = homes.get(&start.instance) else { continue };
            let base = if start.current { Some(record.clone()) } else { self.former_of(record) };
            let Some(base) = base else { continue };
            match self.cluster_place_on(&base.spec, start.instance, node) {
                Ok(place) => self.bind(&base, start.instance, place),
                Err(reasons) => Pending::add(&mut pending, start.instance, reasons),
            }
            self.seal_if_full();
        }
        self.found_no_place(pending);
        self.set_timer(record, &plan);
        self.progressed(key, &plan.progress);
        self.give_leave(record, &plan);
    }
}
