//! A tree of regions that admit, give back, talk late or not at all, and never pass the limit together.

use std::collections::VecDeque;

use proptest::prelude::*;
use skerry_federation::escrow::{Held, NOTHING, OwnUse, held, own_limit, rebalance, report};
use skerry_types::{Bytes, MilliCpu, Quota, RegionName, Resources, TenantName, TenantUse};

fn cores(cpu: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), ..Resources::ZERO }
}

fn limit(cpu: u64) -> Quota {
    Quota { cpu: Some(MilliCpu(cpu)), ..Quota::default() }
}

fn grant_of(quota: Quota) -> u64 {
    quota.cpu.unwrap().0
}

/// One region: what it was granted, what it uses, what it knows of its children, and what is on its way.
struct Region {
    parent: Option<usize>,
    grant: Quota,
    own: OwnUse,
    children: Vec<(usize, Held)>,
    /// Grants and reports on the link to its parent, oldest first.
    down: VecDeque<Quota>,
    up: VecDeque<TenantUse>,
    cut: bool,
}

struct Tree {
    regions: Vec<Region>,
}

/// Each region's parent: a root, two children, two below the first and one below the second.
const PARENTS: [Option<usize>; 6] = [None, Some(0), Some(0), Some(1), Some(1), Some(2)];

impl Tree {
    fn new(whole: u64) -> Self {
        let regions = PARENTS.iter().enumerate().map(|(at, parent)| Region {
            parent: *parent,
            grant: if parent.is_none() { limit(whole) } else { NOTHING },
            own: OwnUse::default(),
            children: (0..PARENTS.len())
                .filter(|child| PARENTS[*child] == Some(at))
                .map(|child| {
                    let region = RegionName::new(format!("r{child}")).unwrap();
                    (child, Held { region, reachable: true, granted: NOTHING, heard: None })
                })
                .collect(),
            down: VecDeque::new(),
            up: VecDeque::new(),
            cut: false,
        });
        Self { regions: regions.collect() }
    }

    fn held(&self, at: usize) -> Vec<Held> {
        let known = self.regions[at].children.iter();
        known.map(|(child, held)| Held { reachable: !self.regions[*child].cut, ..held.clone() }).collect()
    }

    fn admit(&mut self, at: usize, cpu: u64) {
        let bound = own_limit(&self.regions[at].grant, &self.held(at));
        let own = &mut self.regions[at].own;
        let after = own.used + cores(cpu);
        if bound.first_excess(&after).is_none() {
            *own = OwnUse { used: after, wanted: Resources::ZERO };
        } else {
            own.wanted = cores(cpu);
        }
    }

    fn release(&mut self, at: usize, cpu: u64) {
        let own = &mut self.regions[at].own;
        *own = OwnUse { used: own.used.saturating_sub(&cores(cpu)), wanted: Resources::ZERO };
    }

    fn rebalance(&mut self, at: usize) {
        let region = &self.regions[at];
        let grants = rebalance(&region.grant, &region.own, &self.held(at));
        for place in 0..self.regions[at].children.len() {
            let (child, known) = &mut self.regions[at].children[place];
            let (child, grant) = (*child, grants[&known.region]);
            if known.granted != grant {
                known.granted = grant;
                self.regions[child].down.push_back(grant);
            }
        }
    }

    fn report(&mut self, at: usize) {
        let region = &self.regions[at];
        let report = report(TenantName::default(), &region.grant, &region.own, &self.held(at));
        self.regions[at].up.push_back(report);
    }

    /// The next message of a link arrives; those that are skipped were overtaken by it.
    fn deliver(&mut self, at: usize, down: bool, skipped: usize) {
        let region = &mut self.regions[at];
        if region.cut {
            return;
        }
        let queue = |len: usize| skipped.min(len.saturating_sub(1));
        if down {
            region.down.drain(..queue(region.down.len()));
            region.grant = region.down.pop_front().unwrap_or(region.grant);
        } else {
            region.up.drain(..queue(region.up.len()));
            let (heard, parent) = (region.up.pop_front(), region.parent);
            let Some((heard, parent)) = heard.zip(parent) else { return };
            let known = self.regions[parent].children.iter_mut().find(|(child, _)| *child == at);
            known.unwrap().1.heard = Some(heard);
        }
    }

    /// Everybody talks, and everything arrives, for some rounds.
    fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for at in 0..self.regions.len() {
                self.rebalance(at);
                self.report(at);
                while !self.regions[at].cut && !self.regions[at].down.is_empty() {
                    self.deliver(at, true, 0);
                }
                while !self.regions[at].cut && !self.regions[at].up.is_empty() {
                    self.deliver(at, false, 0);
                }
            }
        }
    }

    fn used(&self) -> u64 {
        self.regions.iter().map(|region| region.own.used.cpu.0).sum()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit(usize, u64),
    Release(usize, u64),
    Rebalance(usize),
    Report(usize),
    Deliver(usize, bool, usize),
    Cut(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let region = 0..PARENTS.len();
    let step = prop_oneof![
        4 => (region.clone(), 1u64..60).prop_map(|(at, cpu)| Step::Admit(at, cpu)),
        2 => (region.clone(), 1u64..100).prop_map(|(at, cpu)| Step::Release(at, cpu)),
        4 => region.clone().prop_map(Step::Rebalance),
        4 => region.clone().prop_map(Step::Report),
        12 => (region.clone(), any::<bool>(), 0usize..3).prop_map(|(at, down, n)| Step::Deliver(at, down, n)),
        1 => (region, any::<bool>()).prop_map(|(at, cut)| Step::Cut(at, cut)),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_limit_holds_over_the_whole_tree(whole in 1u64..400, steps in steps()) {
        let mut tree = Tree::new(whole);
        for step in steps {
            match step {
                Step::Admit(at, cpu) => tree.admit(at, cpu),
                Step::Release(at, cpu) => tree.release(at, cpu),
                Step::Rebalance(at) => tree.rebalance(at),
                Step::Report(at) => tree.report(at),
                Step::Deliver(at, down, skipped) => tree.deliver(at, down, skipped),
                Step::Cut(at, cut) => tree.regions[at].cut = cut,
            }
            prop_assert!(tree.used() <= whole, "{} of {whole}", tree.used());
        }
        // However it got there, what is left over can be had by whoever wants it once all talk again.
        for region in &mut tree.regions {
            region.cut = false;
            region.own.wanted = Resources::ZERO;
        }
        tree.settle(30);
        let wanting = 3;
        let left = whole - tree.used();
        tree.admit(wanting, left);
        tree.settle(30);
        tree.admit(wanting, left);
        prop_assert_eq!(tree.used(), whole, "one region gets all that is left");
    }
}

#[test]
fn unused_parts_flow_back_and_a_cut_off_part_stays() {
    let mut tree = Tree::new(1000);
    tree.settle(5);
    let parts =
        |tree: &Tree| -> Vec<u64> { tree.regions.iter().map(|region| grant_of(region.grant)).collect() };
    assert_eq!(parts(&tree)[1..3], [333, 333], "each has a part before it asks");
    tree.regions[2].cut = true;
    tree.admit(4, 500);
    assert_eq!(tree.used(), 0);
    tree.settle(5);
    tree.admit(4, 500);
    assert_eq!(tree.used(), 500, "what the others have not used went where it was wanted");
    tree.admit(2, 150);
    assert_eq!(tree.used(), 650, "the part of the region that is cut off is still its own");
    tree.admit(0, 200);
    assert_eq!(tree.used(), 650);
    tree.settle(5);
    tree.admit(0, 168);
    assert_eq!(tree.used(), 650, "the cut-off region may still take 183");
    tree.admit(0, 167);
    assert_eq!(tree.used(), 817);
    tree.admit(2, 183);
    tree.settle(5);
    tree.admit(2, 183);
    assert_eq!(tree.used(), 1000);
}

#[test]
fn a_lowered_limit_is_reached_as_use_falls() {
    let mut tree = Tree::new(1000);
    tree.settle(5);
    tree.admit(1, 300);
    tree.settle(5);
    tree.admit(1, 300);
    assert_eq!(tree.used(), 300);
    tree.settle(5);
    tree.regions[0].grant = limit(100);
    tree.settle(5);
    let grants: u64 = tree.regions[0].children.iter().map(|(_, held)| grant_of(held.granted)).sum();
    assert_eq!(grants, 300, "what runs is not taken away");
    tree.admit(1, 1);
    tree.admit(2, 1);
    assert_eq!(tree.used(), 300);
    tree.release(1, 280);
    tree.settle(8);
    tree.admit(2, 80);
    assert!(tree.used() <= 100, "{}", tree.used());
}

#[test]
fn what_has_no_limit_is_granted_without() {
    let child =
        |granted, heard| Held { region: RegionName::new("a").unwrap(), reachable: true, granted, heard };
    let grants = rebalance(&limit(100), &OwnUse::default(), &[child(NOTHING, None)]);
    let grant = grants.values().next().unwrap();
    assert_eq!((grant.cpu, grant.memory), (Some(MilliCpu(50)), None));
    let said =
        TenantUse { tenant: TenantName::default(), held: *grant, used: cores(10), wanted: Resources::ZERO };
    let bounded = Quota { memory: Some(Bytes(1 << 30)), ..limit(100) };
    let known = [child(*grant, Some(said))];
    assert_eq!(own_limit(&bounded, &known), Quota { memory: Some(Bytes(0)), ..limit(50) });
    assert_eq!(held(&limit(20), &OwnUse::default(), &known).cpu, Some(MilliCpu(50)));
}
