//! A master that starts on an older copy of its own store: mostly nobody tells it, and what its nodes hold has to.
//!
//! Only in a world of one region. What was acknowledged since the copy was made is judged no more. What runs by such a word is: it
//! goes on until an operator says something of its workload.

use std::collections::{BTreeMap, BTreeSet};

use skerry_agent_state::{AgentState, Lifecycle};
use skerry_region_state::{AllocationView, ApiCall, Input};
use skerry_types::{AllocationId, Desired, NodeName, ReasonCode, WorkloadKey};
use skerry_wire::{RowsFrame, TableId, ToParent};

use crate::event::{Event, MasterAt, NodeAt, Party};
use crate::runtime::Container;
use crate::spec::{self, Rules};
use crate::world::{MS, SECOND, World};

/// Longer than the longest lease of a storm by the slowest clock: operators who say that a store is a copy wait so long with the start.
const LEASES_OVER: u64 = 70 * SECOND;
/// How many of a hundred operators say so.
const SAID: u64 = 30;

/// What the judge knows of stores that went back.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Allocations that run, and that nobody has said anything of since.
    orphans: BTreeMap<(NodeAt, AllocationId), WorkloadKey>,
    /// All that a store ever forgot, whether it ran or was about to: copies that no plan has made.
    once: BTreeSet<(NodeAt, AllocationId)>,
    /// Allocations that were on their way out when a store went back.
    leaving: BTreeSet<(NodeAt, AllocationId)>,
    /// Whether any store went back.
    pub(crate) any: bool,
    /// When all leases are over that a store forgot of which nobody said that it went back.
    pub(crate) leases_over_us: u64,
}

impl World {
    /// A copy of a master's store is made; or it is put in again.
    pub(crate) fn swap_store(&mut self, at: MasterAt) {
        if self.masters.len() > 1 || !self.masters[at].up {
            return;
        }
        let Some(backup) = self.masters[at].past.backup.take() else {
            self.masters[at].past.backup = Some(self.masters[at].disk.image());
            return;
        };
        let is_said = self.fate.percent(SAID);
        self.note(&format_args!("  r{at} gets an older store, said: {is_said}"));
        let running = self.run_by_word_of(at);
        let placed: Vec<_> = self.placed(at).collect();
        let is_told = |id: &AllocationId| {
            self.masters[at].state.intent(id).is_some_and(|(_, intent)| intent.desired == Desired::Stop)
        };
        let told = placed.iter().filter(|(_, id)| is_told(id)).cloned();
        let copies = self.held_by(at, true).map(|(copy, id)| (self.first_machine(copy), id));
        let unknown = copies.filter(|(_, id)| self.masters[at].state.intent(id).is_none());
        let leaving = told.chain(self.held(at).filter(|held| !running.contains(held))).chain(unknown);
        let leaving: Vec<_> = leaving.collect();
        self.judge.restored.leaving.extend(leaving);
        self.end_master(at);
        let master = &mut self.masters[at];
        master.disk.put_in(backup);
        master.runs.clear();
        (master.past.has_gone_back, master.past.is_said) = (true, is_said);
        for host in self.hosts.iter_mut().filter(|host| host.master == at) {
            host.way.acked_by_parent = None;
        }
        self.judge.restored.any = true;
        self.judge.jobs.retain(|(master, _, _), _| *master != at);
        self.operators.forget_all_but(at);
        self.reload_master(at, "event");
        let region = &self.masters[at].state;
        let is_known = |(node, id): &(NodeAt, AllocationId)| {
            region.intent(id).is_some_and(|(name, _)| *name == self.hosts[*node].name)
        };
        let orphans: Vec<_> = running.into_iter().filter(|held| !is_known(held)).collect();
        let forgotten: Vec<_> = placed.into_iter().filter(|placed| !is_known(placed)).collect();
        self.judge.restored.once.extend(forgotten);
        let leases_over = LEASES_OVER * spec::lease_factor(self.options.pace);
        if !is_said {
            self.judge.restored.leases_over_us = self.now_us + leases_over;
        }
        let keyed = orphans.into_iter().filter_map(|(node, id)| {
            let mut its = self.hosts[node].containers.values().map(|container| &container.intent);
            let key = its.find(|intent| intent.id == id)?.workload.clone();
            Some(((node, id), key))
        });
        let keyed: Vec<_> = keyed.collect();
        self.judge.restored.orphans.extend(keyed);
        let down = if is_said { leases_over } else { self.fate.within(100 * MS..60 * SECOND) };
        self.after(down, Event::BootMaster(at));
    }

    /// What a region knows on its nodes.
    fn placed(&self, at: MasterAt) -> impl Iterator<Item = (NodeAt, AllocationId)> {
        self.masters[at].state.intents().filter_map(|(name, intent)| {
            let node = self.hosts.iter().position(|host| host.name == *name)?;
            Some((node, intent.id.clone()))
        })
    }

    /// What has containers on a region's nodes, or will, but on copies of machines.
    fn held(&self, at: MasterAt) -> impl Iterator<Item = (NodeAt, AllocationId)> {
        self.held_by(at, false)
    }

    /// What has containers on a region's nodes, or on copies of them.
    fn held_by(&self, at: MasterAt, copies: bool) -> impl Iterator<Item = (NodeAt, AllocationId)> {
        let hosts = self.hosts.iter().enumerate();
        let hosts = hosts.filter(move |(_, host)| host.master == at && host.past.copy_of.is_some() == copies);
        hosts.flat_map(|(node, host)| {
            let running = host.containers.values().filter(|container| container.runs());
            let running = running.map(|container| &container.intent.id);
            // What is about to start.
            let begun = host.agent.iter().flat_map(|agent| agent.lifecycles().map(Lifecycle::id));
            running.chain(begun).map(move |id| (node, id.clone()))
        })
    }

    /// What of it the region wants, and wanted to go on.
    fn run_by_word_of(&self, at: MasterAt) -> BTreeSet<(NodeAt, AllocationId)> {
        let region = &self.masters[at].state;
        let is_wanted = |node: NodeAt, id: &AllocationId| {
            region.intent(id).is_some_and(|(name, intent)| {
                *name == self.hosts[node].name && intent.desired != Desired::Stop
            })
        };
        self.held(at).filter(|(node, id)| is_wanted(*node, id)).collect()
    }

    /// Somebody says what a workload is to be: what becomes of its orphans follows from that.
    pub(crate) fn speak_of(&mut self, at: MasterAt, key: &WorkloadKey) {
        let hosts = &self.hosts;
        let orphans = &mut self.judge.restored.orphans;
        orphans.retain(|(node, _), its| hosts[*node].master != at || its != key);
    }

    /// Workloads with an allocation on a node that its region knows on another one.
    fn twice_named(&self, at: MasterAt) -> BTreeSet<WorkloadKey> {
        let known = |name: &NodeName, id: &AllocationId| {
            let (node, intent) = self.masters[at].state.intent(id)?;
            (node != name).then(|| intent.workload.clone())
        };
        let hosts = self.hosts.iter().filter(|host| host.master == at);
        let held = hosts.flat_map(|host| {
            let agent = host.agent.iter().flat_map(AgentState::lifecycles);
            agent.filter_map(|lifecycle| known(&host.name, lifecycle.id()))
        });
        held.collect()
    }

    /// Of a copy the machine that was copied.
    fn first_machine(&self, at: NodeAt) -> NodeAt {
        self.hosts[at].past.copy_of.unwrap_or(at)
    }

    /// Whether an allocation was told to end by a word that its region forgot.
    pub(crate) fn was_leaving(&self, at: NodeAt, id: &AllocationId) -> bool {
        self.judge.restored.leaving.contains(&(self.first_machine(at), id.clone()))
    }

    /// A node says what it holds: what it took over from an older disk may be an orphan, too, of which no store forgot anything.
    pub(crate) fn hear_orphans(&mut self, child: Party, message: &ToParent) {
        let (Party::Node(at), true) = (child, self.judge.restored.any) else { return };
        let ToParent::Rows(RowsFrame::Delta { rows, .. } | RowsFrame::Snapshot { rows, .. }) = message else {
            return;
        };
        let told = rows.iter().filter(|row| row.key.table == TableId::ORPHAN && row.value.is_some());
        let orphans = told.filter_map(|row| AllocationId::new(&*row.key.key).ok());
        let orphans: Vec<_> = orphans.map(|id| (self.first_machine(at), id)).collect();
        self.judge.restored.once.extend(orphans);
    }

    /// Whether an allocation ever ran without its region's knowledge.
    pub(crate) fn was_orphan(&self, at: NodeAt, id: &AllocationId) -> bool {
        self.judge.restored.once.contains(&(self.first_machine(at), id.clone()))
    }

    /// A container of an orphan that runs well is ended by nobody who was not told to.
    pub(crate) fn check_orphan(&mut self, at: NodeAt, container: &Container, by: &str) {
        // What is exclusive stops beside a copy that the store knows, a job when it is done, and what is on a drained node last.
        let is_spared = container.intent.spec.exclusive.is_some()
            || Rules::of(&container.intent.workload).ends()
            || self.judge.emptied.contains(&at);
        let orphan = (at, container.intent.id.clone());
        if container.acknowledged && !is_spared && self.judge.restored.orphans.contains_key(&orphan) {
            let (id, name) = (&container.intent.id, &container.name);
            self.fail(format!(
                "{by} ends the container {id}/{name} on n{at}, an orphan of which nobody said anything"
            ));
        }
    }

    /// Operators put right what a restored store left: workloads that it knows are applied again, others deleted. False when the
    /// master has no answer yet.
    pub(crate) fn mend_orphans(&mut self, at: MasterAt) -> bool {
        let Some(views) = self.allocations(at) else { return false };
        // What waits for the room that another one has is given up there, and finds another place.
        let waits = |view: &&AllocationView| {
            let reason = view.status.as_ref().and_then(|status| status.reason.as_ref());
            reason.is_some_and(|reason| reason.code == ReasonCode::NoRoom)
        };
        for id in views.iter().filter(waits).map(|view| view.intent.id.clone()) {
            let call = self.masters[at].next_call();
            self.tell_master(at, Input::Call(call, ApiCall::DeleteAllocation(id)));
        }
        // A store that went back unnoticed gave a name again that another node's allocation has: both go, as operators are told.
        for key in self.twice_named(at) {
            self.wish(at, key.clone(), ApiCall::Delete(key), None);
        }
        let orphans = views.into_iter().filter(|view| view.intent.desired == Desired::Keep);
        let keys: BTreeSet<WorkloadKey> = orphans.map(|view| view.intent.workload.clone()).collect();
        for key in keys {
            let known = self.masters[at].state.owned().find(|spec| spec.key == key).cloned();
            if let Some(known) = known {
                let mut good = (*known).clone();
                spec::renew(&mut good);
                self.apply(at, key, good);
            } else {
                self.speak_of(at, &key);
                let call = self.masters[at].next_call();
                self.tell_master(at, Input::Call(call, ApiCall::Delete(key)));
            }
        }
        true
    }
}
