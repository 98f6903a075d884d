//! The side of a link that has the rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use skerry_types::AllocationIntent;
use skerry_types::mutant::{self, Mutant};

use crate::{Cursor, Epoch, Incarnation, IntentRow, Revision, Row, RowKey, RowsFrame};

/// Frames that may be on their way without an answer: enough to fill a long path, few enough to bound a reader's memory.
const IN_FLIGHT_MAX: usize = 4;

/// Keeps one reader's copy of some tables in step.
///
/// Revisions come from the caller and only grow, over restarts too; how is the caller's affair. A removed row leaves a
/// tombstone until the reader has it on disk. A reader that is further back than a forgotten tombstone, or ahead, or of
/// another epoch, gets everything anew.
#[derive(Debug)]
pub struct Writer {
    epoch: Epoch,
    newest: Revision,
    floor: Revision,
    rows: BTreeMap<RowKey, Entry>,
    by_revision: BTreeMap<Revision, RowKey>,
    /// Revisions of removed rows: an answer settles only those.
    buried: BTreeSet<Revision>,
    link: Option<Link>,
}

#[derive(Debug)]
struct Entry {
    revision: Revision,
    value: Option<RowValue>,
}

/// What a row says.
#[derive(Debug, Clone)]
pub enum RowValue {
    /// As it goes over the link.
    Encoded(Arc<[u8]>),
    /// An [`IntentRow`], encoded when it is sent: a master has ten thousand times ten of them in memory, and shares each with
    /// what it knows of the allocation.
    Intent(Arc<AllocationIntent>),
}

impl RowValue {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Encoded(bytes) => bytes.to_vec(),
            Self::Intent(intent) => IntentRow::Allocation(Arc::clone(intent)).encode(),
        }
    }
}

impl From<Vec<u8>> for RowValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Encoded(bytes.into())
    }
}

impl From<Arc<[u8]>> for RowValue {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Encoded(bytes)
    }
}

#[derive(Debug)]
struct Link {
    /// Every change up to here is in a frame that was handed out, or in the running snapshot.
    sent: Revision,
    in_flight: VecDeque<()>,
    snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    /// The revision that the reader will have when it has all parts.
    end: Revision,
    /// The last key handed out.
    after: Option<RowKey>,
}

/// What an acknowledgement settles.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The reader has every change up to here on disk.
    pub revision: Revision,
    /// Tombstones that are no longer needed. The caller forgets them on disk, together with the new [`Writer::floor`].
    pub forgotten: Vec<RowKey>,
}

impl Writer {
    /// An empty table set. `floor` is the newest tombstone ever forgotten in this epoch, zero in a fresh one.
    pub fn new(epoch: Epoch, floor: Revision) -> Self {
        Self {
            epoch,
            newest: floor,
            floor,
            rows: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            buried: BTreeSet::new(),
            link: None,
        }
    }

    /// The epoch of the tables.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest revision.
    pub fn newest(&self) -> Revision {
        self.newest
    }

    /// The revision of the newest row: a reader that has it has everything.
    pub fn head(&self) -> Revision {
        self.by_revision.last_key_value().map_or(self.floor, |(revision, _)| *revision)
    }

    /// The newest tombstone that was forgotten.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// Adds, replaces or (with `None`) removes a row.
    ///
    /// # Panics
    /// When `revision` is zero or was used for another row: the caller's counter went backwards.
    pub fn set(&mut self, revision: Revision, key: RowKey, value: Option<RowValue>) {
        assert!(revision > Revision(0), "revisions begin at 1");
        let is_gone = value.is_none();
        if let Some(old) = self.rows.insert(key.clone(), Entry { revision, value }) {
            self.drop_revision(old.revision);
        }
        if is_gone {
            self.buried.insert(revision);
        }
        let other = self.by_revision.insert(revision, key);
        assert!(other.is_none(), "revision {} was used for {other:?}", revision.0);
        self.newest = self.newest.max(revision);
    }

    /// Drops a row without a tombstone: for rows whose disappearance means nothing to the reader.
    pub fn forget(&mut self, key: &RowKey) {
        if let Some(old) = self.rows.remove(key) {
            self.drop_revision(old.revision);
        }
    }

    fn drop_revision(&mut self, revision: Revision) -> Option<RowKey> {
        self.buried.remove(&revision);
        self.by_revision.remove(&revision)
    }

    /// A link came up, and the reader says where it stands, which settles what it has.
    pub fn connected(&mut self, cursor: Cursor) -> Acknowledged {
        let mine = cursor.epoch == self.epoch || mutant::is(Mutant::ForgetsEpoch);
        let known = mine && cursor.revision >= self.floor && cursor.revision <= self.newest;
        let snapshot = (!known).then_some(Snapshot { end: self.newest, after: None });
        let sent = if known { cursor.revision } else { self.newest };
        self.link = Some(Link { sent, in_flight: VecDeque::new(), snapshot });
        if known { self.settle(cursor.revision) } else { Acknowledged::default() }
    }

    /// The link is gone.
    pub fn disconnected(&mut self) {
        self.link = None;
    }

    /// Goes on under another epoch, on the links to come: no reader's cursor is of it, so each gets everything anew.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.link = None;
    }

    /// The next frame to send, if there is one and the reader keeps up. `incarnation` is what the reader's cursor will name.
    pub fn poll_frame(&mut self, incarnation: Incarnation) -> Option<RowsFrame> {
        let link = self.link.as_mut()?;
        if link.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let frame = match link.snapshot.as_mut() {
            Some(snapshot) => {
                let frame = snapshot_part((self.epoch, incarnation), &self.rows, snapshot);
                if matches!(frame, RowsFrame::Snapshot { end: Some(_), .. }) {
                    link.snapshot = None;
                }
                frame
            }
            None => delta((self.epoch, incarnation), &self.rows, &self.by_revision, link)?,
        };
        link.in_flight.push_back(());
        Some(frame)
    }

    /// The reader answered a frame. An answer to nothing, or beyond what there is, changes nothing.
    pub fn acknowledged(&mut self, cursor: Cursor) -> Acknowledged {
        let Some(link) = self.link.as_mut() else {
            return Acknowledged::default();
        };
        let expected = link.in_flight.pop_front().is_some();
        if !expected || cursor.epoch != self.epoch || cursor.revision > link.sent {
            return Acknowledged::default();
        }
        self.settle(cursor.revision)
    }

    fn settle(&mut self, revision: Revision) -> Acknowledged {
        let mut forgotten = Vec::new();
        while let Some(oldest) = self.buried.first().copied().filter(|oldest| *oldest <= revision) {
            if let Some(key) = self.drop_revision(oldest) {
                self.rows.remove(&key);
                self.floor = self.floor.max(oldest);
                forgotten.push(key);
            }
        }
        Acknowledged { revision, forgotten }
    }

    /// Removed rows that the reader is not known to have forgotten.
    pub fn tombstones(&self) -> impl Iterator<Item = &RowKey> {
        self.buried.iter().filter_map(|revision| self.by_revision.get(revision))
    }

    /// Whether the reader has been sent everything and has answered everything.
    pub fn is_settled(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.snapshot.is_none() && link.in_flight.is_empty() && link.sent >= self.newest
        })
    }
}

fn row(key: &RowKey, entry: &Entry) -> Row {
    Row { key: key.clone(), revision: entry.revision, value: entry.value.as_ref().map(RowValue::encode) }
}

fn delta(
    (epoch, incarnation): (Epoch, Incarnation),
    rows: &BTreeMap<RowKey, Entry>,
    by_revision: &BTreeMap<Revision, RowKey>,
    link: &mut Link,
) -> Option<RowsFrame> {
    let mut frame = Vec::new();
    let mut weight = 0;
    for (revision, key) in by_revision.range((Bound::Excluded(link.sent), Bound::Unbounded)) {
        let Some(entry) = rows.get(key) else { continue };
        let row = row(key, entry);
        weight += row.weight();
        if !frame.is_empty() && weight > RowsFrame::FULL_AT {
            break;
        }
        frame.push(row);
        link.sent = *revision;
    }
    (!frame.is_empty()).then_some(RowsFrame::Delta { epoch, incarnation, rows: frame })
}

fn snapshot_part(
    (epoch, incarnation): (Epoch, Incarnation),
    rows: &BTreeMap<RowKey, Entry>,
    snapshot: &mut Snapshot,
) -> RowsFrame {
    let first = snapshot.after.is_none();
    let start = snapshot.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut frame = Vec::new();
    let mut weight = 0;
    let mut after = None;
    let mut end = Some(snapshot.end);
    for (key, entry) in
        rows.range::<RowKey, _>((start, Bound::Unbounded)).filter(|(_, entry)| entry.value.is_some())
    {
        let row = row(key, entry);
        weight += row.weight();
        if !frame.is_empty() && weight > RowsFrame::FULL_AT {
            end = None;
            break;
        }
        frame.push(row);
        after = Some(key.clone());
    }
    snapshot.after = after;
    RowsFrame::Snapshot { epoch, incarnation, first, rows: frame, end }
}
