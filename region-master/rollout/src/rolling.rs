//! One step of bringing a workload's instances to where they should be.
//!
//! Every instance has copies: usually one, two while one takes over from the other. A copy is wanted when it is of the
//! generation that its instance should have and its node is not being drained. The plan starts and stops copies so that every
//! instance comes to have one wanted copy, and on the way
//!
//! - no more than `max_unavailable` instances are without a ready copy because of the plan, and no more than `max_surge` have a
//!   copy too many;
//! - a ready copy is stopped for another one only when that has been ready for `min_healthy`, or when `max_unavailable` allows
//!   the gap;
//! - members that are not heard from are left alone and hold nothing up: they are deferred, and go on when they are back.

mod gate;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use skerry_types::{AllocationId, InstanceIndex, Leave, OnReturn, PartProgress, SiteName, UpdatePolicy};

/// One copy of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica<'a> {
    /// Its allocation.
    pub id: &'a AllocationId,
    /// Whether it is of the generation that is being moved to.
    pub current: bool,
    /// How it does.
    pub health: Health,
    /// Whether its node is heard from.
    pub reach: Reach,
    /// Whether its node is being emptied.
    pub drain: Drain,
    /// How long ago it was placed: of two, the original is the older one.
    pub age: Duration,
}

/// How a copy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// On its way to its first readiness.
    Starting,
    /// Ready for this long.
    Ready(Duration),
    /// It was ready, and is not.
    Unready,
    /// It cannot start, or ends again and again.
    Failing,
}

/// Whether a copy's node is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is.
    Reachable,
    /// It is not; the copy may well run.
    Unreachable,
    /// It is not for so long that the workload wants a replacement.
    Lost,
}

/// Whether a copy's node is being emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// It is not.
    No,
    /// It is: the copy goes when another one is ready.
    Gentle,
    /// Its time is over: the copy goes at once.
    Forced,
}

/// One instance and its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Which instance.
    pub instance: InstanceIndex,
    /// Its site, which matters for `per_site` only; `None` while it has no copy.
    pub site: Option<SiteName>,
    /// Its wave, from 0; see [`crate::waves::Seating`].
    pub wave: usize,
    /// Whether its site's maintenance window is open.
    pub open: bool,
    /// Whether it may be heard from at any moment, for the master has only just begun: its wave waits for it.
    pub awaited: bool,
    /// Its copies that should run.
    pub replicas: &'a [Replica<'a>],
}

/// What is known of the move beside its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// An operator holds it.
    pub paused: bool,
    /// An operator let it go on after its canaries.
    pub promoted: bool,
    /// It was given up, and why: nothing more is moved.
    pub failed: Option<String>,
    /// Since a member last came to its goal, or since the first that is on its way to it began.
    pub since_progress: Duration,
    /// Whether there is a former generation that missing instances can be started in.
    pub has_former: bool,
    /// How far it may go, where that is decided elsewhere: nothing is then given up or promoted here.
    pub told: Option<Leave>,
    /// Waves, from the first, of which it is settled whom they take here; more than there are where nothing has to be.
    pub dealt: usize,
    /// The regions below that have a part of it.
    pub parts: Vec<Part>,
    /// Instances that nobody has, for want of room.
    pub homeless: u32,
    /// A node or a region with something of it is away, and for so much longer that may be only for a moment.
    pub unsure_for: Option<Duration>,
}

/// A region below and what it says of its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Whether it is heard from.
    pub reachable: bool,
    /// Whether it is away for only a moment: waves wait for it.
    pub awaited: bool,
    /// Whether it has said anything of this generation.
    pub answered: bool,
    /// What it said; before that only how many instances it has.
    pub progress: PartProgress,
}

/// What to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Copies to place.
    pub start: Vec<Start>,
    /// Copies to stop.
    pub stop: Vec<AllocationId>,
    /// How far it is, the regions below included.
    pub progress: Progress,
    /// How far regions below may go, but for their canaries.
    pub leave: Leave,
    /// Canaries of each of the course's parts.
    pub canaries: Vec<u32>,
    /// When to look again though nothing changed.
    pub again_in: Option<Duration>,
}

/// A copy to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Of which instance.
    pub instance: InstanceIndex,
    /// In the generation that is being moved to; in the former one otherwise.
    pub current: bool,
}

/// How far a move is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Members in all.
    pub total: u32,
    /// Members with a copy of the generation that is being moved to.
    pub updated: u32,
    /// Members that may move or have moved and are not well.
    pub under_way: u32,
    /// Members whose such copy has been ready for `min_healthy`.
    pub settled: u32,
    /// Members that are not heard from and have not been moved.
    pub deferred: u32,
    /// Members whose such copy fails.
    pub failed: u32,
    /// Members that wait for their maintenance window.
    pub waiting: u32,
    /// The wave that goes on, from 0, and how many there are.
    pub wave: (usize, usize),
    /// Whether the canaries are well.
    pub canaries_well: bool,
    /// How many waves, from the first, are well for as long as they are to be.
    pub waves_done: u32,
    /// Whether nothing is left to do, but for members that are deferred for longer than a moment.
    pub done: bool,
    /// What it does.
    pub state: State,
}

/// What a move does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing is left to do, but for members that are deferred.
    #[default]
    Done,
    /// It goes on.
    Running,
    /// An operator holds it.
    Paused,
    /// Its canaries are well; it waits for an operator's word.
    WaitingPromotion,
    /// It was given up, and why.
    Failed(String),
}

impl Part {
    /// Its counts, as they matter to the whole: what is not heard from is deferred, whatever it said last.
    fn counts(&self) -> PartProgress {
        let said = self.progress;
        if self.reachable {
            return said;
        }
        let (total, settled) = (said.total, said.settled);
        let deferred = total.saturating_sub(settled);
        PartProgress { total, settled, updated: settled, deferred, ..PartProgress::default() }
    }

    /// Whether waves wait for it: what is cut off is left behind.
    pub fn is_waited_for(&self) -> bool {
        self.reachable || self.awaited
    }

    /// How many of its members a wave could take, if it has said so.
    pub fn could_take(&self, wave: usize) -> Option<u32> {
        let said = self.progress.matching.filter(|_| self.answered)?;
        usize::try_from(said.wave).is_ok_and(|of| of == wave).then_some(said.members)
    }

    /// Whether so many canaries of it are well.
    fn is_well(&self, canaries: u32) -> bool {
        let said = self.progress;
        canaries == 0 || self.answered && said.canaries_well && said.settled >= canaries
    }

    /// Whether the whole waits for it.
    fn is_left(&self) -> bool {
        self.reachable && (!self.answered || !self.progress.done)
    }

    /// Whether it holds up what comes after the waves before this one.
    fn holds_up(&self, wave: u32) -> bool {
        self.is_waited_for() && (!self.answered || self.progress.waves_done <= wave)
    }
}

impl Progress {
    /// What is told of it to the region above, but for whom the next wave could take.
    pub fn as_part(&self) -> PartProgress {
        PartProgress {
            total: self.total,
            updated: self.updated,
            under_way: self.under_way,
            settled: self.settled,
            deferred: self.deferred,
            failed: self.failed,
            waiting: self.waiting,
            canaries_well: self.canaries_well,
            waves_done: self.waves_done,
            matching: None,
            done: self.done,
        }
    }
}

impl Replica<'_> {
    fn is_ready(&self) -> bool {
        matches!(self.health, Health::Ready(_))
    }

    /// Whether it is ready, heard from, and for at least this long.
    fn is_settled(&self, least: Duration) -> bool {
        self.reach == Reach::Reachable && matches!(self.health, Health::Ready(since) if since >= least)
    }

    fn is_wanted(&self) -> bool {
        self.current && self.drain == Drain::No
    }
}

impl<'a> Member<'a> {
    /// Copies that are not given up.
    fn live(&self) -> impl Iterator<Item = &'a Replica<'a>> + use<'a> {
        self.replicas.iter().filter(|replica| replica.reach != Reach::Lost)
    }

    fn current(&self) -> impl Iterator<Item = &'a Replica<'a>> + use<'a> {
        self.live().filter(|replica| replica.current)
    }

    /// Whether all that is left of it is on nodes that are not heard from.
    fn is_deferred(&self) -> bool {
        let mut live = self.live().peekable();
        live.peek().is_some() && live.all(|replica| replica.reach == Reach::Unreachable)
    }

    /// Whether it had copies, and all are given up: that it comes back is not the move's affair.
    fn is_lost(&self) -> bool {
        !self.replicas.is_empty() && self.live().next().is_none()
    }

    fn is_settled(&self, least: Duration) -> bool {
        self.current().any(|replica| replica.is_settled(least))
    }

    /// Whether it can be counted on: by a ready copy of the former generation, or by one of the current generation that has been
    /// ready for this long.
    fn is_steady(&self, least: Duration) -> bool {
        self.live().any(|replica| replica.is_ready() && !replica.current) || self.is_settled(least)
    }

    /// Whether it has copies that are heard from, all of the former generation, and none of them will be ready by itself.
    fn is_broken(&self) -> bool {
        let mut live = self.live().peekable();
        live.peek().is_some()
            && live.all(|replica| {
                !replica.current
                    && replica.reach == Reach::Reachable
                    && matches!(replica.health, Health::Unready | Health::Failing)
            })
    }

    /// Whether a copy of it is ready.
    fn is_available(&self) -> bool {
        self.live().any(Replica::is_ready)
    }

    /// Whether its move to the current generation was tried and does not work.
    fn has_failed(&self) -> bool {
        let mut current = self.current().filter(|replica| replica.reach == Reach::Reachable).peekable();
        current.peek().is_some() && current.all(|replica| replica.health == Health::Failing)
    }
}

/// What to do next for a workload whose instances are `members`, in order of their numbers and each once.
pub fn plan(policy: &UpdatePolicy, on_return: OnReturn, course: &Course, members: &[Member<'_>]) -> Plan {
    let gate = gate::Gate::new(policy, course, members);
    step::plan(policy, on_return, &gate, course, members)
}
