//! A writer and a reader over links that break and disks that forget, against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::*;

/// The two sides, each with what it has on disk, and the frames between them.
struct World {
    truth: BTreeMap<RowKey, Vec<u8>>,
    revision: Revision,
    epoch: Epoch,
    writer: Writer,
    /// The writer's disk: live rows, tombstones, and the floor.
    disk: BTreeMap<RowKey, (Revision, Option<Vec<u8>>)>,
    floor: Revision,
    reader: Reader,
    held: BTreeMap<RowKey, Vec<u8>>,
    held_cursor: Cursor,
    down: Vec<RowsFrame>,
    up: Vec<Cursor>,
}

impl World {
    fn new() -> Self {
        let epoch = Epoch(1);
        Self {
            truth: BTreeMap::new(),
            revision: Revision(0),
            epoch,
            writer: Writer::new(epoch, Revision(0)),
            disk: BTreeMap::new(),
            floor: Revision(0),
            reader: Reader::new(Cursor::default()),
            held: BTreeMap::new(),
            held_cursor: Cursor::default(),
            down: Vec::new(),
            up: Vec::new(),
        }
    }

    fn set(&mut self, key: u8, value: Option<Vec<u8>>) {
        let key = RowKey::new(TableId::INTENT, format!("k{key}"));
        if value.is_none() && self.truth.remove(&key).is_none() {
            return;
        }
        if let Some(value) = &value {
            self.truth.insert(key.clone(), value.clone());
        }
        self.revision = self.revision.next();
        self.disk.insert(key.clone(), (self.revision, value.clone()));
        self.writer.set(self.revision, key, value.map(Into::into));
    }

    fn cut(&mut self) {
        self.down.clear();
        self.up.clear();
        self.writer.disconnected();
        self.reader.disconnected();
    }

    fn connect(&mut self) {
        self.cut();
        self.reader = Reader::new(self.held_cursor);
        let settled = self.writer.connected(self.held_cursor);
        self.forget(settled);
    }

    fn restart_writer(&mut self) {
        self.cut();
        self.writer = Writer::new(self.epoch, self.floor);
        for (key, (revision, value)) in &self.disk {
            self.writer.set(*revision, key.clone(), value.clone().map(Into::into));
        }
    }

    fn new_epoch(&mut self) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.disk.retain(|_, (_, value)| value.is_some());
        self.floor = Revision(0);
        self.restart_writer();
    }

    fn step_writer(&mut self) {
        self.down.extend(self.writer.poll_frame(Incarnation(1)));
    }

    fn step_reader(&mut self) {
        if self.down.is_empty() {
            return;
        }
        let frame = self.down.remove(0);
        let held = self.held.keys().cloned().collect();
        let changes = self.reader.handle(frame, || held).expect("a frame that follows");
        for key in changes.removed {
            self.held.remove(&key);
        }
        for row in changes.rows {
            match row.value {
                Some(value) => self.held.insert(row.key, value),
                None => self.held.remove(&row.key),
            };
        }
        self.held_cursor = changes.cursor;
        self.up.push(changes.cursor);
    }

    fn step_acknowledge(&mut self) {
        if self.up.is_empty() {
            return;
        }
        let cursor = self.up.remove(0);
        let settled = self.writer.acknowledged(cursor);
        self.forget(settled);
    }

    fn forget(&mut self, settled: Acknowledged) {
        for key in settled.forgotten {
            self.disk.remove(&key);
        }
        self.floor = self.writer.floor();
    }

    fn settle(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            self.step_writer();
            self.step_reader();
            self.step_acknowledge();
            if self.writer.is_settled() {
                return;
            }
        }
        panic!("never settles");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Remove(u8),
    Writer,
    Reader,
    Acknowledge,
    Cut,
    Connect,
    RestartWriter,
    NewEpoch,
    OldDisk,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12, prop_oneof![Just(3usize), Just(60_000)]).prop_map(|(key, len)| Step::Put(key, len)),
        4 => (0u8..12).prop_map(Step::Remove),
        8 => Just(Step::Writer),
        8 => Just(Step::Reader),
        8 => Just(Step::Acknowledge),
        1 => Just(Step::Cut),
        3 => Just(Step::Connect),
        1 => Just(Step::RestartWriter),
        1 => Just(Step::NewEpoch),
        1 => Just(Step::OldDisk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_sides_agree_in_the_end(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        let mut old_disk = (world.held.clone(), world.held_cursor);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(key, len) => world.set(key, Some(vec![u8::try_from(at % 251).unwrap(); len])),
                Step::Remove(key) => world.set(key, None),
                Step::Writer => world.step_writer(),
                Step::Reader => world.step_reader(),
                Step::Acknowledge => world.step_acknowledge(),
                Step::Cut => world.cut(),
                Step::Connect => world.connect(),
                Step::RestartWriter => world.restart_writer(),
                Step::NewEpoch => world.new_epoch(),
                Step::OldDisk => {
                    world.cut();
                    (world.held, world.held_cursor) =
                        std::mem::replace(&mut old_disk, (world.held.clone(), world.held_cursor));
                }
            }
        }
        world.settle();
        prop_assert_eq!(&world.held, &world.truth);
        let tombstones = world.disk.values().filter(|(_, value)| value.is_none()).count();
        prop_assert_eq!(tombstones, 0, "tombstones are forgotten");
        world.settle();
        prop_assert!(world.writer.poll_frame(Incarnation(1)).is_none(), "nothing to say, nothing is said");
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _result = (
            decode::<ToParent>(&bytes, 512).is_ok(),
            decode::<ToChild>(&bytes, 512).is_ok(),
            decode::<BulkHeader>(&bytes, 512).is_ok(),
            IntentRow::decode(&bytes).is_ok(),
            ObservedRow::decode(&bytes).is_ok(),
        );
    }
}

#[test]
fn a_reader_refuses_what_does_not_follow() {
    let row = Row { key: RowKey::new(TableId::INTENT, "a"), revision: Revision(5), value: None };
    let mut reader = Reader::new(Cursor { epoch: Epoch(1), revision: Revision(4), ..Cursor::default() });
    let stray = RowsFrame::Delta { epoch: Epoch(2), incarnation: Incarnation(1), rows: vec![row.clone()] };
    assert_eq!(reader.handle(stray, Vec::new), Err(SyncError::OutOfOrder));
    let middle = RowsFrame::Snapshot {
        epoch: Epoch(1),
        incarnation: Incarnation(1),
        first: false,
        rows: vec![],
        end: None,
    };
    assert_eq!(reader.handle(middle, Vec::new), Err(SyncError::OutOfOrder));
    let long = Row { key: RowKey::new(TableId::INTENT, "k".repeat(RowKey::KEY_MAX + 1)), ..row };
    let long = RowsFrame::Delta { epoch: Epoch(1), incarnation: Incarnation(1), rows: vec![long] };
    assert!(matches!(reader.handle(long, Vec::new), Err(SyncError::RowTooLong { .. })));
}

#[test]
fn decoding_is_exact() {
    let bytes = encode(&ToParent::Ack(Cursor::default()));
    assert!(decode::<ToParent>(&bytes, bytes.len()).is_ok());
    assert!(matches!(decode::<ToParent>(&bytes, 1), Err(DecodeError::TooLong { .. })));
    assert!(matches!(decode::<ToParent>(&bytes[..1], 9), Err(DecodeError::Malformed { .. })));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(decode::<ToParent>(&longer, 9), Err(DecodeError::Trailing { extra: 1, .. })));
}

#[test]
fn versions_meet_in_the_middle() {
    assert_eq!(negotiate(1, 1), Some(1));
    assert_eq!(negotiate(1, 9), Some(PROTOCOL_NEWEST));
    assert_eq!(negotiate(PROTOCOL_NEWEST + 1, 9), None);
}
