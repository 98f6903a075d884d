//! What must hold over the whole tree, by what runs and not by what masters say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_region_state::RolloutState;
use skerry_types::{
    AllocationId, AllocationIntent, Desired, FencingToken, InstanceIndex, InstanceSet, InstanceSpec,
    MilliCpu, NodeName, Resources, WorkloadKey,
};

use crate::event::{MasterAt, NodeAt};
use crate::restore::Restored;
use crate::runs::Jobs;
use crate::spec::{self, Rules};
use crate::waves::Updates;
use crate::world::{SECOND, World};

/// A copy that has run for this long is known to run by everybody who hears of it.
const STEADY: u64 = 200 * SECOND;

/// What the judge remembers.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Allocations all of whose containers ran at some time, and since when.
    pub(crate) ran: BTreeMap<(MasterAt, AllocationId), u64>,
    pub(crate) updates: Updates,
    /// What did not run well, whoever is to blame.
    troubled: BTreeMap<(MasterAt, WorkloadKey), Vec<Arc<InstanceSpec>>>,
    /// Nodes that were ever to be emptied, and those whose time was to be up.
    pub(crate) emptied: BTreeSet<NodeAt>,
    pub(crate) forced: BTreeSet<NodeAt>,
    /// The last token of each exclusive instance, and whose it was.
    pub(crate) tokens: BTreeMap<(WorkloadKey, InstanceIndex), (FencingToken, AllocationId)>,
    pub(crate) jobs: Jobs,
    pub(crate) restored: Restored,
    /// The highest limit that the tenant ever had.
    pub(crate) ceiling: MilliCpu,
}

impl World {
    /// What a region wants is within bounds, and what operators were told is so.
    pub(crate) fn check_region(&mut self, at: MasterAt) {
        let found = self
            .operators
            .missing(at, &self.masters[at].state)
            .or_else(|| self.doubled(at))
            .or_else(|| self.beyond_limit());
        if let Some(what) = found {
            self.fail(what);
        }
        self.note_updates(at);
        self.check_newly_stopped(at);
        let runs = self.masters[at].state.intents().filter(|(_, intent)| intent.desired == Desired::Run);
        self.masters[at].runs = runs.map(|(_, intent)| intent.id.clone()).collect();
    }

    fn was_emptied(&self, at: MasterAt) -> bool {
        self.judge.emptied.iter().any(|node| self.hosts[*node].master == at)
    }

    /// How many copies of an instance a region may want at a time.
    fn copies_allowed(&self, at: MasterAt, key: &WorkloadKey) -> usize {
        let rules = Rules::of(key);
        let beside = rules.surge().max(usize::from(self.was_emptied(at)));
        1 + beside + usize::from(rules == Rules::Replaced)
    }

    fn doubled(&self, at: MasterAt) -> Option<String> {
        let region = &self.masters[at].state;
        // A copy that was an orphan is beside those that a plan has made.
        let runs = || {
            let intents = region.intents().filter(|(_, intent)| intent.desired == Desired::Run);
            intents.filter(|(node, intent)| !self.is_orphan_on(node, &intent.id))
        };
        let mut places: Vec<_> = runs().map(|(_, intent)| (&intent.workload, intent.instance)).collect();
        places.sort_unstable();
        let mut over = places.chunk_by(PartialEq::eq).filter(|copies| {
            let (key, _) = copies[0];
            copies.len() > 1 && copies.len() > self.copies_allowed(at, key)
        });
        let (key, instance) = over.next()?[0];
        let copies = runs().filter(|(_, intent)| (&intent.workload, intent.instance) == (key, instance));
        let nodes: Vec<&str> = copies.map(|(node, _)| node.as_str()).collect();
        Some(format!("instance {instance} of {key} is placed on {}", nodes.join(" and on ")))
    }

    fn is_orphan_on(&self, node: &NodeName, id: &AllocationId) -> bool {
        self.hosts.iter().position(|host| host.name == *node).is_some_and(|at| self.was_orphan(at, id))
    }

    /// What workloads of the tenant may take, wherever they were admitted, is within its limit.
    fn beyond_limit(&self) -> Option<String> {
        let owned = self.masters.iter().flat_map(|master| master.state.owned());
        let its = owned.filter(|spec| spec.key.tenant == spec::limited());
        let used =
            its.fold(Resources::ZERO, |sum, spec| sum + spec.instance.resources().times(spec.instances));
        // A store that went back does not know what was given of the limit since.
        (used.cpu > self.judge.ceiling && !self.judge.restored.any).then(|| {
            format!("the tenant uses {} where its limit never was above {}", used.cpu, self.judge.ceiling)
        })
    }

    /// An instance that is still wanted is stopped only for what is better, within the bounds of its update.
    fn check_newly_stopped(&mut self, at: MasterAt) {
        let master = &self.masters[at];
        let mut wanted: BTreeMap<&WorkloadKey, InstanceSet> = BTreeMap::new();
        let stopped = master.state.intents().filter(|(_, intent)| {
            intent.desired == Desired::Stop && master.runs.contains(&intent.id) && {
                let key = &intent.workload;
                let set = wanted.entry(key).or_insert_with(|| master.state.local_instances(key));
                set.contains(intent.instance)
            }
        });
        let stopped: Vec<(NodeAt, Arc<AllocationIntent>)> = stopped
            .filter_map(|(node, intent)| {
                let node = self.hosts.iter().position(|host| host.name == *node)?;
                Some((node, Arc::clone(intent)))
            })
            .collect();
        for (node, intent) in stopped {
            self.judge_stop(at, node, &intent);
        }
    }

    /// Another copy that should run, and did at some time; one of a schedule takes over while it rests.
    fn has_other(&self, at: MasterAt, intent: &AllocationIntent) -> bool {
        let rests = Rules::of(&intent.workload) == Rules::Cron;
        self.masters[at].state.intents_of(&intent.workload).any(|(_, other)| {
            other.instance == intent.instance
                && other.id != intent.id
                && other.desired == Desired::Run
                && (rests || self.judge.ran.contains_key(&(at, other.id.clone())))
        })
    }

    fn judge_stop(&mut self, at: MasterAt, node: NodeAt, intent: &AllocationIntent) {
        let rules = Rules::of(&intent.workload);
        if self.has_other(at, intent)
            || self.judge.forced.contains(&node)
            || self.was_orphan(node, &intent.id)
        {
            return;
        }
        // A job that is over, or another, ends everywhere; a node that was emptied keeps no daemon.
        if rules == Rules::Job || rules == Rules::Daemon && self.judge.emptied.contains(&node) {
            return;
        }
        // What the region hears of a node with a copy may be of the copy.
        if self.is_copied(node) {
            return;
        }
        let heard = self.masters[at].state.is_connected(&self.hosts[node].name);
        if !heard
            && !self.is_one_of_two(at, intent)
            && !self.was_moved_away(at, node, intent)
            && !matches!(rules, Rules::Replaced | Rules::Exclusive)
        {
            let what = format!("{} is replaced while n{node} is not heard from", intent.id);
            return self.fail(what);
        }
        self.judge_wave(at, node, intent);
        if rules.max_unavailable() == 0 && self.is_steady(node, intent) {
            self.fail(format!("{} is the last copy, runs well, and is told to stop", intent.id));
        }
    }

    /// Whether its instance moves for the sake of another copy of it, which is heard from or which no plan has made.
    fn is_one_of_two(&self, at: MasterAt, intent: &AllocationIntent) -> bool {
        let master = &self.masters[at];
        let was_there = |node: &NodeName, id: &AllocationId| {
            *id != intent.id && master.runs.contains(id) && master.state.is_connected(node)
        };
        let mut copies = master.state.intents_of(&intent.workload);
        copies.any(|(node, other)| {
            other.instance == intent.instance
                && (was_there(node, &other.id) || self.is_orphan_on(node, &other.id))
        })
    }

    /// Whether another copy has taken over from one on a node that is emptied, though that one makes way for an update by now.
    fn was_moved_away(&self, at: MasterAt, node: NodeAt, intent: &AllocationIntent) -> bool {
        let mut copies = self.masters[at].state.intents_of(&intent.workload).map(|(_, other)| other);
        self.judge.emptied.contains(&node)
            && copies.any(|other| {
                let is_other = other.instance == intent.instance && other.id != intent.id;
                is_other && self.judge.ran.contains_key(&(at, other.id.clone()))
            })
    }

    fn is_steady(&self, node: NodeAt, intent: &AllocationIntent) -> bool {
        self.runs_well(node, intent, STEADY)
    }

    /// Whether everything of an allocation has run for so long, by what its agent knows.
    pub(crate) fn runs_well(&self, node: NodeAt, intent: &AllocationIntent, least_us: u64) -> bool {
        let host = &self.hosts[node];
        // An agent that has just begun does not know yet what runs, and says so.
        if host.agent.is_none() || host.boot_us + least_us > self.now_us {
            return false;
        }
        let its = host.containers.values().filter(|container| container.intent.id == intent.id);
        let long =
            its.filter(|c| c.runs() && c.acknowledged && c.started_us + least_us < self.now_us).count();
        long == intent.spec.containers.len()
    }

    /// A container starts: its instance runs nowhere else in the tree, but for a replacement.
    pub(crate) fn judge_start(&mut self, at: NodeAt, intent: &AllocationIntent) {
        let rules = Rules::of(&intent.workload);
        let running = self.hosts[at].containers.values().filter(|c| c.intent.id == intent.id && c.runs());
        if running.count() == intent.spec.containers.len() {
            let key = (self.hosts[at].master, intent.id.clone());
            self.judge.ran.entry(key).or_insert(self.now_us);
        }
        // Each region numbers its daemons by itself.
        if matches!(rules, Rules::Clash | Rules::Daemon) {
            return;
        }
        let mut regions = BTreeSet::new();
        for host in &self.hosts {
            let its = host.containers.values().filter(|c| {
                c.runs() && c.intent.workload == intent.workload && c.intent.instance == intent.instance
            });
            if its.into_iter().any(|container| self.is_wanted(host.master, &container.intent.id)) {
                regions.insert(host.master);
            }
        }
        if regions.len() > 1 + self.replacements_allowed(rules, &regions) {
            let what =
                format!("instance {} of {} runs in regions {regions:?}", intent.instance, intent.workload);
            self.fail(what);
        }
    }

    /// How many regions beside the first may run an instance. A region that is cut off replaces what is lost below it, and cannot know
    /// that the root has replaced what it holds.
    fn replacements_allowed(&self, rules: Rules, regions: &BTreeSet<MasterAt>) -> usize {
        if rules != Rules::Replaced {
            return 0;
        }
        let parents = regions.iter().filter_map(|at| self.masters[*at].parent);
        1 + parents
            .filter(|parent| self.masters[*parent].parent.is_some() && regions.contains(parent))
            .count()
    }

    fn is_wanted(&self, at: MasterAt, id: &AllocationId) -> bool {
        self.masters[at].state.intent(id).is_some_and(|(_, intent)| intent.desired == Desired::Run)
    }

    /// Something of an allocation went wrong.
    pub(crate) fn trouble(&mut self, at: NodeAt, intent: &AllocationIntent) {
        let key = (self.hosts[at].master, intent.workload.clone());
        let known = self.judge.troubled.entry(key).or_default();
        if !known.contains(&intent.spec) {
            known.push(Arc::clone(&intent.spec));
        }
    }

    /// An update fails only by what it updated.
    pub(crate) fn look_at_rollouts(&mut self, at: MasterAt) {
        let views = self.workloads(at).unwrap_or_default();
        self.look_at_jobs(at, &views);
        let failed = views.iter().filter(|view| {
            view.rollout.state == RolloutState::Failed && view.rollout.message.contains("do not run")
        });
        for view in failed {
            // The owner counts what does not run in any region.
            let mut troubled = self.judge.troubled.iter().filter(|((_, key), _)| *key == view.spec.key);
            if !troubled.any(|(_, known)| known.contains(&view.spec.instance)) {
                let what = format!(
                    "the rollout of {} in {} failed, and nothing of it did: {}",
                    view.spec.key, self.masters[at].name, view.rollout.message
                );
                return self.fail(what);
            }
        }
    }
}
