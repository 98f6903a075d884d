//! A node as the region sees it: rows down, rows up.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_types::{
    AllocationId, AllocationIntent, AllocationStatus, Desired, Event, EventLevel, EventSubject, NodeFacts,
    NodeLayers, NodeName, Phase, WallTime,
};
use skerry_wire::{
    Cursor, Epoch, Hello, Incarnation, IntentRow, ObservedRow, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Reader,
    Revision, RowKey, TableId, ToChild, ToParent, Writer,
};

use crate::LinkId;

/// What a node does with what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Runs and stops at once.
    Prompt,
    /// Takes rows, says nothing.
    Mute,
}

pub(super) struct FakeNode {
    pub(super) name: NodeName,
    pub(super) manner: Manner,
    pub(super) link: Option<LinkId>,
    pub(super) intents: BTreeMap<AllocationId, AllocationIntent>,
    /// Answers to questions for leases.
    pub(super) renewed: Vec<(u64, Cursor)>,
    /// It closed its link to tell of orphans on the next.
    pub(super) redials: bool,
    cursor: Cursor,
    reader: Reader,
    writer: Writer,
    revision: u64,
}

impl FakeNode {
    pub(super) fn new(name: &NodeName, facts: NodeFacts) -> Self {
        let mut node = Self {
            name: name.clone(),
            manner: Manner::Prompt,
            link: None,
            intents: BTreeMap::new(),
            renewed: Vec::new(),
            redials: false,
            cursor: Cursor::default(),
            reader: Reader::new(Cursor::default()),
            writer: Writer::new(Epoch(1), Revision(0)),
            revision: 0,
        };
        node.set(RowKey::new(TableId::FACTS, ""), Some(&ObservedRow::Facts(facts)));
        node
    }

    /// The process ends and another begins, which knows what it held.
    pub(super) fn restart(&mut self, epoch: u64, facts: NodeFacts) {
        self.writer = Writer::new(Epoch(epoch), Revision(0));
        self.revision = 0;
        self.link = None;
        self.set(RowKey::new(TableId::FACTS, ""), Some(&ObservedRow::Facts(facts)));
        for intent in self.intents.clone().into_values() {
            if intent.desired == Desired::Keep {
                let orphan = ObservedRow::Orphan(intent.clone());
                self.set(RowKey::new(TableId::ORPHAN, intent.id.as_str()), Some(&orphan));
            }
            self.say(&intent.id, Phase::Running);
        }
    }

    pub(super) fn hello(&mut self, link: LinkId) -> ToParent {
        self.link = Some(link);
        self.writer.disconnected();
        self.reader = Reader::new(self.cursor);
        ToParent::Hello(Hello {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
            software: "test".to_owned(),
            cursor: self.cursor,
            epoch: self.writer.epoch(),
            head: self.writer.head(),
        })
    }

    pub(super) fn cut(&mut self) {
        self.link = None;
        self.writer.disconnected();
        self.reader.disconnected();
    }

    pub(super) fn receive(&mut self, message: ToChild) -> Vec<ToParent> {
        let mut answers = Vec::new();
        match message {
            ToChild::Welcome(welcome) => drop(self.writer.connected(welcome.cursor)),
            ToChild::Refused(_) => self.cut(),
            ToChild::Ack(cursor) => drop(self.writer.acknowledged(cursor)),
            ToChild::Renewed { round, cursor } => self.renewed.push((round, cursor)),
            ToChild::Rows(frame) => {
                let held =
                    || self.intents.keys().map(|id| RowKey::new(TableId::INTENT, id.as_str())).collect();
                let changes = self.reader.handle(frame, held).expect("frames that follow");
                for row in changes.rows {
                    match row.value {
                        Some(value) => {
                            let IntentRow::Allocation(intent) = IntentRow::decode(&value).unwrap();
                            self.obey(Arc::unwrap_or_clone(intent));
                        }
                        None => self.drop_row(&row.key),
                    }
                }
                let former = std::mem::replace(&mut self.cursor, changes.cursor).epoch;
                let is_another_life = former != Epoch::default() && former != changes.cursor.epoch;
                changes.removed.iter().for_each(|key| self.miss_row(key, is_another_life));
                if self.redials {
                    return Vec::new();
                }
                answers.push(ToParent::Ack(changes.cursor));
            }
        }
        answers.extend(self.poll());
        answers
    }

    pub(super) fn poll(&mut self) -> Vec<ToParent> {
        std::iter::from_fn(|| self.writer.poll_frame(Incarnation::default())).map(ToParent::Rows).collect()
    }

    fn obey(&mut self, intent: AllocationIntent) {
        let phase = match intent.desired {
            Desired::Run | Desired::Keep => Phase::Running,
            Desired::Stop => Phase::Stopped,
        };
        let id = intent.id.clone();
        if intent.desired != Desired::Keep && self.desired(&id) == Some(Desired::Keep) {
            self.set(RowKey::new(TableId::ORPHAN, id.as_str()), None);
        }
        self.intents.insert(id.clone(), intent);
        if self.manner == Manner::Prompt {
            self.say(&id, phase);
        }
    }

    pub(super) fn desired(&self, id: &AllocationId) -> Option<Desired> {
        self.intents.get(id).map(|intent| intent.desired)
    }

    /// What runs by the word of a former life of the master goes on.
    fn miss_row(&mut self, key: &RowKey, is_another_life: bool) {
        let id = AllocationId::new(&*key.key).unwrap();
        match self.intents.get_mut(&id) {
            Some(intent) if intent.desired == Desired::Keep => {}
            Some(intent) if intent.desired == Desired::Run && is_another_life => {
                intent.desired = Desired::Keep;
                let orphan = ObservedRow::Orphan(intent.clone());
                self.set(RowKey::new(TableId::ORPHAN, id.as_str()), Some(&orphan));
                self.say(&id, Phase::Running);
                self.redials = true;
            }
            _ => self.drop_row(key),
        }
    }

    fn drop_row(&mut self, key: &RowKey) {
        self.intents.remove(&AllocationId::new(&*key.key).unwrap());
        self.set(RowKey::new(TableId::STATUS, Arc::clone(&key.key)), None);
    }

    /// Says what it was told, as a prompt node does at once.
    pub(super) fn catch_up(&mut self) {
        for intent in self.intents.clone().into_values() {
            self.manner = Manner::Prompt;
            self.obey(intent);
        }
    }

    pub(super) fn say(&mut self, id: &AllocationId, phase: Phase) {
        let generation = self.intents.get(id).map(|intent| intent.generation).unwrap_or_default();
        let status = AllocationStatus {
            id: id.clone(),
            generation,
            phase,
            reason: None,
            address: None,
            containers: Vec::new(),
            since: WallTime(1),
            ready_since: (phase == Phase::Running).then_some(WallTime(1)),
            last_due: None,
            token: None,
        };
        self.set(RowKey::new(TableId::STATUS, id.as_str()), Some(&ObservedRow::Status(status)));
    }

    pub(super) fn event(&mut self, number: u64) {
        let event = Event {
            at: WallTime(number),
            level: EventLevel::Info,
            subject: EventSubject::Node(self.name.clone()),
            reason: "Heard".to_owned(),
            message: number.to_string(),
        };
        self.set(RowKey::new(TableId::EVENT, format!("{number:020}")), Some(&ObservedRow::Event(event)));
    }

    pub(super) fn layers(&mut self, layers: NodeLayers) {
        self.set(RowKey::new(TableId::LAYERS, ""), Some(&ObservedRow::Layers(layers)));
    }

    pub(super) fn facts(&mut self, facts: NodeFacts) {
        self.set(RowKey::new(TableId::FACTS, ""), Some(&ObservedRow::Facts(facts)));
    }

    pub(super) fn set(&mut self, key: RowKey, row: Option<&ObservedRow>) {
        self.revision += 1;
        let value: Option<Arc<[u8]>> = row.map(|row| row.encode().into());
        self.writer.set(Revision(self.revision), key, value.map(Into::into));
    }
}
