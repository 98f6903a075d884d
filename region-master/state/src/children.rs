//! The links of the region's children.

use std::time::Duration;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{EventLevel, EventSubject};
use skerry_wire::{
    Acknowledged, Cursor, Epoch, Hello, RefusalCode, Refused, Row, RowKey, RowsFrame, TableId, ToChild,
    ToParent, Welcome, negotiate,
};

use crate::child::Link;
use crate::input::{Action, ChildIdentity, LinkId};
use crate::ledger::{OBSERVED, TOMBSTONE, Value, child_key, put};
use crate::received::parse_key;
use crate::records::ChildName;
use crate::state::RegionState;

/// From one word to operators of a machine that dials with another one's key to the next: it tries every few seconds.
const TWIN_TOLD_EVERY: Duration = Duration::from_mins(10);

fn child_name(identity: &ChildIdentity) -> ChildName {
    match identity {
        ChildIdentity::Node(node) => ChildName::Node(node.node.clone()),
        ChildIdentity::Region(region) => ChildName::Region(region.region.clone()),
    }
}

impl RegionState {
    pub(crate) fn link_up(&mut self, id: LinkId, identity: &ChildIdentity) {
        let name = child_name(identity);
        let (key, expires) = match identity {
            ChildIdentity::Node(node) => (node.key, node.expires),
            ChildIdentity::Region(region) => (region.key, region.expires),
        };
        if let ChildName::Region(region) = &name
            && self.above().contains(region)
        {
            let own = &self.config.region;
            let message = format!("region {region} is above region {own}: dial another parent than {own}");
            return self.refuse(id, RefusalCode::Identity, message);
        }
        let Some(child) = self.child_mut(&name).filter(|child| child.record.key == key) else {
            let message = match &name {
                ChildName::Node(node) => format!("{node} is not a node of this region"),
                ChildName::Region(region) => format!("{region} is not a region below this one"),
            };
            let message = format!("{message}: join it with a new token");
            return self.refuse(id, RefusalCode::Removed, message);
        };
        let old = child.link.replace(Link { id, welcomed: false, behind: None, is_foreign: false });
        child.record.certificate_expires = expires;
        if let Some(old) = old {
            self.links.remove(&old.id);
            self.hang_up(&name);
            let reason = format!("{} dialled again", name.words());
            self.act(Action::Close { link: old.id, reason });
        }
        self.links.insert(id, name);
    }

    /// Two machines with one key: the first one stays, the second is told so at each try, operators now and then.
    pub(crate) fn refuse_twin(&mut self, link: LinkId, identity: &ChildIdentity, from: &[String; 2]) {
        if mutant::is(Mutant::SecondTakesLink) {
            return self.link_up(link, identity);
        }
        let name = child_name(identity);
        let [first, second] = from;
        let words = name.words();
        let message = format!(
            "{words} is connected from {first} and answers: this is a second machine with its key. Stop it, empty its data \
             directory and join it with a token of its own"
        );
        self.refuse(link, RefusalCode::Taken, message);
        let now = self.now.mono;
        let Some(child) = self.child_mut(&name) else { return };
        if child.twin_told.is_some_and(|told| now.since(told) < TWIN_TOLD_EVERY) {
            return;
        }
        child.twin_told = Some(now);
        let message = format!(
            "a second machine with the key of {words} dials from {second} and is refused; the first is at {first}. Was a disk \
             copied? Join the second with a token of its own"
        );
        self.tell_child(EventLevel::Warning, &name, "IdentityTaken", message);
    }

    pub(crate) fn refuse(&mut self, link: LinkId, code: RefusalCode, message: String) {
        let refused = Refused { code, message: message.clone() };
        self.act(Action::Send(link, ToChild::Refused(refused)));
        self.close(link, message);
    }

    /// Closes a link on which something was wrong. Nothing more of it is heard: what follows a frame that was not taken would
    /// leave a gap behind it.
    pub(crate) fn close(&mut self, link: LinkId, reason: String) {
        self.act(Action::Close { link, reason });
        self.link_down(link);
    }

    pub(crate) fn link_down(&mut self, id: LinkId) {
        if let Some(name) = self.lose_link(id) {
            let message = format!("the link to {} is down", name.words());
            self.tell_child(EventLevel::Warning, &name, "Unreachable", message);
        }
    }

    /// Forgets a link; gives the child's name if its hello had been answered.
    pub(crate) fn lose_link(&mut self, id: LinkId) -> Option<ChildName> {
        let name = self.links.remove(&id)?;
        let wall = self.now.wall;
        let child = self.child_mut(&name)?;
        let welcomed = child.is_reachable();
        child.link = None;
        if welcomed {
            child.record.last_seen = wall;
        }
        self.hang_up(&name);
        if welcomed {
            self.save_child(&name);
        }
        welcomed.then_some(name)
    }

    fn hang_up(&mut self, name: &ChildName) {
        if let Some(child) = self.child_mut(name) {
            child.reader.disconnected();
            child.writer.disconnected();
        }
        self.reachability_changed(name, false);
        self.changed = true;
    }

    fn reachability_changed(&mut self, name: &ChildName, reachable: bool) {
        match name {
            ChildName::Node(node) => self.cluster_reachable(node, reachable),
            ChildName::Region(region) => self.region_reachable(region, reachable),
        }
    }

    pub(crate) fn receive(&mut self, id: LinkId, message: ToParent) {
        let Some(name) = self.links.get(&id).cloned() else { return };
        let wall = self.now.wall;
        let Some(child) = self.child_mut(&name) else { return };
        child.record.last_seen = wall;
        let welcomed = child.is_reachable();
        match message {
            ToParent::Hello(hello) if !welcomed => self.hello(id, &name, &hello),
            ToParent::Rows(frame) if welcomed => self.take_rows(id, &name, frame),
            ToParent::Ack(cursor) if welcomed => {
                let settled = child.writer.acknowledged(cursor);
                self.settle(&name, &settled);
                self.knows_this_life(&name, cursor);
                self.touched.insert(name);
            }
            ToParent::Renew { round } if welcomed => self.renew_leases(id, &name, round),
            ToParent::Hello(_) | ToParent::Rows(_) | ToParent::Ack(_) | ToParent::Renew { .. } => {
                self.close(id, "a message out of turn".to_owned());
            }
        }
    }

    fn hello(&mut self, id: LinkId, name: &ChildName, hello: &Hello) {
        let Some(protocol) = negotiate(hello.oldest, hello.newest) else {
            let (oldest, newest) = (skerry_wire::PROTOCOL_OLDEST, skerry_wire::PROTOCOL_NEWEST);
            let message = format!(
                "{} speaks protocol {} to {}, this master {oldest} to {newest}: upgrade the older",
                name.words(),
                hello.oldest,
                hello.newest
            );
            return self.refuse(id, RefusalCode::Version, message);
        };
        if !self.remembers(id, name, hello.cursor) {
            return;
        }
        let epoch = self.epoch();
        let Some(child) = self.child_mut(name) else { return };
        let settled = child.writer.connected(hello.cursor);
        // Rows of another life of the child's tables say nothing about this one.
        let mine = child.reader.cursor();
        let cursor = if mine.epoch == hello.epoch { mine } else { Cursor::default() };
        let head = Cursor { epoch: hello.epoch, revision: hello.head, ..Cursor::default() };
        let behind = (cursor.epoch != head.epoch || cursor.revision < head.revision).then_some(head);
        let is_foreign = hello.cursor.epoch != Epoch::default() && hello.cursor.epoch != epoch;
        let link = Link { id, welcomed: true, behind, is_foreign };
        child.link = Some(link);
        let welcome = Welcome {
            protocol,
            region: self.config.region.clone(),
            above: self.above(),
            now: self.now.wall,
            cursor,
            epoch,
        };
        self.settle(name, &settled);
        self.save_child(name);
        self.act(Action::Send(id, ToChild::Welcome(welcome)));
        self.tell_child(EventLevel::Info, name, "Reachable", format!("the link to {} is up", name.words()));
        // What a node said before it was away may be long over: nothing is decided by it until its news is here.
        if !link.is_unheard() || matches!(name, ChildName::Region(_)) {
            self.reachability_changed(name, true);
        }
        self.touched.insert(name.clone());
    }

    fn take_rows(&mut self, id: LinkId, name: &ChildName, frame: RowsFrame) {
        let all_told = is_all_told(name, &frame);
        let Some(child) = self.child_mut(name) else { return };
        let held = &child.held;
        let changes = match child.reader.handle(frame, || held.iter().cloned().collect::<Vec<RowKey>>()) {
            Ok(changes) => changes,
            Err(error) => return self.close(id, error.to_string()),
        };
        for row in changes.rows {
            self.take_row(name, row);
            self.seal_rows(name);
        }
        for key in &changes.removed {
            self.forget_row(name, key);
            self.seal_rows(name);
        }
        if let ChildName::Region(region) = name
            && let Some(region) = self.regions.get_mut(region)
        {
            region.site_table(&mut self.alike);
        }
        if let ChildName::Region(region) = name
            && all_told
        {
            self.all_told(region);
        }
        if let Some(child) = self.child_mut(name) {
            child.record.cursor = changes.cursor;
        }
        self.caught_up(name, changes.cursor);
        self.save_child(name);
        self.act(Action::Send(id, ToChild::Ack(changes.cursor)));
    }

    /// A node that was away is heard from again once all it had to say at its hello is here.
    fn caught_up(&mut self, name: &ChildName, cursor: Cursor) {
        let Some(child) = self.child_mut(name) else { return };
        let Some(link) = child.link.as_mut() else { return };
        let behind = |head: Cursor| cursor.epoch != head.epoch || cursor.revision < head.revision;
        if link.behind.is_none_or(behind) {
            return;
        }
        link.behind = None;
        if !link.is_unheard() && matches!(name, ChildName::Node(_)) {
            self.reachability_changed(name, true);
        }
    }

    /// A node whose rows were of another life of this region has those of this one, and no orphans: one that has closes its link
    /// instead of answering, and counts them in at its next hello.
    fn knows_this_life(&mut self, name: &ChildName, cursor: Cursor) {
        let epoch = self.epoch();
        let Some(link) = self.child_mut(name).and_then(|child| child.link.as_mut()) else { return };
        if cursor.epoch != epoch || !std::mem::replace(&mut link.is_foreign, false) {
            return;
        }
        if !link.is_unheard() && matches!(name, ChildName::Node(_)) {
            self.reachability_changed(name, true);
        }
    }

    fn take_row(&mut self, name: &ChildName, row: Row) {
        let taken = match name {
            ChildName::Node(node) => self.take_node_row(node, row),
            ChildName::Region(region) => self.take_region_row(region, row),
        };
        if let Err(key) = taken {
            let message = format!("{} sent a row '{key}' that cannot be read; it is left out", name.words());
            self.tell_child(EventLevel::Warning, name, "BadRow", message);
        }
    }

    /// Forgets a row of a child.
    pub(crate) fn forget_row(&mut self, name: &ChildName, key: &RowKey) {
        match name {
            ChildName::Node(node) => self.forget_node_row(node, key),
            ChildName::Region(region) => self.forget_region_row(region, key),
        }
        self.drop_observed(name, key);
    }

    /// Keeps a row of a child on disk.
    pub(crate) fn keep_observed(&mut self, name: &ChildName, key: RowKey, value: Vec<u8>) {
        put(self.outbox.batch(), &Value::ObservedV1(name.clone(), key.clone(), value));
        if let Some(child) = self.child_mut(name) {
            child.held.insert(key);
        }
        self.changed = true;
    }

    fn drop_observed(&mut self, name: &ChildName, key: &RowKey) {
        if let Some(child) = self.child_mut(name) {
            child.held.remove(key);
        }
        self.outbox.batch().delete(OBSERVED, child_key(name, key));
        self.changed = true;
    }

    /// Ends a batch amid a frame. The child's record goes with it, for a node's says which events were taken.
    fn seal_rows(&mut self, name: &ChildName) {
        if self.is_batch_full() {
            self.save_child(name);
            self.seal_if_full();
        }
    }

    pub(crate) fn save_child(&mut self, name: &ChildName) {
        match name {
            ChildName::Node(node) => self.save_node(node),
            ChildName::Region(region) => self.save_region(region),
        }
    }

    pub(crate) fn tell_child(&mut self, level: EventLevel, name: &ChildName, reason: &str, message: String) {
        let subject = match name {
            ChildName::Node(node) => EventSubject::Node(node.clone()),
            ChildName::Region(region) => EventSubject::Child(region.clone()),
        };
        self.tell(level, subject, reason, message);
    }

    /// Takes a row out of a child's tables, and tells the child to forget it.
    pub(crate) fn bury(&mut self, name: &ChildName, key: RowKey) {
        let revision = self.next_revision();
        let Some(child) = self.child_mut(name) else { return };
        child.writer.set(revision, key.clone(), None);
        put(self.outbox.batch(), &Value::TombstoneV1(name.clone(), key, revision));
        self.touched.insert(name.clone());
    }

    /// Forgets tombstones that the child has on disk.
    fn settle(&mut self, name: &ChildName, settled: &Acknowledged) {
        if settled.forgotten.is_empty() {
            return;
        }
        let Some(child) = self.child_mut(name) else { return };
        child.record.floor = child.writer.floor();
        // The floor goes first: were a tombstone gone from above it, a child that is further back would not hear of it.
        self.save_child(name);
        for key in &settled.forgotten {
            self.outbox.batch().delete(TOMBSTONE, child_key(name, key));
            // A region that has got rid of a share may be all that a deletion waits for.
            if let Some(key) = parse_key(&key.key).filter(|_| key.table == TableId::SHARE) {
                self.dirty.insert(key);
            }
            self.seal_if_full();
        }
    }

    /// Removes what is kept of a child's rows. The child's own row goes before: what is of a child that is none is cleared
    /// away at the next start.
    pub(crate) fn clear_child(&mut self, name: &ChildName, held: &[RowKey], tombstones: &[RowKey]) {
        for key in held {
            self.outbox.batch().delete(OBSERVED, child_key(name, key));
            self.seal_if_full();
        }
        for key in tombstones {
            self.outbox.batch().delete(TOMBSTONE, child_key(name, key));
            self.seal_if_full();
        }
    }

    /// Sends each touched child what it has not got.
    pub(crate) fn pump(&mut self) {
        let incarnation = self.past.incarnation();
        for name in std::mem::take(&mut self.touched) {
            let Some(child) = self.child_mut(&name) else { continue };
            let Some(link) = child.link.filter(|link| link.welcomed) else { continue };
            let frames: Vec<RowsFrame> =
                std::iter::from_fn(|| child.writer.poll_frame(incarnation)).collect();
            for frame in frames {
                self.act(Action::Send(link.id, ToChild::Rows(frame)));
            }
        }
    }
}

/// Whether a region has said with this frame what it had to say when its link came up: its own row goes last.
fn is_all_told(name: &ChildName, frame: &RowsFrame) -> bool {
    let ChildName::Region(region) = name else { return false };
    match frame {
        RowsFrame::Snapshot { end, .. } => end.is_some(),
        RowsFrame::Delta { rows, .. } => {
            rows.iter().any(|row| row.key.table == TableId::REGION && *row.key.key == *region.as_str())
        }
    }
}
