//! What level 1 decides in one go.

use skerry_federation::level1::{Beside, Demand, HandBack, Plan, RegionView, TRIES_MAX, explain, plan};
use skerry_types::{
    Affinity, InstanceSet, Near, Place, Placement, Preference, Refusal, RegionName, Rule, Spread, SpreadBy,
};

use crate::model::*;

struct Ask {
    placement: Placement,
    cpu: u64,
    count: u32,
    round: u32,
}

fn ask(count: u32) -> Ask {
    Ask { placement: Placement::default(), cpu: 1000, count, round: 0 }
}

impl Ask {
    fn plan(&self, regions: &[RegionView]) -> Plan {
        let (instance, wanted) = (instance(cores(self.cpu)), InstanceSet::first(self.count));
        let demand =
            Demand { instance: &instance, placement: &self.placement, wanted: &wanted, round: self.round };
        let plan = plan(&demand, regions);
        sound(&plan, &wanted);
        plan
    }

    fn counts(&self, regions: &[RegionView]) -> Vec<u32> {
        let plan = self.plan(regions);
        regions
            .iter()
            .map(|region| plan.parts.get(&region.name).map_or(0, |part| part.instances().len()))
            .collect()
    }
}

/// Every instance is wanted, and is in one place.
fn sound(plan: &Plan, wanted: &InstanceSet) {
    let mut seen = plan.unplaced.clone();
    let mut total = plan.unplaced.len();
    for part in plan.parts.values() {
        assert!(part.speculative.difference(&part.added).is_empty());
        seen = seen.union(&part.instances());
        total += part.instances().len();
    }
    assert_eq!((&seen, total), (wanted, wanted.len()));
    assert_eq!(plan.reasons.is_empty(), plan.unplaced.is_empty(), "{plan:?}");
}

fn spread(by: SpreadBy, max_skew: Option<u32>) -> Vec<Spread> {
    vec![Spread { by, max_skew }]
}

fn by_region() -> SpreadBy {
    SpreadBy::Attribute("region.name".to_owned())
}

#[test]
fn regions_fill_evenly_in_parts() {
    let regions = [plain("a", &[4000, 4000]), plain("b", &[4000; 4]), plain("c", &[500])];
    assert_eq!(ask(12).counts(&regions), [4, 8, 0]);
    assert_eq!(ask(24).counts(&regions), [8, 16, 0]);
}

#[test]
fn what_is_placed_stays() {
    let mut regions = [plain("a", &[100_000]), plain("b", &[500])];
    regions[1].existing = set(&[0, 2, 5, 9]);
    let plan = ask(6).plan(&regions);
    let part = |name: &str| &plan.parts[&RegionName::new(name).unwrap()];
    assert_eq!(part("b").kept, set(&[0, 2, 5]), "9 is no longer wanted");
    assert_eq!(part("a").added, set(&[1, 3, 4]));
    regions[1].reachable = false;
    assert_eq!(ask(6).counts(&regions), [3, 3], "being cut off takes nothing away");
}

#[test]
fn what_is_given_up_is_placed_elsewhere_once() {
    let mut regions = [plain("a", &[100_000]), plain("b", &[4000])];
    regions[1].reachable = false;
    regions[1].existing = set(&[0, 1]);
    regions[1].given_up = set(&[1]);
    let demand_wanted = InstanceSet::first(2);
    let spec = instance(cores(1000));
    let placement = Placement::default();
    let demand = Demand { instance: &spec, placement: &placement, wanted: &demand_wanted, round: 0 };
    let first = plan(&demand, &regions);
    assert_eq!(first.parts[&regions[0].name].added, set(&[1]));
    assert_eq!(first.parts[&regions[1].name].kept, set(&[0, 1]));
    regions[0].existing = set(&[1]);
    let second = plan(&demand, &regions);
    assert_eq!(second.parts[&regions[0].name].kept, set(&[1]));
    assert_eq!(second.parts[&regions[0].name].added, set(&[]));
}

#[test]
fn two_that_have_the_same_instance_do_not_both_keep_it() {
    let mut regions = [plain("a", &[4000]), plain("b", &[4000])];
    regions[0].existing = set(&[0, 1]);
    regions[0].reachable = false;
    regions[1].existing = set(&[1, 2]);
    assert_eq!(ask(3).counts(&regions), [1, 2]);
}

#[test]
fn spread_over_regions_and_sites() {
    let node = |cpu| [node(&[], cores(cpu))];
    let regions = [
        region("a", vec![site("a", "a1", &[], &node(50_000)), site("a", "a2", &[], &node(50_000))]),
        region("b", vec![site("b", "b1", &[], &node(9000))]),
        region("c", vec![site("c", "c1", &[], &node(2000))]),
    ];
    let check = |by, max_skew, count, counts: [u32; 3]| {
        let mut ask = ask(count);
        ask.placement.spread = spread(by, max_skew);
        ask.round = TRIES_MAX;
        assert_eq!(ask.counts(&regions), counts, "{:?} {count}", ask.placement.spread);
    };
    check(by_region(), None, 9, [4, 3, 2]);
    check(by_region(), Some(1), 9, [3, 3, 2]);
    check(SpreadBy::Site, None, 8, [4, 2, 2]);
    check(SpreadBy::Site, None, 12, [7, 3, 2]);
    check(SpreadBy::Site, Some(1), 12, [6, 3, 2]);
}

#[test]
fn existing_instances_count_for_the_spread() {
    let mut regions = [plain("a", &[50_000]), plain("b", &[50_000])];
    regions[0].existing = set(&[0, 1, 2]);
    let mut ask = ask(6);
    ask.placement.spread = spread(by_region(), Some(1));
    assert_eq!(ask.counts(&regions), [3, 3]);
}

#[test]
fn wishes_decide_before_room() {
    let at = |name: &str, labels: &[(&str, &str)], place: Option<&str>| {
        let mut site = site(name, name, labels, &[node(&[("node.arch", name)], cores(2000))]);
        site.spec.point = place.map(|place| place.parse().unwrap());
        region(name, vec![site])
    };
    let mut regions = [
        at("oslo", &[("tier", "edge")], Some("59.91,10.75")),
        at("bergen", &[("tier", "edge")], Some("60.39,5.32")),
        at("london", &[("tier", "core")], Some("51.5,-0.13")),
    ];
    let prefer = |matches: &str, weight| vec![Preference { matches: matches.parse().unwrap(), weight }];
    let near = |to: Place| vec![Near { to, weight: 50 }];
    let check = |regions: &[RegionView], placement: Placement, counts: [u32; 3]| {
        let ask = Ask { placement, ..ask(3) };
        assert_eq!(ask.counts(regions), counts, "{:?}", ask.placement);
    };
    check(&regions, Placement { prefer: prefer("site.tier=core", 10), ..placement("") }, [1, 0, 2]);
    check(&regions, Placement { prefer: prefer("node.arch=oslo", -10), ..placement("") }, [0, 2, 1]);
    let point = Place::Point("51,0".parse().unwrap());
    check(&regions, Placement { near: near(point), ..placement("") }, [0, 1, 2]);
    let bergen = Place::Site("bergen".parse().unwrap());
    check(&regions, Placement { near: near(bergen.clone()), ..placement("") }, [1, 2, 0]);
    regions[2].rtt_ms = [("bergen".parse().unwrap(), 2)].into();
    check(&regions, Placement { near: near(bergen), ..placement("") }, [0, 2, 1]);
    let affinity = |weight| vec![Affinity { matches: "app=db".parse().unwrap(), by: SpreadBy::Site, weight }];
    for region in &mut regions {
        region.beside = Beside { affinity: vec![0], anti_affinity: vec![] };
    }
    regions[1].beside.affinity = vec![3];
    check(&regions, Placement { affinity: affinity(Some(5)), ..placement("") }, [1, 2, 0]);
    let must = Ask {
        placement: Placement { affinity: affinity(None), ..placement("") },
        round: TRIES_MAX,
        ..ask(3)
    };
    assert_eq!(must.counts(&regions), [0, 2, 0]);
}

#[test]
fn the_cheaper_link_goes_first() {
    let mut regions = [plain("a", &[9000]), plain("b", &[2000]), plain("c", &[2000])];
    let link = |region: &mut RegionView, metered, micros_per_mb| {
        alter(region, |site| site.spec.link = skerry_types::LinkClass { metered, micros_per_mb });
    };
    link(&mut regions[0], true, 1);
    link(&mut regions[1], false, 900);
    link(&mut regions[2], false, 30);
    assert_eq!(ask(5).counts(&regions), [1, 2, 2]);
}

#[test]
fn what_is_under_way_takes_room() {
    let mut regions = [plain("a", &[4000]), plain("b", &[3000])];
    regions[0].pending = cores(3500);
    let ask = Ask { round: TRIES_MAX, ..ask(5) };
    assert_eq!(ask.counts(&regions), [0, 3]);
}

#[test]
fn the_rest_is_tried_where_most_is_free() {
    let mut regions = [plain("a", &[1900]), plain("b", &[2900]), plain("c", &[900]), plain("d", &[10_000])];
    regions[3].handed_back = Some(HandBack { count: 1, reasons: Vec::new() });
    for (region, reserved) in regions.iter_mut().zip([900, 400, 0, 0]) {
        alter(region, |site| site.reserved = cores(reserved));
    }
    let found = ask(6).plan(&regions);
    let tried = |plan: &Plan| -> Vec<u32> {
        regions
            .iter()
            .map(|region| plan.parts.get(&region.name).map_or(0, |part| part.speculative.len()))
            .collect()
    };
    assert_eq!(tried(&found), [0, 3, 0, 0], "c is too small for one whatever its digest says, d handed back");
    let second = Ask { round: 1, ..ask(6) }.plan(&regions);
    assert_eq!(tried(&second).iter().sum::<u32>(), 3);
    assert_eq!(tried(&second).iter().filter(|tried| **tried > 0).count(), 2);
    let last = Ask { round: TRIES_MAX, ..ask(6) }.plan(&regions);
    assert_eq!(tried(&last), [0; 4]);
    assert_eq!(last.unplaced.len(), 3);
}

#[test]
fn refusals_are_grouped() {
    let odd = |name: &str| {
        let nodes = vec![node(&[("node.arch", "arm64")], cores(8000)); 3];
        region(name, vec![site(name, name, &[], &nodes)])
    };
    let amd = |name: &str, cpu| {
        region(name, vec![site(name, name, &[], &[node(&[("node.arch", "amd64")], cores(cpu))])])
    };
    let mut regions =
        vec![odd("a"), odd("b"), amd("c", 1700), amd("d", 1900), plain("e", &[9000]), amd("f", 1)];
    regions[4].reachable = false;
    regions[5].handed_back =
        Some(HandBack { count: 1, reasons: vec![Refusal { rule: Rule::Cordoned, nodes: 4 }] });
    let ask = Ask { placement: placement("node.arch=amd64"), cpu: 2000, ..ask(2) };
    let plan = ask.plan(&regions);
    let lines: Vec<String> = plan.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "6 nodes: does not match 'node.arch=amd64'",
            "4 nodes: cordoned",
            "2 nodes: needs 2 cpu, at most 1900m free",
            "1 node region not heard from",
            "1 node region handed it back: cordoned",
        ]
    );
    assert_eq!(ask.plan(&[]).reasons, [Refusal { rule: Rule::NoNodes, nodes: 0 }]);
}

#[test]
fn the_part_of_a_graphics_processor_that_is_left_is_told() {
    let check = |free: u64, need: u64, line: &str| {
        let site = site("r", "r", &[], &[node(&[], amounts(8000, 0, 0, 0, free))]);
        let (instance, wanted) = (instance(amounts(100, 0, 0, 0, need)), InstanceSet::first(20));
        let placement = placement("");
        let demand = Demand { instance: &instance, placement: &placement, wanted: &wanted, round: TRIES_MAX };
        let plan = plan(&demand, &[region("r", vec![site])]);
        assert_eq!(plan.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(), [line], "{free} {need}");
    };
    check(3000, 300, "1 node needs 300m gpu, at most 100m free");
    check(2250, 300, "1 node needs 300m gpu, at most 250m free");
    check(900, 1000, "1 node needs 1 gpu, at most 900m free");
}

#[test]
fn a_plan_is_explained() {
    let mut regions = [plain("a", &[4000]), plain("b", &[1000])];
    regions[1].existing = set(&[0]);
    let mut placement = placement("");
    placement.prefer = vec![Preference { matches: "site.name=a".parse().unwrap(), weight: 30 }];
    let (spec, wanted) = (instance(cores(3000)), InstanceSet::first(3));
    let demand = Demand { instance: &spec, placement: &placement, wanted: &wanted, round: TRIES_MAX };
    let explanation = explain(&demand, &regions);
    let [new, old] = explanation.placed.as_slice() else { panic!("{explanation:?}") };
    assert_eq!((new.present, new.instances.to_string().as_str()), (false, "1"));
    assert_eq!((old.present, old.instances.to_string().as_str()), (true, "0"));
    assert_eq!((new.score[0].what.as_str(), new.score[0].points), ("prefers site.name=a", 30));
    let [refused] = explanation.refused.as_slice() else { panic!("{explanation:?}") };
    assert_eq!(refused.instances.to_string(), "2");
    assert_eq!(refused.remedies, ["ask for 1 of cpu at most, not 3"]);
}
