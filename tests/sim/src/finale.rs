//! When the faults stop: agreement, a last cut, agreement again, silence.

use skerry_types::{Desired, ExitKind};

use crate::event::{Event, Party};
use crate::spec;
use crate::world::{MS, SECOND, World};

/// From the last fault until everybody has answered: a broken link that nobody noticed yet, a start, a disk with room again.
const ANSWERS_WITHIN: u64 = 120 * SECOND;
/// From the last call of an operator to agreement: a backoff, a pull, a stop with its grace, times the instances that an update
/// replaces one after another, and the rounds in which regions are asked.
const SETTLES_WITHIN: u64 = 600 * SECOND;
/// How soon an operator who got no answer asks again.
const ASKS_AGAIN: u64 = 5 * SECOND;
/// How soon, and how often, a master is asked again whose disk is busy.
const ASKS_SOON: u64 = 100 * MS;
const ASKS_MOST: u32 = 100;
/// A master that has no answer so long after the faults has none at all.
const ANSWERS_BY: u64 = 1600 * SECOND;
/// How long everybody is on their own: the longest backoff, a boot, and room to spare.
const OFFLINE_FOR: u64 = 150 * SECOND;
/// From healing until what each master shows of its own nodes is right.
const RIGHT_WITHIN: u64 = 5 * SECOND;
/// From then until the root shows it, and nothing that was away counts as away any more: two minutes, and room to spare.
const CALM_WITHIN: u64 = 180 * SECOND;
const SILENCE: u64 = 1800 * SECOND;
/// Timers of all masters that may fire in a silence.
const TICKS_MAX: u64 = 60;

/// Where in its story the world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Everything goes wrong.
    Storm,
    /// The faults have stopped.
    Mend,
    /// Operators have put right what they did.
    Settle,
    /// Every link is cut and every ledger is full; containers crash and a node loses its power.
    Offline,
    /// The links are back.
    Rejoin,
    /// What is left to say is said.
    Calm,
    /// Nobody has anything to say or to do.
    Silence,
    Done,
}

impl World {
    /// Goes on to what comes next, when every master answers: a version that never runs keeps a master's disk busy, and what it has
    /// just heard is on its way there.
    pub(crate) fn next_stage(&mut self) {
        let is_judged = matches!(self.stage, Stage::Settle | Stage::Calm | Stage::Silence);
        if is_judged && self.asked_again < ASKS_MOST && !self.all_answer() {
            self.asked_again += 1;
            return self.after(ASKS_SOON, Event::Stage);
        }
        self.asked_again = 0;
        let (stage, lasts) = match self.stage {
            Stage::Storm => {
                self.stop_faults();
                (Stage::Mend, ANSWERS_WITHIN)
            }
            Stage::Mend => {
                if self.mend() {
                    (Stage::Settle, SETTLES_WITHIN)
                } else {
                    let storm_us = u64::try_from(self.options.storm.as_micros()).unwrap_or(u64::MAX);
                    if self.now_us > storm_us + ANSWERS_BY {
                        self.fail("a master does not answer".to_owned());
                    }
                    (Stage::Mend, ASKS_AGAIN)
                }
            }
            Stage::Settle => {
                self.check_agreement("after the faults", true);
                self.go_offline();
                (Stage::Offline, OFFLINE_FOR)
            }
            Stage::Offline => {
                self.check_local_life();
                self.come_back();
                (Stage::Rejoin, RIGHT_WITHIN)
            }
            Stage::Rejoin => {
                self.check_agreement("5 s after the links healed", false);
                (Stage::Calm, CALM_WITHIN)
            }
            Stage::Calm => {
                self.check_agreement("three minutes after the links healed", true);
                (self.frames, self.begun, self.writes, self.ticks) = (0, 0, 0, 0);
                (Stage::Silence, SILENCE)
            }
            Stage::Silence | Stage::Done => {
                self.check_silence();
                self.check_agreement("after a silence", true);
                (Stage::Done, 0)
            }
        };
        self.disturb();
        self.stage = stage;
        self.note(&format_args!("---- {stage:?}"));
        self.after(lasts, Event::Stage);
    }

    fn all_answer(&mut self) -> bool {
        (0..self.masters.len()).all(|at| self.allocations(at).is_some())
    }

    fn check_silence(&mut self) {
        // A version that never runs, left beside one that does for want of room, is tried again for ever.
        let mut intents = self.masters.iter().flat_map(|master| master.state.intents());
        let never_rests = intents.any(|(_, intent)| spec::is_bad(&intent.spec));
        drop(intents);
        if never_rests || self.peace.has_work {
            return;
        }
        let (frames, begun, writes) = (self.frames, self.begun, self.writes);
        if frames + begun + writes > 0 {
            self.fail(format!(
                "{frames} messages, {begun} operations and {writes} writes of masters without cause"
            ));
        }
        if self.ticks > TICKS_MAX {
            self.fail(format!("timers of masters fired {} times without cause", self.ticks));
        }
    }

    fn stop_faults(&mut self) {
        for at in 0..self.masters.len() {
            self.masters[at].way.mend();
            self.space(Party::Master(at));
        }
        self.end_copies();
        for at in 0..self.hosts.len() {
            self.hosts[at].way.mend();
            self.hosts[at].fails_until_us = 0;
            self.hosts[at].lies_until_us = 0;
            self.space(Party::Node(at));
        }
    }

    fn go_offline(&mut self) {
        for at in 0..self.masters.len() {
            self.masters[at].way.is_cut = true;
            if let Some(link) = self.masters[at].way.link {
                self.break_link(link, 60 * SECOND, 60 * SECOND);
            }
        }
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            host.way.is_cut = true;
            host.disk.full = true;
            let running = host.containers.iter().filter(|(_, container)| container.runs());
            let pids: Vec<u32> = running.map(|(pid, _)| *pid).collect();
            if let Some(link) = host.way.link {
                self.break_link(link, 60 * SECOND, 60 * SECOND);
            }
            for pid in pids {
                if self.rng.percent(50) {
                    self.end_container(at, pid, ExitKind::Code(1));
                }
            }
        }
        let unlucky = self.rng.below(self.machines());
        self.reboot(unlucky);
    }

    fn come_back(&mut self) {
        for at in 0..self.masters.len() {
            self.masters[at].way.is_cut = false;
        }
        for at in 0..self.hosts.len() {
            self.hosts[at].way.is_cut = false;
            self.space(Party::Node(at));
        }
    }

    /// Without a link and with a full disk, everything that should run, and that the node was told of, does.
    fn check_local_life(&mut self) {
        let mut still = Vec::new();
        for host in self.hosts.iter().take(self.machines()) {
            let intents = self.masters[host.master].state.intents();
            let its = intents.filter(|(node, i)| {
                let known = host.disk.value("intent", i.id.as_str().as_bytes()).is_some();
                **node == host.name && i.desired == Desired::Run && known && !spec::is_bad(&i.spec)
            });
            for (node, intent) in its {
                let runs = host.containers.values().filter(|c| c.intent.id == intent.id && c.runs()).count();
                let wanted = intent.spec.containers.len();
                if runs != wanted {
                    still.push(format!("{runs} of {wanted} containers of {} run on {node}", intent.id));
                }
            }
        }
        if !still.is_empty() {
            self.fail(format!("on its own: {}", still.join(", ")));
        }
    }
}
