//! Trees under random operators and failing links and masters: whatever happened, once all is well again every instance that has
//! room runs once, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use skerry_types::{InstanceSet, OnDisconnect, OnReturn};

use super::bench::*;
use super::tree::*;
use crate::*;

const REGIONS: [&str; 4] = ["root", "a", "b", "x"];
const WORKLOADS: [&str; 3] = ["u", "v", "w"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Apply { region: usize, workload: usize, instances: u32, version: u8, replaced: bool },
    Delete { region: usize, workload: usize },
    Cut(usize),
    Heal(usize),
    Restart(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (region, workload) = (0..REGIONS.len(), 0..WORKLOADS.len());
    let applies = (region.clone(), workload.clone(), 0u32..9, 0u8..2, any::<bool>());
    prop_oneof![
        4 => applies.prop_map(|(region, workload, instances, version, replaced)| Step::Apply {
            region, workload, instances, version, replaced
        }),
        1 => (region.clone(), workload).prop_map(|(region, workload)| Step::Delete { region, workload }),
        2 => (1..REGIONS.len()).prop_map(Step::Cut),
        2 => (1..REGIONS.len()).prop_map(Step::Heal),
        1 => region.prop_map(Step::Restart),
        4 => (1u64..200).prop_map(Step::Pass),
    ]
}

fn ask(tree: &mut Tree, region: &str, call: ApiCall) {
    let id = tree.of(region).call_id();
    tree.of(region).feed(Input::Call(id, call));
}

fn perform(tree: &mut Tree, step: Step) {
    match step {
        Step::Apply { region, workload, instances, version, replaced } => {
            let mut spec = changed(&spec(WORKLOADS[workload], instances), &version.to_string());
            let on_return = [OnReturn::KeepOriginal, OnReturn::KeepNew][usize::from(version)];
            let replace_after = replaced.then_some(Duration::from_secs(20));
            spec.on_disconnect = OnDisconnect { replace_after, on_return, stop_after: None };
            ask(tree, REGIONS[region], ApiCall::Apply { spec: Arc::new(spec), dry_run: false });
        }
        Step::Delete { region, workload } => {
            ask(tree, REGIONS[region], ApiCall::Delete(key(WORKLOADS[workload])));
        }
        Step::Cut(region) if tree.is_up(REGIONS[region]) => tree.cut(REGIONS[region]),
        Step::Heal(region) if tree.is_cut(REGIONS[region]) => tree.heal(REGIONS[region]),
        Step::Restart(region) => tree.restart(REGIONS[region]),
        Step::Pass(seconds) => tree.pass(Duration::from_secs(seconds)),
        Step::Cut(_) | Step::Heal(_) => {}
    }
    tree.settle();
}

/// No instance of a workload is with two regions, but for replacements of regions that are or were away.
fn check_shares(tree: &Tree) {
    for bench in tree.masters.values() {
        for (key, split) in &bench.state.splits {
            let replaced = split.replaced.values().fold(InstanceSet::default(), |all, part| all.union(part));
            let mut seen = split.local.difference(&replaced);
            for region in bench.state.regions.values() {
                let Some(share) = region.shares.get(key) else { continue };
                let once = share.instances.difference(&replaced);
                assert!(seen.intersection(&once).is_empty(), "{key}: {seen} and {once}");
                seen = seen.union(&once);
            }
        }
    }
}

fn calm(tree: &mut Tree) {
    for region in REGIONS {
        if tree.is_cut(region) {
            tree.heal(region);
        }
    }
    tree.settle();
    tree.pass(Duration::from_mins(45));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_storm_leaves_nothing_behind(steps in proptest::collection::vec(step(), 1..30)) {
        let mut tree = Tree::new(&[("root", 1), ("a<root", 2), ("b<root", 1), ("x<a", 2)]);
        tree.pass(Duration::from_secs(10));
        for step in steps {
            perform(&mut tree, step);
            check_shares(&tree);
        }
        calm(&mut tree);
        for name in WORKLOADS {
            let owners: Vec<(&String, u32)> = tree.masters.iter().filter_map(|(region, bench)| {
                let spec = bench.state.owned().find(|spec| spec.key == key(name))?;
                Some((region, spec.instances))
            }).collect();
            let wanted: u32 = owners.iter().map(|(_, count)| *count).sum();
            let running = tree.running(name);
            if let [(_, count)] = owners[..] {
                let mut once = running.clone();
                once.dedup();
                prop_assert_eq!(&once, &running, "{}: each runs once", name);
                prop_assert!(running.iter().all(|instance| *instance < count));
            }
            prop_assert!(u32::try_from(running.len()).unwrap() <= wanted, "{}: {:?} of {:?}", name, running, owners);
            if owners.is_empty() {
                for (region, bench) in &tree.masters {
                    prop_assert!(!bench.state.workloads.contains_key(&key(name)), "{} in {}", name, region);
                    prop_assert!(!bench.state.splits.contains_key(&key(name)), "{} in {}", name, region);
                }
            }
        }
        let waiting: u32 = tree.masters.values().flat_map(|bench| bench.state.workloads.values())
            .filter(|workload| workload.record.received().is_none())
            .map(|workload| workload.pending.iter().map(|pending| pending.instances.len()).sum::<u32>())
            .sum();
        let all: usize = WORKLOADS.iter().map(|name| tree.running(name).len()).sum();
        let wanted: u32 = tree.masters.values().flat_map(|bench| bench.state.owned()).map(|spec| spec.instances).sum();
        prop_assert_eq!(u32::try_from(all).unwrap() + waiting, wanted, "every instance runs or waits with reasons");
        let quiet = tree.carried;
        tree.pass(Duration::from_hours(5));
        prop_assert_eq!(tree.carried, quiet, "a calm tree is silent");
    }
}
