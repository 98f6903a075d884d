//! What the model holds an answer against.

use std::collections::BTreeSet;

use skerry_allocator::Placed;
use skerry_types::{HostPort, Refusal, Resources, Rule};

use super::{Work, World};

impl World {
    /// The node may take the instance, no node that may is better, and the ports are those that were asked for.
    pub(crate) fn check_choice(
        &self,
        workload: usize,
        work: &Work,
        typical: &[(Resources, u64)],
        placed: &Placed,
    ) {
        let spec = &work.spec;
        let best = self
            .nodes
            .values()
            .filter(|view| self.refusal(workload, view, work).is_none())
            .max_by_key(|view| self.rank(workload, view, work, typical))
            .expect("some node may take it");
        assert_eq!(placed.node, best.name, "{work:?}");
        let free = self.free_gpus(best);
        let given: u64 = placed.gpus.iter().map(|binding| binding.share.0).sum();
        assert_eq!(given, spec.resources().gpu.0);
        for binding in &placed.gpus {
            let (had, share) = (free[usize::from(binding.gpu)], binding.share.0);
            let tighter = free.iter().any(|free| (share..had).contains(free));
            assert!(had >= share && !tighter, "{free:?} {binding:?}");
        }
        let wanted = spec.ports().filter(|port| port.host != HostPort::None);
        let wanted: Vec<_> = wanted.collect();
        assert_eq!(wanted.len(), placed.ports.len());
        let taken: BTreeSet<_> = self.ports(&placed.node).into_iter().collect();
        for (wanted, bound) in wanted.iter().zip(&placed.ports) {
            assert_eq!(
                (&wanted.name, wanted.container, wanted.protocol),
                (&bound.name, bound.container, bound.protocol)
            );
            assert!(!taken.contains(&(bound.protocol, bound.host)));
            match wanted.host {
                HostPort::Fixed(number) => assert_eq!(bound.host, number),
                _ => assert!((best.port_range.0..=best.port_range.1).contains(&bound.host)),
            }
        }
    }

    /// Every node is refused, and under the rule that is said, with the right numbers.
    pub(crate) fn check_refusals(&self, workload: usize, work: &Work, refusals: &[Refusal]) {
        if self.nodes.is_empty() {
            assert_eq!(refusals, [Refusal { rule: Rule::NoNodes, nodes: 0 }]);
            return;
        }
        let rules: Vec<Rule> = self
            .nodes
            .values()
            .map(|view| self.refusal(workload, view, work).expect("no node may take it"))
            .collect();
        let total: u32 = refusals.iter().map(|refusal| refusal.nodes).sum();
        assert_eq!(usize::try_from(total).unwrap(), self.nodes.len());
        for refusal in refusals {
            let same: Vec<_> = rules.iter().filter(|rule| kind(rule) == kind(&refusal.rule)).collect();
            assert_eq!(same.len(), usize::try_from(refusal.nodes).unwrap(), "{refusal:?}");
            // The rules of one kind differ only in what is free, and the most of that is said.
            assert_eq!(same.into_iter().max(), Some(&refusal.rule));
        }
        assert!(refusals.windows(2).all(|pair| pair[0].nodes >= pair[1].nodes));
    }
}

fn kind(rule: &Rule) -> Rule {
    let mut kind = rule.clone();
    match &mut kind {
        Rule::Cpu { most_free, .. } => most_free.0 = 0,
        Rule::Memory { most_free, .. } | Rule::Disk { most_free, .. } => most_free.0 = 0,
        Rule::Bandwidth { most_free, .. } => most_free.0 = 0,
        Rule::Gpu { most_free, .. } => most_free.0 = 0,
        _ => {}
    }
    kind
}
