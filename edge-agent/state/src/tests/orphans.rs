//! A parent whose store came from an older copy: what it does not know goes on until it says otherwise.

use std::time::Duration;

use skerry_types::{
    AllocationIntent, Desired, ExitKind, Lease, Overlap, Phase, RestartWhen, Schedule, TimeZone,
};
use skerry_wire::{
    Cursor, Epoch, Incarnation, ObservedRow, Revision, Row, RowsFrame, TableId, ToChild, ToParent,
};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";
/// The parent's tables begin anew.
const OTHER: Epoch = Epoch(8);

fn db() -> AllocationIntent {
    intent("db-0-2", &["main"], RestartWhen::Always)
}

fn exclusive() -> AllocationIntent {
    with(db(), |spec| spec.exclusive = Some(Lease::new(Duration::from_secs(30)).unwrap()))
}

impl Bench {
    /// A link to the parent in its life of `epoch`, which has the node's rows up to its last word.
    fn meet(&mut self, epoch: Epoch) {
        self.feed(Input::Facts(skerry_types::NodeFacts::default()));
        self.feed(Input::LinkUp);
        let hello = self.hello();
        let mine = Cursor { epoch: hello.epoch, ..Cursor::default() };
        self.feed(Input::Received(ToChild::Welcome(skerry_wire::Welcome { epoch, ..welcome(mine) })));
    }

    fn snapshot(&mut self, epoch: Epoch, rows: &[Row]) {
        let end = Some(Revision(1_000));
        let frame =
            RowsFrame::Snapshot { epoch, incarnation: Incarnation(1), first: true, rows: rows.to_vec(), end };
        self.feed(Input::Received(ToChild::Rows(frame)));
    }

    /// Meets a life of the parent that knows these, and links again if it has to tell of others.
    fn another_life(&mut self, epoch: Epoch, rows: &[Row]) {
        self.feed(Input::LinkDown);
        self.meet(epoch);
        self.sent.clear();
        self.snapshot(epoch, rows);
    }

    fn delta(&mut self, epoch: Epoch, rows: &[Row]) {
        self.feed(Input::Received(ToChild::Rows(RowsFrame::Delta {
            epoch,
            incarnation: Incarnation(1),
            rows: rows.to_vec(),
        })));
    }

    fn desired(&self, id: &str) -> Desired {
        let all = self.state.lifecycles();
        let found = all.into_iter().find(|lifecycle| lifecycle.id().as_str() == id);
        found.expect("a lifecycle").intent().desired
    }

    /// Tables of the rows about an allocation that went up since the last call, in order; those taken back with a dash.
    fn tables_of(&mut self, id: &str) -> Vec<String> {
        let mine = self.told().into_iter().filter(|(key, _)| *key.key == *id);
        mine.map(|(key, row)| format!("{}{}", if row.is_some() { "" } else { "-" }, key.table.0)).collect()
    }

    /// Says of every frame of rows so far that it is on disk.
    fn answer_rows(&mut self) {
        for frame in std::mem::take(&mut self.sent) {
            let ToParent::Rows(RowsFrame::Delta { epoch, rows, .. }) = frame else { continue };
            let revision = rows.last().expect("no frame is empty").revision;
            self.feed(Input::Received(ToChild::Ack(Cursor { epoch, revision, ..Cursor::default() })));
        }
    }

    fn questions(&self) -> usize {
        self.sent.iter().filter(|message| matches!(message, ToParent::Renew { .. })).count()
    }
}

/// `web` and `db` run; the parent's new life knows only `db`.
fn orphaned() -> Bench {
    let mut bench = Bench::holding(&[web(), db()]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.answer_all();
    bench.meet(EPOCH);
    bench.told();
    bench.another_life(OTHER, &[row(5, &db())]);
    bench
}

#[test]
fn what_another_life_does_not_know_goes_on_and_is_told_at_the_next_hello() {
    let mut bench = orphaned();
    assert_eq!(bench.begun(), [""; 0], "nothing is stopped");
    assert_eq!((bench.phase(ID), bench.desired(ID)), (Phase::Running, Desired::Keep));
    assert_eq!(bench.desired("db-0-2"), Desired::Run);
    assert!(bench.closed.len() == 1 && bench.acks().is_empty(), "{:?}", bench.closed);
    bench.sent.clear();
    bench.feed(Input::LinkUp);
    let hello = bench.hello();
    assert_eq!(hello.cursor, Cursor { epoch: OTHER, incarnation: Incarnation(1), revision: Revision(1_000) });
    let mine = Cursor { epoch: hello.epoch, ..Cursor::default() };
    bench.feed(Input::Received(ToChild::Welcome(skerry_wire::Welcome { epoch: OTHER, ..welcome(mine) })));
    let told = bench.told();
    let up_to = |table| told.iter().position(|(key, _)| key.table == table && *key.key == *ID);
    assert!(up_to(TableId::ORPHAN).is_some() && up_to(TableId::ORPHAN) < up_to(TableId::STATUS), "{told:?}");
    let told = told.into_iter().find_map(|(key, row)| match row {
        Some(ObservedRow::Orphan(intent)) if *key.key == *ID => Some(intent),
        _ => None,
    });
    assert_eq!(told, Some(AllocationIntent { desired: Desired::Keep, ..web() }));
}

#[test]
fn an_orphan_is_an_orphan_after_restarts_of_all_and_in_the_next_life_too() {
    let mut bench = orphaned();
    bench.restart();
    bench.feed(Input::Inventory(vec![found(ID, "main", 0), found("db-0-2", "main", 0)]));
    assert!(bench.answer_all().iter().all(|done| done.starts_with("prepare")));
    bench.meet(OTHER);
    assert_eq!(bench.tables_of(ID), ["0", "2"], "before its status");
    // The same life, from the beginning; and then one that knows nothing at all.
    bench.snapshot(OTHER, &[row(5, &db())]);
    assert_eq!((bench.begun().len(), bench.desired(ID), bench.closed.len()), (0, Desired::Keep, 0));
    bench.another_life(Epoch(9), &[]);
    assert_eq!((bench.desired(ID), bench.desired("db-0-2")), (Desired::Keep, Desired::Keep));
    assert_eq!(bench.begun(), [""; 0]);
    // A reboot starts it again, and so does its policy.
    bench.reboot(Duration::from_mins(1));
    bench.answer_all();
    assert_eq!((bench.phase(ID), bench.phase("db-0-2")), (Phase::Running, Phase::Running));
    bench.exit(ID, "main", 1, ExitKind::Code(1));
    bench.live(Duration::from_secs(5), |_| true);
    assert_eq!(bench.phase(ID), Phase::Running);
}

#[test]
fn an_orphan_that_the_parent_takes_up_is_none_and_nothing_happens_to_it() {
    let mut bench = orphaned();
    bench.meet(OTHER);
    bench.told();
    let kept = AllocationIntent { desired: Desired::Keep, ..web() };
    bench.delta(OTHER, &[row(1_001, &kept)]);
    assert_eq!(bench.tables_of(ID), [""; 0]);
    bench.delta(OTHER, &[row(1_002, &web())]);
    assert_eq!((bench.desired(ID), bench.begun().len()), (Desired::Run, 0));
    assert_eq!(bench.tables_of(ID), ["-0"]);
    bench.restart();
    assert_eq!(bench.desired(ID), Desired::Run);
}

#[test]
fn an_orphan_ends_when_the_parent_says_so() {
    for takes_up in [false, true] {
        let mut bench = orphaned();
        bench.meet(OTHER);
        if takes_up {
            bench.delta(OTHER, &[row(1_001, &AllocationIntent { desired: Desired::Keep, ..web() })]);
        }
        bench.told();
        bench.delta(OTHER, &[row(1_002, &stopped(&web()))]);
        assert_eq!(bench.begun(), ["ask main"]);
        bench.answer_all();
        bench.exit(ID, "main", 0, ExitKind::Code(0));
        bench.answer_all();
        assert_eq!(bench.phase(ID), Phase::Stopped);
        assert!(bench.tables_of(ID).contains(&"-0".to_owned()));
        bench.delta(OTHER, &[gone(1_003, ID)]);
        assert!(!bench.holds(ID));
    }
}

#[test]
fn what_was_told_to_stop_is_no_orphan() {
    let mut bench = Bench::running(&web());
    bench.meet(EPOCH);
    bench.delta(EPOCH, &[row(2, &stopped(&web()))]);
    assert_eq!(bench.answer_all(), ["ask main"]);
    bench.sent.clear();
    bench.another_life(OTHER, &[]);
    assert!(bench.closed.is_empty() && bench.acks().len() == 1, "{:?}", bench.closed);
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    bench.answer_all();
    assert!(!bench.holds(ID));
}

#[test]
fn an_orphaned_schedule_begins_no_further_run() {
    let timed = with(web(), |spec| {
        let (cron, overlap) = ("*/5 * * * *".to_owned(), Overlap::Forbid);
        let timezone = TimeZone::Named("UTC".to_owned());
        spec.schedule = Some(Schedule { cron, timezone, overlap, starting_deadline: None });
    });
    let mut bench = Bench::holding(std::slice::from_ref(&timed));
    bench.feed(Input::Inventory(Vec::new()));
    bench.live(Duration::from_mins(6), |_| true);
    assert_eq!(bench.phase(ID), Phase::Running);
    bench.another_life(OTHER, &[]);
    bench.live(Duration::from_mins(1), |_| true);
    assert_eq!(bench.phase(ID), Phase::Running, "what runs goes on to its end");
    bench.exit(ID, "main", 0, ExitKind::Code(0));
    assert_eq!(bench.live(Duration::from_mins(30), |_| true), ["remove main", "release"]);
    assert_eq!(bench.phase(ID), Phase::Completed);
    bench.meet(OTHER);
    bench.delta(OTHER, &[row(1_001, &timed)]);
    bench.live(Duration::from_mins(6), |_| true);
    assert_eq!(bench.phase(ID), Phase::Running);
}

/// Whoever has not heard of an orphan may have started another copy of it.
#[test]
fn no_lease_is_asked_of_a_parent_that_does_not_know_all_that_is_here() {
    let mut bench = Bench::holding(&[exclusive()]);
    bench.feed(Input::Inventory(Vec::new()));
    bench.meet(EPOCH);
    assert_eq!(bench.questions(), 1);
    bench.sent.clear();
    bench.feed(Input::LinkDown);
    bench.meet(OTHER);
    bench.snapshot(OTHER, &[]);
    assert_eq!((bench.questions(), bench.closed.len()), (0, 1));
    bench.sent.clear();
    bench.meet(OTHER);
    assert_eq!(bench.questions(), 0, "before it has the orphan on disk");
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.questions(), 0);
    bench.answer_rows();
    assert_eq!(bench.questions(), 1);
    // A life that knows it is asked once its rows are here.
    bench.sent.clear();
    bench.feed(Input::LinkDown);
    bench.meet(Epoch(9));
    assert_eq!(bench.questions(), 0);
    bench.snapshot(Epoch(9), &[row(1, &exclusive())]);
    bench.answer_rows();
    assert_eq!((bench.questions(), bench.closed.len()), (1, 1));
}
