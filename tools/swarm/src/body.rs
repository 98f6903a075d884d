//! An agent but for its link: the brain, a ledger that forgets nothing because nothing restarts, the scripted runtime.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use skerry_agent_state::{Action, AgentConfig, AgentState, Input, LoadError};
use skerry_types::{
    AllocationLoad, Attributes, Bytes, MilliCpu, MonoTime, NodeFacts, NodeName, NodeUsage, Now, Resources,
    WallTime,
};
use skerry_wire::{Epoch, ToChild, ToParent};
use tokio::time::{Duration, Instant};

use crate::runtime::Script;

/// From the last change to the look at what allocations use: as an agent looks.
const LOOK_AFTER: Duration = Duration::from_secs(15);
const GIB: u64 = 1 << 30;

/// The brain of an agent and what it works with.
#[derive(Debug)]
pub(crate) struct Body {
    state: AgentState,
    script: Script,
    start: Instant,
    start_wall: WallTime,
    /// Messages for the master.
    pub(crate) outgoing: VecDeque<ToParent>,
    /// Why the link is to be closed, when it is.
    pub(crate) hang_up: Option<String>,
    look_at: Option<Instant>,
    /// Frames that were sent and not answered.
    unanswered: usize,
    held: usize,
}

impl Body {
    pub(crate) fn new(node: NodeName, number: usize, delay: Duration) -> Result<Self, LoadError> {
        let start = Instant::now();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start_wall = WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let config = AgentConfig {
            node,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: Epoch(rand::random_range(1..=u64::MAX)),
            boot: format!("{number:08x}-0000-4000-8000-000000000000"),
        };
        let now = Now { mono: MonoTime(Duration::ZERO), wall: start_wall };
        let facts = facts(&config.boot, number);
        let mut body = Self {
            state: AgentState::load(config, now, Vec::new())?,
            script: Script::new(delay),
            start,
            start_wall,
            outgoing: VecDeque::new(),
            hang_up: None,
            look_at: None,
            unanswered: 0,
            held: 0,
        };
        body.feed(Input::Facts(facts));
        body.feed(Input::Inventory(Vec::new()));
        body.feed(Input::Usage(usage()));
        Ok(body)
    }

    fn now(&self) -> Now {
        let passed = self.start.elapsed();
        let wall = WallTime(self.start_wall.0 + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        Now { mono: MonoTime(passed), wall }
    }

    /// Gives the brain news, and carries out what it wants.
    pub(crate) fn feed(&mut self, input: Input) {
        self.heed(&input);
        let now = self.now();
        self.state.handle(now, input);
        while let Some(action) = self.state.poll_action() {
            self.act(now, action);
        }
    }

    /// Notes what the news means for who waits for whom.
    fn heed(&mut self, input: &Input) {
        match input {
            Input::LinkUp | Input::LinkDown => {
                self.outgoing.clear();
                self.hang_up = None;
                self.unanswered = 0;
            }
            Input::Received(ToChild::Ack(_)) => self.unanswered = self.unanswered.saturating_sub(1),
            Input::Done(..) => self.look_at = Some(Instant::now() + LOOK_AFTER),
            _ => {}
        }
    }

    fn act(&mut self, now: Now, action: Action) {
        match action {
            // The ledger is memory, which is as durable as this process.
            Action::Persist(id, _) => self.state.handle(now, Input::Persisted(id)),
            Action::Send(message) => {
                self.unanswered += usize::from(matches!(message, ToParent::Rows(_)));
                self.outgoing.push_back(message);
            }
            Action::CloseLink { reason } => self.hang_up = Some(reason),
            Action::Begin(op, operation) => self.script.begin(now, op, operation),
            // A cancelled operation is answered all the same, and nobody's deadline is watched.
            Action::Cancel(_) | Action::Extend { .. } => {}
        }
    }

    /// When [`Body::step`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let timer = self.state.poll_timeout().map(|at| self.start + at.0);
        [timer, self.script.next(), self.look_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn step(&mut self) {
        while let Some(answer) = self.script.poll() {
            self.feed(answer);
        }
        if self.look_at.is_some_and(|at| at <= Instant::now()) {
            self.look_at = None;
            self.look();
        }
        if self.state.poll_timeout().is_some_and(|at| at <= self.now().mono) {
            self.feed(Input::Timeout);
        }
    }

    fn look(&mut self) {
        let runs = self.state.lifecycles().filter(|lifecycle| lifecycle.running().next().is_some());
        let loads = runs.map(|lifecycle| AllocationLoad {
            id: lifecycle.id().clone(),
            cpu: MilliCpu(20),
            memory: Bytes(24 << 20),
            gauges: BTreeMap::new(),
        });
        let loads = loads.collect();
        self.feed(Input::Loads(loads));
    }

    /// Whether the master has welcomed the node, and neither side owes the other an answer.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.state.is_connected() && self.unanswered == 0 && self.outgoing.is_empty()
    }

    /// Allocations that the node holds more or fewer than at the last call.
    pub(crate) fn held_more(&mut self) -> isize {
        let held = self.state.lifecycles().count();
        let before = std::mem::replace(&mut self.held, held);
        isize::try_from(held).unwrap_or_default() - isize::try_from(before).unwrap_or_default()
    }
}

/// A gateway with sixteen cores: room for everything.
fn facts(boot: &str, number: usize) -> NodeFacts {
    let capacity = Resources {
        cpu: MilliCpu(16_000),
        memory: Bytes(64 * GIB),
        disk: Bytes(512 * GIB),
        ..Resources::default()
    };
    let mut labels = Attributes::new();
    labels.insert("rack".to_owned(), format!("r{}", number % 40));
    NodeFacts {
        capacity,
        machine: capacity,
        labels,
        port_range: (20_000, 29_999),
        arch: "amd64".to_owned(),
        os: "Linux (Debian GNU/Linux 12)".to_owned(),
        kernel: "6.1.0-28-amd64".to_owned(),
        cgroup: "2".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot.to_owned(),
        ..NodeFacts::default()
    }
}

fn usage() -> NodeUsage {
    let used = Resources {
        cpu: MilliCpu(800),
        memory: Bytes(4 * GIB),
        disk: Bytes(20 * GIB),
        ..Resources::default()
    };
    NodeUsage { used }
}
