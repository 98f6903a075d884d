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

use skerry_types::{AllocationId, InstanceIndex, OnReturn, SiteName, UpdatePolicy};

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
    /// Its wave, from 0; see [`crate::waves::assign`].
    pub wave: usize,
    /// Whether its site's maintenance window is open.
    pub open: bool,
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
    /// Since a member last came to its goal, or since the move began.
    pub since_progress: Duration,
    /// Whether there is a former generation that missing instances can be started in.
    pub has_former: bool,
}

/// What to do next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Copies to place.
    pub start: Vec<Start>,
    /// Copies to stop.
    pub stop: Vec<AllocationId>,
    /// How far it is.
    pub progress: Progress,
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

    fn is_settled(&self, least: Duration) -> bool {
        self.current().any(|replica| replica.is_settled(least))
    }

    /// Whether it can be counted on: by a ready copy of the former generation, or by one of the current generation that has been
    /// ready for this long.
    fn is_steady(&self, least: Duration) -> bool {
        self.live().any(|replica| replica.is_ready() && !replica.current) || self.is_settled(least)
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
