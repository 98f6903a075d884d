//! What a sketch may and may not say.

use proptest::prelude::*;
use skerry_federation::{SKETCH_BYTES_MAX, UNKNOWN, estimate, may_match, sketch};
use skerry_types::{Resources, Sketch, Taint};

use crate::model::*;

fn encoded(sketch: &Sketch) -> usize {
    postcard::to_stdvec(sketch).unwrap().len()
}

fn told(sketch: &Sketch) -> u32 {
    sketch.classes.iter().flat_map(|class| &class.buckets).map(|bucket| bucket.nodes).sum()
}

/// How many instances fit on the nodes, counted one by one on each.
fn truth(nodes: &[&Node], need: &Resources) -> u32 {
    let fitting = |node: &&Node| (1..=node.slots).take_while(|count| fits(node, need, *count)).count();
    nodes.iter().map(fitting).sum::<usize>().try_into().unwrap()
}

/// Whether so many fit on a node. Each part of a graphics processor is one processor's.
fn fits(node: &Node, need: &Resources, count: u32) -> bool {
    let gpus = (0..node.free.gpu.0.div_ceil(1000)).map(|at| (node.free.gpu.0 - at * 1000).min(1000));
    let found: u64 = match need.gpu.0 {
        0 => u64::MAX,
        part @ 1..1000 => gpus.map(|free| free / part).sum(),
        whole => gpus.map(|free| free / 1000).sum::<u64>() / (whole / 1000),
    };
    node.free.fits(&need.times(count)) && u64::from(count) <= found
}

#[test]
fn a_site_of_dozens_is_told_exactly() {
    let kinds = [("amd64", 8000, 16384), ("arm64", 4000, 4096)];
    let nodes: Vec<Node> = (0..40)
        .map(|at| {
            let (arch, cpu, memory) = kinds[usize::from(at % 3 == 0)];
            let name = format!("n{at}");
            let pairs =
                [("node.name", name.as_str()), ("node.arch", arch), ("site.name", "s"), ("node.os", "x")];
            node(&pairs, amounts(cpu - at * 37, memory - at * 11, 50_000 + at, 1000, 0))
        })
        .collect();
    let site = site("r", "s", &[], &nodes);
    assert!(encoded(&site.sketch) <= SKETCH_BYTES_MAX);
    assert_eq!(site.sketch.classes.len(), 2);
    assert!(site.sketch.classes.iter().all(|class| !class.attributes.contains_key("node.name")));
    let need = amounts(700, 900, 10, 10, 0);
    let all: Vec<&Node> = nodes.iter().collect();
    assert_eq!(estimate(&site, &instance(need), &placement("")), truth(&all, &need));
    let amd: Vec<&Node> = nodes.iter().filter(|node| node.attributes["node.arch"] == "amd64").collect();
    assert_eq!(
        estimate(&site, &instance(need), &placement("node.arch=amd64, site.name=s")),
        truth(&amd, &need)
    );
}

#[test]
fn a_label_of_each_node_does_not_hide_the_nodes() {
    let nodes: Vec<Node> = (0..2000)
        .map(|at| node(&[("node.serial", &format!("x{at}")), ("node.arch", "amd64")], cores(4000 + at % 7)))
        .collect();
    let site = site("r", "s", &[], &nodes);
    assert!(encoded(&site.sketch) <= SKETCH_BYTES_MAX);
    assert_eq!(estimate(&site, &instance(cores(1000)), &placement("node.arch=amd64")), 8000);
    let check = |require: &str, room: u32, may: bool| {
        let placement = placement(require);
        assert_eq!(estimate(&site, &instance(cores(1000)), &placement), room, "{require}");
        assert_eq!(may_match(&site, &placement), may, "{require}");
    };
    check("node.serial=x7", 0, true);
    check("node.serial!=x7", 0, true);
    check("!node.serial", 0, true);
    check("node.name=n7", 0, true);
    check("node.arch=arm64, node.serial=x7", 0, false);
    check("node.colour=red", 0, false);
    check("region.name=r, node.arch in (amd64,arm64)", 8000, true);
}

#[test]
fn taints_never_mix_and_long_labels_are_left_out() {
    let long = "x".repeat(200);
    let keys: Vec<String> = (0..20).map(|at| format!("node.label{at}")).collect();
    let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), long.as_str())).collect();
    let mut nodes = vec![node(&pairs, cores(4000)); 30];
    nodes[0].taints = vec![Taint::new("maintenance").unwrap()];
    let site = site("r", "s", &[], &nodes);
    assert!(encoded(&site.sketch) <= SKETCH_BYTES_MAX);
    assert_eq!(estimate(&site, &instance(cores(4000)), &placement("")), 29);
    assert!(site.sketch.classes.iter().all(|class| class.attributes[UNKNOWN] == UNKNOWN));
    let mut tolerant = placement("");
    tolerant.tolerate = vec![Taint::new("maintenance").unwrap()];
    assert_eq!(estimate(&site, &instance(cores(4000)), &tolerant), 30);
    assert_eq!(estimate(&site, &instance(cores(4000)), &placement("node.colour=red")), 0);
    assert!(may_match(&site, &placement("node.colour=red")), "the label may be among those left out");
}

#[test]
fn graphics_processors_are_shared_in_parts_and_taken_whole() {
    let check = |free: u64, gpu: u64, room: u32| {
        let site = site("r", "s", &[], &[node(&[], amounts(128_000, 0, 0, 0, free))]);
        let need = instance(amounts(100, 0, 0, 0, gpu));
        assert_eq!(estimate(&site, &need, &placement("")), room, "{gpu} of {free}");
    };
    check(3000, 0, 1000);
    check(3000, 300, 9);
    check(3000, 500, 6);
    check(3000, 1000, 3);
    check(3000, 2000, 1);
    check(3000, 4000, 0);
    // Two whole ones, and a part of a third.
    check(2700, 300, 8);
    check(2700, 500, 5);
    check(2700, 800, 2);
    check(2700, 1000, 2);
    check(2700, 3000, 0);
    check(700, 700, 1);
    check(700, 1000, 0);
}

/// Up to `most` nodes of a few kinds or of many, made from plain numbers, which is fast.
fn nodes(most: usize) -> impl Strategy<Value = Vec<Node>> {
    let amount = || prop_oneof![Just(0u64), 1u64..64, 1u64..100_000];
    let gpu = (0u64..4, prop_oneof![Just(0u64), 1u64..1000]).prop_map(|(whole, part)| whole * 1000 + part);
    let room = (amount(), amount(), amount(), amount(), gpu, 0u32..1000);
    let raw = (room, 0u32..400, 0u32..8, 0u32..10);
    let kinds = prop_oneof![Just(1u32), Just(4), Just(1000)];
    (proptest::collection::vec(raw, 0..most), kinds).prop_map(|(raw, kinds)| {
        let nodes =
            raw.into_iter().map(|((cpu, memory, disk, bandwidth, gpu, slots), value, which, odds)| {
                let value = value % kinds;
                let all = [
                    ("node.name".to_owned(), format!("n{value}")),
                    ("node.arch".to_owned(), format!("v{}", value % 2)),
                    ("node.rack".to_owned(), format!("v{}", value % 12)),
                    (format!("node.label{}", value % 5), format!("v{value}")),
                ];
                let kept =
                    all.into_iter().enumerate().filter(|(at, _)| *at == 0 || which >> (at - 1) & 1 == 1);
                Node {
                    attributes: kept.map(|(_, pair)| pair).collect(),
                    taints: if odds == 0 { vec![Taint::new("t").unwrap()] } else { Vec::new() },
                    free: amounts(cpu, memory, disk, bandwidth, gpu),
                    slots,
                }
            });
        nodes.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sketch_is_bounded_and_promises_only_what_is_free(
        nodes in nodes(300),
        cpu in 1u64..3000,
        memory in 0u64..3000,
        gpu in prop_oneof![Just(0u64), Just(1000), Just(2000), 1u64..1000],
        require in prop_oneof![
            Just(""), Just("node.arch=v1"), Just("node.arch!=v1"), Just("!node.rack"),
            Just("node.rack in (v1,v2,v3), node.label1!=v7"), Just("node.label2"), Just("node.name=n1")
        ],
    ) {
        let site = site("r", "s", &[], &nodes);
        prop_assert!(encoded(&site.sketch) <= SKETCH_BYTES_MAX);
        let (placement, need) = (placement(require), amounts(cpu, memory, 0, 0, gpu));
        let fits = |node: &&Node| node.taints.is_empty() && placement.require.matches(&node.attributes);
        let matching: Vec<&Node> = nodes.iter().filter(fits).collect();
        let estimated = estimate(&site, &instance(need), &placement);
        prop_assert!(estimated <= truth(&matching, &need), "{} of {}", estimated, truth(&matching, &need));
        prop_assert!(matching.is_empty() || (told(&site.sketch) as usize) < nodes.len() || may_match(&site, &placement));
    }

    /// Nodes of one kind whose resources move together, as when one workload fills them: quarter octaves suffice, so of each
    /// amount a fifth is hidden at most.
    #[test]
    fn a_fifth_is_hidden_at_most_by_rounding(rooms in proptest::collection::vec(1u64..100_000, 1..3000)) {
        let nodes: Vec<Node> = rooms.iter().map(|room| node(&[], amounts(*room, *room * 2, 0, 0, 0))).collect();
        let sketch = sketch(inputs(&nodes));
        prop_assert!(encoded(&sketch) <= SKETCH_BYTES_MAX);
        prop_assert_eq!(told(&sketch) as usize, nodes.len());
        let sum = |amount: fn(&Resources) -> u64| -> (u64, u64) {
            let buckets = sketch.classes.iter().flat_map(|class| &class.buckets);
            let told = buckets.map(|bucket| amount(&bucket.free) * u64::from(bucket.nodes)).sum();
            (told, nodes.iter().map(|node| amount(&node.free)).sum())
        };
        for (told, free) in [sum(|free| free.cpu.0), sum(|free| free.memory.0)] {
            prop_assert!(told <= free && told * 5 >= free * 4, "{} of {}", told, free);
        }
    }
}
