//! One allocation's life on this node.
//!
//! Level-triggered: news changes what is known, then [`Lifecycle::advance`] compares it with what is wanted and begins what
//! is missing. So the order in which news arrives does not matter.

mod ahead;
mod lease;
mod leave;
mod news;
mod phase;
mod rest;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    AllocationId, AllocationIntent, ContainerName, Desired, MonoTime, Now, Phase, Reason, ReasonCode,
    WallTime,
};

use crate::container::ContainerLife;
use crate::effects::Effects;
use crate::ledger::{Life, Run};
use crate::timetable::Timetable;
use crate::{OpId, Operation};

use lease::Hold;
use leave::Leaving;

/// How often an allocation looks whether what leaves has left it room.
const LOOKS_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);

/// One allocation on this node, from the arrival of its intent until nothing of it is left.
#[derive(Debug)]
pub struct Lifecycle {
    intent: Arc<AllocationIntent>,
    /// The master's row is gone: stop, and then forget.
    disowned: bool,
    stage: Stage,
    /// Init containers, then the others.
    containers: Vec<ContainerLife>,
    address: Option<Ipv4Addr>,
    reason: Option<Reason>,
    /// Failures in a row of what comes before the containers.
    failures: u32,
    shown: (Phase, WallTime),
    ready_since: Option<WallTime>,
    unsaved: bool,
    boot: String,
    room: Room,
    /// Something may be left of it on the node when no container is: its network, with its address and host ports.
    is_made: bool,
    /// It is to stop, and goes on for a while.
    leaving: Option<Leaving>,
    course: Course,
    tether: Tether,
    /// Its lease, if it is exclusive.
    hold: Option<Hold>,
    /// When it is looked at again: where the node's timers have it.
    pub(crate) armed: Option<MonoTime>,
}

/// The runs of its containers: one, or one for each due time.
#[derive(Debug)]
struct Course {
    /// The run under way, or the last one; `None` between the runs of a schedule.
    run: Option<Run>,
    /// When the run under way has taken too long.
    deadline_at: Option<MonoTime>,
    timetable: Option<Timetable>,
    /// The run under way is ended for the next.
    is_replaced: bool,
    /// Its images were on disk when that was last looked at, in this boot.
    has_images: bool,
    /// What the ledger has of it was written in this boot.
    is_of_this_boot: bool,
}

/// What an allocation needs of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    There,
    /// It is taken by what is on its way out, or goes on by an earlier word: nothing is made before that has left.
    Taken,
}

/// What a link, or the want of one, means for it.
#[derive(Debug)]
struct Tether {
    /// Stopped for want of a link.
    is_cut_off: bool,
    /// When the link is away for too long, or is back for long enough.
    at: Option<MonoTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is known to be there.
    New,
    Pulling {
        op: OpId,
        cancelled: bool,
    },
    Preparing(OpId),
    /// Image and network are there; the rest is the containers' affair.
    Up {
        /// A start failed while nothing else ran: image and network are looked at anew before the next.
        is_stale: bool,
    },
    /// What comes before the containers failed.
    Wait(MonoTime),
    /// No container is left; its network goes.
    Releasing(OpId),
    ReleaseAgain(MonoTime),
    /// Nothing but logs is left, and nothing is to be done.
    Rest,
    Removing(OpId),
    RemoveAgain(MonoTime),
    /// Nothing is left.
    Gone,
}

/// What is to become of it at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Run,
    /// Nothing is to run, for a time or because all is done.
    Rest,
    Stop,
}

impl Lifecycle {
    pub(crate) fn new(intent: Arc<AllocationIntent>, life: &Life, boot: &str, now: Now) -> Self {
        let history = |name| life.containers.get(name).cloned().unwrap_or_default();
        let init = intent.spec.init.iter().map(|spec| ContainerLife::new(spec, true, history(&spec.name)));
        let main =
            intent.spec.containers.iter().map(|spec| ContainerLife::new(spec, false, history(&spec.name)));
        let mut lifecycle = Self {
            containers: init.chain(main).collect(),
            disowned: false,
            stage: Stage::New,
            address: life.address,
            reason: life.reason.clone(),
            failures: 0,
            shown: (Phase::Pending, now.wall),
            ready_since: life.ready_since,
            unsaved: false,
            boot: boot.to_owned(),
            room: Room::There,
            is_made: life.is_made,
            leaving: life.leaving.map(|since| Leaving::again(since, &intent, now)),
            course: Course {
                run: life.run.clone(),
                deadline_at: None,
                timetable: None,
                is_replaced: false,
                has_images: life.has_images && life.boot == boot,
                is_of_this_boot: life.boot == boot,
            },
            tether: Tether { is_cut_off: life.is_cut_off, at: None },
            hold: Hold::new(&intent, life.starts),
            armed: None,
            intent,
        };
        if life.boot != boot && life.run.is_some() && !lifecycle.is_over() {
            // What they prepared is gone with the boot that they prepared it in.
            lifecycle.containers.iter_mut().filter(|c| c.is_init).for_each(ContainerLife::revive);
        }
        lifecycle.read_schedule(life.timetable.as_ref(), now.wall);
        lifecycle.set_deadline(now);
        lifecycle
    }

    /// What the ledger holds of an allocation that was never here.
    pub(crate) fn fresh(intent: &AllocationIntent) -> Life {
        Life { run: intent.spec.schedule.is_none().then(Run::default), ..Life::default() }
    }

    /// What the master wants.
    pub fn intent(&self) -> &Arc<AllocationIntent> {
        &self.intent
    }

    /// Its id.
    pub fn id(&self) -> &AllocationId {
        &self.intent.id
    }

    /// Its containers that run, with their process ids.
    pub fn running(&self) -> impl Iterator<Item = (&ContainerName, u32)> {
        self.containers.iter().filter_map(|container| Some((&container.name, container.pid()?)))
    }

    /// Whether a start of this container is known whose end is not.
    pub fn knows_of_start(&self, container: &ContainerName) -> bool {
        self.containers.iter().any(|known| known.name == *container && known.may_be_there())
    }

    /// Whether nothing of it is left on the node.
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether it is looked at for room: what is done next may take it.
    pub(crate) fn is_before_room(&self) -> bool {
        matches!(self.stage, Stage::Pulling { .. } | Stage::Wait(_))
    }

    /// Whether something of it is made that takes the node's room, or is about to be. What is only wanted, or rests, takes none.
    pub(crate) fn holds_room(&self) -> bool {
        match self.stage {
            Stage::Preparing(_)
            | Stage::Up { .. }
            | Stage::Releasing(_)
            | Stage::ReleaseAgain(_)
            | Stage::Removing(_)
            | Stage::RemoveAgain(_) => true,
            // What is made anew has its network still, and what was made in another boot keeps its right.
            Stage::New | Stage::Pulling { .. } | Stage::Wait(_) => self.is_made,
            Stage::Rest | Stage::Gone => false,
        }
    }

    /// Why it is not made, if that is for want of room.
    fn awaits_room(&self) -> Option<Reason> {
        let awaits = self.room == Room::Taken && self.failures == 0 && matches!(self.stage, Stage::Wait(_));
        let message =
            "its room or a host port is in use by what is on the node: it waits until that has left";
        awaits.then(|| Reason::new(ReasonCode::NoRoom, message))
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned
    }

    /// The intent row changed. Only what is desired ever does, and the time zone when the site's does.
    pub(crate) fn intend(&mut self, intent: Arc<AllocationIntent>, now: Now) {
        let (stopping, zone) = (self.wants_stop(), self.intent.timezone.clone());
        self.intent = intent;
        self.disowned = false;
        if zone != self.intent.timezone {
            let settled = self.course.timetable.as_ref().map(|timetable| timetable.settled().clone());
            self.read_schedule(settled.as_ref(), now.wall);
        }
        if stopping && !self.wants_stop() {
            self.containers.iter_mut().for_each(ContainerLife::revive);
            self.course.run = self.course.run.take().map(|_| Run::default());
            self.course.deadline_at = None;
            self.leaving = None;
            self.reason = None;
            self.unsaved = true;
        }
    }

    /// How it stands with its room on the node.
    pub(crate) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// The intent row is gone.
    pub(crate) fn disown(&mut self) {
        self.disowned = true;
    }

    /// What to keep on disk, when that changed since the last call.
    pub(crate) fn take_unsaved(&mut self) -> Option<Life> {
        std::mem::take(&mut self.unsaved).then(|| Life {
            address: self.address,
            containers: self.containers.iter().map(|c| (c.name.clone(), c.history.clone())).collect(),
            boot: self.boot.clone(),
            has_images: self.course.has_images,
            is_made: self.is_made,
            leaving: self.leaving.as_ref().map(|leaving| leaving.since),
            ready_since: self.ready_since,
            is_cut_off: self.tether.is_cut_off,
            starts: self.hold.as_ref().map_or(0, |hold| hold.starts),
            run: self.course.run.clone(),
            reason: self.reason.clone().filter(|_| self.is_over() || self.course.run.is_none()),
            timetable: self.course.timetable.as_ref().map(|timetable| timetable.settled().clone()),
        })
    }

    /// When it wants to be looked at again.
    pub(crate) fn timeout(&self, now: Now) -> Option<MonoTime> {
        let want = self.want();
        let stage = match self.stage {
            // A rest waits only for images that it fetches ahead.
            Stage::Wait(at) if want == Want::Run || self.looks_ahead() && !self.is_made => Some(at),
            Stage::ReleaseAgain(at) if want != Want::Stop => Some(at),
            Stage::RemoveAgain(at) if want == Want::Stop => Some(at),
            _ => None,
        };
        let link = self.tether.at.filter(|_| want != Want::Stop);
        let lease = self.lease_timeout().filter(|_| want != Want::Stop);
        let deadline = self.course.deadline_at.filter(|_| want == Want::Run);
        let leave = self.leave_timeout(now).filter(|_| want == Want::Stop);
        [stage, link, lease, deadline, leave, self.container_timeout(want), self.due_timeout(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Only where `advance` looks at them: a time that nobody acts upon would be due for ever.
    fn container_timeout(&self, want: Want) -> Option<MonoTime> {
        match (want, self.stage) {
            (Want::Run, Stage::Up { .. }) => {
                let starts = (0..self.containers.len())
                    .filter(|at| self.may_start(*at))
                    .filter_map(|at| self.containers[at].start_timeout());
                let looks = self.containers.iter().filter_map(ContainerLife::look_timeout);
                let steps = self.containers.iter().filter_map(ContainerLife::timeout);
                starts.chain(looks).chain(steps).min()
            }
            (Want::Rest | Want::Stop, Stage::New | Stage::Wait(_) | Stage::Up { .. }) => {
                self.containers.iter().filter_map(ContainerLife::timeout).min()
            }
            _ => None,
        }
    }

    fn wants_stop(&self) -> bool {
        self.disowned || self.intent.desired == Desired::Stop
    }

    fn want(&self) -> Want {
        let rests = self.is_held_back()
            || self.course.is_replaced
            || self.is_over()
            || self.course.run.as_ref().is_none_or(|run| run.is_exceeded);
        match (self.wants_stop(), rests) {
            (true, _) => Want::Stop,
            (false, true) => Want::Rest,
            (false, false) => Want::Run,
        }
    }

    /// Compares what is with what is wanted, and begins what is missing.
    pub(crate) fn advance(&mut self, fx: &mut Effects) {
        self.look_at_link(fx);
        self.look_at_lease(fx);
        self.look_at_deadline(fx);
        self.look_at_schedule(fx);
        match self.want() {
            Want::Stop => self.advance_stop(fx),
            Want::Run => self.advance_run(fx),
            Want::Rest => {
                self.advance_rest(fx);
                // What has come to rest may be due again.
                self.look_at_schedule(fx);
                if self.want() == Want::Run {
                    self.advance_run(fx);
                }
            }
        }
    }

    fn advance_run(&mut self, fx: &mut Effects) {
        match self.stage {
            Stage::New if self.containers.iter().any(ContainerLife::is_running) => self.prepare(fx),
            Stage::New => self.pull(fx),
            Stage::Wait(at) if fx.now().mono < at => {}
            Stage::Wait(_) if self.awaits_room().is_some() => self.wait_for_room(fx),
            Stage::Up { is_stale: true } if self.may_begin_anew(fx) => self.begin_anew(fx),
            Stage::Up { .. } => self.advance_containers(fx),
            // After a wait; or an earlier stop or rest got this far, and all of it is made anew.
            Stage::Wait(_) | Stage::Gone | Stage::RemoveAgain(_) | Stage::ReleaseAgain(_) | Stage::Rest => {
                self.begin_anew(fx);
            }
            Stage::Pulling { .. } | Stage::Preparing(_) | Stage::Removing(_) | Stage::Releasing(_) => {}
        }
    }

    fn begin_anew(&mut self, fx: &mut Effects) {
        self.stage = Stage::New;
        self.advance_run(fx);
    }

    fn pull(&mut self, fx: &mut Effects) {
        let pull = Operation::Pull { intent: Arc::clone(&self.intent) };
        // A due time is on disk as dealt with before anything is done for it.
        let op = if self.course.timetable.is_some() { fx.begin_saved(pull) } else { fx.begin(pull) };
        self.stage = Stage::Pulling { op, cancelled: false };
    }

    fn prepare(&mut self, fx: &mut Effects) {
        // What runs is there already.
        if self.room == Room::Taken && !self.containers.iter().any(ContainerLife::is_running) {
            return self.wait_for_room(fx);
        }
        self.unsaved |= !std::mem::replace(&mut self.is_made, true);
        let prepare = Operation::Prepare { intent: Arc::clone(&self.intent), address: self.address };
        // A run may fall due while its images are fetched ahead: then this is the first thing done for it.
        let op = if self.course.timetable.is_some() { fx.begin_saved(prepare) } else { fx.begin(prepare) };
        self.stage = Stage::Preparing(op);
    }

    fn wait_for_room(&mut self, fx: &Effects) {
        // What failed before that did not fail again: its images are here.
        (self.failures, self.reason) = (0, None);
        self.stage = Stage::Wait(fx.now().mono + LOOKS_FOR_ROOM_EVERY);
    }

    fn may_begin_anew(&self, fx: &Effects) -> bool {
        self.containers.iter().all(ContainerLife::is_absent)
            && (0..self.containers.len()).any(|at| self.containers[at].is_due(fx.now()) && self.may_start(at))
    }

    /// Whether those before it let it: init containers are done, the others were running once.
    fn may_start(&self, at: usize) -> bool {
        self.containers[..at].iter().all(|before| before.is_over() || (before.came_up && !before.is_init))
    }

    fn advance_containers(&mut self, fx: &mut Effects) {
        let intent = Arc::clone(&self.intent);
        for at in 0..self.containers.len() {
            self.containers[at].attend(&intent, self.address, fx);
            if self.containers[at].is_due(fx.now()) && self.may_start(at) {
                let fence = self.fence();
                self.containers[at].start(&intent, fence, fx);
                self.unsaved = true;
                self.run_began(fx.now());
            }
        }
    }

    fn advance_stop(&mut self, fx: &mut Effects) {
        match &mut self.stage {
            Stage::Pulling { op, cancelled } => {
                if !std::mem::replace(cancelled, true) {
                    fx.cancel(*op);
                }
                return;
            }
            Stage::Preparing(_) | Stage::Removing(_) | Stage::Releasing(_) | Stage::Gone => return,
            Stage::RemoveAgain(at) if fx.now().mono < *at => return,
            _ => {}
        }
        if self.lingers(fx) {
            return;
        }
        if self.stop_containers(fx) {
            let allocation = self.intent.id.clone();
            self.stage = Stage::Removing(fx.begin(Operation::RemoveAllocation { allocation }));
        }
    }

    /// Ends containers, the last one first, each when those after it have ended. True when none is left.
    fn stop_containers(&mut self, fx: &mut Effects) -> bool {
        let is_up = |c: &ContainerLife| c.is_running() || c.is_starting();
        let last_up = self.containers.iter().rposition(is_up);
        for (at, container) in self.containers.iter_mut().enumerate() {
            if !is_up(container) || container.is_stopping() || Some(at) == last_up {
                container.stop(&self.intent, fx);
            }
        }
        self.containers.iter().all(ContainerLife::has_ended)
    }
}
