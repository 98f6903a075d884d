//! What must hold after every event.

use std::collections::BTreeMap;

use skerry_region_state::LinkId;
use skerry_types::{AllocationId, Desired, Overlap, Resources};
use skerry_wire::{Cursor, ToParent, Welcome, decode};

use crate::event::{NodeAt, Party};
use crate::runtime::Container;
use crate::world::World;

impl World {
    /// What runs on a node fits it.
    pub(crate) fn check_capacity(&mut self, at: NodeAt) {
        let host = &self.hosts[at];
        let running: BTreeMap<&AllocationId, Resources> = host
            .containers
            .values()
            .filter(|container| container.runs())
            .map(|container| (&container.intent.id, container.intent.spec.resources()))
            .collect();
        let sum = running.values().fold(Resources::default(), |sum, part| sum + *part);
        if !host.capacity.fits(&sum) {
            let what =
                format!("n{at} is over-committed: {sum:?} of {:?} by {:?}", host.capacity, running.keys());
            self.fail(what);
        }
    }

    /// A running container is ended only when the region wants it ended.
    pub(crate) fn check_stop(&mut self, at: NodeAt, container: &Container, by: &str) {
        self.check_orphan(at, container, by);
        let id = &container.intent.id;
        let (name, master) = (&self.hosts[at].name, self.hosts[at].master);
        let intent = self.masters[master].state.intent(id);
        let wanted = intent.is_some_and(|(node, intent)| node == name && intent.desired == Desired::Run);
        // What is exclusive stops for want of a lease, and a run for the next one.
        let spec = &container.intent.spec;
        let may_stop = spec.exclusive.is_some()
            || spec.schedule.as_ref().is_some_and(|schedule| schedule.overlap == Overlap::Replace);
        let may_stop = may_stop || self.was_leaving(at, id);
        if wanted && container.acknowledged && !may_stop {
            self.fail(format!("{by} ends the healthy container {}/{} on n{at}", id, container.name));
        }
    }

    /// Peers that mean well have no reason to close a link, but for one that was dialled anew or a node that was removed.
    pub(crate) fn check_close(&mut self, reason: &str) {
        let known = [
            "dialled again",
            "is not a node of this region",
            "is not a region below this one",
            "the regions above have changed",
            "this is a second machine with its key",
            "begins another life",
            "they go on as orphans",
        ];
        if !known.iter().any(|known| reason.contains(known)) {
            self.fail(format!("a link is closed: {reason}"));
        }
    }

    /// The link of a child that answers is not closed for another one.
    pub(crate) fn check_superseded(&mut self, link: LinkId, reason: &str) {
        if reason.contains("dialled again") && self.answers(link) {
            self.fail(format!("{link:?} answers, and is closed for another one: {reason}"));
        }
    }

    /// What an agent acknowledges is on its disk.
    pub(crate) fn check_ack(&mut self, at: NodeAt, acked: Cursor) {
        let bytes = self.hosts[at].disk.value("cursor", &[]);
        let on_disk: Cursor = bytes.and_then(|bytes| decode(bytes, 64).ok()).unwrap_or_default();
        if on_disk.epoch != acked.epoch || on_disk.revision < acked.revision {
            self.fail(format!("n{at} acknowledges {acked:?} with {on_disk:?} on disk"));
        }
        self.hosts[at].way.acked_by_child = Some(acked);
    }

    /// What a child acknowledged it has for ever.
    pub(crate) fn check_hello(&mut self, child: Party, message: &ToParent) {
        let ToParent::Hello(hello) = message else { return };
        let Some(acked) = self.way(child).acked_by_child else { return };
        // It took over the rows of its parent's other life, and ended before it could say so.
        let is_in_another_life = hello.cursor.epoch != acked.epoch;
        if is_in_another_life && self.parent_of(child).is_some_and(|at| self.masters[at].past.has_gone_back) {
            return;
        }
        if hello.cursor.epoch != acked.epoch || hello.cursor.revision < acked.revision {
            self.fail(format!("{child:?} acknowledged {acked:?} and has {:?}", hello.cursor));
        }
    }

    /// What a master acknowledged it has as long as the child's tables live.
    pub(crate) fn check_welcome(&mut self, child: Party, welcome: &Welcome) {
        let life = match child {
            Party::Node(at) => {
                self.share(at);
                self.hosts[at].life
            }
            Party::Master(at) => self.masters[at].life,
        };
        let acked = self.way(child).acked_by_parent;
        let Some(acked) = acked.filter(|acked| acked.epoch.0 == life) else { return };
        if welcome.cursor.epoch != acked.epoch || welcome.cursor.revision < acked.revision {
            self.fail(format!("a master acknowledged {acked:?} of {child:?} and has {:?}", welcome.cursor));
        }
    }
}
