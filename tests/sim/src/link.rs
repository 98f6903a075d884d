//! Links: whole messages in order, until one breaks.

use skerry_region_state::{ChildIdentity, Input as MasterInput, LinkId, RegionIdentity};
use skerry_types::WallTime;
use skerry_wire::{Cursor, ToChild, ToParent};

use crate::Carrier;
use crate::event::{Event, MasterAt, Parcel, Party, Side};
use crate::world::{MS, SECOND, World};

/// Longest wait between two dials.
const DIAL_EVERY_MAX: u64 = 4 * SECOND;
/// Frames of rows that may be unanswered.
const IN_FLIGHT_MAX: u32 = 4;

/// A child's way to its parent.
#[derive(Debug)]
pub(crate) struct Way {
    /// The link that the child holds for its own.
    pub(crate) link: Option<LinkId>,
    dials: u32,
    pub(crate) is_cut: bool,
    pub(crate) stalled_until_us: u64,
    pub(crate) delay_us: u64,
    pub(crate) acked_by_parent: Option<Cursor>,
    pub(crate) acked_by_child: Option<Cursor>,
}

impl Way {
    pub(crate) fn new() -> Self {
        Self {
            link: None,
            dials: 0,
            is_cut: false,
            stalled_until_us: 0,
            delay_us: 50 * MS,
            acked_by_parent: None,
            acked_by_child: None,
        }
    }

    pub(crate) fn mend(&mut self) {
        self.is_cut = false;
        self.stalled_until_us = 0;
        self.delay_us = 50 * MS;
    }
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) child: Party,
    parent: MasterAt,
    child_life: u64,
    parent_life: u64,
    /// The parent has heard of it.
    is_known: bool,
    /// What is on its way up is lost, and what is on its way down.
    broken: (bool, bool),
    /// When the last parcel arrives, each way.
    last_up_us: u64,
    last_down_us: u64,
    /// Frames of rows without an answer, each way.
    open_up: u32,
    open_down: u32,
}

impl Pipe {
    pub(crate) fn is_broken(&self) -> bool {
        self.broken != (false, false)
    }
}

impl World {
    pub(crate) fn way(&mut self, child: Party) -> &mut Way {
        match child {
            Party::Master(at) => &mut self.masters[at].way,
            Party::Node(at) => &mut self.hosts[at].way,
        }
    }

    /// Which life of a party's process.
    pub(crate) fn life(&self, party: Party) -> u64 {
        match party {
            Party::Master(at) => self.masters[at].life,
            Party::Node(at) => self.hosts[at].life,
        }
    }

    fn is_up(&self, party: Party) -> bool {
        match party {
            Party::Master(at) => self.masters[at].up,
            Party::Node(at) => self.hosts[at].agent.is_some(),
        }
    }

    pub(crate) fn parent_of(&self, child: Party) -> Option<MasterAt> {
        match child {
            Party::Master(at) => self.masters[at].parent,
            Party::Node(at) => Some(self.hosts[at].master),
        }
    }

    fn identity(&self, child: Party) -> ChildIdentity {
        match child {
            Party::Node(at) => self.hosts[at].identity(self.now_us),
            Party::Master(at) => ChildIdentity::Region(RegionIdentity {
                region: self.masters[at].name.clone(),
                expires: WallTime(self.now_us),
                key: self.masters[at].key(),
            }),
        }
    }

    pub(crate) fn dial(&mut self, child: Party, life: u64) {
        let Some(parent) = self.parent_of(child) else { return };
        if self.life(child) != life || !self.is_up(child) || self.way(child).link.is_some() {
            return;
        }
        if self.way(child).is_cut || !self.masters[parent].up {
            return self.dial_later(child);
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let pipe = Pipe {
            child,
            parent,
            child_life: life,
            parent_life: self.masters[parent].life,
            is_known: false,
            broken: (false, false),
            last_up_us: 0,
            last_down_us: 0,
            open_up: 0,
            open_down: 0,
        };
        self.pipes.insert(link, pipe);
        self.way(child).link = Some(link);
        self.send_up(link, Parcel::Open);
    }

    pub(crate) fn dial_later(&mut self, child: Party) {
        let life = self.life(child);
        let way = self.way(child);
        let bound = ((500 * MS) << way.dials.min(8)).min(DIAL_EVERY_MAX);
        way.dials += 1;
        self.soon(bound / 2..bound, Event::Dial { party: child, life });
    }

    pub(crate) fn send_up(&mut self, link: LinkId, parcel: Parcel<ToParent>) {
        if matches!(parcel, Parcel::Message(ToParent::Rows(_) | ToParent::Hello(_))) {
            self.count_message();
        }
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        match &parcel {
            Parcel::Message(ToParent::Rows(_)) => pipe.open_up += 1,
            Parcel::Message(ToParent::Ack(_)) => pipe.open_down = pipe.open_down.saturating_sub(1),
            _ => {}
        }
        let (open, child) = (pipe.open_up, pipe.child);
        let arrives = self.now_us + self.travel(child);
        if let Some(pipe) = self.pipes.get_mut(&link) {
            pipe.last_up_us = arrives.max(pipe.last_up_us);
            let at = pipe.last_up_us;
            self.at(at, Event::Up(link, parcel));
        }
        self.check_in_flight(open);
    }

    pub(crate) fn send_down(&mut self, link: LinkId, parcel: Parcel<ToChild>) {
        if matches!(parcel, Parcel::Message(ToChild::Rows(_) | ToChild::Welcome(_))) {
            self.count_message();
        }
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        match &parcel {
            Parcel::Message(ToChild::Rows(_)) => pipe.open_down += 1,
            Parcel::Message(ToChild::Ack(_)) => pipe.open_up = pipe.open_up.saturating_sub(1),
            _ => {}
        }
        let (open, child) = (pipe.open_down, pipe.child);
        let arrives = self.now_us + self.travel(child);
        if let Some(pipe) = self.pipes.get_mut(&link) {
            pipe.last_down_us = arrives.max(pipe.last_down_us);
            let at = pipe.last_down_us;
            self.at(at, Event::Down(link, parcel));
        }
        self.check_in_flight(open);
    }

    /// Whether both ends of a link are there for each other.
    pub(crate) fn answers(&self, link: LinkId) -> bool {
        let Some(pipe) = self.pipes.get(&link).filter(|pipe| pipe.is_known && !pipe.is_broken()) else {
            return false;
        };
        let own = match pipe.child {
            Party::Node(at) => self.hosts[at].way.link,
            Party::Master(at) => self.masters[at].way.link,
        };
        let (child, parent) = (pipe.child, &self.masters[pipe.parent]);
        own == Some(link) && self.life(child) == pipe.child_life && parent.life == pipe.parent_life
    }

    fn travel(&mut self, child: Party) -> u64 {
        let delay_us = self.way(child).delay_us;
        self.rng.within(MS..delay_us)
    }

    fn check_in_flight(&mut self, open: u32) {
        if open > IN_FLIGHT_MAX {
            self.fail(format!("{open} frames of rows are on their way without an answer"));
        }
    }

    /// A stalled path holds parcels back, in order.
    fn is_stalled(&mut self, link: LinkId) -> Option<u64> {
        let child = self.pipes.get(&link)?.child;
        let until = self.way(child).stalled_until_us;
        (until > self.now_us).then_some(until)
    }

    fn loses(&mut self) -> bool {
        self.is(Carrier::LinkLosesFrames) && self.rng.percent(5)
    }

    pub(crate) fn deliver_up(&mut self, link: LinkId, parcel: Parcel<ToParent>) {
        if let Some(until) = self.is_stalled(link) {
            return self.at(until, Event::Up(link, parcel));
        }
        let Some(pipe) = self.pipes.get(&link) else { return };
        let (parent, child) = (pipe.parent, pipe.child);
        if pipe.broken.0 || pipe.parent_life != self.masters[parent].life || !self.masters[parent].up {
            return;
        }
        match parcel {
            Parcel::Open => {
                let identity = self.identity(child);
                self.send_down(link, Parcel::Open);
                if let Some(pipe) = self.pipes.get_mut(&link) {
                    pipe.is_known = true;
                }
                self.come_up(parent, child, link, identity);
            }
            Parcel::Message(ToParent::Rows(_)) if self.loses() => {}
            Parcel::Message(message) => {
                self.check_hello(child, &message);
                self.hear_orphans(child, &message);
                self.tell_master(parent, MasterInput::Received(link, message));
            }
            Parcel::Close => self.lost(link, Side::Parent),
        }
    }

    pub(crate) fn deliver_down(&mut self, link: LinkId, parcel: Parcel<ToChild>) {
        if let Some(until) = self.is_stalled(link) {
            return self.at(until, Event::Down(link, parcel));
        }
        let Some(pipe) = self.pipes.get(&link) else { return };
        let (child, life, broken) = (pipe.child, pipe.child_life, pipe.broken.1);
        if broken || self.life(child) != life || self.way(child).link != Some(link) {
            return;
        }
        match parcel {
            Parcel::Open => match child {
                Party::Node(node) => self.tell_agent(node, skerry_agent_state::Input::LinkUp),
                Party::Master(at) => self.tell_master(at, MasterInput::ParentUp),
            },
            Parcel::Message(ToChild::Rows(_)) if self.loses() => {}
            Parcel::Message(message) => {
                if let ToChild::Welcome(welcome) = &message {
                    self.way(child).dials = 0;
                    self.check_welcome(child, welcome);
                }
                match child {
                    Party::Node(node) => {
                        self.tell_agent(node, skerry_agent_state::Input::Received(message));
                    }
                    Party::Master(at) => {
                        self.tell_master(at, MasterInput::FromParent(message));
                    }
                }
            }
            Parcel::Close => self.lost(link, Side::Child),
        }
    }

    /// Breaks a link; each side notices in its own time.
    pub(crate) fn break_link(&mut self, link: LinkId, child_us: u64, parent_us: u64) {
        self.break_ways(link, (true, true), child_us, parent_us);
    }

    /// Breaks a link both ways, or one way only: what goes the other way arrives until somebody notices.
    pub(crate) fn break_ways(&mut self, link: LinkId, ways: (bool, bool), child_us: u64, parent_us: u64) {
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        let before = pipe.broken;
        pipe.broken = (before.0 | ways.0, before.1 | ways.1);
        if before != (false, false) {
            return;
        }
        self.soon(0..child_us + 1, Event::Lost(link, Side::Child));
        self.soon(0..parent_us + 1, Event::Lost(link, Side::Parent));
    }

    /// A master's process ends: so do all links of its.
    pub(crate) fn break_links_of(&mut self, at: MasterAt) {
        let below = self.pipes.iter().filter(|(_, pipe)| pipe.parent == at);
        let links: Vec<LinkId> = below.map(|(link, _)| *link).collect();
        for link in links {
            self.break_link(link, 10 * SECOND, MS);
        }
        if let Some(link) = self.masters[at].way.link.take() {
            self.break_link(link, 0, 60 * SECOND);
        }
    }

    pub(crate) fn lost(&mut self, link: LinkId, side: Side) {
        self.disturb();
        let Some(pipe) = self.pipes.get(&link) else { return };
        let (child, life, parent, parent_life) = (pipe.child, pipe.child_life, pipe.parent, pipe.parent_life);
        match side {
            Side::Child if self.life(child) == life && self.way(child).link == Some(link) => {
                self.way(child).link = None;
                match child {
                    Party::Node(node) => self.tell_agent(node, skerry_agent_state::Input::LinkDown),
                    Party::Master(at) => self.tell_master(at, MasterInput::ParentDown),
                }
                self.dial_later(child);
            }
            Side::Parent if self.masters[parent].life == parent_life => {
                self.doubt_updates();
                self.tell_master(parent, MasterInput::LinkDown(link));
                match child {
                    Party::Node(node) if self.is(Carrier::OfflineIsGone) => self.remove_node(node),
                    Party::Master(at) if self.is(Carrier::RegionAwayIsGone) => self.remove_region(at),
                    Party::Node(_) | Party::Master(_) => {}
                }
            }
            Side::Child | Side::Parent => {}
        }
    }
}
