//! A runtime that does not tell the truth for a while: what it says of starts and ends is not so, and its listings miss something.
//!
//! Judges go by what is so. What the runtime hid from the agent the agent cannot be blamed for, so a container that was hidden
//! counts as one that nobody knows of.

use std::sync::Arc;

use skerry_agent_state::{Failure, Outcome};
use skerry_types::{ExitKind, ReasonCode};

use crate::event::{Event, NodeAt};
use crate::world::{MS, SECOND, World};

/// A lie is found out at the latest after this.
const FOUND_OUT_WITHIN: u64 = 20 * SECOND;

impl World {
    /// How often of a hundred times what the runtime of a node says is not so.
    fn lies(&mut self, at: NodeAt, percent: u64) -> bool {
        self.hosts[at].lies_until_us > self.now_us && self.fate.percent(percent)
    }

    /// What is said of a start that was done.
    pub(crate) fn answer_start(&mut self, at: NodeAt, pid: u32) -> Result<Outcome, Failure> {
        let Some(container) = self.hosts[at].containers.get(&pid) else {
            return Err(Failure::transient(ReasonCode::CreateFailed, "it is gone"));
        };
        let (id, started_at) = (container.intent.id.clone(), container.started_at);
        if self.lies(at, 20) {
            // What it does meanwhile counts for nothing: it is taken for one that never was.
            if let Some(container) = self.hosts[at].containers.get_mut(&pid) {
                container.told_to_end = true;
            }
            return Err(Failure::transient(ReasonCode::CreateFailed, "the answer was lost"));
        }
        if self.lies(at, 20) {
            // It ended at once, which is told much later.
            self.end_unheard(at, pid, ExitKind::Code(1));
            // It counts as one that ran: everybody was told so.
            let key = (self.hosts[at].master, id);
            self.judge.ran.entry(key).or_insert(self.now_us);
            let life = self.hosts[at].life;
            let told_in = self.fate.within(MS..FOUND_OUT_WITHIN);
            self.after(told_in, Event::Confess { node: at, life, pid });
        }
        Ok(Outcome::Started { pid, started_at })
    }

    /// Says that a container has ended which runs for a while. False when it does not lie.
    pub(crate) fn ends_in_words_only(&mut self, at: NodeAt, pid: u32, kind: ExitKind) -> bool {
        if !self.lies(at, 30) {
            return false;
        }
        let ends_in = self.fate.within(MS..FOUND_OUT_WITHIN);
        let Some(container) = self.hosts[at].containers.get_mut(&pid).filter(|container| container.runs())
        else {
            return false;
        };
        // Whoever clears it away has been told that it is over.
        (container.told_to_end, container.acknowledged) = (true, false);
        let intent = Arc::clone(&container.intent);
        // It may be cleared away before it ends, and counts as failed all the same.
        self.trouble(at, &intent);
        let exit = self.exit_of(at, pid, kind);
        self.tell_exit(at, pid, exit);
        self.after(ends_in, Event::Ends { node: at, pid, kind });
        true
    }

    /// How an end is told.
    pub(crate) fn told_kind(&mut self, at: NodeAt, kind: ExitKind) -> ExitKind {
        if self.lies(at, 20) { ExitKind::Unknown } else { kind }
    }

    /// The end of a container is told at last, unless it was listed or cleared away meanwhile.
    pub(crate) fn confess(&mut self, at: NodeAt, life: u64, pid: u32) {
        let host = &self.hosts[at];
        let exit = host.containers.get(&pid).and_then(|container| container.exit);
        if let Some(exit) = exit.filter(|_| host.life == life) {
            self.tell_exit(at, pid, Some(exit));
        }
    }

    /// One container that a listing misses, if any. Only what the agent would look for: a listing is the one thing that tells it of
    /// what it does not know.
    pub(crate) fn missed(&mut self, at: NodeAt) -> Option<u32> {
        if !self.lies(at, 50) {
            return None;
        }
        let host = &self.hosts[at];
        let agent = host.agent.as_ref()?;
        // Of a start that the agent's disk has never heard of, its keeper is the only witness.
        let known = |pid: &&u32| {
            let container = &host.containers[*pid];
            let mut its = agent.lifecycles().filter(|lifecycle| *lifecycle.id() == container.intent.id);
            container.runs() && its.any(|lifecycle| lifecycle.knows_of_start(&container.name))
        };
        let pids: Vec<u32> = host.containers.keys().filter(known).copied().collect();
        if pids.is_empty() {
            return None;
        }
        let pid = pids[self.fate.below(pids.len())];
        let container = self.hosts[at].containers.get_mut(&pid)?;
        container.acknowledged = false;
        let intent = Arc::clone(&container.intent);
        // What ran and is not there any more has ended, for all that the agent knows.
        self.trouble(at, &intent);
        Some(pid)
    }
}
