//! The nodes of a region and what is used on them.

use skerry_types::{InstanceSpec, NodeName, Placement, PortBinding, Protocol, Refusal, Resources, Taint};

use crate::columns::Columns;
use crate::explain::explain;
use crate::fit::{Load, Need};
use crate::node::NodeView;
use crate::ports::PortBook;
use crate::round::Round;

/// The nodes of a region and what is used on them. Slots are in order of name, whatever order nodes came in.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    names: Vec<NodeName>,
    reachable: Vec<bool>,
    taints: Vec<Vec<Taint>>,
    loads: Vec<Load>,
    columns: Columns,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// What one instance is.
    pub spec: &'a InstanceSpec,
    /// Where instances may and should go.
    pub placement: &'a Placement,
    /// The nodes of the instances that the workload already has, one entry for each instance. Nodes that are gone are
    /// passed over.
    pub existing: &'a [NodeName],
}

/// Where an instance goes. Its room is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The node.
    pub node: NodeName,
    /// Host ports, one for each port of the spec that has one, in the order of the spec.
    pub ports: Vec<PortBinding>,
}

/// The cluster has no such node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the region has no node '{0}'")]
pub struct UnknownNode(pub NodeName);

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
        self.columns.set_row(slot, &attributes);
        self.reachable[slot] = view.reachable;
        self.taints[slot] = view.taints;
        self.loads[slot].capacity = view.capacity;
        self.loads[slot].ports.set_range(view.port_range);
    }

    /// Says whether a node's link is up.
    pub fn set_reachable(&mut self, node: &NodeName, reachable: bool) -> Result<(), UnknownNode> {
        let slot = self.known_slot(node)?;
        self.reachable[slot] = reachable;
        Ok(())
    }

    /// Forgets a node and what is used on it. No error when it is not there.
    pub fn remove_node(&mut self, node: &NodeName) {
        let Ok(slot) = self.names.binary_search(node) else {
            return;
        };
        self.names.remove(slot);
        self.reachable.remove(slot);
        self.taints.remove(slot);
        self.loads.remove(slot);
        self.columns.remove_row(slot);
    }

    /// Takes room for an allocation that was placed before, as when state is loaded. What was promised stays promised: it
    /// may leave the node with less than nothing free.
    pub fn reserve(
        &mut self,
        node: &NodeName,
        spec: &InstanceSpec,
        ports: &[PortBinding],
    ) -> Result<(), UnknownNode> {
        let slot = self.known_slot(node)?;
        let load = &mut self.loads[slot];
        load.used += spec.resources();
        load.allocations += 1;
        for binding in ports {
            load.ports.take(binding);
        }
        Ok(())
    }

    /// Gives back the room of an allocation that is over. Call once for each that was placed or reserved.
    pub fn release(
        &mut self,
        node: &NodeName,
        spec: &InstanceSpec,
        ports: &[PortBinding],
    ) -> Result<(), UnknownNode> {
        let slot = self.known_slot(node)?;
        let load = &mut self.loads[slot];
        load.used = load.used.saturating_sub(&spec.resources());
        load.allocations = load.allocations.saturating_sub(1);
        for binding in ports {
            load.ports.give_back(binding);
        }
        Ok(())
    }

    /// Finds a node for each of `count` more instances and takes their room. One answer for each: where it goes, or which
    /// rules kept it off how many nodes, most nodes first. The refused nodes add up to all nodes of the cluster.
    pub fn place(&mut self, demand: &Demand<'_>, count: u32) -> Vec<Result<Placed, Vec<Refusal>>> {
        let need = Need::of(demand.spec);
        let mut round = Round::new(self, demand, &need, count);
        let mut answers = Vec::new();
        for placed in 0..count {
            let Some(slot) = round.next_node() else {
                let refusals = explain(self, &round, &need);
                answers.extend((placed..count).map(|_| Err(refusals.clone())));
                break;
            };
            let ports = self.take(slot, &need);
            round.placed(self, &need, slot);
            answers.push(Ok(Placed { node: self.names[slot].clone(), ports }));
        }
        answers
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

    /// How many allocations a node holds.
    pub fn allocations(&self, node: &NodeName) -> Option<u32> {
        self.load(node).map(|load| load.allocations)
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

    pub(crate) fn slot_taints(&self, slot: usize) -> &[Taint] {
        &self.taints[slot]
    }

    pub(crate) fn slot_reachable(&self, slot: usize) -> bool {
        self.reachable[slot]
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    fn load(&self, node: &NodeName) -> Option<&Load> {
        self.slot(node).map(|slot| &self.loads[slot])
    }

    fn known_slot(&self, node: &NodeName) -> Result<usize, UnknownNode> {
        self.slot(node).ok_or_else(|| UnknownNode(node.clone()))
    }

    fn add_slot(&mut self, slot: usize, name: NodeName) {
        self.names.insert(slot, name);
        self.reachable.insert(slot, false);
        self.taints.insert(slot, Vec::new());
        self.loads.insert(slot, Load::default());
        self.columns.insert_row(slot);
    }

    fn take(&mut self, slot: usize, need: &Need) -> Vec<PortBinding> {
        let load = &mut self.loads[slot];
        load.used += need.resources;
        load.allocations += 1;
        load.ports.bind(&need.ports).expect("a candidate's ports were checked and nothing came between")
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            capacity: Resources::default(),
            used: Resources::default(),
            allocations: 0,
            ports: PortBook::new((0, 0)),
        }
    }
}
