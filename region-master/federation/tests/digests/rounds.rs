//! Level 1 against children that do not have what their digests say.

use proptest::prelude::*;
use skerry_federation::level1::{Demand, HandBack, Plan, ROUNDS_MAX, RegionView, TRIES_MAX, plan};
use skerry_types::{
    InstanceIndex, InstanceSet, MilliCpu, Placement, Refusal, RegionName, Rule, Spread, SpreadBy,
};

use crate::model::*;

/// A region: what its digest says that its nodes have free, and what they have.
#[derive(Debug, Clone)]
struct Child {
    said: Vec<u64>,
    has: Vec<u64>,
}

/// Deals out, lets each child place what it can and hand back the rest, and goes on until nothing changes.
struct World {
    views: Vec<RegionView>,
    /// How many instances fit on what each child has.
    room: Vec<u32>,
    placement: Placement,
    wanted: InstanceSet,
    rounds: u32,
    last: Plan,
}

impl World {
    fn new(children: &[Child], placement: Placement, count: u32) -> Self {
        let name = |at: usize| format!("r{at:03}");
        let views = children.iter().enumerate().map(|(at, child)| {
            let mut view = plain(&name(at), &child.said);
            // What a node may reserve is known whatever is free.
            alter(&mut view, |site| site.capacity = cores(10_000));
            view
        });
        let room = |child: &Child| child.has.iter().map(|cpu| u32::try_from(cpu / 1000).unwrap()).sum();
        Self {
            views: views.collect(),
            room: children.iter().map(room).collect(),
            placement,
            wanted: InstanceSet::first(count),
            rounds: 0,
            last: Plan::default(),
        }
    }

    /// One round. False when nothing was handed back.
    fn round(&mut self) -> bool {
        let spec = instance(cores(1000));
        let demand =
            Demand { instance: &spec, placement: &self.placement, wanted: &self.wanted, round: self.rounds };
        self.last = plan(&demand, &self.views);
        assert_eq!(plan(&demand, &self.views), self.last, "the same input, the same plan");
        let mut handed_back = false;
        for (view, room) in self.views.iter_mut().zip(&self.room) {
            let Some(part) = self.last.parts.get(&view.name) else { continue };
            assert!(view.handed_back.is_none() || part.added.is_empty(), "offered again to {}", view.name);
            let mut placed = part.instances();
            let mut kept = part.kept.clone();
            assert_eq!(kept, view.existing);
            let more = placed.difference(&kept).len().min(room.saturating_sub(kept.len()));
            kept = kept.union(&part.added.clone().split_first(more));
            placed = placed.difference(&kept);
            view.existing = kept;
            if !placed.is_empty() {
                handed_back = true;
                let reasons = vec![Refusal { rule: Rule::Cordoned, nodes: 1 }];
                view.handed_back = Some(HandBack { count: placed.len(), reasons });
            }
        }
        self.rounds += u32::from(handed_back);
        handed_back
    }

    fn placed(&self) -> u32 {
        self.views.iter().map(|view| view.existing.len()).sum()
    }
}

fn children(most: usize) -> impl Strategy<Value = Vec<Child>> {
    let nodes = || proptest::collection::vec(0u64..10_000, 1..4);
    let honest = nodes().prop_map(|said| Child { has: said.clone(), said });
    let wrong = (nodes(), nodes()).prop_map(|(said, has)| Child { said, has });
    proptest::collection::vec(prop_oneof![honest, wrong], 1..most)
}

proptest! {
    #[test]
    fn every_instance_that_fits_is_placed_within_the_rounds(
        children in children(8),
        count in 0u32..120,
        spread in any::<bool>(),
    ) {
        let spread = spread.then_some(Spread { by: SpreadBy::Site, max_skew: None });
        let placement = Placement { spread: spread.into_iter().collect(), ..Placement::default() };
        let mut world = World::new(&children, placement, count);
        while world.round() {
            prop_assert!(world.rounds <= ROUNDS_MAX);
        }
        let room: u32 = world.room.iter().sum();
        prop_assert_eq!(world.placed(), count.min(room), "after {} rounds", world.rounds);
        prop_assert_eq!(world.last.unplaced.len(), count - world.placed());
        let sets = world.views.iter().map(|view| &view.existing);
        let all = sets.fold(world.last.unplaced.clone(), |all, set| all.union(set));
        prop_assert_eq!(all, world.wanted);
    }

    #[test]
    fn a_bound_over_regions_holds_whatever_digests_say(children in children(6), count in 0u32..60, skew in 1u32..4) {
        let spread = Spread { by: SpreadBy::Attribute("region.name".to_owned()), max_skew: Some(skew) };
        let placement = Placement { spread: vec![spread], ..Placement::default() };
        let mut world = World::new(&children, placement, count);
        loop {
            let more = world.round();
            let parts = world.views.iter().filter(|view| view.handed_back.is_none());
            let offered = |view: &RegionView| world.last.parts.get(&view.name).map_or(0, |part| part.instances().len());
            let counts: Vec<u32> = parts.map(offered).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= skew), "{counts:?}");
            if !more {
                break;
            }
        }
    }
}

#[test]
fn stale_digests_cost_few_rounds_in_a_large_federation() {
    let full = Child { said: vec![9000], has: vec![0] };
    let mut children = vec![full; 200];
    children[177] = Child { said: vec![0], has: vec![5000] };
    children[31] = Child { said: vec![0], has: vec![2000] };
    let mut world = World::new(&children, Placement::default(), 7);
    while world.round() {}
    assert!(world.rounds <= ROUNDS_MAX);
    assert!(world.placed() <= 7);
    assert!(world.views.iter().filter(|view| view.handed_back.is_some()).count() > 7);
}

#[test]
fn nothing_is_offered_after_the_last_round() {
    let mut world = World::new(&[Child { said: vec![9000], has: vec![9000] }], Placement::default(), 2);
    world.rounds = ROUNDS_MAX;
    assert!(!world.round());
    assert_eq!((world.placed(), world.last.unplaced.len()), (0, 2));
    world.rounds = TRIES_MAX;
    assert!(!world.round());
    assert_eq!(world.placed(), 2);
}

#[test]
fn a_share_that_is_handed_back_for_ever_comes_to_rest() {
    let mut world = World::new(&[Child { said: vec![9000; 3], has: vec![0] }], Placement::default(), 3);
    assert!(world.round());
    assert!(!world.round());
    assert_eq!(world.last.parts.get(&RegionName::new("r000").unwrap()), None);
    let reasons: Vec<String> = world.last.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["1 node cordoned", "1 node region handed it back: cordoned"]);
}

#[test]
fn a_region_that_is_full_holds_up_the_others_and_one_that_cannot_take_any_does_not() {
    let check = |rule: Rule, counts: [u32; 2], unplaced: u32| {
        let mut regions = [plain("a", &[9000]), plain("b", &[9000])];
        regions[0].existing = InstanceSet::from_iter([InstanceIndex(0), InstanceIndex(1)]);
        regions[1].existing = InstanceSet::from_iter([InstanceIndex(2)]);
        let reasons = vec![Refusal { rule, nodes: 1 }];
        regions[1].handed_back = Some(HandBack { count: 1, reasons });
        let by = SpreadBy::Attribute("region.name".to_owned());
        let placement = Placement { spread: vec![Spread { by, max_skew: Some(1) }], ..Placement::default() };
        let (spec, wanted) = (instance(cores(1000)), InstanceSet::first(4));
        let demand = Demand { instance: &spec, placement: &placement, wanted: &wanted, round: 1 };
        let plan = plan(&demand, &regions);
        let part = |view: &RegionView| plan.parts.get(&view.name).map_or(0, |part| part.instances().len());
        assert_eq!(regions.each_ref().map(part), counts, "{plan:?}");
        assert_eq!(plan.unplaced.len(), unplaced);
    };
    check(Rule::Cpu { need: MilliCpu(1000), most_free: MilliCpu(0) }, [2, 1], 1);
    check(Rule::Require { term: "site.tier=edge".to_owned() }, [3, 1], 0);
}
