//! A node: the agent's brain, its ledger, and the shell between them and the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_agent_state::{Action, AgentConfig, AgentState, Failure, Input, OpId, Operation, Outcome};
use skerry_region_state::{ChildIdentity, NodeIdentity};
use skerry_types::{
    AllocationId, AllocationIntent, Bytes, ImageDigest, MilliCpu, NodeFacts, NodeName, Now, Resources,
    SiteName, WallTime,
};
use skerry_wire::{Epoch, ToParent};

use crate::Carrier;
use crate::agenda::Due;
use crate::disk::Disk;
use crate::event::{Event, MasterAt, NodeAt, Parcel, Party};
use crate::link::Way;
use crate::rng::Rng;
use crate::runs::Run;
use crate::runtime::Container;
use crate::world::{Clock, MS, SECOND, World};

const DAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug)]
pub(crate) struct Host {
    /// Whose node it is.
    pub(crate) master: MasterAt,
    pub(crate) name: NodeName,
    pub(crate) capacity: Resources,
    /// Stood at zero when the machine was booted.
    pub(crate) clock: Clock,
    /// When somebody last set the one on the wall.
    pub(crate) set_us: u64,
    pub(crate) agent: Option<AgentState>,
    /// Which life of the agent.
    pub(crate) life: u64,
    pub(crate) boot_us: u64,
    /// How often the machine was booted.
    pub(crate) boots: u32,
    pub(crate) disk: Disk,
    timer: Option<Due>,
    pub(crate) way: Way,
    pub(crate) keeper_is_up: bool,
    pub(crate) keeper_life: u64,
    /// The agent has the keeper's listing, and hears of what happens since.
    pub(crate) listed: bool,
    /// Listings that this life of the agent got.
    pub(crate) listings: u32,
    pub(crate) containers: BTreeMap<u32, Container>,
    /// Runs of what is due again and again.
    pub(crate) runs: BTreeMap<AllocationId, Run>,
    pub(crate) next_pid: u32,
    pub(crate) sandboxes: BTreeMap<AllocationId, Arc<AllocationIntent>>,
    pub(crate) images: BTreeSet<ImageDigest>,
    pub(crate) ops: BTreeMap<OpId, Operation>,
    pub(crate) cancelled: BTreeSet<OpId>,
    pub(crate) busy_until: BTreeMap<AllocationId, u64>,
    pub(crate) fails_until_us: u64,
    /// Until when its runtime may say what is not so.
    pub(crate) lies_until_us: u64,
    pub(crate) past: Past,
}

/// What people did to a machine's disk.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// A copy of its disk.
    pub(crate) backup: Option<Disk>,
    /// Whether its ledger ever went back: tokens are given again then.
    pub(crate) was_restored: bool,
    /// Whose machine this one is a copy of.
    pub(crate) copy_of: Option<NodeAt>,
    /// A copy of it was welcomed, or it is one that was.
    pub(crate) was_shared: bool,
    /// It was switched off for good.
    pub(crate) is_scrapped: bool,
}

impl Host {
    pub(crate) fn new(at: NodeAt, master: MasterAt, rng: &mut Rng) -> Self {
        let cores = rng.within(2..8);
        let name = NodeName::new(format!("n{at}")).expect("a node name");
        let capacity = Resources {
            cpu: MilliCpu(cores * 1000),
            memory: Bytes(cores << 29),
            disk: Bytes(1 << 30),
            ..Resources::default()
        };
        let clock = Clock { skew_ms: [0, 2 * DAY_MS, -2 * DAY_MS][rng.below(3)], ..Clock::default() };
        Self { clock, ..Self::empty(name, master, capacity) }
    }

    fn empty(name: NodeName, master: MasterAt, capacity: Resources) -> Self {
        Self {
            master,
            name,
            capacity,
            clock: Clock::default(),
            set_us: 0,
            agent: None,
            life: 1,
            boot_us: 0,
            boots: 1,
            disk: Disk::new(),
            timer: None,
            way: Way::new(),
            keeper_is_up: false,
            keeper_life: 1,
            listed: false,
            listings: 0,
            containers: BTreeMap::new(),
            runs: BTreeMap::new(),
            next_pid: 0,
            sandboxes: BTreeMap::new(),
            images: BTreeSet::new(),
            ops: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            busy_until: BTreeMap::new(),
            fails_until_us: 0,
            lies_until_us: 0,
            past: Past::default(),
        }
    }

    /// Another machine with the disk of this one: `at` is the place of the first, `copy` that of the second.
    pub(crate) fn copied(first: &Self, at: NodeAt, copy: NodeAt) -> Self {
        Self {
            past: Past { copy_of: Some(at), ..Past::default() },
            disk: first.disk.image(),
            images: first.images.clone(),
            clock: first.clock,
            // Neither a boot nor a life of the one is one of the other.
            boots: first.boots + 1_000 * u32::try_from(copy).unwrap_or_default(),
            life: first.life + 1_000_000 * u64::try_from(copy).unwrap_or_default(),
            ..Self::empty(first.name.clone(), first.master, first.capacity)
        }
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..self.name.as_str().len()].copy_from_slice(self.name.as_str().as_bytes());
        key
    }

    pub(crate) fn identity(&self, now_us: u64) -> ChildIdentity {
        ChildIdentity::Node(NodeIdentity {
            node: self.name.clone(),
            site: SiteName::new("s1").expect("a site name"),
            expires: WallTime(now_us),
            key: self.key(),
        })
    }

    pub(crate) fn now(&self, now_us: u64) -> Now {
        self.clock.now(now_us)
    }

    fn facts(&self) -> NodeFacts {
        NodeFacts {
            capacity: self.capacity,
            machine: self.capacity,
            port_range: (30000, 30063),
            ..NodeFacts::default()
        }
    }
}

impl World {
    pub(crate) fn boot_agent(&mut self, at: NodeAt) {
        self.disturb();
        let forgets = self.is(Carrier::AgentForgetsLedger);
        let now_us = self.now_us;
        let host = &mut self.hosts[at];
        if host.agent.is_some() || host.past.is_scrapped {
            return;
        }
        host.boot_us = now_us;
        host.listed = false;
        host.listings = 0;
        if forgets {
            host.disk.wipe();
        }
        let config = AgentConfig {
            node: host.name.clone(),
            software: "sim".to_owned(),
            epoch: Epoch(host.life),
            boot: host.boots.to_string(),
        };
        match AgentState::load(config, host.now(now_us), host.disk.rows()) {
            Ok(state) => host.agent = Some(state),
            Err(error) => return self.fail(format!("an agent cannot read its ledger: {error}")),
        }
        let facts = host.facts();
        self.tell_agent(at, Input::Facts(facts));
        self.expect_inventory(at);
        self.dial_later(Party::Node(at));
    }

    /// The agent asks the keeper what there is, once both are up.
    pub(crate) fn expect_inventory(&mut self, at: NodeAt) {
        let host = &self.hosts[at];
        let (life, keeper) = (host.life, host.keeper_life);
        if host.agent.is_some() && host.keeper_is_up {
            self.soon(MS..500 * MS, Event::Inventory { node: at, life, keeper });
        }
    }

    pub(crate) fn tell_agent(&mut self, at: NodeAt, input: Input) {
        let now = self.hosts[at].now(self.now_us);
        let Some(agent) = self.hosts[at].agent.as_mut() else { return };
        agent.handle(now, input);
        self.act_agent(at);
        self.set_timer(at);
    }

    fn act_agent(&mut self, at: NodeAt) {
        loop {
            let host = &mut self.hosts[at];
            let Some(action) = host.agent.as_mut().and_then(AgentState::poll_action) else { break };
            match action {
                Action::Persist(id, batch) => host.disk.submit(id, batch),
                Action::Send(message) => {
                    self.grant_by_itself(at, &message);
                    self.send(at, message);
                }
                Action::CloseLink { reason } => {
                    let link = host.way.link;
                    self.check_close(&reason);
                    if let Some(link) = link {
                        self.break_link(link, 0, 100 * MS);
                    }
                }
                Action::Begin(op, operation) => self.begin_operation(at, op, operation),
                Action::Extend { allocation, deadline } => self.extend(at, &allocation, deadline),
                Action::Cancel(op) => {
                    host.cancelled.insert(op);
                    let life = host.life;
                    self.after(MS, Event::Execute { node: at, life, op });
                }
            }
        }
        self.work_disk(Party::Node(at));
    }

    fn send(&mut self, at: NodeAt, message: ToParent) {
        if let ToParent::Ack(cursor) = message {
            self.check_ack(at, cursor);
        }
        if let Some(link) = self.hosts[at].way.link {
            self.send_up(link, Parcel::Message(message));
        }
    }

    fn set_timer(&mut self, at: NodeAt) {
        let host = &self.hosts[at];
        let due = host.agent.as_ref().and_then(AgentState::poll_timeout);
        let due_us = due.map(|due| host.clock.true_us(due));
        self.hosts[at].timer = self.move_timer(Party::Node(at), host.timer, due_us);
    }

    pub(crate) fn timer(&mut self, at: NodeAt) {
        self.hosts[at].timer = None;
        while self.is(Carrier::TimerNeverReturns) {
            std::hint::spin_loop();
        }
        self.tell_agent(at, Input::Timeout);
        let host = &self.hosts[at];
        let now = host.now(self.now_us).mono;
        if let Some(agent) = &host.agent
            && agent.poll_timeout().is_some_and(|due| due <= now)
        {
            let what = format!("a time of {} stays due: {:?}", host.name, agent.poll_timeout());
            self.fail(what);
        }
    }

    pub(crate) fn answer(&mut self, at: NodeAt, life: u64, op: OpId, result: Result<Outcome, Failure>) {
        if self.hosts[at].life != life {
            return;
        }
        if let Ok(Outcome::Started { pid, .. }) = &result
            && let Some(container) = self.hosts[at].containers.get_mut(pid)
            && !container.told_to_end
        {
            container.acknowledged = true;
        }
        self.tell_agent(at, Input::Done(op, result));
    }

    pub(crate) fn crash_agent(&mut self, at: NodeAt, back_within_us: u64) {
        if self.hosts[at].agent.take().is_none() {
            return;
        }
        let keep_none = self.keeps_none();
        let host = &mut self.hosts[at];
        host.life += 1;
        let timer = host.timer.take();
        host.disk.crash(&mut self.rng, keep_none);
        host.busy_until.clear();
        host.cancelled.clear();
        let ops = std::mem::take(&mut host.ops);
        self.move_timer(Party::Node(at), timer, None);
        let host = &mut self.hosts[at];
        if let Some(link) = host.way.link.take() {
            self.break_link(link, 0, 60 * SECOND);
        }
        for operation in ops.into_values() {
            self.finish_without_agent(at, &operation);
        }
        self.soon(100 * MS..back_within_us, Event::BootAgent(at));
    }

    /// Takes a node out of its region.
    pub(crate) fn remove_node(&mut self, at: NodeAt) {
        let (master, name) = (self.hosts[at].master, self.hosts[at].name.clone());
        let call = self.masters[master].next_call();
        let request = skerry_region_state::ApiCall::RemoveNode(name);
        self.tell_master(master, skerry_region_state::Input::Call(call, request));
    }
}
