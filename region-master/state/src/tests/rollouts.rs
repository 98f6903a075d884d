//! Rollouts over regions.

use std::time::Duration;

use super::bench::*;
use super::node::Manner;
use super::tree::*;
use crate::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_rollout_of_the_root_is_shown_with_its_regions() {
    let mut tree = Tree::new(&[("root", 0), ("a<root", 2), ("b<root", 2)]);
    tree.pass(SECOND * 3);
    tree.of("root").apply(&spec("web", 4));
    tree.settle();
    tree.pass(SECOND * 3);
    let view = tree.of("root").rollout("web");
    assert_eq!((view.progress.settled, view.progress.total, view.state), (4, 4, RolloutState::Done));
    for name in ["a", "b"] {
        tree.of(name).nodes.values_mut().for_each(|node| node.manner = Manner::Mute);
    }
    tree.of("root").apply(&changed(&spec("web", 4), "x"));
    tree.settle();
    tree.pass(SECOND * 3);
    assert_eq!(tree.of("root").rollout("web").state, RolloutState::Running);
}
