//! A store that was put back to an older copy, and nobody said so: what a child holds shows it, before anything is stopped.

use std::time::Duration;

use skerry_types::{Desired, JobPolicy, Lease, Phase, WorkloadKind, WorkloadSpec};
use skerry_wire::{Cursor, Epoch, Incarnation, RefusalCode, Revision, ToChild, ToParent};

use super::bench::*;
use super::tree::Tree;
use crate::*;

impl Bench {
    /// The process ends, and another begins with an older copy of the store.
    pub(super) fn put_back(&mut self, backup: &Disk) {
        self.disk = backup.clone();
        self.restart();
    }

    /// How often the region began another life, as is told to operators.
    fn lives(&mut self) -> usize {
        self.events().iter().filter(|event| event.event.reason == "StoreRestored").count()
    }

    /// Nodes whose link was closed dial again.
    pub(super) fn redial(&mut self) {
        let away = self.nodes.values().filter(|node| node.link.is_none());
        let away: Vec<String> = away.map(|node| node.name.to_string()).collect();
        for name in &away {
            self.connect(name);
        }
        self.exchange();
        self.connect_all();
    }

    /// What nodes hold and how, as words.
    fn desires(&self) -> Vec<String> {
        let held = self.nodes.values().flat_map(|node| node.intents.values());
        held.map(|intent| format!("{} {:?}", intent.workload.name, intent.desired)).collect()
    }
}

#[test]
fn nothing_stops_when_nobody_says_that_the_store_is_an_older_copy() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("first", 1));
    let backup = bench.disk.clone();
    bench.apply(&spec("since", 2));
    bench.put_back(&backup);
    let before = bench.state.epoch();
    bench.connect("n1");
    assert_ne!(bench.state.epoch(), before);
    assert_eq!(bench.lives(), 1);
    assert!(bench.warned[0].contains("node n1 holds what this store never gave out"), "{:?}", bench.warned);
    bench.redial();
    assert_eq!(bench.desires(), ["first Run", "since Keep", "since Keep"]);
    assert_eq!(bench.lives(), 1, "the second node is known to be of a former life");
    // Neither another start nor the same old copy again does anything else.
    bench.restart();
    bench.connect_all();
    assert_eq!(bench.lives(), 1);
    for _ in 0..3 {
        bench.put_back(&backup);
        bench.redial();
        assert_eq!((bench.lives(), bench.desires().len()), (1, 3));
        assert!(bench.nodes.values().all(|n| n.intents.values().all(|i| i.desired != Desired::Stop)));
    }
    bench.apply(&spec("since", 2));
    assert_eq!(bench.desires(), ["first Run", "since Run", "since Run"]);
}

#[test]
fn a_name_that_was_forgotten_is_not_given_again_before_anybody_tells_of_it() {
    let mut bench = Bench::with_nodes(2);
    bench.cut("n1");
    let backup = bench.disk.clone();
    bench.apply(&spec("since", 1));
    let first = bench.state.intents().next().unwrap().1.id.clone();
    bench.cut("n2");
    bench.put_back(&backup);
    bench.connect("n1");
    bench.apply(&spec("since", 1));
    let second = bench.state.intents().next().unwrap().1.id.clone();
    assert_ne!(first, second);
    bench.redial();
    let refused = bench.events().iter().filter(|event| event.event.reason == "OrphanRefused").count();
    assert_eq!(refused, 0, "both are known by their names");
}

#[test]
fn an_orphan_of_a_job_that_is_done_stops_when_the_job_is_asked_for_again() {
    let mut bench = Bench::with_nodes(2);
    let kind = WorkloadKind::Job(JobPolicy { parallelism: 1, retries: 0, deadline: None });
    let job = WorkloadSpec { kind, ..spec("job", 1) };
    bench.cut("n1");
    let backup = bench.disk.clone();
    bench.apply(&job);
    bench.cut("n2");
    bench.put_back(&backup);
    bench.connect("n1");
    bench.apply(&job);
    let id = bench.state.intents().next().unwrap().1.id.clone();
    bench.node("n1").say(&id, Phase::Completed);
    bench.exchange();
    let done = |bench: &mut Bench| bench.workload("job").unwrap().job.unwrap().ended_at.is_some();
    assert!(done(&mut bench));
    bench.redial();
    assert_eq!(bench.desires(), ["job Keep"]);
    bench.apply(&job);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.desires(), Vec::<String>::new());
    assert!(done(&mut bench));
}

#[test]
fn revisions_that_were_overtaken_do_not_hide_the_loss() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("first", 1));
    let backup = bench.disk.clone();
    bench.apply(&spec("since", 4));
    bench.cut("n2");
    bench.put_back(&backup);
    // The first node has an old disk too, so all that it knows is in the copy.
    let link = bench.dial("n1");
    let hello = ToParent::Hello(skerry_wire::Hello {
        oldest: skerry_wire::PROTOCOL_OLDEST,
        newest: skerry_wire::PROTOCOL_NEWEST,
        software: String::new(),
        cursor: Cursor::default(),
        epoch: Epoch(5),
        head: Revision(0),
    });
    bench.feed(Input::Received(link, hello));
    for round in 0..20 {
        bench.apply(&small(changed(&spec("later", 1), &round.to_string())));
    }
    bench.feed(Input::LinkDown(link));
    assert_eq!(bench.lives(), 0);
    bench.connect("n2");
    assert_eq!(bench.lives(), 1);
    bench.redial();
    let kept = bench.node("n2").intents.values().filter(|intent| intent.desired == Desired::Keep).count();
    assert!(kept > 0 && bench.node("n2").intents.values().all(|intent| intent.desired != Desired::Stop));
}

#[test]
fn a_child_from_the_past_is_no_sign_of_a_loss() {
    let mut bench = Bench::with_nodes(1);
    let cursors = |bench: &mut Bench| match bench.node("n1").hello(LinkId(0)) {
        ToParent::Hello(hello) => hello.cursor,
        other => panic!("{other:?}"),
    };
    let mut seen = vec![Cursor::default(), cursors(&mut bench)];
    bench.connect("n1");
    for round in 0..4 {
        bench.apply(&small(changed(&spec("web", 1), &round.to_string())));
        seen.push(cursors(&mut bench));
        bench.restart();
        bench.connect("n1");
        // A start after which nothing is given out leaves no trace.
        bench.restart();
        bench.connect("n1");
        seen.push(cursors(&mut bench));
    }
    let revision = bench.state.counters.revision;
    for cursor in seen {
        check(&mut bench, cursor, true);
    }
    let last = cursors(&mut bench);
    check(&mut bench, Cursor { revision, ..last }, true);
    check(&mut bench, Cursor { revision: Revision(revision.0 + 1), ..last }, false);
    check(&mut bench, Cursor { incarnation: Incarnation(9_999), ..last }, false);
    check(&mut bench, Cursor { epoch: Epoch(9_999), ..last }, false);
}

/// Whether a child at this cursor is welcomed, by a copy of this master.
fn check(bench: &mut Bench, cursor: Cursor, welcomed: bool) {
    bench.restart();
    let link = bench.dial("n1");
    let ToParent::Hello(hello) = bench.node("n1").hello(link) else { panic!("a hello") };
    let (disk, before) = (bench.disk.clone(), bench.sent.len());
    bench.feed(Input::Received(link, ToParent::Hello(skerry_wire::Hello { cursor, ..hello })));
    let is_welcome = |(_, message): &(LinkId, ToChild)| matches!(message, ToChild::Welcome(_));
    assert_eq!(bench.sent[before..].iter().any(is_welcome), welcomed, "{cursor:?}");
    bench.sent.truncate(before);
    bench.disk = disk;
}

#[test]
fn a_child_that_lies_costs_its_region_less_and_less() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 1));
    let mut lies = 0;
    let mut lie = |bench: &mut Bench| {
        lies += 1;
        if bench.node("n2").link.is_some() {
            bench.cut("n2");
        }
        let link = bench.dial("n2");
        let ToParent::Hello(hello) = bench.node("n2").hello(link) else { panic!("a hello") };
        let (epoch, incarnation) = (bench.state.epoch(), Incarnation(1_000_000 + lies));
        let cursor = Cursor { epoch, incarnation, ..hello.cursor };
        bench.feed(Input::Received(link, ToParent::Hello(skerry_wire::Hello { cursor, ..hello })));
        let refused = bench.sent.iter().any(|(to, message)| {
            *to == link && matches!(message, ToChild::Refused(refused) if refused.code == RefusalCode::Busy)
        });
        bench.sent.clear();
        bench.node("n2").cut();
        !refused
    };
    let minutes = 60 * 24;
    let taken = (0..minutes).filter(|_| {
        let taken = lie(&mut bench);
        bench.wait(Duration::from_mins(1));
        taken
    });
    assert_eq!(taken.count(), 11, "of a day's lies: at once, and after 1, 2, 4 … 512 minutes more");
    bench.connect("n1");
    assert_eq!(bench.node("n1").intents.values().map(|i| i.desired).collect::<Vec<_>>(), [Desired::Run]);
}

#[test]
fn one_loss_explains_all_lives_that_the_store_never_heard_of() {
    let mut bench = Bench::with_nodes(3);
    bench.apply(&spec("web", 1));
    bench.restart();
    for (number, name) in ["n1", "n2", "n3", "n1"].into_iter().enumerate() {
        let link = bench.dial(name);
        let ToParent::Hello(hello) = bench.node(name).hello(link) else { panic!("a hello") };
        let cursor = Cursor { epoch: Epoch(9_000 + u64::try_from(number).unwrap()), ..hello.cursor };
        bench.feed(Input::Received(link, ToParent::Hello(skerry_wire::Hello { cursor, ..hello })));
        let is_welcome =
            |(to, message): &(LinkId, ToChild)| *to == link && matches!(message, ToChild::Welcome(_));
        assert_eq!(bench.sent.iter().any(is_welcome), number > 0, "{name}");
        bench.node(name).cut();
    }
    assert_eq!(bench.lives(), 1);
}

#[test]
fn what_is_exclusive_waits_for_a_whole_lease_in_another_life() {
    let mut db = spec("db", 1);
    std::sync::Arc::make_mut(&mut db.instance).exclusive = Some(Lease::DEFAULT);
    let mut bench = Bench::with_nodes(2);
    bench.apply(&db);
    bench.node("n1").restart(2, facts(4));
    let backup = bench.disk.clone();
    let serial = bench.state.counters.serial;
    bench.apply(&spec("since", 4));
    bench.wait(Duration::from_hours(1));
    bench.put_back(&backup);
    bench.wait(Duration::from_hours(1));
    bench.connect("n2");
    assert_eq!(bench.lives(), 1);
    let error = bench.call(ApiCall::RemoveNode(node_name("n1"))).unwrap_err();
    assert!(matches!(error, ApiError::LeaseHeld { .. }), "{error}");
    assert!(bench.state.counters.serial > serial + 1_000_000, "no number is given twice");
}

#[test]
fn a_share_outlives_the_forgotten_word_above_it() {
    let web = small(spec("web", 2));
    let mut tree = Tree::new(&[("root", 0), ("x<root", 1)]);
    let backup = tree.masters["root"].disk.clone();
    tree.of("root").apply(&web);
    tree.settle();
    let before = tree.of("x").desires();
    assert_eq!(before, ["web Run", "web Run"]);
    tree.cut("x");
    tree.of("root").put_back(&backup);
    tree.heal("x");
    tree.pass(Duration::from_mins(5));
    assert_eq!(tree.of("root").lives(), 1);
    assert_eq!(tree.of("x").lives(), 0);
    assert_eq!(tree.of("x").desires(), before);
    tree.of("root").apply(&web);
    tree.pass(Duration::from_mins(5));
    assert_eq!(tree.of("x").desires(), before);
    assert_eq!(tree.of("root").workload("web").unwrap().running, 2);
}

#[test]
fn a_region_that_was_put_back_adopts_what_is_wanted_above() {
    let web = small(spec("web", 2));
    for knows_it in [false, true] {
        let mut tree = Tree::new(&[("root", 0), ("x<root", 1)]);
        if knows_it {
            tree.of("root").apply(&web);
            tree.settle();
        }
        let backup = tree.masters["x"].disk.clone();
        tree.of("root").apply(&WorkloadSpec { instances: 3, ..web.clone() });
        tree.of("x").apply(&small(spec("own", 1)));
        tree.settle();
        tree.cut("x");
        tree.of("x").put_back(&backup);
        tree.of("x").redial();
        tree.heal("x");
        tree.pass(Duration::from_mins(5));
        assert_eq!(tree.of("x").lives(), 1);
        let shown = tree.of("x").desires();
        assert_eq!(shown, ["own Keep", "web Run", "web Run", "web Run"], "knows it: {knows_it}");
        assert_eq!(tree.running("web"), [0, 1, 2]);
    }
}
