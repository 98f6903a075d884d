//! The link to the region above: hello and welcome, rows down, rows up.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::mutant::{self, Mutant};
use skerry_types::{EventLevel, EventSubject, RegionName};
use skerry_wire::{
    DigestRow, Epoch, Hello, Incarnation, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Reader, RegionRow, Revision, Row,
    RowKey, RowsFrame, TableId, ToChild, ToParent, Welcome, Writer,
};

use crate::child::Child;
use crate::digests::{Pace, UpKey};
use crate::input::Action;
use crate::ledger::{DOWN, TOMBSTONE, Value, child_key, down_key, down_row_key, put};
use crate::records::{ChildName, UplinkRecord};
use crate::regions::pair;
use crate::state::{Effect, RegionState};

/// The link to the region above.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) record: UplinkRecord,
    step: Step,
    /// Counts links, so that what was due on one is never sent on the next.
    pub(crate) number: u64,
    pub(crate) writer: Writer,
    reader: Reader,
    /// What the rows that go up say.
    pub(crate) told: BTreeMap<RowKey, DigestRow>,
    /// Rows that may say something else.
    pub(crate) stale: BTreeSet<UpKey>,
    pub(crate) shares_pace: Pace,
    pub(crate) digests_pace: Pace,
    /// Why the link was closed last, which is told once.
    complaint: Option<String>,
    /// Rows that say too much to be told, of which each is told of once.
    oversized: BTreeSet<RowKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Down,
    AwaitWelcome,
    Welcome,
}

impl Uplink {
    /// Begins with what the store holds. The epoch is one that no earlier process had, so that the region above, whatever it has,
    /// gets everything anew: what it was told before is not on disk here.
    pub(crate) fn new(epoch: Epoch, newest: Revision, record: UplinkRecord) -> Self {
        Self {
            step: Step::Down,
            number: 0,
            writer: Writer::new(epoch, newest),
            reader: Reader::new(record.cursor),
            told: BTreeMap::new(),
            stale: BTreeSet::new(),
            shares_pace: Pace::default(),
            digests_pace: Pace::default(),
            complaint: None,
            oversized: BTreeSet::new(),
            record,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.step == Step::Welcome
    }
}

impl RegionState {
    /// The regions above this one, from the root down, with this one at the end.
    pub(crate) fn above(&self) -> Vec<RegionName> {
        let above = self.config.has_parent.then_some(self.uplink.record.above.as_slice());
        let own = std::slice::from_ref(&self.config.region);
        above.unwrap_or_default().iter().chain(own).cloned().collect()
    }

    /// Whether the region above has welcomed this one.
    pub fn is_parent_connected(&self) -> bool {
        self.uplink.is_up()
    }

    pub(crate) fn parent_up(&mut self) {
        self.parent_down();
        self.uplink.step = Step::AwaitWelcome;
        let hello = Hello {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
            software: self.config.software.clone(),
            cursor: self.uplink.reader.cursor(),
            epoch: self.uplink.writer.epoch(),
            head: self.uplink.writer.head(),
        };
        self.send_parent(ToParent::Hello(hello));
    }

    pub(crate) fn parent_down(&mut self) {
        let was_up = self.uplink.is_up();
        let uplink = &mut self.uplink;
        uplink.step = Step::Down;
        uplink.number += 1;
        uplink.reader.disconnected();
        uplink.writer.disconnected();
        if was_up {
            let message = "the link to the region above is down".to_owned();
            self.tell(EventLevel::Warning, EventSubject::Region, "ParentUnreachable", message);
        }
    }

    /// The store was put back to an older copy: what the region above wants is heard anew, all of it.
    pub(crate) fn hear_all_again(&mut self) {
        if self.uplink.step != Step::Down {
            self.parent_down();
            self.act(Action::CloseParent { reason: "this region begins another life".to_owned() });
        }
        let uplink = &mut self.uplink;
        uplink.record.cursor.revision = Revision(0);
        uplink.reader = Reader::new(uplink.record.cursor);
        self.save_uplink();
    }

    fn send_parent(&mut self, message: ToParent) {
        let number = self.uplink.number;
        self.outbox.push(Effect::Parent(number, message));
    }

    /// Closes the link to the region above. The same complaint is told once, however often the link comes back with it.
    fn close_parent(&mut self, reason: String) {
        if self.uplink.complaint.as_ref() != Some(&reason) {
            self.tell(EventLevel::Warning, EventSubject::Region, "ParentRefused", reason.clone());
            self.uplink.complaint = Some(reason.clone());
        }
        self.parent_down();
        self.act(Action::CloseParent { reason });
    }

    pub(crate) fn hear_parent(&mut self, message: ToChild) {
        match (self.uplink.step, message) {
            // What is exclusive is the nodes' affair.
            (Step::Down, _) | (Step::Welcome, ToChild::Renewed { .. }) => {}
            (Step::AwaitWelcome, ToChild::Welcome(welcome)) => self.welcomed(welcome),
            (Step::Welcome, ToChild::Rows(frame)) => self.take_parent_rows(frame),
            (Step::Welcome, ToChild::Ack(cursor)) => {
                // Rows that are gone are known from what there is, so no tombstone is kept on disk.
                self.uplink.writer.acknowledged(cursor);
            }
            (_, ToChild::Refused(refused)) => self.close_parent(format!("refused: {}", refused.message)),
            (step, _) => self.close_parent(format!("an unexpected message while {step:?}")),
        }
    }

    fn welcomed(&mut self, welcome: Welcome) {
        let Welcome { region, mut above, cursor, .. } = welcome;
        if above.last() != Some(&region) {
            above.push(region.clone());
        }
        let own = self.config.region.clone();
        if above.contains(&own) {
            let way: Vec<&str> = above.iter().map(RegionName::as_str).collect();
            let message = format!(
                "region {region} is below this one (its way from the root is {}): dial another parent than {region}",
                way.join(" > ")
            );
            self.set_above(Vec::new());
            return self.close_parent(message);
        }
        self.set_above(above);
        self.uplink.step = Step::Welcome;
        self.uplink.complaint = None;
        self.mark_all_up();
        self.refresh_up();
        self.tell_all_told();
        self.uplink.writer.connected(cursor);
        self.tell(
            EventLevel::Info,
            EventSubject::Region,
            "ParentReachable",
            format!("region {region} is above"),
        );
    }

    /// The region's own row goes after all others of a new link: by it the region above knows that what else it was told before
    /// is so still.
    fn tell_all_told(&mut self) {
        let own = UpKey::Region { teller: None, region: self.config.region.clone() };
        let row = self.up_row(&own);
        self.tell_up(own.row_key(), row);
    }

    /// Children know the way from the root by their welcome, so another way is told by another welcome.
    fn set_above(&mut self, above: Vec<RegionName>) {
        if self.uplink.record.above == above {
            return;
        }
        self.uplink.record.above = above;
        self.save_uplink();
        let links: Vec<_> =
            self.regions.values().filter_map(|region| region.child.link).map(|link| link.id).collect();
        for link in links {
            self.close(link, "the regions above have changed: dial again".to_owned());
        }
    }

    fn save_uplink(&mut self) {
        put(self.outbox.batch(), &Value::UplinkV1(self.uplink.record.clone()));
        self.changed = true;
    }

    fn take_parent_rows(&mut self, frame: RowsFrame) {
        let (held, former) = (self.held_of_parent(), self.uplink.reader.cursor().epoch);
        let changes = match self.uplink.reader.handle(frame, || held) {
            Ok(changes) => changes,
            Err(error) => return self.close_parent(error.to_string()),
        };
        for row in changes.rows {
            self.take_parent_row(row);
            self.seal_if_full();
        }
        let is_another_life = former != Epoch::default() && former != changes.cursor.epoch;
        for key in &changes.removed {
            match key.table {
                TableId::SHARE => self.miss_share(&key.key, is_another_life),
                _ => self.drop_parent_row(key),
            }
            self.seal_if_full();
        }
        self.uplink.record.cursor = changes.cursor;
        self.save_uplink();
        self.send_parent(ToParent::Ack(changes.cursor));
    }

    fn held_of_parent(&self) -> Vec<RowKey> {
        let taken =
            self.workloads.iter().filter(|(_, w)| w.record.received().is_some() && !w.record.deleting);
        let shares = taken.map(|(key, _)| key).chain(self.refused.keys());
        let shares = shares.map(|key| RowKey::new(TableId::SHARE, pair(key)));
        let grants = self.tenants.grants.keys().map(|name| RowKey::new(TableId::TENANT, name.as_str()));
        shares.chain(grants).collect()
    }

    fn take_parent_row(&mut self, row: Row) {
        let known = row.key.table == TableId::SHARE || row.key.table == TableId::TENANT;
        if !known {
            return;
        }
        let Some(value) = row.value else { return self.drop_parent_row(&row.key) };
        let read = RegionRow::decode(&value).ok().filter(|read| down_row_key(read) == row.key);
        match read {
            Some(RegionRow::Share(share)) => self.take_share(share),
            Some(RegionRow::Tenant(grant)) => self.take_grant(grant),
            None => {
                let message = format!(
                    "the region above sent a row '{}' that cannot be read; it is left out",
                    row.key.key
                );
                self.tell(EventLevel::Warning, EventSubject::Region, "BadRow", message);
            }
        }
    }

    fn drop_parent_row(&mut self, key: &RowKey) {
        match key.table {
            TableId::SHARE if mutant::is(Mutant::KeepsTakenShares) => {}
            TableId::SHARE => self.drop_share(&key.key),
            TableId::TENANT => self.drop_grant(&key.key),
            _ => {}
        }
    }

    /// Puts a row up, or takes it away.
    pub(crate) fn tell_up(&mut self, key: RowKey, row: Option<DigestRow>) {
        let uplink = &mut self.uplink;
        let value = row.as_ref().map(DigestRow::encode);
        if value.as_ref().is_some_and(|value| value.len() > Row::VALUE_MAX) {
            let message =
                format!("what is to be told of '{}' is too large for a row; it is left out", key.key);
            if !uplink.oversized.insert(key) {
                return;
            }
            return self.tell(EventLevel::Warning, EventSubject::Region, "DigestTooLarge", message);
        }
        uplink.oversized.remove(&key);
        match row {
            Some(row) => drop(uplink.told.insert(key.clone(), row)),
            None if uplink.told.remove(&key).is_none() => return,
            None => {}
        }
        self.counters.up = self.counters.up.max(uplink.writer.newest()).next();
        uplink.writer.set(self.counters.up, key, value.map(Into::into));
        // A revision that the region above has seen is never given to another row.
        put(self.outbox.batch(), &Value::CountersV1(self.counters));
    }

    /// Sends the region above what it has not got.
    pub(crate) fn pump_up(&mut self) {
        if !self.uplink.is_up() {
            return;
        }
        while let Some(frame) = self.uplink.writer.poll_frame(Incarnation::default()) {
            self.send_parent(ToParent::Rows(frame));
        }
    }

    /// Puts a row into the tables of a region below, on disk too.
    pub(crate) fn send_down(&mut self, region: &RegionName, row: RegionRow) -> Revision {
        let revision = self.next_revision();
        let (key, value) = (down_row_key(&row), row.encode());
        put(self.outbox.batch(), &Value::DownV1(region.clone(), revision, row));
        let child = ChildName::Region(region.clone());
        // What was taken back and is given again is no longer gone, on disk neither.
        let buried = |child: &mut Child| child.writer.tombstones().any(|gone| *gone == key);
        if self.child_mut(&child).is_some_and(buried) {
            self.outbox.batch().delete(TOMBSTONE, child_key(&child, &key));
        }
        self.show_row(&child, revision, key, value.into());
        revision
    }

    /// Takes a row out of the tables of a region below.
    pub(crate) fn withdraw(&mut self, region: &RegionName, key: RowKey) {
        self.outbox.batch().delete(DOWN, down_key(region, &key));
        self.bury(&ChildName::Region(region.clone()), key);
    }
}
