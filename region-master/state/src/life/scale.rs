//! Services whose count follows their load.

use std::time::Duration;

use skerry_rollout::scale::Load;
use skerry_types::{Desired, InstanceSet, Scale, ScaleTarget, WorkloadKey};

use crate::ledger::{SCALE, Value, put, workload_key};
use crate::records::{Origin, WorkloadRecord};
use crate::state::RegionState;

/// Between two looks at the load: nodes tell of theirs about as often.
const EVERY: Duration = Duration::from_secs(15);

impl RegionState {
    /// The instances that a workload is to have here.
    pub(crate) fn wanted_instances(&self, record: &WorkloadRecord) -> InstanceSet {
        match &record.origin {
            // What runs of a job that was given up is stopped in all regions.
            Origin::Own if self.is_given_up(record) => InstanceSet::default(),
            Origin::Own => InstanceSet::first(self.wanted_count(record)),
            // The owner says which; how many there are in all is its affair.
            Origin::Parent(received) => received.instances.difference(&received.back()),
        }
    }

    /// How many instances a workload is to have.
    pub(crate) fn wanted_count(&self, record: &WorkloadRecord) -> u32 {
        let Some(scale) = &record.spec.scale else { return record.spec.instances };
        let scaled = self.life.scaled.get(&record.spec.key).copied();
        scaled.unwrap_or(record.spec.instances).clamp(scale.min, scale.max)
    }

    /// When to look at the load again.
    pub(crate) fn next_scale(record: &WorkloadRecord) -> Option<Duration> {
        record.spec.scale.as_ref().filter(|_| record.origin == Origin::Own).map(|_| EVERY)
    }

    /// Looks at a service's load and sets how many instances it is to have.
    pub(crate) fn rescale(&mut self, record: &WorkloadRecord) {
        let Some(scale) = record.spec.scale.as_ref().filter(|_| record.origin == Origin::Own) else { return };
        let key = &record.spec.key;
        let now = self.now.mono;
        let looked = self.life.scalers.get(key).map(|(looked, _)| *looked);
        if looked.is_some_and(|looked| now.since(looked) < EVERY) {
            return;
        }
        let current = self.wanted_count(record);
        let load = self.load_of(record, scale);
        let (_, mut scaler) = self.life.scalers.remove(key).unwrap_or_default();
        let wanted = scaler.ask(now, scale, current, load);
        self.life.scalers.insert(key.clone(), (now, scaler));
        if wanted != current {
            put(self.outbox.batch(), &Value::ScaleV1(key.clone(), wanted));
            self.life.scaled.insert(key.clone(), wanted);
            self.tell_workload(
                key,
                "Scaled",
                format!("{key} goes from {current} to {wanted} instances with its load"),
            );
            self.changed = true;
        }
    }

    /// What the running instances use, against what each should.
    fn load_of(&self, record: &WorkloadRecord, scale: &Scale) -> Option<Load> {
        let running = self.allocations_of(&record.spec.key).filter(|a| a.intent.desired == Desired::Run);
        let heard: Vec<u64> = running
            .filter_map(|allocation| self.life.loads.get(&allocation.intent.id))
            .filter_map(|load| match &scale.target {
                ScaleTarget::Cpu(_) => Some(load.cpu.0),
                ScaleTarget::Memory(_) => Some(load.memory.0),
                ScaleTarget::Metric { name, .. } => load.gauges.get(name).copied(),
            })
            .collect();
        let requested = record.spec.instance.resources();
        let hundredth = |amount: u64, percent: u32| amount.saturating_mul(u64::from(percent)) / 100;
        let target = match scale.target {
            ScaleTarget::Cpu(percent) => hundredth(requested.cpu.0, percent),
            ScaleTarget::Memory(percent) => hundredth(requested.memory.0, percent),
            ScaleTarget::Metric { value_milli, .. } => value_milli,
        };
        let heard_of = u32::try_from(heard.len()).unwrap_or(u32::MAX);
        let total = heard.into_iter().fold(0u64, u64::saturating_add);
        (heard_of > 0).then_some(Load { total, target: target.max(1), heard: heard_of })
    }

    pub(crate) fn forget_scale(&mut self, key: &WorkloadKey) {
        self.life.scalers.remove(key);
        if self.life.scaled.remove(key).is_some() {
            self.outbox.batch().delete(SCALE, workload_key(key));
        }
    }
}
