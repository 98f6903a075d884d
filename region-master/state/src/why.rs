//! Why instances are where they are or would go, and which moves would help.

use std::sync::Arc;

use skerry_federation::level1;
use skerry_types::{
    AllocationId, Desired, Explanation, InstanceIndex, InstanceSet, NodeName, Refusal, RefusedWhy, Rule,
    Target, WorkloadKind, WorkloadSpec,
};

use crate::api::{ApiError, ApiReply, ExplainWhat, Move};
use crate::capacity::demand;
use crate::nodes::Node;
use crate::records::WorkloadRecord;
use crate::state::RegionState;

/// Most moves that are proposed at once.
const MOVES_MAX: usize = 1000;

impl RegionState {
    pub(crate) fn explain(&mut self, what: &ExplainWhat) -> Result<ApiReply, ApiError> {
        let (record, refused) = match what {
            ExplainWhat::Workload(key) => {
                let known = self.workloads.get(key).map(|workload| workload.record.clone());
                let missing = || ApiError::NotFound { what: "workload", name: key.to_string() };
                (known.ok_or_else(missing)?, None)
            }
            ExplainWhat::Spec(spec) => {
                self.check_owned(&spec.key)?;
                let former = self.workloads.get(&spec.key).map(|workload| Arc::clone(&workload.record.spec));
                let refused = self.admit(former.as_deref(), spec, true).err();
                (self.would_be(spec), refused)
            }
        };
        let wanted = self.wanted_instances(&record);
        let mut explanation = self.explain_record(&record, &wanted);
        match refused {
            Some(ApiError::Quota { tenant, excess }) => {
                explanation.refused.insert(0, over_quota(&wanted, tenant.to_string(), excess));
            }
            Some(error) => return Err(error),
            None => {}
        }
        Ok(ApiReply::Explanation(explanation))
    }

    /// A workload as it would be after an apply.
    fn would_be(&self, spec: &Arc<WorkloadSpec>) -> WorkloadRecord {
        match self.workloads.get(&spec.key) {
            Some(workload) => self.next_generation(&workload.record, Arc::clone(spec)),
            None => self.first_generation(Arc::clone(spec)),
        }
    }

    fn explain_record(&mut self, record: &WorkloadRecord, wanted: &InstanceSet) -> Explanation {
        if self.regions.is_empty() || record.spec.kind == WorkloadKind::Daemon {
            return self.explain_local(record, wanted);
        }
        let deal = self.present_deal(record, wanted);
        let views = self.region_views(record, &deal);
        let asked = level1::Demand {
            instance: &record.spec.instance,
            placement: &record.spec.placement,
            wanted,
            round: deal.split.round,
        };
        let mut explanation = level1::explain(&asked, &views);
        // For the own nodes level 2 says more.
        let own = Target::Region(self.config.region.clone());
        let (local, below): (Vec<_>, Vec<_>) =
            explanation.placed.into_iter().partition(|placed| placed.target == own);
        let local = local.iter().fold(InstanceSet::default(), |all, placed| all.union(&placed.instances));
        let nodes = self.explain_local(record, &local);
        explanation.placed = nodes.placed.into_iter().chain(below).collect();
        explanation.refused = nodes.refused.into_iter().chain(explanation.refused).collect();
        explanation
    }

    fn explain_local(&mut self, record: &WorkloadRecord, wanted: &InstanceSet) -> Explanation {
        let runs = self.allocations_of(&record.spec.key).filter(|a| a.intent.desired == Desired::Run);
        let mut placed: Vec<(InstanceIndex, NodeName)> =
            runs.map(|allocation| (allocation.intent.instance, allocation.node.clone())).collect();
        placed.sort();
        let there: InstanceSet = placed.iter().map(|(instance, _)| *instance).collect();
        let missing = wanted.difference(&there);
        let guarantees = self.guarantees();
        self.cluster.explain(&demand(&record.spec, &[]), &placed, &missing, &|taken| guarantees.allow(taken))
    }

    /// Says which moves would empty nodes.
    pub(crate) fn rebalance(&self) -> ApiReply {
        let asked = |id: &AllocationId| {
            let allocation = self.allocations.get(id).filter(|_| self.is_movable(id))?;
            let record = &self.workloads.get(&allocation.intent.workload)?.record;
            Some(demand(&record.spec, &[]))
        };
        let moves = self.cluster.rebalance(MOVES_MAX, &asked).into_iter().filter_map(|proposed| {
            let intent = &self.allocations.get(&proposed.allocation)?.intent;
            let (workload, instance) = (intent.workload.clone(), intent.instance);
            let (allocation, from, to) = (proposed.allocation, proposed.from, proposed.to);
            Some(Move { allocation, workload, instance, from, to })
        });
        let moves: Vec<Move> = moves.collect();
        let why_none = if moves.is_empty() { self.why_no_move() } else { Vec::new() };
        ApiReply::Moves { moves, why_none }
    }

    /// Why no node can be emptied, a sentence for each reason.
    fn why_no_move(&self) -> Vec<String> {
        let region = self.region();
        let nodes = self.nodes.iter().map(|(name, node)| (name, &**node));
        let busy: Vec<(&NodeName, &Node)> = nodes.filter(|(_, node)| !node.allocations.is_empty()).collect();
        match busy.as_slice() {
            [] if self.nodes.is_empty() && !self.regions.is_empty() => {
                let below: Vec<&str> = self.regions.keys().map(skerry_types::RegionName::as_str).collect();
                return vec![format!(
                    "region {region} has no nodes of its own: ask the regions below it ({}) with --context",
                    named(&below)
                )];
            }
            [] if self.nodes.is_empty() => return vec![format!("region {region} has no nodes")],
            [] => return vec!["no node holds anything".to_owned()],
            [(name, _)] => {
                return vec![format!("only node {name} holds anything: there is no other to empty it onto")];
            }
            _ => {}
        }
        let (mut closed, mut bound, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for (name, node) in &busy {
            let list = if !node.is_reachable() || self.is_cordoned(name) {
                &mut closed
            } else if node.allocations.iter().any(|id| !self.is_movable(id)) {
                &mut bound
            } else {
                &mut full
            };
            list.push(name.as_str());
        }
        let told = [
            (full, "no other node that holds something has room, within the rules, for all that is on"),
            (bound, "a job, a cron workload, a daemon or something that stops keeps"),
            (closed, "cordoned or not heard from:"),
        ];
        let told = told.into_iter().filter(|(names, _)| !names.is_empty());
        told.map(|(names, why)| format!("{why} {}", named(&names))).collect()
    }

    fn is_movable(&self, id: &AllocationId) -> bool {
        let allocation = self.allocations.get(id).filter(|known| known.intent.desired == Desired::Run);
        let workload = allocation.and_then(|known| self.workloads.get(&known.intent.workload));
        workload.is_some_and(|workload| {
            workload.record.spec.kind == WorkloadKind::Service && !workload.record.deleting
        })
    }
}

/// `n1, n2 and 3 more`.
fn named(names: &[&str]) -> String {
    const NAMED_MAX: usize = 5;
    let (shown, rest) = names.split_at(names.len().min(NAMED_MAX));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("{}{more}", shown.join(", "))
}

fn over_quota(wanted: &InstanceSet, tenant: String, excess: String) -> RefusedWhy {
    let remedy = format!("raise the limit of tenant {tenant}, or remove something of it");
    let reasons = vec![Refusal { rule: Rule::Quota { tenant, excess }, nodes: 0 }];
    RefusedWhy { instances: wanted.clone(), reasons, remedies: vec![remedy] }
}
