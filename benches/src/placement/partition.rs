//! A part of the nodes for each tenant, which no other tenant may use.

use anyhow::Result;

use super::packer::{Free, Packer};
use super::replay::number;
use super::skerry::OneLevel;
use super::trace::{Amount, Trace, TraceNode};

/// Whose each pod is.
pub(crate) struct Tenants {
    /// By pod.
    of: Vec<usize>,
    count: usize,
}

impl Tenants {
    /// Those that wait for no one are one tenant, all others the second.
    pub(crate) fn by_class(trace: &Trace) -> Self {
        Self { of: trace.pods.iter().map(|pod| usize::from(pod.class != "LS")).collect(), count: 2 }
    }

    /// The pods are dealt to `count` tenants in turn.
    pub(crate) fn in_turn(trace: &Trace, count: usize) -> Self {
        Self { of: (0..trace.pods.len()).map(|pod| pod % count).collect(), count }
    }

    /// What each tenant asks for of graphics processors in all.
    fn asked(&self, trace: &Trace) -> Vec<u64> {
        let mut asked = vec![0; self.count];
        for (pod, tenant) in trace.pods.iter().zip(&self.of) {
            asked[*tenant] += pod.need.gpu_milli;
        }
        asked
    }
}

/// A cluster for each tenant.
pub(crate) struct Partitioned {
    parts: Vec<OneLevel>,
    /// By node: its part, and its place there.
    places: Vec<(usize, usize)>,
    /// By part and place: the node.
    nodes: Vec<Vec<usize>>,
    tenant_of: Vec<usize>,
}

impl Partitioned {
    /// Deals the nodes of each kind to the tenants in proportion to what they will ask for of graphics processors, which nobody could know
    /// beforehand: no fixed division does better but by luck.
    pub(crate) fn new(trace: &Trace, tenants: &Tenants) -> Result<Self> {
        let asked = tenants.asked(trace);
        let mut kinds: Vec<usize> = (0..trace.nodes.len()).collect();
        kinds.sort_by_key(|node| (trace.nodes[*node].room, *node));
        let mut nodes: Vec<Vec<usize>> = vec![Vec::new(); tenants.count];
        let mut places = vec![(0, 0); trace.nodes.len()];
        for node in kinds {
            // The one that has least for what it asks, as votes become seats.
            let fewest = (0..tenants.count).min_by(|one, other| {
                let with_one_more = |tenant: usize| number(nodes[tenant].len() + 1);
                let each = |tenant: usize| with_one_more(tenant) / number(asked[tenant]);
                each(*one).total_cmp(&each(*other))
            });
            let part = fewest.unwrap_or_default();
            places[node] = (part, nodes[part].len());
            nodes[part].push(node);
        }
        let parts = nodes.iter().map(|nodes| {
            let nodes: Vec<TraceNode> = nodes.iter().map(|node| trace.nodes[*node].clone()).collect();
            OneLevel::new(&nodes)
        });
        Ok(Self { parts: parts.collect::<Result<_>>()?, places, nodes, tenant_of: tenants.of.clone() })
    }
}

impl Packer for Partitioned {
    fn place(&mut self, pod: usize, need: &Amount) -> Option<usize> {
        let part = self.tenant_of[pod];
        let place = self.parts[part].place(pod, need)?;
        Some(self.nodes[part][place])
    }

    fn remove(&mut self, pod: usize, node: usize, need: &Amount) {
        let (part, place) = self.places[node];
        self.parts[part].remove(pod, place, need);
    }

    fn free(&self) -> Vec<Free> {
        let parts: Vec<Vec<Free>> = self.parts.iter().map(Packer::free).collect();
        self.places.iter().map(|(part, place)| parts[*part][*place].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::trace::TracePod;

    #[test]
    fn each_tenant_has_its_part_and_no_more() {
        let room = Amount { cpu_milli: 1000, memory_mib: 1000, gpu_milli: 1000 };
        let pod = |class: &str| TracePod { need: room, class: class.to_owned(), created: 0, deleted: 1 };
        let trace = Trace {
            nodes: vec![TraceNode { name: String::new(), room, model: "g".to_owned() }; 4],
            pods: ["LS", "LS", "LS", "BE", "BE", "BE", "BE"].map(pod).to_vec(),
        };
        let mut packer = Partitioned::new(&trace, &Tenants::by_class(&trace)).unwrap();
        let placed: Vec<bool> = (0..7).map(|number| packer.place(number, &room).is_some()).collect();
        assert_eq!(placed, [true, true, false, true, true, false, false]);
        assert_eq!(packer.free().iter().filter(|free| free.fits(&room)).count(), 0);
    }
}
