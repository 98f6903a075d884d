//! Links and rows.

use skerry_types::{AllocationId, Desired, Phase, UpdatePolicy, WorkloadSpec};
use skerry_wire::{
    Cursor, Epoch, Hello, Incarnation, ObservedRow, RefusalCode, Revision, Row, RowKey, RowsFrame, TableId,
    ToChild, ToParent,
};

use super::bench::*;
use super::node::{FakeNode, Manner};
use crate::*;

fn hello(oldest: u16, newest: u16) -> ToParent {
    let (cursor, epoch) = (Cursor::default(), Epoch(1));
    ToParent::Hello(Hello { oldest, newest, software: String::new(), cursor, epoch, head: Revision(0) })
}

#[test]
fn a_link_of_an_unknown_key_is_refused() {
    let mut bench = Bench::with_nodes(1);
    let check = |bench: &mut Bench, identity: NodeIdentity| {
        let link = LinkId(900);
        bench.feed(Input::LinkUp(link, ChildIdentity::Node(identity)));
        let refused = matches!(&bench.sent[..], [(id, ToChild::Refused(refused))]
            if *id == link && refused.code == RefusalCode::Removed);
        assert!(refused, "{:?}", bench.sent);
        assert_eq!(bench.closed.pop().map(|(id, _)| id), Some(link));
        bench.sent.clear();
        bench.feed(Input::Received(link, hello(1, 1)));
        assert_eq!(bench.sent, [], "nothing of it is heard");
    };
    let stranger = bench.identity("n9");
    check(&mut bench, stranger);
    let other_key = NodeIdentity { key: [9; 32], ..bench.identity("n1") };
    check(&mut bench, other_key);
}

#[test]
fn the_last_link_of_a_node_counts() {
    let mut bench = Bench::with_nodes(1);
    let old = bench.node("n1").link.unwrap();
    bench.connect("n1");
    assert_eq!(bench.closed.last().map(|(link, _)| *link), Some(old));
    bench.feed(Input::Received(old, ToParent::Ack(Cursor::default())));
    bench.feed(Input::LinkDown(old));
    assert!(bench.state.nodes[&node_name("n1")].is_reachable(), "the end of the old link changes nothing");
    bench.apply(&spec("web", 1));
    assert_eq!(bench.workload("web").unwrap().running, 1);
}

#[test]
fn a_second_machine_with_a_key_is_refused_and_told_of_once() {
    let mut bench = Bench::with_nodes(1);
    let first = bench.node("n1").link;
    for link in [LinkId(900), LinkId(901)] {
        let identity = ChildIdentity::Node(bench.identity("n1"));
        let from = ["192.0.2.1:7".to_owned(), "192.0.2.2:9".to_owned()];
        bench.feed(Input::Twin { link, identity, from });
        let refused = matches!(&bench.sent[..], [(id, ToChild::Refused(refused))]
            if *id == link && refused.code == RefusalCode::Taken && refused.message.contains("192.0.2.1:7"));
        assert!(refused, "{:?}", bench.sent);
        assert_eq!(bench.closed.pop().map(|(id, _)| id), Some(link));
        bench.sent.clear();
    }
    assert_eq!(bench.node("n1").link, first, "the first one stays");
    assert!(bench.state.nodes[&node_name("n1")].is_reachable());
    let told = bench.events().into_iter().filter(|view| view.event.reason == "IdentityTaken");
    assert_eq!(told.count(), 1);
}

#[test]
fn versions_without_a_common_one_are_refused() {
    let mut bench = Bench::with_nodes(1);
    bench.cut("n1");
    let link = bench.dial("n1");
    bench.feed(Input::Received(link, hello(900, 901)));
    let refused = matches!(&bench.sent[..], [(_, ToChild::Refused(refused))]
        if refused.code == RefusalCode::Version && refused.message.contains("900 to 901"));
    assert!(refused, "{:?}", bench.sent);
    assert_eq!(bench.closed.len(), 1);
}

#[test]
fn messages_out_of_turn_close_the_link_and_are_the_last_that_is_heard() {
    let rows = |epoch, revision, id: &str| {
        let status = RowKey::new(TableId::STATUS, id);
        let value = ObservedRow::Usage(skerry_types::NodeUsage::default()).encode();
        let row = Row { key: status, revision: Revision(revision), value: Some(value) };
        ToParent::Rows(RowsFrame::Delta { epoch: Epoch(epoch), incarnation: Incarnation(1), rows: vec![row] })
    };
    let check = |case: &str, welcomed: bool, message: ToParent| {
        let mut bench = Bench::with_nodes(1);
        bench.cut("n1");
        let link = bench.dial("n1");
        if welcomed {
            let hello = bench.node("n1").hello(link);
            bench.feed(Input::Received(link, hello));
            bench.exchange();
        }
        let disk = bench.disk.clone();
        bench.feed(Input::Received(link, message));
        assert_eq!(bench.closed.len(), 1, "{case}");
        let cursor = bench.state.nodes[&node_name("n1")].child.record.cursor;
        bench.feed(Input::Received(link, rows(1, 900, "web-0-1")));
        assert_eq!(bench.state.nodes[&node_name("n1")].child.record.cursor, cursor, "{case}: no gap is left");
        let observed = |disk: &Disk| disk.keys().filter(|(table, _)| table == "observed").count();
        assert_eq!(observed(&bench.disk), observed(&disk), "{case}");
        assert!(!bench.state.nodes[&node_name("n1")].is_reachable(), "{case}");
        bench.feed(Input::LinkDown(link));
        bench.connect("n1");
        assert!(bench.state.nodes[&node_name("n1")].is_reachable(), "{case}: the next link is good");
    };
    check("rows before the hello", false, rows(1, 2, "a"));
    check("an answer before the hello", false, ToParent::Ack(Cursor::default()));
    check("two hellos", true, hello(1, 1));
    check("a delta of another epoch", true, rows(9, 2, "a"));
    check("a row that is too long", true, rows(1, 2, &"a".repeat(RowKey::KEY_MAX + 1)));
}

#[test]
fn rows_are_answered_when_they_are_on_disk() {
    let mut bench = Bench::with_nodes(1);
    let link = bench.node("n1").link.unwrap();
    bench.node("n1").event(1);
    bench.full = true;
    let frames = bench.node("n1").poll();
    for frame in frames {
        bench.feed(Input::Received(link, frame));
    }
    assert_eq!(bench.sent, []);
    bench.full = false;
    bench.drain();
    assert!(matches!(bench.sent[..], [(_, ToChild::Ack(_))]), "{:?}", bench.sent);
}

#[test]
fn rows_and_answers_resume_after_a_restart_of_the_master() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 4));
    bench.cut("n2");
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    assert!(bench.disk.keys().any(|(table, _)| table == "allocation"));
    bench.restart();
    bench.connect("n1");
    bench.apply(&spec("db", 1));
    bench.restart();
    bench.connect_all();
    assert!(bench.node("n2").intents.is_empty(), "what was deleted while it was away is gone there");
    assert!(bench.workload("web").is_none());
    assert!(bench.disk.keys().all(|(table, _)| table != "tombstone"));
    assert_eq!(bench.workload("db").unwrap().running, 1);
}

#[test]
fn a_tombstone_stays_until_the_node_has_it_on_disk() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 1));
    bench.node("n1").manner = Manner::Mute;
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    let id = bench.state.allocations.keys().next().unwrap().clone();
    let link = bench.node("n1").link.unwrap();
    bench.node("n1").say(&id, Phase::Stopped);
    for frame in bench.node("n1").poll() {
        bench.feed(Input::Received(link, frame));
    }
    let tombstones = |bench: &Bench| bench.disk.keys().filter(|(table, _)| table == "tombstone").count();
    assert_eq!((tombstones(&bench), bench.state.allocations.len()), (1, 0));
    bench.restart();
    assert_eq!(tombstones(&bench), 1);
    bench.connect("n1");
    assert_eq!((tombstones(&bench), bench.node("n1").intents.len()), (0, 0));
    let floor = bench.state.nodes[&node_name("n1")].child.record.floor;
    bench.restart();
    assert_eq!(bench.state.nodes[&node_name("n1")].child.writer.floor(), floor);
    bench.connect("n1");
    assert_eq!(bench.sent, [], "nothing to say, nothing is said");
}

#[test]
fn a_node_whose_disk_was_restored_gets_everything_anew() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 2));
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    bench.apply(&spec("db", 1));
    bench.cut("n1");
    let mut old = FakeNode::new(&node_name("n1"), facts(4));
    old.restart(9, facts(4));
    bench.nodes.insert(node_name("n1"), old);
    bench.connect("n1");
    assert_eq!(bench.node("n1").intents.len(), 1);
    assert_eq!(bench.workload("db").unwrap().running, 1);
}

#[test]
fn an_agent_that_restarts_sends_a_snapshot_and_what_it_left_out_is_forgotten() {
    let mut bench = Bench::with_nodes(1);
    bench.apply(&spec("web", 2));
    bench.cut("n1");
    let dropped = bench.node("n1").intents.keys().next().unwrap().clone();
    let intent = bench.node("n1").intents.remove(&dropped).unwrap();
    bench.node("n1").restart(2, facts(4));
    bench.node("n1").intents.insert(dropped.clone(), intent);
    bench.connect("n1");
    assert_eq!(bench.workload("web").unwrap().running, 1);
    assert!(bench.state.allocations.known(&dropped).is_none_or(|known| known.status.is_none()));
}

#[test]
fn an_event_counts_once_however_often_it_comes() {
    let mut bench = Bench::with_nodes(1);
    let heard = |bench: &mut Bench| -> Vec<String> {
        let events = bench.events().into_iter().filter(|view| view.event.reason == "Heard");
        events.map(|view| view.event.message).collect()
    };
    (1..=12).for_each(|number| bench.node("n1").event(number));
    bench.exchange();
    assert_eq!(heard(&mut bench).len(), 12);
    bench.cut("n1");
    bench.restart();
    bench.node("n1").restart(2, facts(4));
    (5..=15).for_each(|number| bench.node("n1").event(number));
    bench.connect("n1");
    let want: Vec<String> = (1..=15).map(|number: u32| number.to_string()).collect();
    assert_eq!(heard(&mut bench), want);
}

#[test]
fn a_row_that_cannot_be_read_is_left_out_and_told() {
    let mut bench = Bench::with_nodes(1);
    let link = bench.node("n1").link.unwrap();
    let key = RowKey::new(TableId::STATUS, "web-0-1");
    let row = Row { key, revision: Revision(2), value: Some(vec![0xff; 5]) };
    let frame = RowsFrame::Delta { epoch: Epoch(1), incarnation: Incarnation(1), rows: vec![row] };
    bench.feed(Input::Received(link, ToParent::Rows(frame)));
    assert!(matches!(bench.sent[..], [(_, ToChild::Ack(_))]));
    assert_eq!(bench.events().last().unwrap().event.reason, "BadRow");
}

#[test]
fn a_status_of_what_another_node_holds_changes_nothing() {
    let mut bench = Bench::with_nodes(2);
    bench.apply(&spec("web", 1));
    let id: AllocationId = bench.state.allocations.keys().next().unwrap().clone();
    bench.call(ApiCall::Delete(key("web"))).unwrap();
    bench.apply(&spec("web", 1));
    let mine = bench.state.allocations.keys().next().unwrap().clone();
    assert_ne!(id, mine);
    bench.node("n2").say(&mine, Phase::Stopped);
    bench.exchange();
    assert_eq!(bench.workload("web").unwrap().running, 1);
}

#[test]
fn a_cut_link_is_told_and_last_seen_stays() {
    let mut bench = Bench::with_nodes(1);
    bench.pass(DAY);
    bench.cut("n1");
    let seen = bench.now.wall;
    bench.pass(DAY);
    bench.restart();
    let Ok(ApiReply::Nodes(page)) = bench.call(ApiCall::Nodes(Filter::default())) else { panic!() };
    assert_eq!((page.items[0].reachable, page.items[0].last_seen), (false, seen));
    assert!(bench.events().iter().any(|view| view.event.reason == "Unreachable"));
}

#[test]
fn what_a_node_said_before_it_was_away_decides_nothing() {
    let mut bench = Bench::with_nodes(2);
    let update = UpdatePolicy { max_unavailable: 0, max_surge: 1, ..UpdatePolicy::default() };
    let web = WorkloadSpec { update, ..spec("web", 1) };
    bench.apply(&web);
    let (id, record) =
        bench.state.allocations.values().map(|r| (r.intent.id.clone(), r.clone())).next().unwrap();
    let node = record.node.to_string();
    bench.node(&node).say(&id, Phase::Backoff);
    bench.exchange();
    bench.cut(&node);
    bench.node(&node).say(&id, Phase::Running);
    bench.apply(&changed(&web, "x"));
    let link = bench.dial(&node);
    let hello = bench.node(&node).hello(link);
    bench.feed(Input::Received(link, hello));
    let desired = |bench: &Bench| bench.state.allocations.get(&id).map(|record| record.intent.desired);
    assert_eq!(desired(&bench), Some(Desired::Run), "it runs, as the node is about to say");
    bench.exchange();
    bench.wait(DAY);
    assert_eq!(desired(&bench), None, "its successor took over");
}

#[test]
fn a_node_whose_news_is_not_here_takes_nothing_whatever_is_done_to_it() {
    let mut bench = Bench::with_nodes(1);
    bench.cut("n1");
    let link = bench.dial("n1");
    let ToParent::Hello(hello) = bench.node("n1").hello(link) else { panic!("a hello") };
    let head = Revision(hello.head.0 + 1);
    bench.feed(Input::Received(link, ToParent::Hello(Hello { head, ..hello })));
    for on in [true, false] {
        bench.life(LifeCall::Cordon { node: node_name("n1"), on }).unwrap();
    }
    bench.apply(&spec("web", 1));
    assert_eq!(bench.state.intents().count(), 0);
    bench.connect("n1");
    assert_eq!(bench.state.intents().count(), 1);
}
