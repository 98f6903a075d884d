//! The links of the region's children.

use skerry_types::EventLevel;
use skerry_types::NodeName;
use skerry_wire::{
    Cursor, Hello, RefusalCode, Refused, RowKey, RowsFrame, ToChild, ToParent, Welcome, negotiate,
};

use crate::input::{Action, ChildIdentity, LinkId};
use crate::nodes::Link;
use crate::state::RegionState;

impl RegionState {
    pub(crate) fn link_up(&mut self, id: LinkId, identity: &ChildIdentity) {
        let identity = match identity {
            ChildIdentity::Node(identity) => identity,
            ChildIdentity::Region(identity) => {
                let message = format!("{} is not a region of this one", identity.region);
                return self.refuse(id, RefusalCode::Identity, message);
            }
        };
        let name = &identity.node;
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.record.key == identity.key) else {
            let message = format!("{} is not a node of this region: join it with a new token", identity.node);
            return self.refuse(id, RefusalCode::Removed, message);
        };
        let old = node.link.replace(Link { id, welcomed: false });
        node.record.certificate_expires = identity.expires;
        if let Some(old) = old {
            self.links.remove(&old.id);
            self.hang_up(name);
            self.act(Action::Close { link: old.id, reason: "the node dialled again".to_owned() });
        }
        self.links.insert(id, name.clone());
    }

    fn refuse(&mut self, link: LinkId, code: RefusalCode, message: String) {
        let refused = Refused { code, message: message.clone() };
        self.act(Action::Send(link, ToChild::Refused(refused)));
        self.close(link, message);
    }

    /// Closes a link on which something was wrong. Nothing more of it is heard: what follows a frame that was not taken would
    /// leave a gap behind it.
    fn close(&mut self, link: LinkId, reason: String) {
        self.act(Action::Close { link, reason });
        self.link_down(link);
    }

    pub(crate) fn link_down(&mut self, id: LinkId) {
        let Some(name) = self.links.remove(&id) else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        let welcomed = node.is_reachable();
        node.link = None;
        self.hang_up(&name);
        if welcomed {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.record.last_seen = self.now.wall;
            }
            self.save_node(&name);
            self.tell_node(
                EventLevel::Warning,
                &name,
                "Unreachable",
                format!("the link to node {name} is down"),
            );
        }
    }

    fn hang_up(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.reader.disconnected();
            node.writer.disconnected();
        }
        self.cluster_reachable(name, false);
        self.changed = true;
    }

    pub(crate) fn receive(&mut self, id: LinkId, message: ToParent) {
        let Some(name) = self.links.get(&id).cloned() else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        node.record.last_seen = self.now.wall;
        let welcomed = node.is_reachable();
        match message {
            ToParent::Hello(hello) if !welcomed => self.hello(id, &name, &hello),
            ToParent::Rows(frame) if welcomed => self.take_rows(id, &name, frame),
            ToParent::Ack(cursor) if welcomed => {
                let settled = node.writer.acknowledged(cursor);
                self.settle(&name, &settled);
                self.touched.insert(name);
            }
            ToParent::Hello(_) | ToParent::Rows(_) | ToParent::Ack(_) => {
                self.close(id, "a message out of turn".to_owned());
            }
        }
    }

    fn hello(&mut self, id: LinkId, name: &NodeName, hello: &Hello) {
        let Some(protocol) = negotiate(hello.oldest, hello.newest) else {
            let (oldest, newest) = (skerry_wire::PROTOCOL_OLDEST, skerry_wire::PROTOCOL_NEWEST);
            let theirs = format!("{} to {}", hello.oldest, hello.newest);
            let message = format!(
                "the node speaks protocol {theirs}, this master {oldest} to {newest}: upgrade the older"
            );
            return self.refuse(id, RefusalCode::Version, message);
        };
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.link = Some(Link { id, welcomed: true });
        let settled = node.writer.connected(hello.cursor);
        // Rows of another life of the node's tables say nothing about this one.
        let mine = node.reader.cursor();
        let cursor = if mine.epoch == hello.epoch { mine } else { Cursor::default() };
        let welcome = Welcome {
            protocol,
            region: self.config.region.clone(),
            above: Vec::new(),
            now: self.now.wall,
            cursor,
            epoch: self.config.epoch,
        };
        self.settle(name, &settled);
        self.save_node(name);
        self.act(Action::Send(id, ToChild::Welcome(welcome)));
        self.tell_node(EventLevel::Info, name, "Reachable", format!("the link to node {name} is up"));
        self.cluster_reachable(name, true);
        self.touched.insert(name.clone());
    }

    fn take_rows(&mut self, id: LinkId, name: &NodeName, frame: RowsFrame) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let held = &node.held;
        let changes = match node.reader.handle(frame, || held.iter().cloned().collect::<Vec<RowKey>>()) {
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
        if let Some(node) = self.nodes.get_mut(name) {
            node.record.cursor = changes.cursor;
        }
        self.save_node(name);
        self.act(Action::Send(id, ToChild::Ack(changes.cursor)));
    }

    /// Ends a batch amid a frame. The node's record goes with it, for it says which events were taken.
    fn seal_rows(&mut self, name: &NodeName) {
        if self.is_batch_full() {
            self.save_node(name);
            self.seal_if_full();
        }
    }

    /// Sends each touched node what it has not got.
    pub(crate) fn pump(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            let Some(link) = node.link.filter(|link| link.welcomed) else { continue };
            while let Some(frame) = node.writer.poll_frame() {
                self.outbox.push(Action::Send(link.id, ToChild::Rows(frame)));
            }
        }
    }
}
