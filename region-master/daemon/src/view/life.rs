//! The life of workloads and nodes, as the API shows it.

use std::collections::BTreeMap;

use skerry_api::v1;
use skerry_region_state::{DrainView, PlanView, PlannedMember, PlannedWave, RevisionView, RolloutView};
use skerry_types::{RegionName, SiteName, Wave, WaveSize};

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
        ..v1::Rollout::default()
    }
}

pub(crate) fn revision(view: &RevisionView) -> v1::Revision {
    v1::Revision {
        generation: view.generation.0,
        at_ms: view.at.0,
        state: view.state.to_string(),
        manifest: skerry_manifest::to_manifest(&view.spec).to_string(),
    }
}

pub(crate) fn plan(region: &RegionName, view: &PlanView) -> v1::RolloutPlanResponse {
    let waves: Vec<_> =
        view.waves.iter().zip(1..).map(|(wave, number)| planned_wave(region, number, wave)).collect();
    let empty = view.waves.iter().zip(1..).filter(|(wave, _)| wave.wave.is_some() && wave.members.is_empty());
    v1::RolloutPlanResponse {
        warnings: empty.map(|(_, number): (_, u32)| format!("wave {number} selects nothing")).collect(),
        waves,
        deferred: view.deferred.iter().map(|one| member(region, one)).collect(),
    }
}

fn planned_wave(region: &RegionName, number: u32, view: &PlannedWave) -> v1::PlannedWave {
    let mut sites: BTreeMap<&SiteName, u32> = BTreeMap::new();
    for one in &view.members {
        *sites.entry(&one.site).or_default() += 1;
    }
    let site = |(site, members): (&SiteName, u32)| v1::PlannedSite {
        site: site.to_string(),
        region: region.to_string(),
        members,
        // What nodes hold of images is not known here.
        unknown_nodes: members,
        ..v1::PlannedSite::default()
    };
    let healthy_for = view.wave.as_ref().map(|wave| wave.healthy_for).unwrap_or_default();
    v1::PlannedWave {
        number,
        selects: view.wave.as_ref().map(selects).unwrap_or_default(),
        healthy_for_ms: u64::try_from(healthy_for.as_millis()).unwrap_or(u64::MAX),
        members: view.members.iter().map(|one| member(region, one)).collect(),
        sites: sites.into_iter().map(site).collect(),
    }
}

fn selects(wave: &Wave) -> String {
    let size = match wave.size {
        WaveSize::Count(count) => count.to_string(),
        WaveSize::Percent(percent) => format!("{percent}%"),
    };
    match wave.matches.to_string() {
        all if all.is_empty() => size,
        some => format!("{some}, {size}"),
    }
}

fn member(region: &RegionName, one: &PlannedMember) -> v1::PlannedMember {
    v1::PlannedMember {
        instance: one.instance.0,
        node: one.node.to_string(),
        site: one.site.to_string(),
        region: region.to_string(),
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
