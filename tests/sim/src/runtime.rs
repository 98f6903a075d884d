//! The scripted runtime of a node: images, networks, containers and their keeper.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skerry_agent_state::{
    ContainerRef, Failure, Fence, FoundContainer, FoundState, Input, Lifecycle, OpId, Operation, Outcome,
    StopSignal,
};
use skerry_types::{
    AllocationId, AllocationIntent, ContainerName, Exit, ExitKind, ReasonCode, RestartWhen, WallTime,
};

use crate::Carrier;
use crate::event::{Event, NodeAt};
use crate::finale::Stage;
use crate::spec::{self, Rules};
use crate::world::{MS, SECOND, World};

/// A container as the kernel and the keeper have it.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) intent: Arc<AllocationIntent>,
    pub(crate) name: ContainerName,
    attempt: u32,
    pub(crate) started_at: WallTime,
    pub(crate) started_us: u64,
    /// How it ended, if it did.
    pub(crate) exit: Option<Exit>,
    /// Some agent knows that it runs.
    pub(crate) acknowledged: bool,
    /// It was told to end, or is said to have ended.
    pub(crate) told_to_end: bool,
    /// The keeper does not list it.
    hidden: bool,
    /// What it was given if it is exclusive.
    pub(crate) fence: Option<Fence>,
}

impl Container {
    pub(crate) fn runs(&self) -> bool {
        self.exit.is_none()
    }

    /// Whether it came to a good end by itself.
    pub(crate) fn ended_well(&self) -> bool {
        !self.told_to_end && self.exit.is_some_and(|exit| exit.kind == ExitKind::Code(0))
    }

    fn is(&self, reference: &ContainerRef) -> bool {
        self.intent.id == reference.allocation && self.name == reference.container
    }
}

impl World {
    pub(crate) fn begin_operation(&mut self, at: NodeAt, op: OpId, operation: Operation) {
        self.begun += 1;
        // In weather nothing else may happen between the runs of a schedule for longer than what follows from it takes.
        if matches!(&operation, Operation::Pull { intent } if intent.spec.schedule.is_some()) {
            self.disturb();
        }
        let is_job = |intent: &AllocationIntent| Rules::of(&intent.workload) == Rules::Job;
        if self.stage == Stage::Silence && matches!(&operation, Operation::Pull { intent } if is_job(intent))
        {
            self.peace.has_work = true;
        }
        self.note(&format_args!("  n{at} begins {}", word(&operation)));
        let (usual, worst) = match &operation {
            Operation::Pull { .. } => (200 * MS, 20 * SECOND),
            Operation::Prepare { .. } => (50 * MS, 2 * SECOND),
            Operation::Start { .. } => (200 * MS, 10 * SECOND),
            Operation::Signal { .. } | Operation::Probe { .. } => (5 * MS, 50 * MS),
            _ => (50 * MS, 5 * SECOND),
        };
        let calm = self.stage != Stage::Storm;
        let most = if !calm && self.rng.percent(5) { worst } else { usual };
        let mut done_us = self.now_us + self.rng.within(MS..most);
        let id = operation.allocation().clone();
        let host = &mut self.hosts[at];
        // One thing at a time for an allocation, but for signals and looks.
        if !matches!(operation, Operation::Signal { .. } | Operation::Probe { .. }) {
            let busy = host.busy_until.entry(id).or_default();
            done_us = done_us.max(*busy);
            *busy = done_us;
        }
        host.ops.insert(op, operation);
        let life = host.life;
        self.at(done_us, Event::Execute { node: at, life, op });
    }

    pub(crate) fn execute(&mut self, at: NodeAt, life: u64, op: OpId) {
        if self.hosts[at].life != life {
            return;
        }
        let Some(operation) = self.hosts[at].ops.remove(&op) else { return };
        let result = self.carry_out(at, op, &operation);
        let intent = match &operation {
            Operation::Pull { intent }
            | Operation::Prepare { intent, .. }
            | Operation::Start { intent, .. } => Some(intent),
            _ => None,
        };
        if let (Err(_), Some(intent)) = (&result, intent) {
            self.trouble(at, intent);
        }
        self.soon(1..20 * MS, Event::Answer { node: at, life, op, result });
    }

    fn carry_out(&mut self, at: NodeAt, op: OpId, operation: &Operation) -> Result<Outcome, Failure> {
        let host = &self.hosts[at];
        let by_keeper = !matches!(operation, Operation::Pull { .. } | Operation::Prepare { .. });
        if by_keeper && !host.keeper_is_up {
            return Err(Failure::transient(ReasonCode::Keeper, "the keeper is away"));
        }
        if host.fails_until_us > self.now_us && self.rng.percent(30) {
            return Err(Failure::transient(ReasonCode::CreateFailed, "a bad day"));
        }
        match operation {
            Operation::Pull { intent } => self.pull(at, op, intent),
            Operation::Prepare { intent, .. } => {
                self.make_sandbox(at, intent);
                Ok(Outcome::Prepared { address: std::net::Ipv4Addr::new(10, 0, 0, 2) })
            }
            Operation::Start { intent, container, attempt, fence } => {
                if self.is_too_late(at, *fence) {
                    return Err(Failure::transient(ReasonCode::CreateFailed, "its lease is over"));
                }
                let pid = self.start(at, intent, container, (*attempt, *fence));
                self.answer_start(at, pid)
            }
            Operation::Signal { container, signal } => {
                self.signal(at, container, *signal);
                Ok(Outcome::Done)
            }
            Operation::Probe { container, .. } => self.look(at, container),
            Operation::Release { allocation } => {
                self.hosts[at].sandboxes.remove(allocation);
                Ok(Outcome::Done)
            }
            Operation::RemoveContainer { container } => {
                self.remove_where(at, "a removal", |c| c.is(container));
                Ok(Outcome::Done)
            }
            Operation::RemoveAllocation { allocation } | Operation::Discard { allocation, .. } => {
                self.remove_where(at, "a removal of all", |c| c.intent.id == *allocation);
                if matches!(operation, Operation::RemoveAllocation { .. }) {
                    // A store that went back gives it again to a node that has forgotten it.
                    self.hosts[at].runs.remove(allocation);
                }
                self.hosts[at].sandboxes.remove(allocation);
                Ok(Outcome::Done)
            }
        }
    }

    /// What runs is well.
    fn look(&self, at: NodeAt, reference: &ContainerRef) -> Result<Outcome, Failure> {
        let runs = self.hosts[at].containers.values().any(|c| c.is(reference) && c.runs());
        runs.then_some(Outcome::Done)
            .ok_or_else(|| Failure::transient(ReasonCode::Unhealthy, "nothing answers"))
    }

    fn pull(&mut self, at: NodeAt, op: OpId, intent: &AllocationIntent) -> Result<Outcome, Failure> {
        let host = &mut self.hosts[at];
        if host.cancelled.remove(&op) {
            return Err(Failure::transient(ReasonCode::RegistryUnreachable, "cancelled"));
        }
        let digests = intent.spec.all_containers().filter_map(|container| container.digest.clone());
        let missing: Vec<_> = digests.filter(|digest| !host.images.contains(digest)).collect();
        if !missing.is_empty() && host.way.is_cut {
            return Err(Failure::transient(ReasonCode::RegistryUnreachable, "no way to the registry"));
        }
        host.images.extend(missing);
        Ok(Outcome::Done)
    }

    /// A network with its host ports, which nobody else on the node may have.
    fn make_sandbox(&mut self, at: NodeAt, intent: &Arc<AllocationIntent>) {
        let host = &mut self.hosts[at];
        let others = host.sandboxes.values().filter(|other| other.id != intent.id);
        let taken =
            others.flat_map(|other| other.ports.iter().map(|port| (port.protocol, port.host, &other.id)));
        let clash = taken
            .filter(|(protocol, number, _)| {
                intent.ports.iter().any(|port| port.protocol == *protocol && port.host == *number)
            })
            .map(|(_, number, id)| {
                format!("host port {number} of n{at} is {id}'s and given to {}", intent.id)
            })
            .next();
        host.sandboxes.insert(intent.id.clone(), Arc::clone(intent));
        // A master that was put back gave a copy of the machine something else by a name that this one holds.
        let is_mixed_up = host.past.was_shared && self.judge.restored.any;
        if let Some(what) = clash.filter(|_| !is_mixed_up) {
            self.fail(what);
        }
    }

    fn start(
        &mut self,
        at: NodeAt,
        intent: &Arc<AllocationIntent>,
        name: &ContainerName,
        (attempt, fence): (u32, Option<Fence>),
    ) -> u32 {
        let reference = ContainerRef { allocation: intent.id.clone(), container: name.clone() };
        let running = self.hosts[at].containers.iter().find(|(_, c)| c.is(&reference) && c.runs());
        if let Some((pid, container)) = running {
            if container.attempt == attempt && !container.hidden {
                return *pid;
            }
            let what =
                format!("{reference:?} on n{at} is started as {attempt} while {} runs", container.attempt);
            self.fail(what);
        }
        self.remove_where(at, "a start", |c| c.is(&reference));
        self.make_sandbox(at, intent);
        let now_us = self.now_us;
        let host = &mut self.hosts[at];
        host.next_pid += 1;
        let pid = host.next_pid;
        let container = Container {
            intent: Arc::clone(intent),
            name: name.clone(),
            attempt,
            started_at: host.now(now_us).wall,
            started_us: now_us,
            exit: None,
            acknowledged: false,
            told_to_end: false,
            hidden: false,
            fence,
        };
        host.containers.insert(pid, container);
        self.watch_lease(at, pid);
        self.draw_fate(at, pid);
        self.check_capacity(at);
        self.judge_start(at, intent);
        self.judge_exclusive(at, intent, fence);
        self.judge_run(at, intent, pid);
        pid
    }

    fn draw_fate(&mut self, at: NodeAt, pid: u32) {
        let Some(container) = self.hosts[at].containers.get(&pid) else { return };
        if spec::is_bad(&container.intent.spec) {
            return self.soon(MS..500 * MS, Event::Ends { node: at, pid, kind: ExitKind::Code(3) });
        }
        if Rules::of(&container.intent.workload).ends() {
            let fails = self.stage == Stage::Storm && self.rng.percent(15);
            let kind = ExitKind::Code(i32::from(fails));
            return self.soon(MS..40 * SECOND, Event::Ends { node: at, pid, kind });
        }
        if self.stage != Stage::Storm {
            return;
        }
        let kind = if self.rng.percent(70) { ExitKind::Code(1) } else { ExitKind::Signal(11) };
        let event = Event::Ends { node: at, pid, kind };
        match self.rng.below(100) {
            0..5 => self.soon(1..20 * MS, event),
            5..15 => self.soon(MS..30 * SECOND, event),
            15..20 => self.soon(MS..1800 * SECOND, event),
            _ => {}
        }
    }

    fn signal(&mut self, at: NodeAt, reference: &ContainerRef, signal: StopSignal) {
        let found = self.hosts[at].containers.iter_mut().find(|(_, c)| c.is(reference) && c.runs());
        let Some((pid, container)) = found else { return };
        container.told_to_end = true;
        let (pid, container) = (*pid, container.clone());
        self.check_stop(at, &container, "a signal");
        match signal {
            StopSignal::Kill => self.soon(1..MS, Event::Ends { node: at, pid, kind: ExitKind::Signal(9) }),
            StopSignal::Ask { .. } if self.rng.percent(80) => {
                self.soon(MS..6 * SECOND, Event::Ends { node: at, pid, kind: ExitKind::Code(0) });
            }
            StopSignal::Ask { .. } => {}
        }
    }

    fn remove_where(&mut self, at: NodeAt, by: &str, which: impl Fn(&Container) -> bool) {
        let gone: Vec<u32> =
            self.hosts[at].containers.iter().filter(|(_, c)| which(c)).map(|(pid, _)| *pid).collect();
        for pid in gone {
            if let Some(container) = self.hosts[at].containers.remove(&pid)
                && container.runs()
            {
                self.check_stop(at, &container, by);
            }
        }
    }

    /// A container ends by its fate or by a signal.
    pub(crate) fn container_ends(&mut self, at: NodeAt, pid: u32, kind: ExitKind) {
        let Some(container) = self.hosts[at].containers.get(&pid) else { return };
        // When the storm is over, fates do not come true any more.
        let ends = spec::is_bad(&container.intent.spec) || Rules::of(&container.intent.workload).ends();
        let is_due = self.stage == Stage::Storm || container.told_to_end || ends;
        if is_due && (container.told_to_end || !self.ends_in_words_only(at, pid, kind)) {
            self.end_container(at, pid, kind);
        }
    }

    pub(crate) fn end_container(&mut self, at: NodeAt, pid: u32, kind: ExitKind) {
        let exit = self.end_unheard(at, pid, kind);
        self.tell_exit(at, pid, exit);
    }

    /// A container ends, and the agent does not hear of it.
    pub(crate) fn end_unheard(&mut self, at: NodeAt, pid: u32, kind: ExitKind) -> Option<Exit> {
        let runs = self.hosts[at].containers.get(&pid).is_some_and(Container::runs);
        let kind = if runs { self.told_kind(at, kind) } else { kind };
        let exit = self.exit_of(at, pid, kind).filter(|_| runs)?;
        let container = self.hosts[at].containers.get_mut(&pid)?;
        container.exit = Some(exit);
        let intent = Arc::clone(&container.intent);
        self.run_goes_on(at, &intent);
        self.disturb();
        self.trouble(at, &intent);
        Some(exit)
    }

    /// How the keeper takes the end of a container that ends at present.
    pub(crate) fn exit_of(&self, at: NodeAt, pid: u32, kind: ExitKind) -> Option<Exit> {
        let host = &self.hosts[at];
        let container = host.containers.get(&pid)?;
        Some(Exit {
            kind: if host.keeper_is_up { kind } else { ExitKind::Unknown },
            out_of_memory: false,
            at: host.now(self.now_us).wall,
            ran_for: Duration::from_micros(self.now_us - container.started_us),
        })
    }

    /// The keeper tells of an end, if it is up and the agent listens.
    pub(crate) fn tell_exit(&mut self, at: NodeAt, pid: u32, exit: Option<Exit>) {
        let host = &self.hosts[at];
        let Some((container, exit)) = host.containers.get(&pid).zip(exit) else { return };
        let input = Input::Exited {
            container: ContainerRef {
                allocation: container.intent.id.clone(),
                container: container.name.clone(),
            },
            attempt: container.attempt,
            exit,
            log_tail: "last words".to_owned(),
        };
        if !host.keeper_is_up || !host.listed {
            return;
        }
        if self.is(Carrier::KeeperRepeatsItself) {
            self.after(0, Event::Confess { node: at, life: self.hosts[at].life, pid });
        }
        self.tell_agent(at, input);
    }

    pub(crate) fn inventory(&mut self, at: NodeAt, life: u64, keeper: u64) {
        let host = &mut self.hosts[at];
        if host.life != life || host.keeper_life != keeper || !host.keeper_is_up {
            return;
        }
        let first = host.listings == 0;
        host.listed = true;
        host.listings += 1;
        let missed = self.missed(at);
        if first {
            self.sweep(at);
        }
        let mut found = Vec::new();
        let shown = self.hosts[at].containers.iter_mut().filter(|(_, container)| !container.hidden);
        for (pid, container) in shown.filter(|(pid, _)| Some(**pid) != missed) {
            container.acknowledged |= first && container.runs();
            found.push(FoundContainer {
                container: ContainerRef {
                    allocation: container.intent.id.clone(),
                    container: container.name.clone(),
                },
                attempt: container.attempt,
                deadline: container.fence.map(|fence| fence.deadline),
                state: match container.exit {
                    None => FoundState::Running { pid: *pid, started_at: container.started_at },
                    Some(exit) => FoundState::Exited { exit, log_tail: "last words".to_owned() },
                },
            });
        }
        self.tell_agent(at, Input::Inventory(found));
    }

    /// An agent that begins removes what neither it nor the keeper knows of.
    fn sweep(&mut self, at: NodeAt) {
        let host = &mut self.hosts[at];
        let agent = host.agent.iter().flat_map(|agent| agent.lifecycles().map(Lifecycle::id));
        let kept = host.containers.values().map(|container| &container.intent.id);
        let known: BTreeSet<AllocationId> = agent.chain(kept).cloned().collect();
        host.sandboxes.retain(|id, _| known.contains(id));
    }

    /// The agent died; what it had asked the keeper for may be done all the same.
    pub(crate) fn finish_without_agent(&mut self, at: NodeAt, operation: &Operation) {
        if !self.hosts[at].keeper_is_up || self.rng.percent(50) {
            return;
        }
        if let Operation::Start { intent, container, attempt, fence } = operation
            && !self.is_too_late(at, *fence)
        {
            self.start(at, intent, container, (*attempt, *fence));
        }
    }

    pub(crate) fn crash_keeper(&mut self, at: NodeAt) {
        let forgets = self.is(Carrier::KeeperForgets);
        let host = &mut self.hosts[at];
        if !host.keeper_is_up {
            return;
        }
        host.keeper_is_up = false;
        host.keeper_life += 1;
        host.listed = false;
        host.containers.values_mut().for_each(|container| container.hidden |= forgets);
        // A start that was under way may have come to a running container that nobody was told of: all that is heard is that it failed.
        let life = host.life;
        let is_start = |(_, operation): &(&OpId, &Operation)| matches!(operation, Operation::Start { .. });
        let starts: Vec<(OpId, Operation)> =
            host.ops.iter().filter(is_start).map(|(op, operation)| (*op, operation.clone())).collect();
        for (op, operation) in starts {
            if let Operation::Start { intent, container, attempt, fence } = operation
                && self.rng.percent(30)
                && !self.is_too_late(at, fence)
            {
                let pid = self.start(at, &intent, &container, (attempt, fence));
                if let Some(container) = self.hosts[at].containers.get_mut(&pid) {
                    container.told_to_end = true;
                }
                self.hosts[at].ops.remove(&op);
                self.trouble(at, &intent);
                let result = Err(Failure::transient(ReasonCode::Keeper, "the keeper went away"));
                self.soon(1..20 * MS, Event::Answer { node: at, life, op, result });
            }
        }
        self.soon(10 * MS..20 * SECOND, Event::BootKeeper(at));
    }

    pub(crate) fn boot_keeper(&mut self, at: NodeAt) {
        if self.hosts[at].keeper_is_up || self.hosts[at].past.is_scrapped {
            return;
        }
        self.disturb();
        self.hosts[at].keeper_is_up = true;
        self.end_late(at);
        self.expect_inventory(at);
    }

    /// The power goes and comes back: of what ran nothing is left.
    pub(crate) fn reboot(&mut self, at: NodeAt) {
        self.crash_agent(at, 60 * SECOND);
        self.lose_for_good(at);
        let host = &mut self.hosts[at];
        host.boots += 1;
        host.clock.zero_us = self.now_us;
        host.containers.clear();
        host.sandboxes.clear();
        host.runs.clear();
        host.keeper_is_up = false;
        host.keeper_life += 1;
        host.listed = false;
        self.soon(SECOND..60 * SECOND, Event::BootKeeper(at));
    }

    /// What never starts again has failed when a reboot takes it.
    fn lose_for_good(&mut self, at: NodeAt) {
        let runs = self.hosts[at].containers.values().filter(|container| container.runs());
        let lost = runs.filter(|container| container.intent.spec.restart.when == RestartWhen::Never);
        let lost: Vec<Arc<AllocationIntent>> = lost.map(|container| Arc::clone(&container.intent)).collect();
        for intent in &lost {
            self.trouble(at, intent);
        }
    }
}

fn word(operation: &Operation) -> String {
    let id: &AllocationId = operation.allocation();
    match operation {
        Operation::Pull { .. } => format!("pull {id}"),
        Operation::Prepare { .. } => format!("prepare {id}"),
        Operation::Start { container, attempt, .. } => format!("start {id}/{container} {attempt}"),
        Operation::Signal { container, signal } => format!("{signal:?} {id}/{}", container.container),
        Operation::Probe { container, .. } => format!("look at {id}/{}", container.container),
        Operation::Release { .. } => format!("release {id}"),
        Operation::RemoveContainer { container } => format!("remove {id}/{}", container.container),
        Operation::RemoveAllocation { .. } => format!("remove {id}"),
        Operation::Discard { .. } => format!("discard {id}"),
    }
}
