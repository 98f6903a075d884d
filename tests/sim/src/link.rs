//! Links: whole messages in order, until one breaks.

use skerry_region_state::{Input as MasterInput, LinkId};
use skerry_wire::{ToChild, ToParent};

use crate::Mutation;
use crate::event::{Event, NodeAt, Parcel, Side};
use crate::world::{MS, SECOND, World};

/// Longest wait between two dials.
const DIAL_EVERY_MAX: u64 = 4 * SECOND;
/// Frames of rows that may be unanswered.
const IN_FLIGHT_MAX: u32 = 4;

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) node: NodeAt,
    agent_life: u64,
    master_life: u64,
    /// What is on its way is lost.
    broken: bool,
    /// When the last parcel arrives, each way.
    last_up_us: u64,
    last_down_us: u64,
    /// Frames of rows without an answer, each way.
    open_up: u32,
    open_down: u32,
}

impl World {
    pub(crate) fn dial(&mut self, at: NodeAt, life: u64) {
        let host = &self.hosts[at];
        if host.life != life || host.agent.is_none() || host.link.is_some() {
            return;
        }
        if host.path_is_cut || !self.master.up {
            return self.dial_later(at);
        }
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let pipe = Pipe {
            node: at,
            agent_life: life,
            master_life: self.master.life,
            broken: false,
            last_up_us: 0,
            last_down_us: 0,
            open_up: 0,
            open_down: 0,
        };
        self.pipes.insert(link, pipe);
        self.hosts[at].link = Some(link);
        self.send_up(link, Parcel::Open);
    }

    pub(crate) fn dial_later(&mut self, at: NodeAt) {
        let host = &mut self.hosts[at];
        let life = host.life;
        let bound = ((500 * MS) << host.dials.min(8)).min(DIAL_EVERY_MAX);
        host.dials += 1;
        self.soon(bound / 2..bound, Event::Dial { node: at, life });
    }

    pub(crate) fn send_up(&mut self, link: LinkId, parcel: Parcel<ToParent>) {
        if matches!(parcel, Parcel::Message(ToParent::Rows(_) | ToParent::Hello(_))) {
            self.frames += 1;
        }
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        match &parcel {
            Parcel::Message(ToParent::Rows(_)) => pipe.open_up += 1,
            Parcel::Message(ToParent::Ack(_)) => pipe.open_down = pipe.open_down.saturating_sub(1),
            _ => {}
        }
        let (open, delay) = (pipe.open_up, self.rng.within(MS..self.hosts[pipe.node].delay_us));
        pipe.last_up_us = (self.now_us + delay).max(pipe.last_up_us);
        let at = pipe.last_up_us;
        self.at(at, Event::Up(link, parcel));
        self.check_in_flight(open);
    }

    pub(crate) fn send_down(&mut self, link: LinkId, parcel: Parcel<ToChild>) {
        if matches!(parcel, Parcel::Message(ToChild::Rows(_) | ToChild::Welcome(_))) {
            self.frames += 1;
        }
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        match &parcel {
            Parcel::Message(ToChild::Rows(_)) => pipe.open_down += 1,
            Parcel::Message(ToChild::Ack(_)) => pipe.open_up = pipe.open_up.saturating_sub(1),
            _ => {}
        }
        let (open, delay) = (pipe.open_down, self.rng.within(MS..self.hosts[pipe.node].delay_us));
        pipe.last_down_us = (self.now_us + delay).max(pipe.last_down_us);
        let at = pipe.last_down_us;
        self.at(at, Event::Down(link, parcel));
        self.check_in_flight(open);
    }

    fn check_in_flight(&mut self, open: u32) {
        if open > IN_FLIGHT_MAX {
            self.fail(format!("{open} frames of rows are on their way without an answer"));
        }
    }

    /// A stalled path holds parcels back, in order.
    fn is_stalled(&mut self, link: LinkId) -> Option<u64> {
        let pipe = self.pipes.get(&link)?;
        let until = self.hosts[pipe.node].stalled_until_us;
        (until > self.now_us).then_some(until)
    }

    fn loses(&mut self) -> bool {
        self.is(Mutation::LinkLosesFrames) && self.rng.percent(5)
    }

    pub(crate) fn deliver_up(&mut self, link: LinkId, parcel: Parcel<ToParent>) {
        if let Some(until) = self.is_stalled(link) {
            return self.at(until, Event::Up(link, parcel));
        }
        let Some(pipe) = self.pipes.get(&link) else { return };
        if pipe.broken || pipe.master_life != self.master.life || !self.master.up {
            return;
        }
        let node = pipe.node;
        match parcel {
            Parcel::Open => {
                let identity = self.hosts[node].identity(self.now_us);
                self.send_down(link, Parcel::Open);
                self.tell_master(MasterInput::LinkUp(link, identity));
            }
            Parcel::Message(ToParent::Rows(_)) if self.loses() => {}
            Parcel::Message(message) => {
                self.check_hello(node, &message);
                self.tell_master(MasterInput::Received(link, message));
            }
            Parcel::Close => self.lost(link, Side::Parent),
        }
    }

    pub(crate) fn deliver_down(&mut self, link: LinkId, parcel: Parcel<ToChild>) {
        if let Some(until) = self.is_stalled(link) {
            return self.at(until, Event::Down(link, parcel));
        }
        let Some(pipe) = self.pipes.get(&link) else { return };
        let (node, life) = (pipe.node, pipe.agent_life);
        if pipe.broken || self.hosts[node].life != life || self.hosts[node].link != Some(link) {
            return;
        }
        match parcel {
            Parcel::Open => self.tell_agent(node, skerry_agent_state::Input::LinkUp),
            Parcel::Message(ToChild::Rows(_)) if self.loses() => {}
            Parcel::Message(message) => {
                if let ToChild::Welcome(welcome) = &message {
                    self.hosts[node].dials = 0;
                    self.check_welcome(node, welcome);
                }
                self.tell_agent(node, skerry_agent_state::Input::Received(message));
            }
            Parcel::Close => self.lost(link, Side::Child),
        }
    }

    /// Breaks a link; each side notices in its own time.
    pub(crate) fn break_link(&mut self, link: LinkId, child_us: u64, parent_us: u64) {
        let Some(pipe) = self.pipes.get_mut(&link) else { return };
        if std::mem::replace(&mut pipe.broken, true) {
            return;
        }
        self.soon(0..child_us + 1, Event::Lost(link, Side::Child));
        self.soon(0..parent_us + 1, Event::Lost(link, Side::Parent));
    }

    pub(crate) fn break_all(&mut self) {
        let links: Vec<LinkId> = self.pipes.keys().copied().collect();
        for link in links {
            self.break_link(link, 10 * SECOND, MS);
        }
    }

    pub(crate) fn lost(&mut self, link: LinkId, side: Side) {
        let Some(pipe) = self.pipes.get(&link) else { return };
        let (node, life, master_life) = (pipe.node, pipe.agent_life, pipe.master_life);
        match side {
            Side::Child if self.hosts[node].life == life && self.hosts[node].link == Some(link) => {
                self.hosts[node].link = None;
                self.tell_agent(node, skerry_agent_state::Input::LinkDown);
                self.dial_later(node);
            }
            Side::Parent if self.master.life == master_life => {
                self.tell_master(MasterInput::LinkDown(link));
                if self.is(Mutation::OfflineIsGone) {
                    self.remove_node(node);
                }
            }
            Side::Child | Side::Parent => {}
        }
    }
}
