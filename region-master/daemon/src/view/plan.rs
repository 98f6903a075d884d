//! What a rollout would do, as the API shows it.

use std::collections::BTreeMap;

use skerry_api::v1;
use skerry_region_state::{PlanView, PlannedMember, PlannedWave, SitePull, to_pull};
use skerry_types::{LayerSize, NodeName, RegionName, SiteName, Wave, WaveSize};

/// A region's own part, with what its nodes lack of `layers`, which are those of all images for each architecture.
pub(crate) fn plan(
    region: &RegionName,
    view: &PlanView,
    layers: &BTreeMap<String, Vec<LayerSize>>,
) -> v1::RolloutPlanResponse {
    let waves = view.waves.iter().zip(1..).map(|(wave, number)| planned_wave(region, number, wave, layers));
    v1::RolloutPlanResponse {
        waves: waves.collect(),
        deferred: view.deferred.iter().map(|one| member(region, one)).collect(),
        warnings: Vec::new(),
    }
}

/// Adds the part of a region below: each region goes through the waves with its own members.
pub(crate) fn add(whole: &mut v1::RolloutPlanResponse, region: &RegionName, part: v1::RolloutPlanResponse) {
    for wave in part.waves {
        match whole.waves.iter_mut().find(|known| known.number == wave.number) {
            Some(known) => {
                known.members.extend(wave.members);
                known.sites.extend(wave.sites);
            }
            None => whole.waves.push(wave),
        }
    }
    whole.deferred.extend(part.deferred);
    whole.warnings.extend(part.warnings.into_iter().map(|warning| format!("region {region}: {warning}")));
}

/// Says what a person should know of the whole, and leaves out the last wave if nothing is left for it.
pub(crate) fn finish(plan: &mut v1::RolloutPlanResponse) {
    let asked = |wave: &&v1::PlannedWave| !wave.selects.is_empty();
    let empty = plan.waves.iter().filter(asked).filter(|wave| wave.members.is_empty());
    let words: Vec<String> = empty.map(|wave| format!("wave {} selects nothing", wave.number)).collect();
    plan.warnings.extend(words);
    plan.waves.retain(|wave| asked(&wave) || !wave.members.is_empty());
}

fn planned_wave(
    region: &RegionName,
    number: u32,
    view: &PlannedWave,
    layers: &BTreeMap<String, Vec<LayerSize>>,
) -> v1::PlannedWave {
    let site = |(site, pull): (SiteName, SitePull)| v1::PlannedSite {
        site: site.to_string(),
        region: region.to_string(),
        members: pull.members,
        bytes_to_pull: pull.bytes.0,
        unknown_nodes: pull.unknown.iter().map(NodeName::to_string).collect(),
    };
    let healthy_for = view.wave.as_ref().map(|wave| wave.healthy_for).unwrap_or_default();
    v1::PlannedWave {
        number,
        selects: view.wave.as_ref().map(selects).unwrap_or_default(),
        healthy_for_ms: u64::try_from(healthy_for.as_millis()).unwrap_or(u64::MAX),
        members: view.members.iter().map(|one| member(region, one)).collect(),
        sites: to_pull(&view.members, layers).into_iter().map(site).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(number: u32, selects: &str, nodes: &[&str], region: &str) -> v1::PlannedWave {
        let member = |node: &&str| v1::PlannedMember {
            node: (*node).to_owned(),
            region: region.to_owned(),
            ..v1::PlannedMember::default()
        };
        v1::PlannedWave {
            number,
            selects: selects.to_owned(),
            members: nodes.iter().map(member).collect(),
            ..v1::PlannedWave::default()
        }
    }

    #[test]
    fn regions_go_through_the_same_waves_side_by_side() {
        let of = |waves: Vec<v1::PlannedWave>| v1::RolloutPlanResponse {
            waves,
            ..v1::RolloutPlanResponse::default()
        };
        let mut whole =
            of(vec![wave(1, "10%", &["a"], "north"), wave(2, "1", &[], "north"), wave(3, "", &[], "north")]);
        let mut part = of(vec![wave(1, "10%", &["b"], "west"), wave(2, "1", &[], "west")]);
        part.warnings.push("what arm64 nodes pull is not known: no".to_owned());
        add(&mut whole, &"west".parse().unwrap(), part);
        finish(&mut whole);
        let nodes =
            |wave: &v1::PlannedWave| wave.members.iter().map(|one| one.node.clone()).collect::<Vec<_>>();
        assert_eq!(whole.waves.iter().map(nodes).collect::<Vec<_>>(), [vec!["a", "b"], vec![]]);
        assert_eq!(
            whole.warnings,
            ["region west: what arm64 nodes pull is not known: no", "wave 2 selects nothing"]
        );
    }
}
