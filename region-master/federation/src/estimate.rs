//! How many instances a site has room for, as its sketch tells.

use skerry_types::{
    HostPort, InstanceSpec, MilliGpu, Placement, Refusal, Resources, Rule, SiteDigest, SketchBucket,
    SketchClass,
};

use crate::ALLOCATIONS_MAX;
use crate::selecting::{Holds, Selecting};

/// How many more instances of this the site has room for: never more than it had when its sketch was made, often exactly as
/// many. Counts the nodes of which it is certain that they match `require` and have no taint that is not tolerated.
///
/// Spreads, affinity and ports that others have taken are not looked at.
pub fn estimate(site: &SiteDigest, need: &InstanceSpec, placement: &Placement) -> u32 {
    let (need, mut rules) = (Need::of(need), Rules::new(placement));
    let rooms = site.sketch.classes.iter().map(|class| match rules.judge(site, class) {
        Fit::Yes => need.room(class),
        Fit::Unknown(_) | Fit::No(_) => 0,
    });
    rooms.fold(0, u32::saturating_add)
}

/// Whether the site may have nodes that match `require` and have no taint that is not tolerated, full ones included. True also
/// where the sketch does not tell.
pub fn may_match(site: &SiteDigest, placement: &Placement) -> bool {
    let mut rules = Rules::new(placement);
    site.sketch.classes.iter().any(|class| !matches!(rules.judge(site, class), Fit::No(_)))
}

/// What an instance takes of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) resources: Resources,
    /// A fixed host port: a node takes one.
    fixed_port: bool,
}

impl Need {
    pub(crate) fn of(spec: &InstanceSpec) -> Self {
        let fixed_port = spec.all_containers().flat_map(|container| &container.ports);
        let fixed_port = fixed_port.into_iter().any(|port| matches!(port.host, HostPort::Fixed(_)));
        let resources = Resources { gpu: gpus(spec), ..spec.resources() };
        Self { resources, fixed_port }
    }

    /// How many of it fit on all nodes of a class.
    pub(crate) fn room(&self, class: &SketchClass) -> u32 {
        let rooms = class.buckets.iter().map(|bucket| self.per_node(bucket).saturating_mul(bucket.nodes));
        rooms.fold(0, u32::saturating_add)
    }

    /// How many of it fit on one node of a bucket.
    pub(crate) fn per_node(&self, bucket: &SketchBucket) -> u32 {
        let most = if self.fixed_port { bucket.slots.min(1) } else { bucket.slots };
        let (free, need) = (&bucket.free, &self.resources);
        let pairs = [
            (free.cpu.0, need.cpu.0),
            (free.memory.0, need.memory.0),
            (free.disk.0, need.disk.0),
            (free.bandwidth.0, need.bandwidth.0),
        ];
        let fitting = |most: u64, (free, need): (u64, u64)| {
            free.checked_div(need).map_or(most, |count| most.min(count))
        };
        let most = pairs.into_iter().fold(u64::from(most), fitting).min(self.by_gpu(free.gpu));
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    fn by_gpu(&self, free: MilliGpu) -> u64 {
        let whole = free.0 / 1000;
        match self.resources.gpu.0 {
            0 => u64::MAX,
            need @ 1..=1000 => whole * (1000 / need),
            need => whole / need.div_ceil(1000),
        }
    }

    /// The rule that keeps one more off a node with this much left.
    pub(crate) fn shortage(&self, left: &Resources, slots: u32) -> Option<Rule> {
        let need = &self.resources;
        if need.cpu > left.cpu {
            return Some(Rule::Cpu { need: need.cpu, most_free: left.cpu });
        }
        if need.memory > left.memory {
            return Some(Rule::Memory { need: need.memory, most_free: left.memory });
        }
        if need.disk > left.disk {
            return Some(Rule::Disk { need: need.disk, most_free: left.disk });
        }
        if need.bandwidth > left.bandwidth {
            return Some(Rule::Bandwidth { need: need.bandwidth, most_free: left.bandwidth });
        }
        if need.gpu > left.gpu {
            return Some(Rule::Gpu { need: need.gpu, most_free: left.gpu });
        }
        (slots == 0).then_some(Rule::AllocationLimit { limit: ALLOCATIONS_MAX })
    }
}

/// Graphics processors that an instance takes of a node's free ones at most: parts of one share it, and what does not fit on one
/// is counted in whole ones for each container.
fn gpus(spec: &InstanceSpec) -> MilliGpu {
    let together = spec.resources().gpu;
    if together.0 <= 1000 {
        return together;
    }
    let whole = |container: &skerry_types::ContainerSpec| container.resources.gpu.0.div_ceil(1000) * 1000;
    let running = spec.containers.iter().map(whole).fold(0, u64::saturating_add);
    MilliGpu(spec.init.iter().map(whole).fold(running, u64::max))
}

/// Whether the nodes of a class may hold an instance at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit<'a> {
    Yes,
    /// The sketch does not tell the attribute that this term of `require` asks for.
    Unknown(usize),
    No(Why<'a>),
}

/// The rule that says no, before it is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why<'a> {
    /// A term of `require`.
    Term(usize),
    Taint(&'a skerry_types::Taint),
}

/// The hard rules of a placement that a sketch can answer to.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    placement: &'a Placement,
    require: Selecting<'a>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(placement: &'a Placement) -> Self {
        Self { placement, require: Selecting::new(&placement.require) }
    }

    pub(crate) fn judge(&mut self, site: &'a SiteDigest, class: &'a SketchClass) -> Fit<'a> {
        let holds = self.require.holds(site, class);
        if let Holds::No(term) = holds {
            return Fit::No(Why::Term(term));
        }
        if let Some(taint) = class.taints.iter().find(|taint| !self.placement.tolerate.contains(taint)) {
            return Fit::No(Why::Taint(taint));
        }
        match holds {
            Holds::Unknown(term) => Fit::Unknown(term),
            Holds::Yes | Holds::No(_) => Fit::Yes,
        }
    }

    pub(crate) fn word(&self, why: Why<'_>) -> Rule {
        match why {
            Why::Term(term) => self.term(term),
            Why::Taint(taint) => Rule::Taint { taint: taint.clone() },
        }
    }

    /// A term of `require` as the rule that says no.
    pub(crate) fn term(&self, term: usize) -> Rule {
        Rule::Require { term: self.require.term(term) }
    }
}

/// Counts nodes under a rule; of those that lack the same resource, the most that any has free is kept.
pub(crate) fn count(refusals: &mut Vec<Refusal>, rule: Rule, nodes: u32) {
    let known = refusals.iter_mut().find_map(|known| merge(&mut known.rule, &rule).then_some(known));
    match known {
        Some(known) => known.nodes = known.nodes.saturating_add(nodes),
        None => refusals.push(Refusal { rule, nodes }),
    }
}

fn merge(known: &mut Rule, rule: &Rule) -> bool {
    match (known, rule) {
        (Rule::Cpu { most_free, .. }, Rule::Cpu { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Memory { most_free, .. }, Rule::Memory { most_free: free, .. })
        | (Rule::Disk { most_free, .. }, Rule::Disk { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Bandwidth { most_free, .. }, Rule::Bandwidth { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (Rule::Gpu { most_free, .. }, Rule::Gpu { most_free: free, .. }) => {
            *most_free = (*most_free).max(*free);
        }
        (known, rule) => return *known == *rule,
    }
    true
}
