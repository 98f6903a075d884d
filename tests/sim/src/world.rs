//! The world: who is in it, what time it is, and what happens next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use skerry_region_state::LinkId;
use skerry_types::{MonoTime, Mutant, Now, WallTime, mutant};

use crate::agenda::{Agenda, Due};
use crate::disk::Disk;
use crate::event::{Event, Party};
use crate::finale::Stage;
use crate::judge::Judge;
use crate::link::Pipe;
use crate::master::Master;
use crate::node::Host;
use crate::operator::{Lists, Operators};
use crate::peace::Peace;
use crate::rng::Rng;
use crate::watch::Pulse;
use crate::{Carrier, Mutation, Options, Outcome, Violation};

/// Lines of trace that a violation shows.
const TRACE_KEPT: usize = 40;
/// Events in a row without any time passing: somebody spins.
const EVENTS_AT_ONCE_MAX: u32 = 10_000;
/// Events within a minute, a hundred times the usual: somebody spins, and lets a little time pass each time.
const EVENTS_A_MINUTE_MAX: u32 = 50_000;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) rng: Rng,
    /// Of its own, so that what it decides changes nothing else of a seed.
    pub(crate) fate: Rng,
    /// True time in microseconds.
    pub(crate) now_us: u64,
    at_once: u32,
    /// Which minute it is, and events in it.
    minute: (u64, u32),
    agenda: Agenda,
    pulse: Arc<Pulse>,
    /// Parents stand before their children.
    pub(crate) masters: Vec<Master>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) pipes: BTreeMap<LinkId, Pipe>,
    pub(crate) next_link: u64,
    pub(crate) operators: Operators,
    pub(crate) stage: Stage,
    /// How often a stage waited for a master's answer.
    pub(crate) asked_again: u32,
    /// Messages but acknowledgements that were sent.
    pub(crate) frames: u64,
    pub(crate) peace: Peace,
    /// Operations that agents began.
    pub(crate) begun: u64,
    /// Batches that masters wrote.
    pub(crate) writes: u64,
    /// Timers of masters that fired.
    pub(crate) ticks: u64,
    /// What a master last answered to somebody who asked for a list.
    pub(crate) lists: Lists,
    pub(crate) judge: Judge,
    found: Option<String>,
    trace: VecDeque<String>,
    digest: DefaultHasher,
}

impl World {
    pub(crate) fn new(options: Options, pulse: Arc<Pulse>) -> Self {
        mutant::choose(options.mutation.and_then(Mutation::brain));
        let mut rng = Rng::new(options.seed);
        let masters = tree(&mut rng);
        let mut hosts = nodes(&masters, &mut rng);
        hosts.truncate(options.nodes.unwrap_or(usize::MAX));
        // Of their own, so that the drift of clocks changes nothing else of a seed.
        let mut drifts = Rng::new(!options.seed);
        let mut world = Self {
            options,
            rng,
            fate: Rng::new(options.seed.rotate_left(32) ^ 0x5eed),
            now_us: SECOND,
            at_once: 0,
            minute: (0, 0),
            agenda: Agenda::default(),
            pulse,
            masters,
            hosts,
            pipes: BTreeMap::new(),
            next_link: 0,
            operators: Operators::default(),
            stage: Stage::Storm,
            asked_again: 0,
            frames: 0,
            peace: Peace::default(),
            begun: 0,
            writes: 0,
            ticks: 0,
            lists: Lists::default(),
            judge: Judge::default(),
            found: None,
            trace: VecDeque::new(),
            digest: DefaultHasher::new(),
        };
        let wild = if world.is(Carrier::ClocksRunWild) { 80 } else { 1 };
        world.hosts.iter_mut().for_each(|host| host.clock.drift = Clock::any_drift(&mut drifts) * wild);
        world.masters.iter_mut().for_each(|master| master.clock.drift = Clock::any_drift(&mut drifts));
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.enroll_all();
        for at in 1..self.masters.len() {
            self.dial_later(Party::Master(at));
        }
        for at in 0..self.hosts.len() {
            self.after(0, Event::BootKeeper(at));
            self.after(MS, Event::BootAgent(at));
        }
        self.limit_tenant();
        self.after(SECOND, Event::Operator);
        self.after(20 * SECOND, Event::Fault);
        self.after(40 * SECOND, Event::Mishap);
        let storm_us = u64::try_from(self.options.storm.as_micros()).unwrap_or(u64::MAX);
        self.after(storm_us, Event::Stage);
    }

    /// Runs until the end of the last stage.
    pub(crate) fn run(mut self) -> Result<Outcome, Box<Violation>> {
        let mut steps = 0;
        while self.stage != Stage::Done && self.options.steps.is_none_or(|most| steps < most) {
            let Some((at, event)) = self.agenda.pop() else {
                self.fail("nothing is left to happen".to_owned());
                break;
            };
            steps += 1;
            self.pulse.beat(steps, at);
            self.pass_time(at);
            (at, std::mem::discriminant(&event)).hash(&mut self.digest);
            self.note(&format_args!("{event:?}"));
            self.happen(event);
            if self.found.is_some() {
                break;
            }
        }
        let virtual_time = Duration::from_micros(self.now_us);
        match self.found {
            Some(what) => Err(Box::new(Violation {
                options: Options { told: false, ..self.options },
                nodes: self.hosts.len(),
                at: virtual_time,
                steps,
                what,
                trace: self.trace.into(),
            })),
            None => Ok(Outcome {
                virtual_time,
                nodes: self.machines(),
                steps,
                digest: self.digest.finish(),
                applied: self.operators.acknowledged,
                containers: self.hosts.iter().map(|host| u64::from(host.next_pid)).sum(),
            }),
        }
    }

    /// It is so late. Time goes on, and not by trifles.
    fn pass_time(&mut self, at_us: u64) {
        self.at_once = if at_us > self.now_us { 0 } else { self.at_once + 1 };
        self.now_us = at_us;
        let minute = at_us / (60 * SECOND);
        let events = if minute == self.minute.0 { self.minute.1 + 1 } else { 0 };
        self.minute = (minute, events);
        if self.at_once > EVENTS_AT_ONCE_MAX || events > EVENTS_A_MINUTE_MAX {
            self.fail("time stands still: something spins".to_owned());
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Commit { party, life } => self.commit(party, life),
            Event::Space(party) => self.space(party),
            Event::Timer(Party::Node(at)) => self.timer(at),
            Event::Timer(Party::Master(at)) => self.master_timer(at),
            Event::Dial { party, life } => self.dial(party, life),
            Event::Up(link, parcel) => self.deliver_up(link, parcel),
            Event::Down(link, parcel) => self.deliver_down(link, parcel),
            Event::Lost(link, side) => self.lost(link, side),
            Event::Heal(child) => {
                self.disturb();
                self.way(child).is_cut = false;
            }
            Event::Inventory { node, life, keeper } => self.inventory(node, life, keeper),
            Event::Execute { node, life, op } => self.execute(node, life, op),
            Event::Answer { node, life, op, result } => self.answer(node, life, op, result),
            Event::Ends { node, pid, kind } => self.container_ends(node, pid, kind),
            Event::LeaseEnds { node, pid } => self.lease_may_end(node, pid),
            Event::Confess { node, life, pid } => self.confess(node, life, pid),
            Event::EndCopy(node) => self.end_copy(node),
            Event::Mishap => self.mishap(),
            Event::BootAgent(node) => self.boot_agent(node),
            Event::BootKeeper(node) => self.boot_keeper(node),
            Event::BootMaster(at) => self.boot_master(at),
            Event::Operator => self.operate(),
            Event::Fault => self.strike(),
            Event::Stage => self.next_stage(),
        }
    }

    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    pub(crate) fn at(&mut self, at_us: u64, event: Event) {
        self.agenda.add(at_us.max(self.now_us), event);
    }

    /// Moves the one timer of a party to another time, or stops it.
    pub(crate) fn move_timer(
        &mut self,
        party: Party,
        timer: Option<Due>,
        due_us: Option<u64>,
    ) -> Option<Due> {
        let due_us = due_us.map(|due_us| due_us.max(self.now_us));
        if timer.map(|(at_us, _)| at_us) == due_us {
            return timer;
        }
        if let Some(timer) = timer {
            self.agenda.cancel(timer);
        }
        due_us.map(|due_us| self.agenda.add(due_us, Event::Timer(party)))
    }

    /// A time from `range` in microseconds.
    pub(crate) fn soon(&mut self, range: std::ops::Range<u64>, event: Event) {
        let delay = self.rng.within(range);
        self.after(delay, event);
    }

    pub(crate) fn is(&self, carrier: Carrier) -> bool {
        self.options.mutation == Some(Mutation::World(carrier))
    }

    /// Nothing waits for its disk, so that nothing of what was under way may be there after a crash.
    pub(crate) fn keeps_none(&self) -> bool {
        self.options.mutation == Some(Mutation::Brain(Mutant::SkipsPersistWait))
    }

    pub(crate) fn fail(&mut self, what: String) {
        if self.found.is_none() {
            self.found = Some(what);
        }
    }

    pub(crate) fn note(&mut self, what: &dyn fmt::Display) {
        if !self.options.trace && !self.options.told {
            return;
        }
        let line = format!("{:>13.6} {what}", Duration::from_micros(self.now_us).as_secs_f64());
        if self.options.trace {
            println!("{line}");
        }
        if self.trace.len() == TRACE_KEPT {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    pub(crate) fn disk(&mut self, party: Party) -> &mut Disk {
        match party {
            Party::Master(at) => &mut self.masters[at].disk,
            Party::Node(at) => &mut self.hosts[at].disk,
        }
    }

    fn commit(&mut self, party: Party, life: u64) {
        if self.life(party) != life {
            return;
        }
        let disk = self.disk(party);
        if disk.full {
            disk.busy = false;
            return;
        }
        if let Some(id) = disk.commit() {
            match party {
                Party::Master(at) => self.tell_master(at, skerry_region_state::Input::Persisted(id)),
                Party::Node(at) => self.tell_agent(at, skerry_agent_state::Input::Persisted(id)),
            }
        }
    }

    /// Lets a disk that has something to write begin.
    pub(crate) fn work_disk(&mut self, party: Party) {
        let life = self.life(party);
        let disk = self.disk(party);
        if disk.wants_commit() {
            disk.busy = true;
            let slowest = disk.slowest;
            self.soon(500..slowest, Event::Commit { party, life });
        }
    }

    pub(crate) fn space(&mut self, party: Party) {
        self.disturb();
        let disk = self.disk(party);
        disk.full = false;
        disk.slowest = 20 * MS;
        self.work_disk(party);
    }
}

/// A root; most seeds have regions below it, some a region below one of those.
fn tree(rng: &mut Rng) -> Vec<Master> {
    let mut masters = vec![Master::new(0, None)];
    if rng.percent(20) {
        return masters;
    }
    masters.extend([Master::new(1, Some(0)), Master::new(2, Some(0))]);
    if rng.percent(40) {
        masters.push(Master::new(3, Some(1)));
    }
    masters
}

/// A single region has a few nodes; in a tree every region but maybe the root has one or two.
fn nodes(masters: &[Master], rng: &mut Rng) -> Vec<Host> {
    let mut hosts = Vec::new();
    for master in 0..masters.len() {
        let count = match (masters.len(), master) {
            (1, _) => 2 + rng.below(3),
            (_, 0) => rng.below(2),
            _ => 1 + rng.below(2),
        };
        for _ in 0..count {
            hosts.push(Host::new(hosts.len(), master, rng));
        }
    }
    hosts
}

/// The clocks of a machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// When the one that never jumps stood at zero, in true microseconds.
    pub(crate) zero_us: u64,
    /// By how much the one on the wall is off.
    pub(crate) skew_ms: i64,
    /// How much faster than true time the one that never jumps goes, in millionths.
    pub(crate) drift: i64,
}

impl Clock {
    /// As wrong as a clock may go: one in a hundred.
    pub(crate) fn any_drift(rng: &mut Rng) -> i64 {
        const MOST: i64 = 10_000;
        [-MOST, 0, MOST][rng.below(3)]
    }

    fn rate(self) -> u128 {
        u128::from(1_000_000_u64.saturating_add_signed(self.drift))
    }

    /// What it takes for the present.
    pub(crate) fn now(self, now_us: u64) -> Now {
        const EPOCH_MS: u64 = 1_800_000_000_000;
        let wall = (EPOCH_MS + now_us / MS).saturating_add_signed(self.skew_ms);
        let passed_ns = u128::from(now_us.saturating_sub(self.zero_us)) * self.rate() / 1000;
        let mono = Duration::from_nanos(u64::try_from(passed_ns).unwrap_or(u64::MAX));
        Now { mono: MonoTime(mono), wall: WallTime(wall) }
    }

    /// The first true microsecond at which it is so late.
    pub(crate) fn true_us(self, at: MonoTime) -> u64 {
        let passed_us = (at.0.as_nanos() * 1000).div_ceil(self.rate());
        self.zero_us.saturating_add(u64::try_from(passed_us).unwrap_or(u64::MAX))
    }
}
