//! The master: the region's brain, its disk, and the shell between them.

use std::collections::{BTreeMap, BTreeSet};

use skerry_region_state::{
    Action, ApiCall, ApiReply, CallId, EnrollWish, Input, NewToken, RegionConfig, RegionState, SecretHash,
    TokenId, TokenScope,
};
use skerry_types::{
    AllocationId, AllocationIntent, Desired, InstanceIndex, Now, RegionName, SiteName, WallTime, WorkloadKey,
};
use skerry_wire::{Epoch, ToChild};

use crate::Mutation;
use crate::disk::Disk;
use crate::event::{Event, NodeAt, Parcel, Party};
use crate::world::{MS, SECOND, World, clock};

const SECRET: SecretHash = SecretHash([7; 32]);

#[derive(Debug)]
pub(crate) struct Master {
    /// The brain; while the process is down, what it will begin with.
    pub(crate) state: RegionState,
    pub(crate) disk: Disk,
    pub(crate) up: bool,
    pub(crate) life: u64,
    boot_us: u64,
    next_call: u64,
    /// Allocations that should run, as of the last input.
    runs: BTreeSet<AllocationId>,
}

impl Master {
    pub(crate) fn new() -> Self {
        let state = load(clock(SECOND, 0, 0), &Disk::new()).expect("an empty store can be read");
        Self { state, disk: Disk::new(), up: true, life: 1, boot_us: 0, next_call: 0, runs: BTreeSet::new() }
    }

    pub(crate) fn next_call(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }
}

fn load(now: Now, disk: &Disk) -> Result<RegionState, skerry_region_state::LoadError> {
    let region = RegionName::new("north").expect("a region name");
    let config = RegionConfig { region, epoch: Epoch(77), software: "sim".to_owned(), has_parent: false };
    RegionState::load(config, now, disk.rows())
}

impl World {
    pub(crate) fn enroll_hosts(&mut self) {
        for at in 0..self.hosts.len() {
            let id: TokenId = format!("t{at}").parse().expect("a token id");
            let site = SiteName::new("s1").expect("a site name");
            let scope = TokenScope::Site(site);
            let new =
                NewToken { id: id.clone(), secret: SECRET, scope, expires: WallTime(u64::MAX), uses: 1 };
            let call = self.master.next_call();
            self.tell_master(Input::Call(call, ApiCall::CreateToken(new)));
            let (call, host) = (self.master.next_call(), &self.hosts[at]);
            let (node, key) = (host.name.clone(), host.key());
            let wish = EnrollWish::Node { node, site: None };
            self.tell_master(Input::Enroll { call, token: id, secret: SECRET, wish, key });
        }
        // The world begins with its nodes on the master's disk.
        if let Some(id) = self.master.disk.commit() {
            self.tell_master(Input::Persisted(id));
        }
    }

    pub(crate) fn tell_master(&mut self, input: Input) {
        if !self.master.up {
            return;
        }
        let now = clock(self.now_us, self.master.boot_us, 0);
        self.master.state.handle(now, input);
        self.act_master();
        self.check_region();
    }

    fn act_master(&mut self) {
        while let Some(action) = self.master.state.poll_action() {
            match action {
                Action::Persist(id, batch) => {
                    self.master.disk.submit(id, batch);
                    if self.is(Mutation::MasterSkipsPersistWait) {
                        let now = clock(self.now_us, self.master.boot_us, 0);
                        self.master.state.handle(now, Input::Persisted(id));
                    }
                }
                Action::Send(link, message) => {
                    if let (ToChild::Ack(cursor), Some(pipe)) = (&message, self.pipes.get(&link)) {
                        self.hosts[pipe.node].acked_by_master = Some(*cursor);
                    }
                    self.send_down(link, Parcel::Message(message));
                }
                Action::Close { link, reason } => {
                    self.check_close(&reason);
                    self.send_down(link, Parcel::Close);
                    self.after(MS, Event::Lost(link, crate::event::Side::Parent));
                }
                Action::Reply(call, Ok(ApiReply::Allocations(page))) => {
                    self.operators.page = Some((call, page));
                }
                Action::Reply(call, reply) => self.replied(call, &reply),
                Action::Certify(..)
                | Action::Changed(_)
                | Action::SendParent(_)
                | Action::CloseParent { .. } => {}
            }
        }
        self.work_disk(Party::Master);
    }

    pub(crate) fn crash_master(&mut self) {
        if !self.master.up {
            return;
        }
        let keep_none = self.is(Mutation::MasterSkipsPersistWait);
        self.master.up = false;
        self.master.life += 1;
        self.master.disk.crash(&mut self.rng, keep_none);
        self.operators.forget_callers();
        self.break_all();
        self.reload_master();
        self.soon(100 * MS..60 * SECOND, Event::BootMaster);
    }

    /// What a start would begin with, so that the world can be judged while the master is down.
    fn reload_master(&mut self) {
        self.master.boot_us = self.now_us;
        match load(clock(self.now_us, self.master.boot_us, 0), &self.master.disk) {
            Ok(state) => self.master.state = state,
            Err(error) => self.fail(format!("the master cannot read its store: {error}")),
        }
        self.check_region();
    }

    pub(crate) fn boot_master(&mut self) {
        if self.master.up {
            return;
        }
        self.reload_master();
        self.master.up = true;
        self.act_master();
    }

    pub(crate) fn remove_node(&mut self, at: NodeAt) {
        let (call, name) = (self.master.next_call(), self.hosts[at].name.clone());
        self.tell_master(Input::Call(call, ApiCall::RemoveNode(name)));
    }

    /// One place for each instance, and what operators were told is so.
    fn check_region(&mut self) {
        let mut places: BTreeMap<(&WorkloadKey, InstanceIndex), &str> = BTreeMap::new();
        let mut doubled = None;
        for (node, intent) in self.master.state.intents().filter(|(_, i)| i.desired == Desired::Run) {
            // While an update replaces an instance, the old one's row says stop before the new one's says run.
            if let Some(other) = places.insert((&intent.workload, intent.instance), node.as_str()) {
                doubled = Some(format!(
                    "instance {} of {} is placed on {other} and on {node}",
                    intent.instance, intent.workload
                ));
            }
        }
        let lost = self.operators.missing(&self.master.state);
        if let Some(what) = doubled.or(lost).or_else(|| self.replaced_unseen()) {
            self.fail(what);
        }
        let runs = self.master.state.intents().filter(|(_, intent)| intent.desired == Desired::Run);
        self.master.runs = runs.map(|(_, intent)| intent.id.clone()).collect();
    }

    /// An instance that is still wanted is given up only when its node is there to stop it: else it would run twice.
    fn replaced_unseen(&self) -> Option<String> {
        let region = &self.master.state;
        let wanted = |intent: &AllocationIntent| {
            region.wanted().any(|spec| spec.key == intent.workload && intent.instance.0 < spec.instances)
        };
        let mut stopped = region.intents().filter(|(_, intent)| {
            intent.desired == Desired::Stop && self.master.runs.contains(&intent.id) && wanted(intent)
        });
        let (node, intent) = stopped.find(|(node, _)| !region.is_connected(node))?;
        Some(format!("{} is replaced while {node} is not heard from", intent.id))
    }
}
