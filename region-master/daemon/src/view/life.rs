//! The life of workloads and nodes, as the API shows it.

use skerry_api::v1;
use skerry_region_state::{DrainView, RevisionView, RolloutView};

pub(crate) fn rollout(view: &RolloutView) -> v1::Rollout {
    let progress = &view.progress;
    let (wave, waves) = progress.wave;
    v1::Rollout {
        tenant: view.key.tenant.to_string(),
        name: view.key.name.to_string(),
        generation: view.generation.0,
        from_generation: view.from.map_or(0, |from| from.0),
        state: view.state.to_string(),
        updated: progress.updated,
        healthy: progress.settled,
        total: progress.total,
        deferred: progress.deferred,
        failed: progress.failed,
        wave: if waves == 0 { 0 } else { count(wave.saturating_add(1)) },
        waves: count(waves),
        message: view.message.clone(),
        started_at_ms: view.started_at.map_or(0, |at| at.0),
        ended_at_ms: view.ended_at.map_or(0, |at| at.0),
    }
}

pub(crate) fn revision(view: &RevisionView) -> v1::Revision {
    v1::Revision {
        generation: view.generation.0,
        at_ms: view.at.0,
        state: view.state.to_string(),
        manifest: skerry_manifest::to_manifest(&view.spec).to_string(),
        ended_at_ms: view.ended_at.map_or(0, |at| at.0),
    }
}

pub(crate) fn draining(view: &DrainView) -> v1::Draining {
    v1::Draining {
        started_at_ms: view.since.0,
        deadline_at_ms: view.deadline.map_or(0, |deadline| deadline.0),
        force: view.force,
        remaining: view.remaining,
        blocked: view.blocked.clone(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
