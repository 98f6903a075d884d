//! The node's brain: inputs in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    AllocationId, AllocationIntent, EventLevel, EventSubject, ImageDigest, MonoTime, NodeName, Now, Reason,
    ReasonCode,
};
use skerry_wire::{
    Cursor, Epoch, Hello, IntentRow, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Reader, Row, RowKey, RowsFrame,
    TableId, ToChild, ToParent,
};

use crate::effects::Effects;
use crate::ledger::{CURSOR, INTENT, LIFE, Ledger, Life, cursor_value, life_value};
use crate::report::Report;
use crate::restart::{TRANSIENT, wait};
use crate::{
    Action, Failure, FoundContainer, Input, LedgerRow, Lifecycle, LoadError, OpId, Operation, Outcome,
};

/// How long a link waits for the keeper and the facts before the node speaks without them.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// From the stop signal to the kill, for a container that nothing is known of.
const DISCARD_GRACE: Duration = Duration::from_secs(10);

/// What the brain is told once.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The node's name.
    pub node: NodeName,
    /// The software's version, for people.
    pub software: String,
    /// The epoch of this life's own tables: any number that no earlier life had.
    pub epoch: Epoch,
}

/// One node's brain.
#[derive(Debug)]
pub struct AgentState {
    config: AgentConfig,
    reader: Reader,
    report: Report,
    lifecycles: BTreeMap<AllocationId, Lifecycle>,
    /// Who waits for an operation.
    ops: BTreeMap<OpId, AllocationId>,
    /// Allocations found here that nothing is known of.
    strangers: BTreeMap<AllocationId, Stranger>,
    link: LinkStep,
    inventory: bool,
    facts: bool,
    ready_by: MonoTime,
    fx: Effects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkStep {
    Down,
    /// Up; the hello waits until there is something to say.
    Greeting,
    AwaitWelcome,
    Welcome,
}

/// The removal of an allocation that should not be here.
#[derive(Debug)]
struct Stranger {
    failures: u32,
    step: StrangerStep,
}

#[derive(Debug, Clone, Copy)]
enum StrangerStep {
    Discarding(OpId),
    Again(MonoTime),
}

impl AgentState {
    /// Begins with what the ledger holds. Nothing is done before [`Input::Inventory`] tells what runs.
    pub fn load(
        config: AgentConfig,
        now: Now,
        rows: impl IntoIterator<Item = LedgerRow>,
    ) -> Result<Self, LoadError> {
        let Ledger { cursor, intents, lives, events } = Ledger::read(rows)?;
        let fresh = Life::default();
        let lifecycles = intents.into_iter().map(|(id, intent)| {
            let lifecycle = Lifecycle::new(intent, lives.get(&id).unwrap_or(&fresh), now.wall);
            (id, lifecycle)
        });
        Ok(Self {
            reader: Reader::new(cursor),
            report: Report::new(config.epoch, events),
            lifecycles: lifecycles.collect(),
            ops: BTreeMap::new(),
            strangers: BTreeMap::new(),
            link: LinkStep::Down,
            inventory: false,
            facts: false,
            ready_by: now.mono + READY_WITHIN,
            fx: Effects::new(),
            config,
        })
    }

    /// The allocations on this node.
    pub fn lifecycles(&self) -> impl Iterator<Item = &Lifecycle> {
        self.lifecycles.values()
    }

    /// Images that must stay on disk.
    pub fn images_in_use(&self) -> BTreeSet<ImageDigest> {
        let containers = self.lifecycles.values().flat_map(|lifecycle| &lifecycle.intent().spec.containers);
        containers.filter_map(|container| container.digest.clone()).collect()
    }

    /// Whether the parent has welcomed this node.
    pub fn is_connected(&self) -> bool {
        self.link == LinkStep::Welcome
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let strangers = self.strangers.values().filter_map(|stranger| match stranger.step {
            StrangerStep::Again(at) => Some(at),
            StrangerStep::Discarding(_) => None,
        });
        let greeting = (self.link == LinkStep::Greeting).then_some(self.ready_by);
        let lifecycles = self.lifecycles.values().filter(|_| self.inventory).filter_map(Lifecycle::timeout);
        lifecycles.chain(strangers).chain(greeting).min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.fx.poll()?;
        if let Action::Begin(op, operation) = &action {
            self.ops.insert(*op, operation.allocation().clone());
        }
        Some(action)
    }

    /// Takes in something that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.fx.open(now);
        match input {
            Input::Inventory(found) => self.take_inventory(&found),
            Input::Facts(facts) => {
                self.facts = true;
                self.report.facts(facts);
            }
            Input::Usage(usage) => self.report.usage(usage),
            Input::LinkUp => self.link = LinkStep::Greeting,
            Input::LinkDown => self.link_down(),
            Input::Received(message) => self.receive(message),
            Input::Persisted(id) => self.fx.outbox().persisted(id),
            Input::Done(op, result) => self.done(op, &result),
            Input::Exited { container, attempt, exit, log_tail } => {
                if let Some(lifecycle) = self.lifecycles.get_mut(&container.allocation) {
                    lifecycle.exited(container.container.as_str(), attempt, exit, log_tail, &mut self.fx);
                    self.advance(&container.allocation);
                }
            }
            Input::Timeout => self.timeout(),
        }
        self.greet();
        self.finish();
    }

    fn take_inventory(&mut self, found: &[FoundContainer]) {
        let first = !std::mem::replace(&mut self.inventory, true);
        let mut by_allocation: BTreeMap<&AllocationId, Vec<&FoundContainer>> = BTreeMap::new();
        for container in found {
            by_allocation.entry(&container.container.allocation).or_default().push(container);
        }
        for (id, lifecycle) in &mut self.lifecycles {
            lifecycle.found(by_allocation.get(id).map_or(&[], Vec::as_slice), &mut self.fx);
        }
        for id in by_allocation.keys().filter(|id| !self.lifecycles.contains_key(**id)) {
            if !self.strangers.contains_key(*id) {
                discard(&mut self.strangers, id, 0, &mut self.fx);
            }
        }
        if first {
            let adopted = found.len();
            let message = format!("the agent is up and found {adopted} containers");
            self.fx.event(
                EventLevel::Info,
                EventSubject::Node(self.config.node.clone()),
                "AgentStarted",
                message,
            );
        }
        self.advance_all();
    }

    fn link_down(&mut self) {
        self.link = LinkStep::Down;
        self.reader.disconnected();
        self.report.disconnected();
    }

    /// Says hello once the link is up and there is something to say, or nothing came in time.
    fn greet(&mut self) {
        let ready = (self.inventory && self.facts) || self.fx.now().mono >= self.ready_by;
        if self.link != LinkStep::Greeting || !ready {
            return;
        }
        self.link = LinkStep::AwaitWelcome;
        let hello = Hello {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
            software: self.config.software.clone(),
            cursor: self.reader.cursor(),
            epoch: self.report.epoch(),
        };
        self.fx.outbox().push(Action::Send(ToParent::Hello(hello)));
    }

    fn receive(&mut self, message: ToChild) {
        match (self.link, message) {
            (LinkStep::AwaitWelcome, ToChild::Welcome(welcome)) => {
                self.link = LinkStep::Welcome;
                self.report.connected(welcome.cursor, self.fx.outbox().batch());
            }
            (LinkStep::Welcome, ToChild::Rows(frame)) => self.take_rows(frame),
            (LinkStep::Welcome, ToChild::Ack(cursor)) => {
                self.report.acknowledged(cursor, self.fx.outbox().batch());
            }
            (LinkStep::Down, _) => {}
            (_, ToChild::Refused(refused)) => self.close_link(format!("refused: {}", refused.message)),
            (step, _) => self.close_link(format!("an unexpected message while {step:?}")),
        }
    }

    fn close_link(&mut self, reason: String) {
        self.fx.push_free(Action::CloseLink { reason });
        self.link_down();
    }

    fn take_rows(&mut self, frame: RowsFrame) {
        let held = || {
            let owned = self.lifecycles.iter().filter(|(_, lifecycle)| !lifecycle.is_disowned());
            owned.map(|(id, _)| RowKey::new(TableId::INTENT, id.as_str())).collect()
        };
        let changes = match self.reader.handle(frame, held) {
            Ok(changes) => changes,
            Err(error) => return self.close_link(error.to_string()),
        };
        self.fx.wait_for_disk();
        let mut touched = BTreeSet::new();
        for row in changes.rows {
            touched.extend(self.take_row(row));
        }
        for key in changes.removed {
            touched.extend(self.drop_row(&key));
        }
        self.save_cursor(changes.cursor);
        if self.inventory {
            for id in &touched {
                self.advance(id);
            }
        }
    }

    fn save_cursor(&mut self, cursor: Cursor) {
        let outbox = self.fx.outbox();
        outbox.batch().put(CURSOR, [], cursor_value(cursor));
        outbox.push(Action::Send(ToParent::Ack(cursor)));
    }

    fn take_row(&mut self, row: Row) -> Option<AllocationId> {
        if row.key.table != TableId::INTENT {
            return None;
        }
        let Some(value) = row.value else { return self.drop_row(&row.key) };
        match IntentRow::decode(&value) {
            Ok(IntentRow::Allocation(intent)) if intent.id.as_str() == row.key.key => {
                let id = intent.id.clone();
                self.fx.outbox().batch().put(INTENT, id.as_str(), value);
                self.intend(Arc::new(intent));
                Some(id)
            }
            Ok(IntentRow::Allocation(intent)) => {
                self.warn(
                    "BadIntent",
                    format!("row '{}' holds allocation {}; it is left out", row.key.key, intent.id),
                );
                None
            }
            Err(error) => {
                self.warn(
                    "BadIntent",
                    format!("row '{}' cannot be read and is left out: {error}", row.key.key),
                );
                None
            }
        }
    }

    fn warn(&mut self, reason: &str, message: String) {
        self.fx.event(EventLevel::Warning, EventSubject::Node(self.config.node.clone()), reason, message);
    }

    fn intend(&mut self, intent: Arc<AllocationIntent>) {
        let now = self.fx.now().wall;
        match self.lifecycles.get_mut(&intent.id) {
            Some(lifecycle) => lifecycle.intend(intent),
            None => {
                self.lifecycles.insert(intent.id.clone(), Lifecycle::new(intent, &Life::default(), now));
            }
        }
    }

    fn drop_row(&mut self, key: &RowKey) -> Option<AllocationId> {
        let id = AllocationId::new(key.key.as_str()).ok()?;
        self.lifecycles.get_mut(&id)?.disown();
        let batch = self.fx.outbox().batch();
        batch.delete(INTENT, id.as_str());
        batch.delete(LIFE, id.as_str());
        Some(id)
    }

    fn done(&mut self, op: OpId, result: &Result<Outcome, Failure>) {
        let Some(id) = self.ops.remove(&op) else { return };
        if let Some(lifecycle) = self.lifecycles.get_mut(&id) {
            lifecycle.done(op, result, &mut self.fx);
        }
        self.stranger_done(&id, op, result);
        self.advance(&id);
    }

    fn stranger_done(&mut self, id: &AllocationId, op: OpId, result: &Result<Outcome, Failure>) {
        let Some(stranger) = self.strangers.get_mut(id) else { return };
        if !matches!(stranger.step, StrangerStep::Discarding(mine) if mine == op) {
            return;
        }
        let Err(failure) = result else {
            self.strangers.remove(id);
            return;
        };
        let pause = wait(&TRANSIENT, stranger.failures, id.as_str());
        stranger.failures = stranger.failures.saturating_add(1);
        stranger.step = StrangerStep::Again(self.fx.now().mono + pause);
        let message = format!("{id} is not wanted here and could not be removed: {}", failure.reason.message);
        self.warn("DiscardFailed", message);
    }

    fn timeout(&mut self) {
        let now = self.fx.now().mono;
        let due = |stranger: &Stranger| matches!(stranger.step, StrangerStep::Again(at) if now >= at);
        let again: Vec<(AllocationId, u32)> = self
            .strangers
            .iter()
            .filter(|(_, stranger)| due(stranger))
            .map(|(id, stranger)| (id.clone(), stranger.failures))
            .collect();
        for (id, failures) in again {
            discard(&mut self.strangers, &id, failures, &mut self.fx);
        }
        if !self.inventory {
            return;
        }
        let due = |lifecycle: &&Lifecycle| lifecycle.timeout().is_some_and(|at| now >= at);
        let ids: Vec<AllocationId> = self.lifecycles.values().filter(due).map(|l| l.id().clone()).collect();
        for id in &ids {
            self.advance(id);
        }
    }

    fn advance_all(&mut self) {
        let ids: Vec<AllocationId> = self.lifecycles.keys().cloned().collect();
        for id in &ids {
            self.advance(id);
        }
    }

    /// Lets an allocation go on, and keeps and reports what changed.
    fn advance(&mut self, id: &AllocationId) {
        let Some(lifecycle) = self.lifecycles.get_mut(id) else { return };
        if self.inventory && !self.strangers.contains_key(id) {
            lifecycle.advance(&mut self.fx);
        }
        if lifecycle.is_disowned() && lifecycle.is_gone() {
            self.lifecycles.remove(id);
            self.report.forget_status(id);
            return;
        }
        if let Some(life) = lifecycle.take_unsaved()
            && !lifecycle.is_disowned()
        {
            self.fx.outbox().batch().put(LIFE, id.as_str(), life_value(id, &life));
        }
        self.report.status(lifecycle.status(self.fx.now().wall));
    }

    /// Closes the input: events are kept, rows go up, the batch is sealed.
    fn finish(&mut self) {
        for event in self.fx.take_events() {
            self.report.event(event, self.fx.outbox().batch());
        }
        self.fx.outbox().seal();
        if self.link != LinkStep::Welcome {
            return;
        }
        while let Some(frame) = self.report.poll_frame() {
            self.fx.push_free(Action::Send(ToParent::Rows(frame)));
        }
    }
}

fn discard(
    strangers: &mut BTreeMap<AllocationId, Stranger>,
    id: &AllocationId,
    failures: u32,
    fx: &mut Effects,
) {
    let op = fx.begin(Operation::Discard { allocation: id.clone(), grace: DISCARD_GRACE });
    strangers.insert(id.clone(), Stranger { failures, step: StrangerStep::Discarding(op) });
}

impl Operation {
    /// Which allocation it is about.
    pub fn allocation(&self) -> &AllocationId {
        match self {
            Self::Pull { intent } | Self::Prepare { intent, .. } | Self::Start { intent, .. } => &intent.id,
            Self::Signal { container, .. } | Self::RemoveContainer { container } => &container.allocation,
            Self::RemoveAllocation { allocation } | Self::Discard { allocation, .. } => allocation,
        }
    }
}

impl Failure {
    /// A failure of the runtime itself, worth another try soon.
    pub fn transient(code: ReasonCode, message: impl Into<String>) -> Self {
        Self { reason: Reason::new(code, message), transient: true }
    }

    /// A failure that only a person can mend.
    pub fn permanent(code: ReasonCode, message: impl Into<String>) -> Self {
        Self { reason: Reason::new(code, message), transient: false }
    }
}
