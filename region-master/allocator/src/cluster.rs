//! The nodes of a region and what is used on them.

use std::collections::BTreeMap;

use skerry_types::{
    AllocationId, Labels, NodeName, Point, Protocol, Refusal, Resources, Rule, SiteName, WorkloadKey,
};

use crate::cache::{Journal, Standings};
use crate::columns::Columns;
use crate::demand::{BookError, Booking, Demand, Placed};
use crate::fit::{Held, Load, Need};
use crate::footprints::{FootprintId, Footprints, Seat};
use crate::gpus::holds;
use crate::kinds::{Kind, Kinds};
use crate::node::NodeView;
use crate::refuse::refusals;
use crate::room::Room;
use crate::round::Round;
use crate::seats::Seats;
use crate::typical::{Shapes, Typical};

/// The nodes of a region and what is used on them. Slots are in order of name, whatever order nodes came in.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    names: Vec<NodeName>,
    sides: Vec<Side>,
    loads: Vec<Load>,
    columns: Columns,
    kinds: Kinds,
    seats: Seats,
    footprints: Footprints,
    shapes: Shapes,
    site_points: BTreeMap<SiteName, Point>,
    rooms: Vec<Room>,
    // Grows with every change of what standings depend on.
    generation: u64,
    standings: Standings,
    journal: Journal,
}

/// What placement sees of a node beside its attributes, its kind and its room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) reachable: bool,
    pub(crate) schedulable: bool,
    pub(crate) site: Option<SiteName>,
    /// Set while moves are looked for, on nodes that are to be left: they count for spreads, and take nothing.
    pub(crate) barred: bool,
}

impl Cluster {
    /// Adds a node, or replaces what is known of it; what is used on it stays.
    pub fn set_node(&mut self, view: NodeView) {
        let slot = match self.names.binary_search(&view.name) {
            Ok(slot) => slot,
            Err(slot) => {
                self.add_slot(slot, view.name.clone());
                slot
            }
        };
        let mut attributes = view.attributes;
        attributes.insert("node.name".to_owned(), view.name.to_string());
        attributes.insert("site.name".to_owned(), view.site.to_string());
        let mut changed = self.columns.set_row(slot, &attributes);
        if let Some(point) = view.point {
            changed |= self.site_points.insert(view.site.clone(), point) != Some(point);
        }
        let side = Side {
            reachable: view.reachable,
            schedulable: view.schedulable,
            site: Some(view.site),
            barred: false,
        };
        changed |= self.kinds.set(
            slot,
            Kind {
                taints: view.taints,
                point: view.point,
                micros_per_mb: view.micros_per_mb,
                gpus: view.gpus > 0,
            },
        );
        self.sides[slot] = side;
        let load = &mut self.loads[slot];
        load.capacity = view.capacity;
        load.limit = view.limit;
        load.ports.set_range(view.port_range);
        load.gpus.set_count(view.gpus);
        self.generation += u64::from(changed);
        self.touch(slot);
    }

    /// Says where a site lies that has no node here, for workloads that want to be near to it.
    pub fn set_site_point(&mut self, site: &SiteName, point: Point) {
        if self.site_points.insert(site.clone(), point) != Some(point) {
            self.generation += 1;
        }
    }

    /// Says whether a node's link is up.
    pub fn set_reachable(&mut self, node: &NodeName, reachable: bool) -> Result<(), BookError> {
        let slot = self.known_slot(node)?;
        self.sides[slot].reachable = reachable;
        self.touch(slot);
        Ok(())
    }

    /// Says whether a node takes more: not while it is cordoned or drained.
    pub fn set_schedulable(&mut self, node: &NodeName, schedulable: bool) -> Result<(), BookError> {
        let slot = self.known_slot(node)?;
        self.sides[slot].schedulable = schedulable;
        self.touch(slot);
        Ok(())
    }

    /// Forgets a node and what is used on it. No error when it is not there.
    pub fn remove_node(&mut self, node: &NodeName) {
        let Ok(slot) = self.names.binary_search(node) else {
            return;
        };
        let seat = self.seats.remove(slot);
        for held in self.loads.remove(slot).held.into_values() {
            self.uncount(&held, seat);
        }
        self.names.remove(slot);
        self.sides.remove(slot);
        self.rooms.remove(slot);
        self.generation += 1;
        self.columns.remove_row(slot);
        self.kinds.remove(slot);
    }

    /// Takes room for an allocation that was placed before, as when state is loaded. What was promised stays promised: it
    /// may leave the node with less than nothing free. An allocation that the node holds already is entered anew.
    pub fn reserve(&mut self, node: &NodeName, booking: &Booking<'_>) -> Result<(), BookError> {
        let slot = self.known_slot(node)?;
        self.strike(slot, booking.id);
        let held = Held {
            workload: self.footprints.id(booking.key, booking.labels),
            priority: booking.priority,
            resources: booking.spec.resources(),
            ports: booking.ports.iter().map(|port| (port.protocol, port.host)).collect(),
            gpus: holds(booking.spec, booking.gpus),
        };
        self.enter(slot, booking.id.clone(), held);
        Ok(())
    }

    /// Gives back the room of an allocation that is over.
    pub fn release(&mut self, node: &NodeName, id: &AllocationId) -> Result<(), BookError> {
        let slot = self.known_slot(node)?;
        let known = self.strike(slot, id);
        known.map(drop).ok_or_else(|| BookError::UnknownAllocation { id: id.clone(), node: node.clone() })
    }

    /// Finds a node for each of `count` more instances and takes their room. One answer for each: where it goes, or which
    /// rules kept it off how many nodes, most nodes first. The refused nodes add up to all nodes of the cluster. Once one is
    /// refused, all that follow are. `id` names the allocation of the instance with this index in the answers; it is asked only for
    /// instances that have a place.
    pub fn place(
        &mut self,
        demand: &Demand<'_>,
        count: u32,
        id: &mut dyn FnMut(u32) -> AllocationId,
    ) -> Vec<Result<Placed, Vec<Refusal>>> {
        let need = Need::of(demand.spec);
        let workload = self.footprints.id(demand.key, demand.labels);
        let mut round = Round::new(self, demand, &need, count);
        let mut answers = Vec::new();
        for placed in 0..count {
            let Some(slot) = round.next_node(self, &need) else {
                let refusals = refusals(self, &round, &need);
                answers.extend((placed..count).map(|_| Err(refusals.clone())));
                break;
            };
            let answer = self.take(slot, workload, demand, &need, id(placed));
            round.placed(self, &need, slot);
            answers.push(Ok(answer));
        }
        self.footprints.forget_if_empty(workload);
        self.keep(round.standing);
        answers
    }

    /// Takes room for one instance on this very node, as a daemon wants it, or says the first rule that keeps it off. Whether the
    /// node matches the selectors is the caller's to know; spreads and affinities are not looked at.
    pub fn place_on(
        &mut self,
        node: &NodeName,
        demand: &Demand<'_>,
        id: AllocationId,
    ) -> Result<Placed, Rule> {
        let slot = self.slot(node).ok_or(Rule::NoNodes)?;
        let need = Need::of(demand.spec);
        let side = self.side(slot);
        let taint =
            self.kinds.of(slot).taints.iter().find(|taint| !demand.placement.tolerate.contains(taint));
        let refused = match (side.reachable, side.schedulable, taint) {
            (false, ..) => Some(Rule::Unreachable),
            (_, false, _) => Some(Rule::Cordoned),
            (.., Some(taint)) => Some(Rule::Taint { taint: taint.clone() }),
            (.., None) => self.slot_load(slot).refusal(&need),
        };
        if let Some(rule) = refused {
            return Err(rule);
        }
        let workload = self.footprints.id(demand.key, demand.labels);
        Ok(self.take(slot, workload, demand, &need, id))
    }

    /// The names of all nodes, in order.
    pub fn nodes(&self) -> &[NodeName] {
        &self.names
    }

    /// What is reserved on a node.
    pub fn used(&self, node: &NodeName) -> Option<Resources> {
        self.load(node).map(|load| load.used)
    }

    /// What can still be reserved on a node.
    pub fn free(&self, node: &NodeName) -> Option<Resources> {
        self.load(node).map(Load::free)
    }

    /// What is free of each graphics processor of a node, in thousandths, by number.
    pub fn free_gpus(&self, node: &NodeName) -> impl Iterator<Item = u64> {
        self.load(node).into_iter().flat_map(|load| load.gpus.free())
    }

    /// How many allocations a node holds.
    pub fn allocations(&self, node: &NodeName) -> Option<u32> {
        self.load(node).map(Load::allocations)
    }

    /// The host ports of a node that are taken, in order.
    pub fn taken_ports(&self, node: &NodeName) -> impl Iterator<Item = (Protocol, u16)> {
        self.load(node).into_iter().flat_map(|load| load.ports.taken())
    }

    pub(crate) fn slots(&self) -> std::ops::Range<usize> {
        0..self.names.len()
    }

    pub(crate) fn slot(&self, node: &NodeName) -> Option<usize> {
        self.names.binary_search(node).ok()
    }

    pub(crate) fn slot_load(&self, slot: usize) -> &Load {
        &self.loads[slot]
    }

    pub(crate) fn side(&self, slot: usize) -> &Side {
        &self.sides[slot]
    }

    pub(crate) fn room(&self, slot: usize) -> &Room {
        &self.rooms[slot]
    }

    pub(crate) fn set_barred(&mut self, slot: usize, barred: bool) {
        self.sides[slot].barred = barred;
        self.touch(slot);
    }

    /// Puts back what was used on a node before allocations were tried on it.
    pub(crate) fn restore(&mut self, slot: usize, load: Load) {
        let seat = self.seats.of(slot);
        let tried = std::mem::replace(&mut self.loads[slot], load);
        for (id, held) in tried.held {
            if !self.loads[slot].held.contains_key(&id) {
                self.uncount(&held, seat);
            }
        }
        self.touch(slot);
    }

    /// The workload and labels under which an allocation is counted.
    pub(crate) fn footprint_of(&self, slot: usize, id: &AllocationId) -> Option<(WorkloadKey, Labels)> {
        let footprint = self.footprints.get(self.loads[slot].held.get(id)?.workload);
        Some((footprint.key.clone(), footprint.labels.clone()))
    }

    pub(crate) fn footprints_mut(&mut self) -> &mut Footprints {
        &mut self.footprints
    }

    pub(crate) fn footprints(&self) -> &Footprints {
        &self.footprints
    }

    /// What instances are like with `more` that need `need`.
    pub(crate) fn typical(&self, need: &Need, more: u32) -> Typical {
        self.shapes.typical(&need.resources, more)
    }

    pub(crate) fn seats(&self) -> &Seats {
        &self.seats
    }

    pub(crate) fn site_points(&self) -> &BTreeMap<SiteName, Point> {
        &self.site_points
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn standings_mut(&mut self) -> &mut Standings {
        &mut self.standings
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    fn load(&self, node: &NodeName) -> Option<&Load> {
        self.slot(node).map(|slot| &self.loads[slot])
    }

    fn known_slot(&self, node: &NodeName) -> Result<usize, BookError> {
        self.slot(node).ok_or_else(|| BookError::UnknownNode(node.clone()))
    }

    fn add_slot(&mut self, slot: usize, name: NodeName) {
        self.names.insert(slot, name);
        self.sides.insert(slot, Side::default());
        self.loads.insert(slot, Load::default());
        self.rooms.insert(slot, Room::default());
        self.generation += 1;
        self.columns.insert_row(slot);
        self.kinds.insert(slot);
        self.seats.insert(slot);
    }

    /// Books room for an instance on a node that was found for it.
    pub(crate) fn take(
        &mut self,
        slot: usize,
        workload: FootprintId,
        demand: &Demand<'_>,
        need: &Need,
        id: AllocationId,
    ) -> Placed {
        let load = &mut self.loads[slot];
        let ports =
            load.ports.bind(&need.ports).expect("a candidate's ports were checked and nothing came between");
        let gpus = load
            .gpus
            .choose(&need.gpus)
            .expect("a candidate's processors were checked and nothing came between");
        let held = Held {
            workload,
            priority: demand.priority,
            resources: need.resources,
            ports: ports.iter().map(|port| (port.protocol, port.host)).collect(),
            gpus: holds(demand.spec, &gpus),
        };
        self.enter(slot, id.clone(), held);
        Placed { id, node: self.names[slot].clone(), ports, gpus }
    }

    pub(crate) fn enter(&mut self, slot: usize, id: AllocationId, held: Held) {
        self.footprints.add(held.workload, self.seats.of(slot));
        self.shapes.add(&held.resources);
        self.loads[slot].add(id, held);
        self.touch(slot);
    }

    /// The room of a node changed.
    fn touch(&mut self, slot: usize) {
        self.rooms[slot] = Room::of(&self.sides[slot], &self.loads[slot]);
        self.journal.touch(slot, self.names.len());
    }

    pub(crate) fn strike(&mut self, slot: usize, id: &AllocationId) -> Option<Held> {
        let held = self.loads[slot].remove(id)?;
        self.uncount(&held, self.seats.of(slot));
        self.touch(slot);
        Some(held)
    }

    /// Takes an allocation out of what is counted over all nodes.
    fn uncount(&mut self, held: &Held, seat: Seat) {
        self.footprints.remove(held.workload, seat);
        self.shapes.remove(&held.resources);
    }
}
