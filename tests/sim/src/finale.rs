//! When the faults stop: agreement, a last cut, agreement again, silence.

use std::collections::{BTreeMap, BTreeSet};

use skerry_region_state::AllocationView;
use skerry_types::{
    AllocationId, ContainerState, Desired, ExitKind, HostPort, NodeName, Phase, Resources, WorkloadSpec,
};

use crate::event::{Event, Party};
use crate::node::Host;
use crate::runtime::Container;
use crate::world::{MS, SECOND, World};

/// From the last fault to agreement: a broken link that nobody noticed yet, a backoff, a pull, a stop with its grace, times the
/// instances that an update replaces one after another.
const SETTLES_WITHIN: u64 = 300 * SECOND;
/// How long every node is on its own: the longest backoff, a boot, and room to spare.
const OFFLINE_FOR: u64 = 150 * SECOND;
/// From healing until what the master shows is right.
const RIGHT_WITHIN: u64 = 5 * SECOND;

/// Where in its story the world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Everything goes wrong.
    Storm,
    /// The faults have stopped.
    Settle,
    /// Every link is cut and every ledger is full; containers crash and a node loses its power.
    Offline,
    /// The links are back.
    Rejoin,
    /// What is left to say is said.
    Calm,
    /// Nobody has anything to say or to do.
    Silence,
    Done,
}

impl World {
    pub(crate) fn next_stage(&mut self) {
        let (stage, lasts) = match self.stage {
            Stage::Storm => {
                self.stop_faults();
                (Stage::Settle, SETTLES_WITHIN)
            }
            Stage::Settle => {
                self.check_agreement("after the faults");
                self.go_offline();
                (Stage::Offline, OFFLINE_FOR)
            }
            Stage::Offline => {
                self.check_local_life();
                self.come_back();
                (Stage::Rejoin, RIGHT_WITHIN)
            }
            Stage::Rejoin => {
                self.check_agreement("5 s after the links healed");
                (Stage::Calm, 10 * SECOND)
            }
            Stage::Calm => {
                (self.frames, self.begun) = (0, 0);
                (Stage::Silence, 1800 * SECOND)
            }
            Stage::Silence | Stage::Done => {
                self.check_agreement("after a silence");
                if self.frames + self.begun > 0 {
                    self.fail(format!(
                        "{} messages and {} operations without cause",
                        self.frames, self.begun
                    ));
                }
                (Stage::Done, 0)
            }
        };
        self.stage = stage;
        self.note(&format_args!("---- {stage:?}"));
        self.after(lasts, Event::Stage);
    }

    fn stop_faults(&mut self) {
        self.space(Party::Master);
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            host.path_is_cut = false;
            host.stalled_until_us = 0;
            host.fails_until_us = 0;
            host.delay_us = 50 * MS;
            self.space(Party::Node(at));
        }
    }

    fn go_offline(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            host.path_is_cut = true;
            host.disk.full = true;
            let running = host.containers.iter().filter(|(_, container)| container.runs());
            let pids: Vec<u32> = running.map(|(pid, _)| *pid).collect();
            if let Some(link) = host.link {
                self.break_link(link, 60 * SECOND, 60 * SECOND);
            }
            for pid in pids {
                if self.rng.percent(50) {
                    self.end_container(at, pid, ExitKind::Code(1));
                }
            }
        }
        let unlucky = self.rng.below(self.hosts.len());
        self.reboot(unlucky);
    }

    fn come_back(&mut self) {
        for at in 0..self.hosts.len() {
            self.hosts[at].path_is_cut = false;
            self.space(Party::Node(at));
        }
    }

    /// Without a link and with a full disk, everything that should run does.
    fn check_local_life(&mut self) {
        let mut still = Vec::new();
        for (node, intent) in self.master.state.intents().filter(|(_, i)| i.desired == Desired::Run) {
            let host = self.hosts.iter().find(|host| host.name == *node);
            let runs = host.map_or(0, |host| running(host, &intent.id).count());
            if runs != intent.spec.containers.len() {
                still.push(format!(
                    "{runs} of {} containers of {} run on {node}",
                    intent.spec.containers.len(),
                    intent.id
                ));
            }
        }
        if !still.is_empty() {
            self.fail(format!("on its own: {}", still.join(", ")));
        }
    }

    /// What operators want, what the master shows and what runs are the same.
    fn check_agreement(&mut self, when: &str) {
        let Some(views) = self.list() else {
            return self.fail(format!("{when}: the master does not answer"));
        };
        let specs: Vec<_> = self.master.state.wanted().cloned().collect();
        let mut wrong: Vec<String> = views.iter().filter_map(|view| self.disagreement(view)).collect();
        wrong.extend(specs.iter().filter_map(|spec| self.shortfall(spec, &views)));
        for host in &self.hosts {
            wrong.extend(surplus(host, &views));
        }
        let disk = &self.master.disk;
        let rows = (disk.count("workload"), disk.count("observed"), disk.count("tombstone"), disk.is_idle());
        // Each node says its facts and one status for each of its allocations.
        let want = (specs.len(), self.hosts.len() + views.len(), 0, true);
        if rows != want {
            wrong.push(format!(
                "the store has (workloads, observed, tombstones, idle) {rows:?}, not {want:?}"
            ));
        }
        if !wrong.is_empty() {
            self.fail(format!("{when}: {}", wrong.join("; ")));
        }
    }

    fn disagreement(&self, view: &AllocationView) -> Option<String> {
        let id = &view.intent.id;
        let host = self.hosts.iter().find(|host| host.name == view.node)?;
        let status = view.status.as_deref();
        let phase = status.map(|status| status.phase);
        if view.intent.desired != Desired::Run || !view.reachable || phase != Some(Phase::Running) {
            let reach = if view.reachable { "reachable" } else { "unreachable" };
            return Some(format!("{id} is {:?}, {reach}, {phase:?}", view.intent.desired));
        }
        let shown: BTreeSet<u32> = status?
            .containers
            .iter()
            .filter_map(|container| match container.state {
                ContainerState::Running { pid, .. } => Some(pid),
                _ => None,
            })
            .collect();
        let real: BTreeSet<u32> = running(host, id).map(|(pid, _)| *pid).collect();
        (shown != real).then(|| format!("{id} is shown to run as {shown:?} and runs as {real:?}"))
    }

    /// A workload has its instances, or there is no room for more.
    fn shortfall(&self, spec: &WorkloadSpec, views: &[AllocationView]) -> Option<String> {
        let of_it = || views.iter().filter(|view| view.intent.workload == spec.key);
        let (count, wanted) = (of_it().count(), usize::try_from(spec.instances).unwrap_or(usize::MAX));
        let outdated = of_it().filter(|view| view.intent.spec != spec.instance).count();
        if count == wanted && outdated == 0 {
            return None;
        }
        if count > wanted {
            return Some(format!("{} has {count} instances of {wanted}", spec.key));
        }
        let room = self.hosts.iter().find(|host| has_room(host, spec, views));
        if count == wanted {
            return Some(format!("{} has {outdated} outdated instances of {wanted}", spec.key));
        }
        room.map(|host| format!("{} has {count} instances of {wanted}, and {} has room", spec.key, host.name))
    }
}

fn running<'a>(host: &'a Host, id: &'a AllocationId) -> impl Iterator<Item = (&'a u32, &'a Container)> {
    host.containers.iter().filter(move |(_, container)| container.intent.id == *id && container.runs())
}

fn held<'a>(node: &'a NodeName, views: &'a [AllocationView]) -> impl Iterator<Item = &'a AllocationView> {
    views.iter().filter(move |view| view.node == *node)
}

fn has_room(host: &Host, spec: &WorkloadSpec, views: &[AllocationView]) -> bool {
    let used =
        held(&host.name, views).fold(Resources::default(), |sum, view| sum + view.intent.spec.resources());
    let fits = host.capacity.fits(&(used + spec.instance.resources()));
    let taken: BTreeSet<u16> =
        held(&host.name, views).flat_map(|view| view.intent.ports.iter().map(|port| port.host)).collect();
    let free = |port: &skerry_types::PortSpec| match port.host {
        HostPort::Fixed(number) => !taken.contains(&number),
        HostPort::Auto | HostPort::None => true,
    };
    fits && spec.instance.ports().all(free)
}

/// What is on a node that the region does not know of.
fn surplus(host: &Host, views: &[AllocationView]) -> Vec<String> {
    let known: BTreeMap<&AllocationId, &AllocationView> =
        held(&host.name, views).map(|view| (&view.intent.id, view)).collect();
    let mut wrong: Vec<String> = host
        .containers
        .values()
        .map(|container| &container.intent.id)
        .chain(host.sandboxes.keys())
        .filter(|id| !known.contains_key(id))
        .map(|id| format!("{} still has {id}", host.name))
        .collect();
    let lifecycles = host.agent.as_ref().map_or(0, |agent| agent.lifecycles().count());
    let rows = (host.disk.count("intent"), lifecycles);
    if rows != (known.len(), known.len()) {
        wrong.push(format!("{} has (rows, lifecycles) {rows:?} where {} are its", host.name, known.len()));
    }
    if host.disk.count("event") > 257 || host.disk.count("life") > known.len() {
        wrong.push(format!("the ledger of {} is not bounded", host.name));
    }
    wrong
}
