//! What comes to an end: runs of schedules and instances of jobs.

use std::collections::BTreeMap;

use skerry_region_state::WorkloadView;
use skerry_types::{AllocationIntent, Generation, WallTime, WorkloadKey};

use crate::event::{MasterAt, NodeAt};
use crate::spec::{Rules, every_ms};
use crate::world::{SECOND, World};

/// From when a run begins until its first container starts, at most: a clock that was set meanwhile does not tell what it began
/// for.
const BEGUN_WITHIN: u64 = 60 * SECOND;

/// A run of a schedule, as its node saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// The due time before it, by the node's clock on the wall; `None` when that may not be what it began for.
    due: Option<u64>,
    /// All its containers came to a good end.
    is_over: bool,
}

/// What was shown of jobs: how many instances had ended well in which generation, and whether it was over.
pub(crate) type Jobs = BTreeMap<(MasterAt, WorkloadKey, WallTime), (Generation, u32, bool)>;

impl World {
    /// A container of a schedule starts: if the last run came to a good end, it is for another due time. What a node loses with its
    /// power it may do again.
    pub(crate) fn judge_run(&mut self, at: NodeAt, intent: &AllocationIntent, pid: u32) {
        if Rules::of(&intent.workload) != Rules::Cron {
            return;
        }
        let host = &mut self.hosts[at];
        let wall = host.now(self.now_us).wall;
        // What goes on from an older disk was due when that was made.
        let goes_on = host.past.was_restored && !host.runs.contains_key(&intent.id);
        let is_sure = self.now_us > host.set_us + BEGUN_WITHIN && !goes_on;
        let run = Run { due: is_sure.then_some(wall.0 / every_ms(self.options.pace)), is_over: false };
        let last = host.runs.insert(intent.id.clone(), run);
        match last {
            Some(last) if !last.is_over => drop(host.runs.insert(intent.id.clone(), last)),
            Some(last) if last.due.is_some() && last.due == run.due => {
                let what = format!("{} runs again for one due time, as process {pid} on n{at}", intent.id);
                self.fail(what);
            }
            _ => {}
        }
    }

    /// A container has ended, and maybe a run with it.
    pub(crate) fn run_goes_on(&mut self, at: NodeAt, intent: &AllocationIntent) {
        let host = &mut self.hosts[at];
        let Some(run) = host.runs.get_mut(&intent.id) else { return };
        let well = host.containers.values().filter(|c| c.intent.id == intent.id && c.ended_well()).count();
        run.is_over |= well == intent.spec.containers.len();
    }

    /// What is shown of jobs never goes back.
    pub(crate) fn look_at_jobs(&mut self, at: MasterAt, views: &[WorkloadView]) {
        let own = views.iter().filter(|view| view.owner == self.masters[at].name && !view.deleting);
        for view in own {
            let Some(job) = &view.job else { continue };
            // One that was deleted and applied again is another.
            let key = (at, view.spec.key.clone(), view.created_at);
            let shown = (view.generation, job.completed, job.ended_at.is_some());
            let last = self.judge.jobs.insert(key, shown);
            let last = last.filter(|last| last.0 == shown.0);
            if let Some(last) = last.filter(|last| shown.1 < last.1 || last.2 && !shown.2) {
                let what = format!(
                    "job {} was shown to have (completed, ended) {last:?}, and has {shown:?}",
                    view.spec.key
                );
                return self.fail(what);
            }
        }
    }
}
