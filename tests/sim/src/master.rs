//! A master: a region's brain, its disk, and the shell between them.

use std::collections::BTreeSet;

use skerry_region_state::{
    Action, ApiCall, ApiReply, CallId, EnrollWish, Input, NewToken, RegionConfig, RegionState, SecretHash,
    TokenId, TokenScope,
};
use skerry_types::{AllocationId, Batch, Now, RegionName, SiteName, WallTime};
use skerry_wire::{Incarnation, ToChild, ToParent};

use crate::Carrier;
use crate::agenda::Due;
use crate::disk::Disk;
use crate::event::{Event, MasterAt, Parcel, Party, Side};
use crate::link::Way;
use crate::world::{Clock, MS, SECOND, World};

/// Tables of what is judged.
const JUDGED: [&str; 3] = ["allocation", "workload", "split"];

const SECRET: SecretHash = SecretHash([7; 32]);

#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) name: RegionName,
    pub(crate) parent: Option<MasterAt>,
    pub(crate) way: Way,
    /// The brain; while the process is down, what it will begin with.
    pub(crate) state: RegionState,
    pub(crate) disk: Disk,
    pub(crate) up: bool,
    pub(crate) life: u64,
    /// Stood at zero when the process began.
    pub(crate) clock: Clock,
    timer: Option<Due>,
    next_call: u64,
    /// Allocations that should run, as of the last input.
    pub(crate) runs: BTreeSet<AllocationId>,
    pub(crate) past: Past,
    /// What is judged of it may be another than at the last look.
    pub(crate) unjudged: bool,
}

/// What people did to a master's store.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// A copy of it.
    pub(crate) backup: Option<Disk>,
    /// Whether it ever was replaced by an older one.
    pub(crate) has_gone_back: bool,
    /// The next start is told that it is an older copy.
    pub(crate) is_said: bool,
}

impl Master {
    pub(crate) fn new(at: MasterAt, parent: Option<MasterAt>) -> Self {
        let name = RegionName::new(format!("r{at}")).expect("a region name");
        let config = config(&name, 1, parent);
        let state =
            RegionState::load(config, Clock::default().now(SECOND), []).expect("an empty store can be read");
        Self {
            name,
            parent,
            way: Way::new(),
            state,
            disk: Disk::new(),
            up: true,
            life: 1,
            clock: Clock::default(),
            timer: None,
            next_call: 0,
            runs: BTreeSet::new(),
            past: Past::default(),
            unjudged: true,
        }
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..self.name.as_str().len()].copy_from_slice(self.name.as_str().as_bytes());
        key
    }

    pub(crate) fn next_call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }
}

fn config(name: &RegionName, life: u64, parent: Option<MasterAt>) -> RegionConfig {
    let region = name.clone();
    let incarnation = Incarnation(life);
    RegionConfig { region, incarnation, software: "sim".to_owned(), has_parent: parent.is_some() }
}

impl World {
    /// The world begins with all nodes and regions on their masters' disks.
    pub(crate) fn enroll_all(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            let (master, node, key) = (host.master, host.name.clone(), host.key());
            let site = SiteName::new("s1").expect("a site name");
            let token = format!("t{at}").parse().expect("a token id");
            self.enroll(master, token, TokenScope::Site(site), EnrollWish::Node { node, site: None }, key);
        }
        for at in 0..self.masters.len() {
            let (region, key) = (self.masters[at].name.clone(), self.masters[at].key());
            let Some(parent) = self.masters[at].parent else { continue };
            let token = format!("r{at}").parse().expect("a token id");
            let scope = TokenScope::Region(Some(region.clone()));
            self.enroll(parent, token, scope, EnrollWish::Region { region }, key);
        }
        for at in 0..self.masters.len() {
            if let Some(id) = self.masters[at].disk.commit() {
                self.tell_master(at, Input::Persisted(id));
            }
        }
    }

    fn enroll(&mut self, at: MasterAt, id: TokenId, scope: TokenScope, wish: EnrollWish, key: [u8; 32]) {
        let new = NewToken { id: id.clone(), secret: SECRET, scope, expires: WallTime(u64::MAX), uses: 1 };
        let call = self.masters[at].next_call();
        self.tell_master(at, Input::Call(call, ApiCall::CreateToken(new)));
        let call = self.masters[at].next_call();
        self.tell_master(at, Input::Enroll { call, token: id, secret: SECRET, wish, key });
    }

    pub(crate) fn tell_master(&mut self, at: MasterAt, input: Input) {
        if !self.masters[at].up {
            return;
        }
        let now = self.master_now(at);
        self.masters[at].state.handle(now, input);
        self.act_master(at);
        self.set_master_timer(at);
        if std::mem::take(&mut self.masters[at].unjudged) {
            self.check_region(at);
        }
    }

    fn master_now(&self, at: MasterAt) -> Now {
        self.masters[at].clock.now(self.now_us)
    }

    fn act_master(&mut self, at: MasterAt) {
        while let Some(action) = self.masters[at].state.poll_action() {
            match action {
                Action::Persist(id, batch) => {
                    self.writes += 1;
                    self.note_events(at, &batch);
                    let master = &mut self.masters[at];
                    // What a region wants is never another without a write.
                    master.unjudged |= batch.writes.iter().any(|write| JUDGED.contains(&write.table));
                    master.disk.submit(id, batch);
                }
                Action::Send(link, message) => {
                    if let (ToChild::Ack(cursor), Some(pipe)) = (&message, self.pipes.get(&link)) {
                        let child = pipe.child;
                        self.way(child).acked_by_parent = Some(*cursor);
                    }
                    self.send_down(link, Parcel::Message(message));
                }
                Action::Close { link, reason } => {
                    self.check_close(&reason);
                    self.check_superseded(link, &reason);
                    self.send_down(link, Parcel::Close);
                    self.after(MS, Event::Lost(link, Side::Parent));
                }
                Action::SendParent(message) => {
                    let way = &mut self.masters[at].way;
                    if let ToParent::Ack(cursor) = message {
                        way.acked_by_child = Some(cursor);
                    }
                    if let Some(link) = way.link {
                        self.send_up(link, Parcel::Message(message));
                    }
                }
                Action::CloseParent { reason } => {
                    self.check_close(&reason);
                    if let Some(link) = self.masters[at].way.link {
                        self.break_link(link, 0, 100 * MS);
                    }
                }
                Action::Reply(call, reply) => match reply {
                    Ok(ApiReply::Allocations(page)) => self.lists.allocations = Some(page.items),
                    Ok(ApiReply::Workloads(page)) => self.lists.workloads = Some(page.items),
                    Ok(ApiReply::Nodes(page)) => self.lists.nodes = Some(page.items),
                    reply => self.replied(at, call, &reply),
                },
                Action::Certify(_, Err(refusal)) => self.fail(format!("nobody may join: {refusal}")),
                Action::Certify(..) | Action::Changed(_) => {}
                // Nobody else begins another life.
                Action::Warn(_) if self.masters[at].past.has_gone_back => {}
                Action::Warn(message) => self.fail(format!("r{at} warns: {message}")),
            }
        }
        self.work_disk(Party::Master(at));
    }

    /// What a master has to say, in the trace: letters and digits of the rows, which is enough for a reader.
    fn note_events(&mut self, at: MasterAt, batch: &Batch) {
        if !self.options.trace && !self.options.told {
            return;
        }
        for write in batch.writes.iter().filter(|write| write.table == "event") {
            let bytes = write.value.as_deref().unwrap_or_default();
            let words =
                String::from_utf8_lossy(bytes).replace(|c: char| c.is_control() || !c.is_ascii(), " ");
            self.note(&format_args!("  r{at} says {words}"));
        }
    }

    fn set_master_timer(&mut self, at: MasterAt) {
        let master = &self.masters[at];
        let due = master.state.poll_timeout();
        let due_us = due.map(|due| master.clock.true_us(due));
        self.masters[at].timer = self.move_timer(Party::Master(at), master.timer, due_us);
    }

    pub(crate) fn master_timer(&mut self, at: MasterAt) {
        self.masters[at].timer = None;
        self.ticks += 1;
        self.tell_master(at, Input::Timeout);
        let now = self.master_now(at).mono;
        if self.masters[at].state.poll_timeout().is_some_and(|due| due <= now) {
            self.fail(format!("a time of the master of {} stays due", self.masters[at].name));
        }
    }

    /// Takes a region out of the tree.
    pub(crate) fn remove_region(&mut self, at: MasterAt) {
        let Some(parent) = self.masters[at].parent else { return };
        let (call, name) = (self.masters[parent].next_call(), self.masters[at].name.clone());
        self.tell_master(parent, Input::Call(call, ApiCall::RemoveRegion(name)));
    }

    pub(crate) fn crash_master(&mut self, at: MasterAt) {
        if !self.masters[at].up {
            return;
        }
        self.end_master(at);
        // So that the world can be judged while the master is down; nobody asks it for its events.
        self.reload_master(at, "event");
        self.soon(100 * MS..60 * SECOND, Event::BootMaster(at));
    }

    /// Its process ends, and all its links.
    pub(crate) fn end_master(&mut self, at: MasterAt) {
        self.doubt_updates();
        let keep_none = self.keeps_none();
        self.move_timer(Party::Master(at), self.masters[at].timer, None);
        let master = &mut self.masters[at];
        master.up = false;
        master.life += 1;
        master.timer = None;
        master.disk.crash(&mut self.rng, keep_none);
        self.operators.forget_callers(at);
        self.break_links_of(at);
    }

    /// What a start begins with, but for one table.
    pub(crate) fn reload_master(&mut self, at: MasterAt, left_out: &str) {
        let long_ago = if self.is(Carrier::MasterWaitsForNobody) { 3600 * SECOND } else { 0 };
        let master = &mut self.masters[at];
        master.clock.zero_us = self.now_us.saturating_sub(long_ago);
        let config = config(&master.name, master.life, master.parent);
        let now = master.clock.now(master.clock.zero_us);
        match RegionState::load(config, now, master.disk.rows_but(left_out)) {
            Ok(state) => master.state = state,
            Err(error) => self.fail(format!("a master cannot read its store: {error}")),
        }
        self.check_region(at);
    }

    pub(crate) fn boot_master(&mut self, at: MasterAt) {
        if self.masters[at].up {
            return;
        }
        self.disturb();
        self.reload_master(at, "");
        self.masters[at].up = true;
        self.act_master(at);
        if std::mem::take(&mut self.masters[at].past.is_said) {
            self.tell_master(at, Input::Restored);
        }
        self.set_master_timer(at);
        self.dial_later(Party::Master(at));
    }
}
