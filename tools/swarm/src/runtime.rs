//! A runtime that follows a script: every operation succeeds a while after it was begun, and nothing is done.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use skerry_agent_state::{ContainerRef, Input, OpId, Operation, Outcome};
use skerry_types::{Exit, ExitKind, Now, WallTime};
use tokio::time::{Duration, Instant};

/// The address of every allocation: nobody calls.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Answers that are due, and containers that are said to run.
#[derive(Debug)]
pub(crate) struct Script {
    delay: Duration,
    /// In the order in which they are due, since all take equally long.
    due: VecDeque<(Instant, Input)>,
    running: BTreeMap<ContainerRef, Running>,
    next_pid: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    attempt: u32,
    started_at: WallTime,
}

impl Script {
    /// A runtime that takes `delay` for everything.
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay, due: VecDeque::new(), running: BTreeMap::new(), next_pid: 1 }
    }

    /// Begins an operation.
    pub(crate) fn begin(&mut self, now: Now, op: OpId, operation: Operation) {
        let at = Instant::now() + self.delay;
        let (outcome, exited) = self.carry_out(now, operation);
        self.due.push_back((at, Input::Done(op, Ok(outcome))));
        self.due.extend(exited.map(|exited| (at, exited)));
    }

    fn carry_out(&mut self, now: Now, operation: Operation) -> (Outcome, Option<Input>) {
        match operation {
            Operation::Prepare { .. } => (Outcome::Prepared { address: ADDRESS }, None),
            Operation::Start { intent, container, attempt, .. } => {
                let reference = ContainerRef { allocation: intent.id.clone(), container };
                self.running.insert(reference, Running { attempt, started_at: now.wall });
                self.next_pid += 1;
                (Outcome::Started { pid: self.next_pid, started_at: now.wall }, None)
            }
            Operation::Signal { container, .. } => {
                let ran = self.running.remove(&container);
                (Outcome::Done, ran.map(|ran| exited(now, container, ran)))
            }
            Operation::RemoveContainer { container } => {
                self.running.remove(&container);
                (Outcome::Done, None)
            }
            Operation::RemoveAllocation { allocation } | Operation::Discard { allocation, .. } => {
                self.running.retain(|reference, _| reference.allocation != allocation);
                (Outcome::Done, None)
            }
            Operation::Pull { .. } | Operation::Probe { .. } | Operation::Release { .. } => {
                (Outcome::Done, None)
            }
        }
    }

    /// When the next answer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// The next answer, if it is due.
    pub(crate) fn poll(&mut self) -> Option<Input> {
        let (at, _) = self.due.front()?;
        (*at <= Instant::now()).then(|| self.due.pop_front()).flatten().map(|(_, input)| input)
    }
}

fn exited(now: Now, container: ContainerRef, ran: Running) -> Input {
    let ran_for = now.wall.since(ran.started_at);
    let exit = Exit { kind: ExitKind::Code(0), out_of_memory: false, at: now.wall, ran_for };
    Input::Exited { container, attempt: ran.attempt, exit, log_tail: String::new() }
}
