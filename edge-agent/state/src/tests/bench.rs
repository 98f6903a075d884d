//! A brain, its disk, and what it asked for.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    AllocationId, AllocationIntent, AllocationStatus, Batch, Capabilities, ContainerName, ContainerSpec,
    Desired, Exit, ExitKind, Generation, InstanceIndex, InstanceSpec, Limits, MonoTime, NodeFacts, NodeName,
    Now, PersistId, Phase, ReasonCode, RegionName, Resources, RestartPolicy, RestartWhen, TenantName,
    WallTime, WorkloadKey, WorkloadName,
};
use skerry_wire::{
    Cursor, Epoch, Hello, Incarnation, IntentRow, ObservedRow, Revision, Row, RowKey, RowsFrame, TableId,
    ToChild, ToParent, Welcome,
};

use crate::*;

pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const EPOCH: Epoch = Epoch(7);
pub(super) const INCARNATION: Incarnation = Incarnation(1);
const STARTED: WallTime = WallTime(1_000);

pub(super) struct Bench {
    pub(super) state: AgentState,
    pub(super) now: Now,
    pub(super) disk: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    /// While set, batches wait.
    pub(super) full: bool,
    waiting: VecDeque<(PersistId, Batch)>,
    /// Operations that were begun and not answered, oldest first.
    pub(super) begun: VecDeque<(OpId, Operation)>,
    pub(super) cancelled: Vec<OpId>,
    /// What the keeper was told last of how long an allocation may run.
    pub(super) deadlines: BTreeMap<AllocationId, MonoTime>,
    pub(super) sent: Vec<ToParent>,
    pub(super) closed: Vec<String>,
    lives: u64,
    boot: String,
    next_pid: u32,
}

impl Bench {
    pub(super) fn new() -> Self {
        let now = Now { mono: MonoTime(Duration::from_secs(100)), wall: WallTime(1_700_000_000_000) };
        Self {
            state: load(1, "b1", now, &BTreeMap::new()),
            boot: "b1".to_owned(),
            now,
            disk: BTreeMap::new(),
            full: false,
            waiting: VecDeque::new(),
            begun: VecDeque::new(),
            cancelled: Vec::new(),
            deadlines: BTreeMap::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            lives: 1,
            next_pid: 100,
        }
    }

    /// A bench whose ledger holds these, loaded, without a link, and with nothing running.
    pub(super) fn holding(intents: &[AllocationIntent]) -> Self {
        let mut bench = Self::new();
        bench.link();
        bench.rows(&intents.iter().enumerate().map(|(at, i)| row(at + 1, i)).collect::<Vec<_>>());
        bench.restart();
        bench
    }

    /// A bench with one allocation that runs.
    pub(super) fn running(intent: &AllocationIntent) -> Self {
        let mut bench = Self::holding(std::slice::from_ref(intent));
        bench.feed(Input::Inventory(Vec::new()));
        bench.answer_all();
        assert_eq!(bench.phase(intent.id.as_str()), Phase::Running);
        bench
    }

    /// The process ends and another begins; what was not on disk is lost.
    pub(super) fn restart(&mut self) {
        self.lives += 1;
        self.waiting.clear();
        self.begun.clear();
        self.sent.clear();
        self.closed.clear();
        self.state = load(self.lives, &self.boot, self.now, &self.disk);
        self.drain();
    }

    /// The machine's power goes and comes back after `off`: the process's clock starts anew.
    pub(super) fn reboot(&mut self, off: Duration) {
        self.boot = format!("{}+", self.boot);
        let wall = self.now.wall.0 + u64::try_from(off.as_millis()).unwrap();
        self.now = Now { mono: MonoTime(Duration::from_secs(5)), wall: WallTime(wall) };
        self.restart();
        self.feed(Input::Inventory(Vec::new()));
    }

    /// The clock on the wall is set, and nothing else happens.
    pub(super) fn set_wall(&mut self, wall: WallTime) {
        self.now.wall = wall;
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.state.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(action) = self.state.poll_action() {
                match action {
                    Action::Persist(id, batch) => self.waiting.push_back((id, batch)),
                    Action::Send(message) => self.sent.push(message),
                    Action::CloseLink { reason } => self.closed.push(reason),
                    Action::Begin(op, operation) => self.begun.push_back((op, operation)),
                    Action::Cancel(op) => self.cancelled.push(op),
                    Action::Extend { allocation, deadline } => {
                        self.deadlines.insert(allocation, deadline);
                    }
                }
            }
            let Some((id, batch)) = (!self.full).then(|| self.waiting.pop_front()).flatten() else { break };
            for write in batch.writes {
                let key = (write.table.to_owned(), write.key);
                match write.value {
                    Some(value) => self.disk.insert(key, value),
                    None => self.disk.remove(&key),
                };
            }
            self.state.handle(self.now, Input::Persisted(id));
        }
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.state.poll_timeout().filter(|at| *at <= end) {
            self.set_time(at.max(self.now.mono));
            self.feed(Input::Timeout);
            let next = self.state.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now.mono), "a time stays due: {:#?}", self.state);
        }
        self.set_time(end);
    }

    /// Lets time pass, and answers every operation at once: looks as `look` says, the rest as a healthy runtime would. Gives
    /// what was done.
    pub(super) fn live(&mut self, time: Duration, look: impl Fn(&Look) -> bool) -> Vec<String> {
        let end = self.now.mono + time;
        let mut done = Vec::new();
        loop {
            while let Some((op, operation)) = self.begun.pop_front() {
                done.push(word(&operation));
                match &operation {
                    Operation::Probe { look: what, .. } if !look(what) => {
                        let failure = Failure::transient(ReasonCode::Unhealthy, "no answer");
                        self.feed(Input::Done(op, Err(failure)));
                    }
                    _ => {
                        self.begun.push_front((op, operation));
                        self.answer();
                    }
                }
            }
            let Some(at) = self.state.poll_timeout().filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.mono));
            self.feed(Input::Timeout);
        }
        self.set_time(end);
        done
    }

    fn set_time(&mut self, at: MonoTime) {
        let passed = at.since(self.now.mono);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap();
        self.now = Now { mono: at, wall: WallTime(self.now.wall.0 + passed_ms) };
    }

    /// Links up, says welcome, and takes no rows. The master has nothing of this node.
    pub(super) fn link(&mut self) -> Hello {
        self.feed(Input::Facts(NodeFacts::default()));
        if self.lives == 1 {
            self.feed(Input::Inventory(Vec::new()));
        }
        self.feed(Input::LinkUp);
        let hello = self.hello();
        self.feed(Input::Received(ToChild::Welcome(welcome(Cursor::default()))));
        hello
    }

    pub(super) fn hello(&mut self) -> Hello {
        match self.sent.pop() {
            Some(ToParent::Hello(hello)) => hello,
            other => panic!("a hello was due, not {other:?}"),
        }
    }

    pub(super) fn rows(&mut self, rows: &[Row]) {
        let hello_epoch = self.copy_epoch();
        let newest = rows.iter().map(|row| row.revision).max().unwrap_or_default();
        let frame = if hello_epoch == EPOCH {
            RowsFrame::Delta { epoch: EPOCH, incarnation: INCARNATION, rows: rows.to_vec() }
        } else {
            RowsFrame::Snapshot {
                epoch: EPOCH,
                incarnation: INCARNATION,
                first: true,
                rows: rows.to_vec(),
                end: Some(newest),
            }
        };
        self.feed(Input::Received(ToChild::Rows(frame)));
    }

    fn copy_epoch(&self) -> Epoch {
        let cursor = self.disk.get(&("cursor".to_owned(), Vec::new()));
        cursor.map_or(Epoch(0), |bytes| skerry_wire::decode::<Cursor>(bytes, 64).unwrap().epoch)
    }

    /// Answers the oldest operation as a healthy runtime would.
    pub(super) fn answer(&mut self) -> Option<Operation> {
        let (op, operation) = self.begun.pop_front()?;
        let outcome = match &operation {
            Operation::Prepare { .. } => Outcome::Prepared { address: ADDRESS },
            Operation::Start { .. } => {
                self.next_pid += 1;
                Outcome::Started { pid: self.next_pid, started_at: STARTED }
            }
            _ => Outcome::Done,
        };
        self.feed(Input::Done(op, Ok(outcome)));
        Some(operation)
    }

    pub(super) fn answer_all(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(operation) = self.answer() {
            done.push(word(&operation));
        }
        done
    }

    /// Answers the oldest operation with a failure.
    pub(super) fn fail(&mut self, code: ReasonCode, transient: bool) -> Operation {
        let (op, operation) = self.begun.pop_front().expect("an operation to fail");
        let failure = if transient { Failure::transient } else { Failure::permanent };
        self.feed(Input::Done(op, Err(failure(code, "no"))));
        operation
    }

    /// Takes the operations that were begun, as words, without answering them.
    pub(super) fn begun(&self) -> Vec<String> {
        self.begun.iter().map(|(_, operation)| word(operation)).collect()
    }

    pub(super) fn exit(&mut self, id: &str, container: &str, attempt: u32, kind: ExitKind) {
        self.exit_after(id, container, attempt, kind, Duration::from_secs(1));
    }

    pub(super) fn exit_after(
        &mut self,
        id: &str,
        container: &str,
        attempt: u32,
        kind: ExitKind,
        ran: Duration,
    ) {
        let container = reference(id, container);
        let exit = Exit { kind, out_of_memory: false, at: self.now.wall, ran_for: ran };
        self.feed(Input::Exited { container, attempt, exit, log_tail: "last words".to_owned() });
    }

    pub(super) fn status(&mut self, id: &str) -> AllocationStatus {
        let id = AllocationId::new(id).unwrap();
        let wall = self.now.wall;
        self.state.lifecycles.get_mut(&id).expect("a lifecycle").status(wall)
    }

    pub(super) fn phase(&mut self, id: &str) -> Phase {
        self.status(id).phase
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.state.lifecycles().any(|lifecycle| lifecycle.id().as_str() == id)
    }

    /// The rows that went up since the last call, each frame of which is acknowledged.
    pub(super) fn told(&mut self) -> Vec<(RowKey, Option<ObservedRow>)> {
        let mut told = Vec::new();
        let read = |row: Row| (row.key, row.value.map(|value| ObservedRow::decode(&value).unwrap()));
        while !self.sent.is_empty() {
            for message in std::mem::take(&mut self.sent) {
                let ToParent::Rows(frame) = message else { continue };
                let (rows, cursor) = match frame {
                    RowsFrame::Delta { epoch, rows, .. } => {
                        let revision = rows.last().expect("no frame is empty").revision;
                        (rows, Cursor { epoch, revision, ..Cursor::default() })
                    }
                    RowsFrame::Snapshot { epoch, rows, end, .. } => {
                        (rows, Cursor { epoch, revision: end.unwrap_or_default(), ..Cursor::default() })
                    }
                };
                told.extend(rows.into_iter().map(read));
                self.feed(Input::Received(ToChild::Ack(cursor)));
            }
        }
        told
    }

    /// Reasons of the events that went up since the last call, oldest first.
    pub(super) fn events(&mut self) -> Vec<String> {
        let event = |(_, row): (RowKey, Option<ObservedRow>)| match row {
            Some(ObservedRow::Event(event)) => Some(event.reason),
            _ => None,
        };
        self.told().into_iter().filter_map(event).collect()
    }

    pub(super) fn acks(&self) -> Vec<Cursor> {
        let ack = |message: &ToParent| match message {
            ToParent::Ack(cursor) => Some(*cursor),
            _ => None,
        };
        self.sent.iter().filter_map(ack).collect()
    }
}

fn load(life: u64, boot: &str, now: Now, disk: &BTreeMap<(String, Vec<u8>), Vec<u8>>) -> AgentState {
    let config = AgentConfig {
        node: NodeName::new("n1").unwrap(),
        software: "test".to_owned(),
        epoch: Epoch(1000 + life),
        boot: boot.to_owned(),
    };
    let rows = disk.iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone()));
    AgentState::load(config, now, rows).expect("what was written can be read")
}

pub(super) fn welcome(cursor: Cursor) -> Welcome {
    Welcome {
        protocol: 1,
        region: RegionName::new("north").unwrap(),
        now: WallTime(0),
        cursor,
        epoch: EPOCH,
        above: Vec::new(),
    }
}

pub(super) fn word(operation: &Operation) -> String {
    match operation {
        Operation::Pull { .. } => "pull".to_owned(),
        Operation::Prepare { address, .. } => match address {
            Some(address) => format!("prepare {address}"),
            None => "prepare".to_owned(),
        },
        Operation::Start { container, attempt, .. } => format!("start {container} {attempt}"),
        Operation::Signal { container, signal } => match signal {
            StopSignal::Ask { signal: None } => format!("ask {}", container.container),
            StopSignal::Ask { signal: Some(signal) } => format!("ask {} by {signal}", container.container),
            StopSignal::Kill => format!("kill {}", container.container),
        },
        Operation::Probe { container, look, .. } => match look {
            Look::Http { port, path } => format!("get {} {port} {path}", container.container),
            Look::Tcp { port } => format!("connect {} {port}", container.container),
            Look::Exec { command } => format!("exec {} {}", container.container, command.join(" ")),
        },
        Operation::Release { .. } => "release".to_owned(),
        Operation::RemoveContainer { container } => format!("remove {}", container.container),
        Operation::RemoveAllocation { .. } => "remove allocation".to_owned(),
        Operation::Discard { allocation, .. } => format!("discard {allocation}"),
    }
}

pub(super) fn reference(id: &str, container: &str) -> ContainerRef {
    ContainerRef {
        allocation: AllocationId::new(id).unwrap(),
        container: ContainerName::new(container).unwrap(),
    }
}

pub(super) fn found(id: &str, container: &str, attempt: u32) -> FoundContainer {
    let state = FoundState::Running { pid: 42, started_at: STARTED };
    FoundContainer { container: reference(id, container), attempt, state, deadline: None }
}

pub(super) fn found_dead(id: &str, container: &str, attempt: u32, kind: ExitKind) -> FoundContainer {
    let exit = Exit { kind, out_of_memory: false, at: WallTime(5), ran_for: Duration::from_secs(3) };
    let state = FoundState::Exited { exit, log_tail: "bye".to_owned() };
    FoundContainer { container: reference(id, container), attempt, state, deadline: None }
}

/// An allocation `ID` with containers `names` that restarts `when`.
pub(super) fn intent(id: &str, names: &[&str], when: RestartWhen) -> AllocationIntent {
    let container = |name: &&str| ContainerSpec {
        name: ContainerName::new(*name).unwrap(),
        image: "registry.example/app:1".to_owned(),
        digest: None,
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        resources: Resources::default(),
        limits: Limits { cpu: None, memory: skerry_types::Bytes(1 << 26), pids: 64 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: skerry_types::Probes::default(),
        stop_signal: None,
    };
    let restart =
        RestartPolicy { when, backoff: Duration::from_secs(1), max_backoff: Duration::from_mins(1) };
    AllocationIntent {
        id: AllocationId::new(id).unwrap(),
        workload: WorkloadKey { tenant: TenantName::default(), name: WorkloadName::new("web").unwrap() },
        generation: Generation(1),
        instance: InstanceIndex(0),
        spec: Arc::new(InstanceSpec {
            containers: names.iter().map(container).collect(),
            restart,
            stop_grace: Duration::from_secs(10),
            stop_delay: Duration::ZERO,
            init: Vec::new(),
            schedule: None,
            deadline: None,
            stop_after: None,
            exclusive: None,
        }),
        ports: Vec::new(),
        desired: Desired::Run,
        gpus: Vec::new(),
        timezone: None,
    }
}

/// The same with another spec.
pub(super) fn with(intent: AllocationIntent, change: impl FnOnce(&mut InstanceSpec)) -> AllocationIntent {
    let mut spec = InstanceSpec::clone(&intent.spec);
    change(&mut spec);
    AllocationIntent { spec: Arc::new(spec), ..intent }
}

pub(super) fn web() -> AllocationIntent {
    intent("web-0-1", &["main"], RestartWhen::Always)
}

pub(super) fn stopped(intent: &AllocationIntent) -> AllocationIntent {
    AllocationIntent { desired: Desired::Stop, ..intent.clone() }
}

pub(super) fn row(revision: usize, intent: &AllocationIntent) -> Row {
    Row {
        key: RowKey::new(TableId::INTENT, intent.id.as_str()),
        revision: Revision(u64::try_from(revision).unwrap()),
        value: Some(IntentRow::Allocation(Arc::new(intent.clone())).encode()),
    }
}

pub(super) fn gone(revision: usize, id: &str) -> Row {
    let revision = Revision(u64::try_from(revision).unwrap());
    Row { key: RowKey::new(TableId::INTENT, id), revision, value: None }
}
