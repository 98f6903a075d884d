//! The node's brain: inputs in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{
    AllocationId, AllocationIntent, EventLevel, EventSubject, ImageDigest, MonoTime, NodeName, Now, Reason,
    ReasonCode, Resources,
};
use skerry_wire::{Epoch, Hello, PROTOCOL_NEWEST, PROTOCOL_OLDEST, ToChild, ToParent};

use crate::clock::Drift;
use crate::contact::Contact;
use crate::effects::{Effects, Held};
use crate::intake::Copy;
use crate::lease::Leases;
use crate::ledger::{LIFE, Ledger, Life, life_value};
use crate::report::Report;
use crate::strangers::Stranger;
use crate::timers::Timers;
use crate::{
    Action, Failure, FoundContainer, Input, LedgerRow, Lifecycle, LoadError, OpId, Operation, Outcome,
};

/// How long a link waits for the keeper and the facts before the node speaks without them.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What the brain is told once.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The node's name.
    pub node: NodeName,
    /// The software's version, for people.
    pub software: String,
    /// The epoch of this life's own tables: any number that no earlier life had.
    pub epoch: Epoch,
    /// The kernel's boot id: what was prepared in another boot has to be prepared again.
    pub boot: String,
}

/// One node's brain.
#[derive(Debug)]
pub struct AgentState {
    pub(crate) config: AgentConfig,
    pub(crate) copy: Copy,
    pub(crate) report: Report,
    pub(crate) lifecycles: BTreeMap<AllocationId, Lifecycle>,
    /// Allocations whose rows are gone, and of which something is here still.
    pub(crate) leaving: BTreeSet<AllocationId>,
    /// What the node has for allocations, once it is known.
    pub(crate) capacity: Option<Resources>,
    /// Who waits for an operation.
    ops: BTreeMap<OpId, AllocationId>,
    /// Allocations found here that nothing is known of.
    pub(crate) strangers: BTreeMap<AllocationId, Stranger>,
    timers: Timers,
    /// Allocations that wait for times of the day.
    scheduled: BTreeSet<AllocationId>,
    drift: Drift,
    /// Allocations that may not run without a link for long.
    pub(crate) watched: BTreeSet<AllocationId>,
    pub(crate) contact: Contact,
    pub(crate) leases: Leases,
    link: LinkStep,
    pub(crate) inventory: bool,
    facts: bool,
    ready_by: MonoTime,
    pub(crate) fx: Effects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkStep {
    Down,
    /// Up; the hello waits until there is something to say.
    Greeting,
    AwaitWelcome,
    Welcome,
}

impl AgentState {
    /// Begins with what the ledger holds. Nothing is done before [`Input::Inventory`] tells what runs.
    pub fn load(
        config: AgentConfig,
        now: Now,
        rows: impl IntoIterator<Item = LedgerRow>,
    ) -> Result<Self, LoadError> {
        let Ledger { cursor, intents, lives, events, heard } = Ledger::read(rows)?;
        let copy = Copy::new(cursor, intents.keys().cloned().collect());
        let contact = Contact::new(heard.as_ref(), &config.boot, now);
        let mut state = Self {
            copy,
            report: Report::new(config.epoch, events),
            lifecycles: BTreeMap::new(),
            leaving: BTreeSet::new(),
            capacity: None,
            ops: BTreeMap::new(),
            strangers: BTreeMap::new(),
            timers: Timers::default(),
            scheduled: BTreeSet::new(),
            drift: Drift::new(now),
            watched: BTreeSet::new(),
            contact,
            leases: Leases::default(),
            link: LinkStep::Down,
            inventory: false,
            facts: false,
            ready_by: now.mono + READY_WITHIN,
            fx: Effects::new(),
            config,
        };
        state.fx.open(now);
        for (id, intent) in intents {
            state.adopt(intent, lives.get(&id));
        }
        Ok(state)
    }

    /// Begins to hold an allocation, with what the ledger has of it.
    pub(crate) fn adopt(&mut self, intent: Arc<AllocationIntent>, life: Option<&Life>) {
        let (id, fresh) = (intent.id.clone(), Lifecycle::fresh(&intent));
        let lifecycle = Lifecycle::new(intent, life.unwrap_or(&fresh), &self.config.boot, self.fx.now());
        if lifecycle.is_scheduled() {
            self.scheduled.insert(id.clone());
        }
        self.report.orphan(lifecycle.intent());
        self.lifecycles.insert(id.clone(), lifecycle);
        self.watch_link(&id);
        self.join_leases(&id);
    }

    /// The allocations on this node.
    pub fn lifecycles(&self) -> impl Iterator<Item = &Lifecycle> {
        self.lifecycles.values()
    }

    /// Images that must stay on disk.
    pub fn images_in_use(&self) -> BTreeSet<ImageDigest> {
        let containers =
            self.lifecycles.values().flat_map(|lifecycle| lifecycle.intent().spec.all_containers());
        containers.filter_map(|container| container.digest.clone()).collect()
    }

    /// Whether the parent has welcomed this node.
    pub fn is_connected(&self) -> bool {
        self.link == LinkStep::Welcome
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let greeting = (self.link == LinkStep::Greeting).then_some(self.ready_by);
        let strangers = self.strangers.values().filter_map(Stranger::timeout);
        let clock = (self.inventory && !self.scheduled.is_empty()).then(|| self.drift.timeout());
        let others = [greeting, clock, self.contact_timeout(), self.leases_timeout(), self.timers.next()];
        let next = strangers.chain(others.into_iter().flatten()).min();
        next.filter(|_| !mutant::is(Mutant::AgentNeverWakes))
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
        if self.drift.was_set(now) {
            self.clock_was_set();
        }
        self.keep_contact_again();
        self.ask_again();
        match input {
            Input::Inventory(found) => self.take_inventory(&found),
            Input::Facts(facts) => {
                self.facts = true;
                self.capacity = Some(facts.capacity);
                self.report.facts(facts);
            }
            Input::Layers(layers) => self.report.layers(layers),
            Input::Usage(usage) => self.report.usage(usage),
            Input::Loads(loads) => {
                let lifecycles = &self.lifecycles;
                self.report.loads(loads, |id| lifecycles.contains_key(id));
            }
            Input::LinkUp => self.link_up(),
            Input::LinkDown => self.link_down(),
            Input::Received(message) => self.receive(message),
            Input::Persisted(id) => self.fx.outbox().persisted(id),
            Input::Done(op, result) => self.done(op, &result),
            Input::Exited { .. } if mutant::is(Mutant::IgnoresExits) => {}
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
        let found = if mutant::is(Mutant::AdoptsNothing) { &[] } else { found };
        let mut by_allocation: BTreeMap<&AllocationId, Vec<&FoundContainer>> = BTreeMap::new();
        for container in found {
            by_allocation.entry(&container.container.allocation).or_default().push(container);
        }
        let strangers = &self.strangers;
        let free = |id: &AllocationId| !strangers.contains_key(id);
        for (id, lifecycle) in self.lifecycles.iter_mut().filter(|(id, _)| free(id)) {
            lifecycle.found(by_allocation.get(id).map_or(&[], Vec::as_slice), &mut self.fx);
        }
        let unknown = |id: &AllocationId| !self.lifecycles.contains_key(id) && free(id);
        let strangers: Vec<AllocationId> =
            by_allocation.into_keys().filter(|id| unknown(id)).cloned().collect();
        for id in &strangers {
            self.discard(id);
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

    fn link_up(&mut self) {
        self.link_down();
        self.link = LinkStep::Greeting;
    }

    fn link_down(&mut self) {
        if std::mem::replace(&mut self.link, LinkStep::Down) == LinkStep::Welcome {
            self.contact_lost();
        }
        self.leases_disconnected();
        self.fx.another_link();
        self.copy.disconnected();
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
            cursor: self.copy.saved(),
            epoch: self.report.epoch(),
            head: self.report.head(),
        };
        self.fx.send(ToParent::Hello(hello));
    }

    fn receive(&mut self, message: ToChild) {
        match (self.link, message) {
            (LinkStep::AwaitWelcome, ToChild::Welcome(welcome)) => {
                self.link = LinkStep::Welcome;
                self.copy.connected(welcome.epoch);
                self.report.connected(welcome.cursor, self.fx.outbox().batch());
                self.contact_made();
                self.ask_once_known();
            }
            (LinkStep::Welcome, ToChild::Rows(frame)) => self.take_rows(frame),
            (LinkStep::Welcome, ToChild::Ack(cursor)) => {
                self.report.acknowledged(cursor, self.fx.outbox().batch());
                self.ask_once_known();
            }
            (LinkStep::Welcome, ToChild::Renewed { round, cursor }) => self.leases_renewed(round, cursor),
            (LinkStep::Down, _) => {}
            (_, ToChild::Refused(refused)) => self.close_link(format!("refused: {}", refused.message)),
            (step, _) => self.close_link(format!("an unexpected message while {step:?}")),
        }
    }

    pub(crate) fn close_link(&mut self, reason: String) {
        self.fx.close_link(reason);
        self.link_down();
    }

    pub(crate) fn warn(&mut self, reason: &str, message: String) {
        self.fx.event(EventLevel::Warning, EventSubject::Node(self.config.node.clone()), reason, message);
    }

    fn done(&mut self, op: OpId, result: &Result<Outcome, Failure>) {
        let Some(id) = self.ops.remove(&op) else { return };
        self.look_for_room(&id);
        if let Some(lifecycle) = self.lifecycles.get_mut(&id) {
            lifecycle.done(op, result, &mut self.fx);
        }
        self.stranger_done(&id, op, result);
        self.advance(&id);
    }

    fn timeout(&mut self) {
        self.discard_again();
        for id in &self.timers.due(self.fx.now().mono) {
            self.advance(id);
        }
    }

    /// What waits for a time of the day is held against the clock anew.
    fn clock_was_set(&mut self) {
        let scheduled: Vec<AllocationId> = self.scheduled.iter().cloned().collect();
        for id in &scheduled {
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
    pub(crate) fn advance(&mut self, id: &AllocationId) {
        self.look_for_room(id);
        // Before the inventory nothing is known that could be told.
        let Some(lifecycle) = self.lifecycles.get_mut(id).filter(|_| self.inventory) else { return };
        let is_free = !self.strangers.contains_key(id);
        if is_free {
            lifecycle.advance(&mut self.fx);
        }
        if lifecycle.is_disowned() && lifecycle.is_gone() {
            return self.forget(id);
        }
        lifecycle.observe(&mut self.fx);
        if let Some(life) = lifecycle.take_unsaved()
            && self.copy.holds(id)
        {
            self.fx.outbox().batch().put(LIFE, id.as_str(), life_value(id, &life));
        }
        self.report.status(lifecycle.status(self.fx.now().wall));
        self.arm(id);
    }

    /// Sets when an allocation is looked at again.
    pub(crate) fn arm(&mut self, id: &AllocationId) {
        let is_free = self.inventory && !self.strangers.contains_key(id);
        let Some(lifecycle) = self.lifecycles.get_mut(id) else { return };
        let at = lifecycle.timeout(self.fx.now()).filter(|_| is_free);
        self.timers.set(id, std::mem::replace(&mut lifecycle.armed, at), at);
    }

    fn forget(&mut self, id: &AllocationId) {
        if let Some(lifecycle) = self.lifecycles.remove(id) {
            self.timers.set(id, lifecycle.armed, None);
        }
        self.scheduled.remove(id);
        self.leaving.remove(id);
        self.watched.remove(id);
        self.leases.members.remove(id);
        self.report.forget_status(id);
    }

    /// Closes the input: events are kept, the batch is sealed, what is on disk is let go, rows go up.
    fn finish(&mut self) {
        loop {
            while let Some(event) = self.fx.take_event() {
                let number = self.report.keep(&event, self.fx.outbox().batch());
                self.fx.outbox().push(Held::Event(number, event));
            }
            self.fx.seal();
            match self.fx.outbox().poll_effect() {
                Some(Held::Send(link, message)) => self.fx.release(link, message),
                Some(Held::Intake(intake)) => self.come_into_force(intake),
                Some(Held::Event(number, event)) => self.report.tell(number, event),
                Some(Held::Begin(op, operation)) => self.fx.release_begin(op, operation),
                None => break,
            }
        }
        if self.link != LinkStep::Welcome {
            return;
        }
        while let Some(frame) = self.report.poll_frame() {
            self.fx.send(ToParent::Rows(frame));
        }
    }
}

impl Operation {
    /// Which allocation it is about.
    pub fn allocation(&self) -> &AllocationId {
        match self {
            Self::Pull { intent } | Self::Prepare { intent, .. } | Self::Start { intent, .. } => &intent.id,
            Self::Signal { container, .. }
            | Self::Probe { container, .. }
            | Self::RemoveContainer { container } => &container.allocation,
            Self::Release { allocation }
            | Self::RemoveAllocation { allocation }
            | Self::Discard { allocation, .. } => allocation,
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
