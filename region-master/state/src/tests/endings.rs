//! Masters of a tree that end at any write, and begin again from what was on disk.

use std::time::Duration;

use skerry_types::OnReturn;

use super::bench::*;
use super::tree::*;
use super::trees::{all_of, replaced_after};
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

/// Ends each master in turn after each batch of what `act` leads to, and sees that the tree comes to the same end.
fn crash_everywhere(prepare: fn() -> Tree, act: fn(&mut Tree), settled: fn(&mut Tree, &str)) {
    for victim in ["root", "mid", "x"] {
        for batches in 0..200 {
            let mut tree = prepare();
            tree.of(victim).batches_left = Some(batches);
            act(&mut tree);
            tree.settle();
            tree.pass(SECOND * 10);
            let crashed = tree.of(victim).batches_left == Some(0);
            tree.restart(victim);
            tree.pass(SECOND);
            act(&mut tree);
            tree.settle();
            tree.pass(Duration::from_mins(3));
            settled(&mut tree, &format!("{victim} after {batches}"));
            // A start tells anew what waits, so those that have something waiting differ by that.
            let quiet = tree.masters.values().filter(|bench| bench.state.pending.is_empty());
            quiet.for_each(super::store::check_round_trip);
            if !crashed {
                break;
            }
        }
    }
}

fn ask(tree: &mut Tree, region: &str, call: ApiCall) {
    let id = tree.of(region).call_id();
    tree.of(region).feed(Input::Call(id, call));
}

#[test]
fn masters_that_end_at_any_write_of_a_deployment_come_to_the_same_end() {
    crash_everywhere(
        || {
            let mut tree = Tree::new(&[("root", 0), ("mid<root", 1), ("x<mid", 1)]);
            tree.pass(SECOND * 10);
            tree.of("mid").apply(&spec("own", 2));
            tree
        },
        |tree| {
            let spec = std::sync::Arc::new(spec("web", 7));
            ask(tree, "root", ApiCall::Apply { spec, dry_run: false });
        },
        |tree, case| {
            assert_eq!(tree.running("web").len(), 6, "{case}");
            assert_eq!(tree.running("own"), all_of(2), "{case}");
            let view = tree.of("root").workload("web").unwrap();
            assert_eq!((view.running, view.pending.len()), (6, 1), "{case}");
        },
    );
}

#[test]
fn masters_that_end_at_any_write_of_a_removal_come_to_the_same_end() {
    crash_everywhere(
        || {
            let mut tree = Tree::new(&[("root", 0), ("mid<root", 1), ("x<mid", 1)]);
            tree.pass(SECOND * 10);
            tree.of("root").apply(&spec("web", 7));
            tree.settle();
            tree.pass(SECOND * 10);
            tree
        },
        |tree| ask(tree, "root", ApiCall::Delete(key("web"))),
        |tree, case| {
            assert!(tree.running("web").is_empty(), "{case}");
            for name in ["root", "mid", "x"] {
                assert!(tree.of(name).workload("web").is_none(), "{case}: {name}");
                let left = |(table, key): &&(String, Vec<u8>)| {
                    let kinds = ["split", "tombstone", "refused", "allocation", "workload"];
                    kinds.contains(&table.as_str()) || table == "down" && key.ends_with(b"/web")
                };
                assert_eq!(tree.masters[name].disk.keys().find(left), None, "{case}: {name}");
            }
        },
    );
}

#[test]
fn masters_that_end_at_any_write_of_a_replacement_come_to_the_same_end() {
    crash_everywhere(
        || {
            let mut tree = Tree::new(&[("root", 2), ("mid<root", 1), ("x<mid", 1)]);
            tree.pass(SECOND * 10);
            let mut spec = replaced_after(5, OnReturn::KeepOriginal);
            spec.placement.prefer =
                vec![skerry_types::Preference { matches: "region.name=x".parse().unwrap(), weight: 100 }];
            tree.of("root").apply(&spec);
            tree.settle();
            tree.pass(SECOND * 10);
            assert_eq!(tree.placed_in("x", "web").len(), 4);
            tree
        },
        |tree| {
            if tree.is_up("mid") {
                tree.cut("mid");
                tree.pass(Duration::from_mins(1));
                tree.heal("mid");
            }
        },
        |tree, case| {
            assert_eq!(tree.running("web"), all_of(4), "{case}");
            assert_eq!(tree.placed_in("x", "web"), all_of(4), "{case}");
            assert!(tree.masters["root"].state.splits[&key("web")].replaced.is_empty(), "{case}");
        },
    );
}
