//! Kept and shared work of earlier decisions, on more nodes than one block has: answers are those of a cluster that keeps nothing.

use proptest::prelude::*;
use skerry_allocator::{Cluster, NodeView};
use skerry_types::{AllocationId, NodeName, Placement, Preference, Spread, SpreadBy};

use crate::choices::view;
use crate::model::{Work, workload_spec};

/// Nodes at a site, nodes in all, and labels that one node each has: more than sets of attributes are kept.
const PER_SITE: usize = 7;
const NODES: usize = 200;
const RARE: usize = 40;

fn name(number: usize) -> NodeName {
    NodeName::new(format!("n{number:03}")).unwrap()
}

/// Every node has a serial number of its own.
fn node(number: usize) -> NodeView {
    let mut view = view(name(number).as_str(), number / PER_SITE);
    let tier = ["edge", "metro", "core"][number % 3];
    let mut label = |key: &str, value: &str| view.attributes.insert(key.to_owned(), value.to_owned());
    label("node.tier", tier);
    label("node.serial", &number.to_string());
    label("site.country", ["no", "se"][number / PER_SITE % 2]);
    label(&format!("node.rare{}", number % RARE), "yes");
    view.gpus = u16::from(number % 10 == 9);
    view
}

fn placement() -> impl Strategy<Value = Placement> {
    let require = prop::sample::select(vec![
        "",
        // As many classes as nodes, of which nearly all are one group, or a few.
        "node.serial!=3",
        "node.serial!=3",
        "node.serial!=3",
        "node.serial>=190",
        "node.rare1",
        "!node.rare1",
        "node.tier in (edge,metro)",
    ]);
    let by = prop::sample::select(vec![SpreadBy::Site, SpreadBy::Attribute("node.tier".to_owned())]);
    let spread = prop::option::of((by, prop::option::of(1..3u32)));
    (require, prop::bool::ANY, spread).prop_map(|(require, prefers, spread)| Placement {
        require: require.parse().unwrap(),
        prefer: prefers
            .then(|| Preference { matches: "site.country=no".parse().unwrap(), weight: 50 })
            .into_iter()
            .collect(),
        spread: spread.map(|(by, max_skew)| Spread { by, max_skew }).into_iter().collect(),
        ..Placement::default()
    })
}

#[derive(Debug, Clone)]
enum Step {
    Place {
        placement: Placement,
        cpu: u64,
        count: u32,
        existing: Vec<usize>,
    },
    /// Others come that push the attributes of earlier ones out of what is kept.
    Crowd,
    Reachable(usize, bool),
    Relabel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let existing = prop::collection::vec(0..NODES, 0..3);
    let count = prop::sample::select(vec![1, 1, 3, 20]);
    let cpu = prop::sample::select(vec![300, 1500, 3000]);
    prop_oneof![
        20 => (placement(), cpu, count, existing).prop_map(|(placement, cpu, count, existing)| {
            Step::Place { placement, cpu, count, existing }
        }),
        1 => Just(Step::Crowd),
        2 => (0..NODES, any::<bool>()).prop_map(|(number, up)| Step::Reachable(number, up)),
        1 => (0..NODES).prop_map(Step::Relabel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_kept_changes_an_answer(steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new();
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Place { placement, cpu, count, existing } => {
                    let existing: Vec<NodeName> = existing.iter().map(|number| name(*number)).collect();
                    let spec = workload_spec(*cpu, 1 << 20, &[]);
                    pair.place(&Work::new(&format!("w{at}"), spec, placement.clone()), *count, &existing);
                }
                Step::Crowd => pair.crowd(),
                Step::Reachable(number, up) => {
                    pair.views[*number].reachable = *up;
                    pair.kept.set_reachable(&name(*number), *up).unwrap();
                }
                Step::Relabel(number) => {
                    let view = &mut pair.views[*number];
                    view.attributes.insert("node.tier".to_owned(), "odd".to_owned());
                    pair.kept.set_node(view.clone());
                }
            }
        }
    }
}

/// A cluster that keeps what it can, and what another is made from for each question.
struct Pair {
    kept: Cluster,
    views: Vec<NodeView>,
    held: Vec<(Work, AllocationId, NodeName)>,
}

impl Pair {
    fn new() -> Self {
        let views: Vec<NodeView> = (0..NODES).map(node).collect();
        Self { kept: made_of(&views), views, held: Vec::new() }
    }

    fn place(&mut self, work: &Work, count: u32, existing: &[NodeName]) {
        let mut fresh = made_of(&self.views);
        for (work, id, node) in &self.held {
            fresh.reserve(node, &work.booking(id, &[], &[])).unwrap();
        }
        let id = |nth: u32| work.id(u64::from(nth));
        let answers = self.kept.place(&work.demand(existing), count, &mut |nth| id(nth));
        assert_eq!(answers, fresh.place(&work.demand(existing), count, &mut |nth| id(nth)));
        let placed = answers.into_iter().flatten();
        self.held.extend(placed.map(|placed| (work.clone(), placed.id, placed.node)));
    }

    fn crowd(&mut self) {
        for rare in 0..RARE {
            let require = format!("node.rare{rare}, node.rare{}", rare / 2);
            let placement = Placement { require: require.parse().unwrap(), ..Placement::default() };
            let other = Work::new("other", workload_spec(9000, 1 << 20, &[]), placement);
            assert!(self.kept.place(&other.demand(&[]), 1, &mut |_| other.id(1))[0].is_err());
        }
    }
}

fn made_of(views: &[NodeView]) -> Cluster {
    let mut cluster = Cluster::default();
    for view in views {
        cluster.set_node(view.clone());
    }
    cluster
}
