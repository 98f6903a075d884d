//! How many instances a site has room for, as its sketch tells.

use std::sync::Arc;

use skerry_types::{
    HostPort, InstanceSpec, MilliGpu, Placement, Refusal, Resources, Rule, SiteDigest, SketchBucket, Taint,
};

use crate::roster::{Roster, Site};
use crate::selecting::{Holds, Selecting};
use crate::table::{Buckets, SiteTable};

/// How many more instances of this the site has room for: never more than it had when its sketch was made, often exactly as
/// many. Counts the nodes of which it is certain that they match `require` and have no taint that is not tolerated.
///
/// Spreads, affinity and ports that others have taken are not looked at.
pub fn estimate(site: &SiteDigest, need: &InstanceSpec, placement: &Placement) -> u32 {
    let need = Need::of(need);
    let table = SiteTable::from_iter([Arc::new(site.clone())]);
    let rooms = fits(&table, placement).map(|(fit, buckets)| match fit {
        Fit::Yes => need.room(buckets),
        Fit::Unknown(_) | Fit::No(_) => 0,
    });
    rooms.fold(0, u32::saturating_add)
}

/// Whether the site may have nodes that match `require` and have no taint that is not tolerated, full ones included. True also
/// where the sketch does not tell.
pub fn may_match(site: &SiteDigest, placement: &Placement) -> bool {
    let table = SiteTable::from_iter([Arc::new(site.clone())]);
    fits(&table, placement).any(|(fit, _)| !matches!(fit, Fit::No(_)))
}

/// What the hard rules say of each class of a table, with its buckets.
fn fits<'a>(table: &'a SiteTable, placement: &Placement) -> impl Iterator<Item = (Fit, Buckets<'a>)> {
    let roster = Roster::new([table], placement);
    let rules = Rules::new(placement, &roster);
    let judged = roster.sites(0).flat_map(|site| {
        let at_site = rules.at_site(&site);
        let classes = table.classes_of(site.row).iter();
        let judged =
            classes.map(|class| (rules.judge(at_site, roster.kind(0, class)), table.buckets_of(class)));
        judged.collect::<Vec<_>>()
    });
    judged.collect::<Vec<_>>().into_iter()
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
    pub(crate) fn room(&self, buckets: Buckets<'_>) -> u32 {
        let Resources { cpu, memory, disk, bandwidth, gpu } = self.resources;
        if (disk.0, bandwidth.0, gpu.0) != (0, 0, 0) {
            let rooms = buckets.all().map(|bucket| self.per_node(&bucket).saturating_mul(bucket.nodes));
            return rooms.fold(0, u32::saturating_add);
        }
        let most = if self.fixed_port { 1 } else { u64::from(u16::MAX) };
        let rooms = buckets.rows.iter().map(|row| {
            let slots = u64::from(row.slots).min(most);
            let slots = fitting(fitting(slots, u64::from(row.cpu), cpu.0), row.memory, memory.0);
            // Two numbers of sixteen bits.
            u32::try_from(slots * u64::from(row.nodes)).unwrap_or(u32::MAX)
        });
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
        let most = pairs.into_iter().fold(u64::from(most), |most, (free, need)| fitting(most, free, need));
        u32::try_from(most.min(self.by_gpu(free.gpu))).unwrap_or(u32::MAX)
    }

    fn by_gpu(&self, free: MilliGpu) -> u64 {
        let (whole, part) = (free.0 / 1000, free.0 % 1000);
        match self.resources.gpu.0 {
            0 => u64::MAX,
            need @ 1..=1000 => whole * (1000 / need) + part / need,
            need => whole / need.div_ceil(1000),
        }
    }

    /// What is left on a node of a bucket with as many on it as fit.
    pub(crate) fn left(&self, bucket: &SketchBucket) -> Resources {
        let fitting = self.per_node(bucket);
        let left = bucket.free.saturating_sub(&self.resources.times(fitting));
        let (whole, part, need) = (bucket.free.gpu.0 / 1000, bucket.free.gpu.0 % 1000, self.resources.gpu.0);
        if !(1..1000).contains(&need) || u64::from(fitting) < self.by_gpu(bucket.free.gpu) {
            return left;
        }
        // Each processor has a rest that is too small; together they are not enough for one more.
        let of_whole = if whole > 0 { 1000 % need } else { 0 };
        Resources { gpu: MilliGpu(of_whole.max(part % need)), ..left }
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
        (slots == 0).then_some(Rule::AllocationLimit)
    }
}

/// How many of `most` find what they need. What fits anyway is not divided: most nodes lack one resource only.
fn fitting(most: u64, free: u64, need: u64) -> u64 {
    match most.checked_mul(need) {
        Some(all) if all <= free => most,
        _ => free / need,
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
pub(crate) enum Fit {
    Yes,
    /// The sketch does not tell the attribute that this term of `require` asks for.
    Unknown(usize),
    No(Why),
}

/// The rule that says no, before it is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A term of `require`.
    Term(usize),
    /// A taint of nodes of this kind.
    Taint(u32),
}

/// The hard rules of a placement that a sketch can answer to.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    require: Selecting,
    /// For each kind of nodes, the first taint that is not tolerated.
    taints: Vec<Option<&'a Taint>>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(placement: &Placement, roster: &Roster<'a>) -> Self {
        let taints = roster
            .kinds
            .iter()
            .map(|kind| kind.taints.iter().find(|taint| !placement.tolerate.contains(taint)));
        Self { require: Selecting::new(&placement.require, roster), taints: taints.collect() }
    }

    /// What the terms that ask for what all nodes of a site have say of it.
    pub(crate) fn at_site(&self, site: &Site<'_>) -> Holds {
        self.require.at_site(site)
    }

    /// What all rules say of nodes of a kind at a site.
    pub(crate) fn judge(&self, at_site: Holds, kind: u32) -> Fit {
        let holds = at_site.min(self.require.for_kind(kind));
        let tainted = self.taint(kind).is_some();
        match holds {
            Holds::No(term) => Fit::No(Why::Term(term)),
            _ if tainted => Fit::No(Why::Taint(kind)),
            Holds::Unknown(term) => Fit::Unknown(term),
            Holds::Yes => Fit::Yes,
        }
    }

    fn taint(&self, kind: u32) -> Option<&'a Taint> {
        self.taints.get(crate::index(kind)).copied().flatten()
    }

    /// The rule that says no; `None` for a kind that is not tainted.
    pub(crate) fn word(&self, why: Why) -> Option<Rule> {
        match why {
            Why::Term(term) => Some(self.term(term)),
            Why::Taint(kind) => self.taint(kind).map(|taint| Rule::Taint { taint: taint.clone() }),
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
