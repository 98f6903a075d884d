//! A store that came from an older copy, or was begun anew: what it does not know goes on, takes room, is shown, and ends as
//! somebody says.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_types::{AllocationId, Desired, Generation, JobPolicy, Lease, Phase, WorkloadKind, WorkloadSpec};

use super::bench::*;
use super::node::Manner;
use super::tree::Tree;
use crate::*;

impl Bench {
    /// The store is put back to what it was, and the operator says so.
    fn restore(&mut self, backup: &Disk) {
        self.disk = backup.clone();
        self.restart();
        self.feed(Input::Restored);
    }

    fn allocations(&mut self) -> Vec<AllocationView> {
        match self.call(ApiCall::Allocations(Filter::default())) {
            Ok(ApiReply::Allocations(page)) => page.items,
            other => panic!("{other:?}"),
        }
    }

    /// What is shown, as `WORKLOAD@NODE DESIRED PHASE`, in order.
    fn shown(&mut self) -> Vec<String> {
        let words = |view: AllocationView| {
            let phase = view.status.map_or(Phase::Pending, |status| status.phase);
            format!("{}@{} {:?} {phase}", view.intent.workload.name, view.node, view.intent.desired)
        };
        let mut shown: Vec<String> = self.allocations().into_iter().map(words).collect();
        shown.sort();
        shown
    }

    /// What nodes hold.
    fn held(&self) -> BTreeMap<AllocationId, Desired> {
        let held = self.nodes.values().flat_map(|node| &node.intents);
        held.map(|(id, intent)| (id.clone(), intent.desired)).collect()
    }

    fn node_view(&mut self, name: &str) -> NodeView {
        match self.call(ApiCall::Nodes(Filter { name: Some(name.to_owned()), ..Filter::default() })) {
            Ok(ApiReply::Nodes(mut page)) => page.items.pop().expect("the node"),
            other => panic!("{other:?}"),
        }
    }
}

/// `first` on one of two nodes; two of `since` came after the backup, and the store is back to it.
fn restored(since: &WorkloadSpec) -> Bench {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("first", 1));
    let backup = bench.disk.clone();
    bench.apply(since);
    assert_eq!(bench.placed().len(), 3);
    bench.restore(&backup);
    bench.connect_all();
    bench
}

#[test]
fn what_the_backup_does_not_know_goes_on_and_takes_its_room() {
    let mut bench = restored(&spec("since", 2));
    let shown = bench.shown();
    let of = |word: &str| shown.iter().filter(|line| line.contains(word)).count();
    assert_eq!((of("Keep running"), of("Run running"), shown.len()), (2, 1, 3), "{shown:?}");
    assert!(bench.held().values().all(|desired| *desired != Desired::Stop));
    let orphans: u32 = ["n1", "n2"].map(|name| bench.node_view(name).orphans).iter().sum();
    assert_eq!(orphans, 2);
    let told = bench.events().iter().filter(|event| event.event.reason == "Orphaned").count();
    assert_eq!(told, 2);
    // Eight cores, three of them taken.
    bench.apply(&spec("more", 8));
    assert_eq!(bench.placed().len(), 1 + 5);
    // A restart of this master or of a node changes nothing, and another old copy neither.
    let (before, disk) = (bench.held(), bench.disk.clone());
    bench.restart();
    bench.node("n1").restart(2, facts(4));
    bench.connect_all();
    bench.restore(&disk);
    bench.connect_all();
    assert_eq!(bench.held(), before);
}

#[test]
fn what_is_applied_again_is_adopted_as_it_is() {
    let since = spec("since", 2);
    let mut bench = restored(&since);
    let before = bench.held();
    let applied = bench.apply(&since);
    assert_eq!(
        (applied.how, applied.generation),
        (AppliedHow::Created, Generation(2)),
        "behind that of the orphans"
    );
    let after = bench.held();
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "nothing is placed or stopped"
    );
    assert!(after.values().all(|desired| *desired == Desired::Run));
    let view = bench.workload("since").unwrap();
    assert_eq!((view.placed, view.running, view.pending.len()), (2, 2, 0));
    assert_eq!(bench.node_view("n1").orphans + bench.node_view("n2").orphans, 0);
    bench.restart();
    bench.connect_all();
    assert_eq!(bench.held(), after);
}

#[test]
fn of_what_is_applied_otherwise_none_is_left_twice() {
    let since = small(spec("since", 2));
    let mut bench = restored(&since);
    let before = bench.held();
    bench.apply(&WorkloadSpec { instances: 1, ..changed(&since, "x") });
    bench.wait(Duration::from_mins(1));
    let since = bench.shown().into_iter().filter(|line| line.starts_with("since")).collect::<Vec<_>>();
    assert_eq!(since.len(), 1, "{since:?}");
    let shared = bench.held().keys().filter(|id| before.contains_key(*id)).count();
    assert_eq!(shared, 1, "that of 'first'");
}

#[test]
fn a_workload_that_the_backup_knows_otherwise_keeps_both_until_it_is_applied() {
    let mut bench = Bench::with_nodes(2);
    let web = small(spec("web", 1));
    bench.apply(&web);
    let backup = bench.disk.clone();
    bench.apply(&WorkloadSpec { instances: 2, ..changed(&web, "x") });
    bench.wait(Duration::from_mins(1));
    let newer: Vec<AllocationId> = bench.held().into_keys().collect();
    bench.restore(&backup);
    bench.connect_all();
    bench.wait(Duration::from_mins(5));
    assert!(newer.iter().all(|id| bench.held().get(id) == Some(&Desired::Keep)));
    assert_eq!(bench.placed().len(), 1, "the copy that the backup knows runs as well");
    bench.apply(&WorkloadSpec { instances: 2, ..changed(&web, "x") });
    bench.wait(Duration::from_mins(1));
    assert_eq!(
        bench.held().into_keys().collect::<Vec<_>>(),
        newer,
        "and leaves when what it became is adopted"
    );
}

#[test]
fn orphans_end_with_a_deletion_of_what_nobody_knows() {
    let mut bench = restored(&spec("since", 2));
    assert!(matches!(bench.call(ApiCall::Delete(key("since"))), Ok(ApiReply::Removed(2))));
    assert_eq!(bench.shown(), ["first@n1 Run running"]);
    assert_eq!(bench.held().len(), 1);
    let gone = bench.call(ApiCall::Delete(key("since")));
    assert!(matches!(gone, Err(ApiError::NotFound { .. })), "{gone:?}");
}

#[test]
fn a_deletion_that_the_backup_was_amid_ends_nothing_that_was_applied_after_it() {
    let mut bench = Bench::with_nodes(2);
    let first = spec("first", 1);
    bench.apply(&first);
    let was = bench.held();
    for node in ["n1", "n2"] {
        bench.cut(node);
    }
    assert!(matches!(bench.call(ApiCall::Delete(first.key.clone())), Ok(ApiReply::Removed(1))));
    let backup = bench.disk.clone();
    bench.connect_all();
    assert!(bench.workload("first").is_none());
    bench.apply(&first);
    let since = bench.held();
    assert!(since.keys().all(|id| !was.contains_key(id)), "{since:?}");

    bench.restore(&backup);
    bench.connect_all();
    let goes_on: BTreeMap<AllocationId, Desired> = since.into_keys().map(|id| (id, Desired::Keep)).collect();
    assert_eq!(bench.held(), goes_on);
    // What was to be deleted is gone, and a word of this life is meant.
    assert!(bench.workload("first").is_none());
    assert!(matches!(bench.call(ApiCall::Delete(first.key)), Ok(ApiReply::Removed(1))));
    assert_eq!(bench.held(), BTreeMap::new());
}

#[test]
fn of_a_daemon_each_node_has_one_when_its_orphans_are_adopted() {
    let mut bench = Bench::with_nodes(2);
    let cordon = |on| LifeCall::Cordon { node: node_name("n1"), on };
    let daemon = WorkloadSpec { kind: WorkloadKind::Daemon, ..spec("first", 1) };
    bench.life(cordon(true)).expect("it is known");
    bench.apply(&daemon);
    let backup = bench.disk.clone();
    assert!(matches!(bench.call(ApiCall::Delete(daemon.key.clone())), Ok(ApiReply::Removed(1))));
    bench.life(cordon(false)).expect("it is known");
    bench.apply(&daemon);
    assert_eq!(bench.held().len(), 2);

    // The backup knows number 0 on the second node; since then that is on the first, and the second has number 1.
    bench.restore(&backup);
    bench.connect_all();
    bench.life(cordon(false)).expect("it is known");
    bench.apply(&changed(&daemon, "v2"));
    bench.wait(Duration::from_mins(10));
    let shown = bench.shown();
    assert_eq!(shown, ["first@n1 Run running", "first@n2 Run running"]);
}

#[test]
fn one_orphan_ends_by_its_id() {
    let mut bench = restored(&spec("since", 2));
    let orphans: Vec<AllocationId> =
        bench.held().into_iter().filter(|(_, desired)| *desired == Desired::Keep).map(|(id, _)| id).collect();
    assert!(matches!(bench.call(ApiCall::DeleteAllocation(orphans[0].clone())), Ok(ApiReply::Removed(1))));
    bench.wait(Duration::from_mins(1));
    assert_eq!((bench.held().get(&orphans[0]), bench.held().get(&orphans[1])), (None, Some(&Desired::Keep)));
    let gone = bench.call(ApiCall::DeleteAllocation(orphans[0].clone())).unwrap_err();
    assert_eq!(gone.to_string(), format!("there is no allocation '{}'", orphans[0]));
}

#[test]
fn a_fresh_allocation_takes_the_place_of_one_that_is_deleted() {
    let exclusive = |mut spec: WorkloadSpec| {
        std::sync::Arc::make_mut(&mut spec.instance).exclusive = Some(Lease::DEFAULT);
        spec
    };
    let job = WorkloadKind::Job(JobPolicy { parallelism: 2, retries: 0, deadline: None });
    let kinds = [
        spec("web", 2),
        exclusive(spec("db", 2)),
        WorkloadSpec { kind: WorkloadKind::Daemon, ..spec("log", 0) },
        WorkloadSpec { kind: job, ..spec("job", 2) },
    ];
    for spec in kinds {
        let (name, mut bench) = (spec.key.name.to_string(), Bench::with_nodes(2));
        bench.apply(&spec);
        bench.wait(Duration::from_secs(5));
        let before: Vec<AllocationId> = bench.held().into_keys().collect();
        let node = |bench: &Bench, id: &AllocationId| bench.state.allocations.get(id).unwrap().node.clone();
        let on = node(&bench, &before[0]);
        bench.node(on.as_str()).manner = Manner::Mute;
        bench.call(ApiCall::DeleteAllocation(before[0].clone())).unwrap();
        bench.call(ApiCall::DeleteAllocation(before[0].clone())).unwrap();
        bench.wait(Duration::from_secs(30));
        let fresh = |bench: &Bench| bench.placed().len() - 1;
        if spec.instance.exclusive.is_some() {
            assert_eq!(fresh(&bench), 0, "{name}: not before the other is gone");
        }
        bench.node(on.as_str()).catch_up();
        bench.exchange();
        bench.wait(Duration::from_mins(5));
        let held = bench.held();
        assert!(held.len() == 2 && !held.contains_key(&before[0]) && held.contains_key(&before[1]), "{name}");
        assert_eq!(fresh(&bench), 1, "{name}");
        let view = bench.workload(&name).unwrap();
        assert!(view.job.is_none_or(|job| job.failures == 0), "{name}: to be deleted is no failure");
    }
}

#[test]
fn a_release_is_told_until_it_is_done() {
    let mut bench = restored(&spec("since", 2));
    bench.cut("n1");
    bench.cut("n2");
    bench.call(ApiCall::Delete(key("since"))).unwrap();
    bench.restart();
    bench.connect_all();
    assert_eq!((bench.shown().len(), bench.held().len()), (1, 1));
}

#[test]
fn orphans_leave_a_drained_node_last() {
    let mut bench = restored(&spec("since", 2));
    let n1 = node_name("n1");
    bench.cut("n2");
    let drain = |deadline, force| LifeCall::Drain { what: DrainWhat::Node(n1.clone()), deadline, force };
    bench.life(drain(None, false)).unwrap();
    let on =
        |bench: &mut Bench| bench.shown().into_iter().filter(|line| line.contains("@n1")).collect::<Vec<_>>();
    assert_eq!(
        on(&mut bench),
        ["first@n1 Run running", "since@n1 Keep running"],
        "no room for 'first' elsewhere"
    );
    bench.connect("n2");
    bench.wait(Duration::from_mins(1));
    assert_eq!(on(&mut bench), [""; 0]);
    assert_eq!(bench.node_view("n1").drain.map(|drain| drain.remaining), Some(0));

    let mut bench = restored(&spec("since", 2));
    bench.cut("n2");
    bench.life(drain(Some(Duration::from_mins(5)), false)).unwrap();
    bench.wait(Duration::from_mins(4));
    assert_eq!(on(&mut bench).len(), 2);
    bench.wait(Duration::from_mins(2));
    assert_eq!(on(&mut bench), [""; 0], "time is up");
}

#[test]
fn a_node_takes_nothing_before_it_has_told_what_it_holds() {
    let mut bench = Bench::with_nodes(1);
    let backup = bench.disk.clone();
    bench.apply(&spec("since", 4));
    bench.restore(&backup);
    let link = bench.dial("n1");
    let hello = bench.node("n1").hello(link);
    bench.feed(Input::Received(link, hello));
    bench.state.handle(bench.now, Input::Timeout);
    let id = bench.call_id();
    let apply = ApiCall::Apply { spec: std::sync::Arc::new(spec("more", 1)), dry_run: false };
    bench.feed(Input::Call(id, apply));
    assert_eq!(bench.placed(), [""; 0], "the node is there and full");
    bench.exchange();
    bench.connect_all();
    assert_eq!(bench.shown(), ["since@n1 Keep running"; 4]);
    assert_eq!(bench.workload("more").unwrap().pending.len(), 1);
}

#[test]
fn no_name_is_given_twice_over_the_lives_of_a_store() {
    let mut bench = Bench::with_nodes(1);
    let backup = bench.disk.clone();
    bench.apply(&small(spec("web", 1)));
    let before: Vec<AllocationId> = bench.held().into_keys().collect();
    bench.cut("n1");
    bench.restore(&backup);
    bench.join("n2", "s1");
    bench.connect("n2");
    bench.apply(&small(spec("web", 1)));
    bench.connect("n1");
    bench.wait(Duration::from_mins(1));
    let told = bench.events().iter().filter(|event| event.event.reason == "Adopted").count();
    assert_eq!(
        (told, bench.held().len(), bench.shown().len()),
        (1, 1, 1),
        "adopted, and one of two is left over"
    );
    assert_eq!(bench.events().iter().filter(|event| event.event.reason == "OrphanRefused").count(), 0);
    assert_eq!(before.len(), 1);
}

#[test]
fn a_master_that_is_set_up_anew_learns_what_runs() {
    let since = spec("since", 2);
    let mut bench = Bench::with_nodes(1);
    bench.apply(&since);
    let before = bench.held();
    bench.put_back(&Disk::new());
    let node = bench.nodes.remove(&node_name("n1")).unwrap();
    bench.join("n1", "s1");
    bench.nodes.insert(node_name("n1"), node);
    bench.redial();
    bench.redial();
    assert_eq!(bench.shown(), ["since@n1 Keep running"; 2]);
    bench.apply(&since);
    assert_eq!(bench.held(), before);
}

#[test]
fn an_orphan_whose_name_is_taken_waits_for_it() {
    let web = small(spec("web", 1));
    for restarts in [false, true] {
        let mut bench = Bench::with_nodes(1);
        bench.apply(&web);
        bench.cut("n1");
        bench.put_back(&Disk::new());
        let n1 = bench.nodes.remove(&node_name("n1")).unwrap();
        bench.join("n2", "s1");
        bench.connect("n2");
        bench.apply(&web);
        bench.join("n1", "s1");
        bench.nodes.insert(node_name("n1"), n1);
        bench.redial();
        bench.redial();
        assert_eq!(bench.shown(), ["web@n2 Run running"]);
        assert_eq!(bench.events().iter().filter(|event| event.event.reason == "OrphanRefused").count(), 1);
        if restarts {
            bench.restart();
            bench.connect_all();
            let what = DrainWhat::Node(node_name("n2"));
            bench.life(LifeCall::Drain { what, deadline: None, force: false }).unwrap();
            bench.wait(Duration::from_mins(1));
            assert_eq!(bench.shown(), ["web@n1 Run running"], "it is adopted when the name is free");
        }
        bench.call(ApiCall::Delete(key("web"))).unwrap();
        assert_eq!((bench.shown().len(), bench.held().len()), (0, 0), "a deletion ends both");
    }
}

#[test]
fn of_what_is_exclusive_the_copy_that_the_store_knows_is_the_one_that_runs() {
    let mut db = spec("db", 1);
    std::sync::Arc::make_mut(&mut db.instance).exclusive = Some(Lease::DEFAULT);
    let mut bench = Bench::with_nodes(2);
    bench.apply(&db);
    let backup = bench.disk.clone();
    bench.pass(DAY);
    bench
        .life(LifeCall::Drain { what: DrainWhat::Node(node_name("n1")), deadline: None, force: false })
        .unwrap();
    bench.wait(Duration::from_mins(1));
    assert_eq!(bench.shown(), ["db@n2 Run running"]);
    bench.restore(&backup);
    bench.connect_all();
    bench.wait(Duration::from_mins(5));
    assert_eq!(bench.shown(), ["db@n1 Run running"]);

    // One that it does not know goes on, and is adopted.
    let mut bench = Bench::with_nodes(2);
    let backup = bench.disk.clone();
    bench.apply(&db);
    let before = bench.held();
    bench.restore(&backup);
    bench.connect_all();
    bench.wait(Duration::from_mins(5));
    assert_eq!(bench.shown(), ["db@n1 Keep running"]);
    bench.apply(&db);
    bench.wait(Duration::from_mins(5));
    assert_eq!(bench.held(), before);

    // One that is not what is asked for is gone before the other begins.
    let mut bench = Bench::with_nodes(2);
    let backup = bench.disk.clone();
    bench.apply(&db);
    bench.restore(&backup);
    bench.node("n1").manner = Manner::Mute;
    bench.connect_all();
    bench.apply(&changed(&db, "x"));
    assert_eq!(bench.placed(), [""; 0], "the orphan is told to stop, and has not");
    bench.node("n1").catch_up();
    bench.exchange();
    assert_eq!(bench.placed().len(), 1);
}

#[test]
fn a_share_that_the_region_above_does_not_know_goes_on() {
    let web = small(spec("web", 2));
    for ends in [false, true] {
        let mut tree = Tree::new(&[("root", 0), ("x<root", 1)]);
        let backup = tree.masters["root"].disk.clone();
        tree.of("root").apply(&web);
        tree.settle();
        let before = tree.of("x").held();
        assert_eq!(before.len(), 2);
        for _ in 0..2 {
            tree.cut("x");
            tree.of("root").restore(&backup);
            tree.heal("x");
            tree.settle();
            tree.pass(Duration::from_mins(5));
            assert_eq!(tree.of("x").held(), before);
        }
        if ends {
            assert!(matches!(tree.of("x").call(ApiCall::Delete(key("web"))), Ok(ApiReply::Removed(2))));
            tree.settle();
            assert_eq!(tree.of("x").held().len(), 0);
        } else {
            tree.of("root").apply(&web);
            tree.settle();
            tree.pass(Duration::from_mins(1));
            assert_eq!(tree.of("x").held(), before);
            assert_eq!(tree.of("root").workload("web").unwrap().running, 2);
            tree.of("root").call(ApiCall::Delete(key("web"))).unwrap();
            tree.settle();
            tree.pass(Duration::from_mins(1));
            assert_eq!(tree.of("x").held().len(), 0);
            assert!(tree.of("root").workload("web").is_none());
        }
    }
}

#[test]
fn a_job_goes_on_and_counts_when_it_is_applied_again() {
    let kind = WorkloadKind::Job(JobPolicy { parallelism: 2, retries: 0, deadline: None });
    let job = WorkloadSpec { kind, ..small(spec("job", 2)) };
    let mut bench = Bench::with_nodes(1);
    let backup = bench.disk.clone();
    bench.apply(&job);
    bench.restore(&backup);
    bench.connect("n1");
    let ids: Vec<AllocationId> = bench.held().into_keys().collect();
    bench.node("n1").say(&ids[0], Phase::Completed);
    bench.exchange();
    assert_eq!(bench.shown(), ["job@n1 Keep completed", "job@n1 Keep running"], "its end is kept");
    bench.apply(&job);
    let view = bench.workload("job").unwrap().job.unwrap();
    assert_eq!((view.completed, view.active), (1, 1));
    bench.node("n1").say(&ids[1], Phase::Completed);
    bench.exchange();
    assert_eq!(bench.workload("job").unwrap().job.unwrap().completed, 2);
    assert_eq!(bench.held().len(), 0);
}
