//! Operators at random: what they ask for.

use std::sync::Arc;
use std::time::Duration;

use skerry_region_state::{ApiCall, DrainWhat, Input, LifeCall, RolloutState};
use skerry_types::{MilliCpu, Quota, TenantSpec, WorkloadKey, WorkloadSpec};

use crate::event::{Event, MasterAt, NodeAt};
use crate::finale::Stage;
use crate::knobs::Knobs;
use crate::spec;
use crate::world::{SECOND, World};

impl World {
    pub(crate) fn operate(&mut self) {
        if self.stage != Stage::Storm {
            return;
        }
        self.soon(SECOND / 2..30 * SECOND * self.options.pace, Event::Operator);
        let at = self.rng.below(self.masters.len());
        if !self.masters[at].up {
            return;
        }
        self.look_at_rollouts(at);
        let key = spec::any_key(&mut self.rng, at);
        let known = self.masters[at].state.owned().find(|spec| spec.key == key).cloned();
        let draw = self.rng.below(Knobs::ASKS);
        if self.options.without.has_ask(draw) {
            return;
        }
        self.disturb();
        match (draw, known) {
            // Tokens are held against each other over the whole life of a workload.
            (0..12, Some(_)) if spec::Rules::of(&key) == spec::Rules::Exclusive => {}
            (0..12, Some(_)) => self.wish(at, key.clone(), ApiCall::Delete(key), None),
            (12..24, Some(known)) => self.scale(at, &known),
            (24..28, Some(_)) => self.steer(at, LifeCall::Pause(key)),
            (28..38, Some(_)) => self.steer(at, LifeCall::Resume(key)),
            // Going back is not held against the tenant's limit.
            (38..44, Some(_)) if spec::Rules::of(&key) != spec::Rules::Limited => {
                self.operators.may_go_back((at, key.clone()));
                self.steer(at, LifeCall::Undo(key, None));
            }
            (44..50, Some(known)) => self.spoil(at, &known),
            (50..56, Some(_)) => self.steer(at, LifeCall::Promote(key)),
            (80..87, _) => self.empty_node(),
            (87..96, _) => self.open_node(),
            (96..100, _) => self.limit_tenant(),
            _ => self.apply_anything(at, key),
        }
    }

    fn apply_anything(&mut self, at: MasterAt, key: WorkloadKey) {
        let spec = spec::any(&mut self.rng, key.clone(), self.options.pace);
        self.apply(at, key, spec);
    }

    pub(crate) fn apply(&mut self, at: MasterAt, key: WorkloadKey, spec: WorkloadSpec) {
        let spec = Arc::new(spec);
        self.wish(at, key, ApiCall::Apply { spec: Arc::clone(&spec), dry_run: false }, Some(spec));
    }

    fn spoil(&mut self, at: MasterAt, known: &WorkloadSpec) {
        let mut bad = known.clone();
        spec::spoil(&mut bad);
        self.apply(at, known.key.clone(), bad);
    }

    fn scale(&mut self, at: MasterAt, known: &WorkloadSpec) {
        let instances = u32::try_from(self.rng.below(6)).unwrap_or_default();
        let wish = Arc::new(WorkloadSpec { instances, ..known.clone() });
        let key = known.key.clone();
        self.wish(at, key.clone(), ApiCall::Life(LifeCall::Scale(key, instances)), Some(wish));
    }

    fn steer(&mut self, at: MasterAt, call: LifeCall) {
        if let LifeCall::Pause(key)
        | LifeCall::Resume(key)
        | LifeCall::Undo(key, _)
        | LifeCall::Promote(key) = &call
        {
            self.speak_of(at, &key.clone());
        }
        let id = self.masters[at].next_call();
        self.tell_master(at, Input::Call(id, ApiCall::Life(call)));
    }

    fn empty_node(&mut self) {
        let node = self.rng.below(self.machines());
        let name = self.hosts[node].name.clone();
        self.judge.emptied.insert(node);
        let what = DrainWhat::Node(name.clone());
        let call = match self.rng.below(4) {
            0 => LifeCall::Cordon { node: name, on: true },
            1 => {
                self.judge.forced.insert(node);
                LifeCall::Drain { what, deadline: Some(Duration::from_mins(1)), force: false }
            }
            _ => LifeCall::Drain { what, deadline: None, force: false },
        };
        self.steer(self.hosts[node].master, call);
    }

    fn open_node(&mut self) {
        let node = self.rng.below(self.machines());
        self.uncordon(node);
    }

    fn uncordon(&mut self, node: NodeAt) {
        let call = LifeCall::Cordon { node: self.hosts[node].name.clone(), on: false };
        self.steer(self.hosts[node].master, call);
    }

    /// Only the root is asked: tenants are described there.
    pub(crate) fn limit_tenant(&mut self) {
        let cpu = MilliCpu(self.rng.within(2..9) * 500);
        self.judge.ceiling = self.judge.ceiling.max(cpu);
        let limit = Quota { cpu: Some(cpu), ..Quota::default() };
        let (weight, guarantee) = (TenantSpec::DEFAULT_WEIGHT, Quota::default());
        let spec = TenantSpec { name: spec::limited(), parent: None, weight, guarantee, limit };
        let id = self.masters[0].next_call();
        self.tell_master(0, Input::Call(id, ApiCall::ApplyTenant { spec, dry_run: false }));
    }

    /// When the faults have stopped, operators put right what they did. False when a master has no answer yet: what it is doing
    /// is on its way to disk.
    pub(crate) fn mend(&mut self) -> bool {
        for at in 0..self.masters.len() {
            if !self.mend_orphans(at) {
                return false;
            }
            let Some(views) = self.workloads(at) else { return false };
            let own = views.into_iter().filter(|view| view.owner == self.masters[at].name && !view.deleting);
            for view in own.collect::<Vec<_>>() {
                let key = &view.spec.key;
                let rules = spec::Rules::of(key);
                if matches!(rules, spec::Rules::Exclusive | spec::Rules::Cron) {
                    // What does not go on without a link, or never rests, has no part in the last stages.
                    self.wish(at, key.clone(), ApiCall::Delete(key.clone()), None);
                    continue;
                }
                let gave_up = view.job.as_ref().is_some_and(|job| job.failed.is_some());
                let bad = spec::is_bad(&view.spec.instance) || gave_up;
                if bad || view.rollout.state != RolloutState::Done {
                    let mut good = (*view.spec).clone();
                    spec::renew(&mut good);
                    self.apply(at, view.spec.key.clone(), good);
                }
            }
        }
        for node in 0..self.machines() {
            self.uncordon(node);
        }
        true
    }
}
