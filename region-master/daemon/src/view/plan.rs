//! What a rollout would do, as the API shows it.

use std::collections::{BTreeMap, BTreeSet};

use skerry_api::v1;
use skerry_region_state::{PlanView, PlannedMember, assign_waves, to_pull};
use skerry_types::{InstanceIndex, LayerSize, RegionName, Wave, WaveSize};

/// A region's own part, with what its nodes lack of `layers`, which are those of all images for each architecture.
pub(crate) fn plan(
    region: &RegionName,
    view: &PlanView,
    layers: &BTreeMap<String, Vec<LayerSize>>,
) -> v1::RolloutPlanResponse {
    let movables = view.members.iter().map(|one| movable(region, one, layers)).collect();
    v1::RolloutPlanResponse { movables, ..v1::RolloutPlanResponse::default() }
}

/// Adds the part of a region below: seats of waves are dealt out in this order.
pub(crate) fn add(whole: &mut v1::RolloutPlanResponse, region: &RegionName, part: v1::RolloutPlanResponse) {
    whole.movables.extend(part.movables);
    whole.warnings.extend(part.warnings.into_iter().map(|warning| format!("region {region}: {warning}")));
}

/// Puts the members into waves, as the owner of the workload would, and says what a person should know of that. The last wave, of those
/// that no other takes, is left out if nothing is left for it.
pub(crate) fn finish(plan: &mut v1::RolloutPlanResponse, waves: &[Wave]) {
    let movables = std::mem::take(&mut plan.movables);
    let seats = |one: &v1::Movable| {
        (InstanceIndex(one.member.as_ref().map_or(0, |member| member.instance)), one.matching)
    };
    let assigned = assign_waves(waves, movables.iter().map(seats));
    let mut planned: Vec<Vec<v1::Movable>> = vec![Vec::new(); waves.len() + 1];
    for (one, wave) in movables.into_iter().zip(assigned) {
        if one.deferred {
            plan.deferred.extend(one.member);
        } else if let Some(members) = planned.get_mut(wave) {
            members.push(one);
        }
    }
    let written = waves.iter().map(Some).chain([None]);
    let numbered = (1..).zip(written.zip(planned));
    plan.waves = numbered.map(|(number, (wave, members))| planned_wave(number, wave, members)).collect();
    let asked = |wave: &&v1::PlannedWave| !wave.selects.is_empty();
    let empty = plan.waves.iter().filter(asked).filter(|wave| wave.members.is_empty());
    let words: Vec<String> = empty.map(|wave| format!("wave {} selects nothing", wave.number)).collect();
    plan.warnings.extend(words);
    plan.waves.retain(|wave| asked(&wave) || !wave.members.is_empty());
}

fn planned_wave(number: u32, wave: Option<&Wave>, members: Vec<v1::Movable>) -> v1::PlannedWave {
    let healthy_for = wave.map(|wave| wave.healthy_for).unwrap_or_default();
    v1::PlannedWave {
        number,
        selects: wave.map(selects).unwrap_or_default(),
        healthy_for_ms: u64::try_from(healthy_for.as_millis()).unwrap_or(u64::MAX),
        sites: sites(&members),
        members: members.into_iter().filter_map(|one| one.member).collect(),
    }
}

/// What each site pulls for these members: a node pulls once, however many of them it has.
fn sites(members: &[v1::Movable]) -> Vec<v1::PlannedSite> {
    let mut sites: BTreeMap<(&str, &str), v1::PlannedSite> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for one in members {
        let Some(member) = &one.member else { continue };
        let site = sites.entry((&member.region, &member.site)).or_default();
        site.members += 1;
        if !seen.insert((&member.region, &member.node)) {
            continue;
        }
        if one.pull_unknown {
            site.unknown_nodes.push(member.node.clone());
        } else {
            site.bytes_to_pull = site.bytes_to_pull.saturating_add(one.bytes_to_pull);
        }
    }
    let named = sites.into_iter().map(|((region, name), site)| v1::PlannedSite {
        site: name.to_owned(),
        region: region.to_owned(),
        ..site
    });
    named.collect()
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

fn movable(
    region: &RegionName,
    one: &PlannedMember,
    layers: &BTreeMap<String, Vec<LayerSize>>,
) -> v1::Movable {
    let pull = to_pull(one, layers);
    v1::Movable {
        member: Some(v1::PlannedMember {
            instance: one.instance.0,
            node: one.node.to_string(),
            site: one.site.to_string(),
            region: region.to_string(),
        }),
        matching: one.matching,
        deferred: one.is_deferred,
        bytes_to_pull: pull.map_or(0, |bytes| bytes.0),
        pull_unknown: pull.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// On this node, of these waves, with so much to pull if that is known.
    fn member(region: &str, node: &str, matching: u64, pull: Option<u64>) -> v1::Movable {
        v1::Movable {
            member: Some(v1::PlannedMember {
                instance: 0,
                node: node.to_owned(),
                site: "oslo".to_owned(),
                region: region.to_owned(),
            }),
            matching,
            deferred: node == "gone",
            bytes_to_pull: pull.unwrap_or_default(),
            pull_unknown: pull.is_none(),
        }
    }

    fn of(movables: Vec<v1::Movable>) -> v1::RolloutPlanResponse {
        v1::RolloutPlanResponse { movables, ..v1::RolloutPlanResponse::default() }
    }

    #[test]
    fn waves_are_made_of_the_members_of_all_regions() {
        let wave = |size| Wave { matches: "".parse().unwrap(), size, healthy_for: Duration::from_secs(9) };
        let waves = [wave(WaveSize::Count(3)), wave(WaveSize::Percent(50)), wave(WaveSize::Count(1))];
        let mut whole = of(vec![member("north", "a", 0b11, Some(70)), member("north", "a", 0b11, Some(70))]);
        let mut west = of(vec![
            member("west", "b", 0b11, None),
            member("west", "c", 0b11, Some(5)),
            member("west", "gone", 0, None),
            member("west", "d", 0b10, Some(5)),
        ]);
        west.warnings.push("what arm64 nodes pull is not known: no".to_owned());
        add(&mut whole, &"west".parse().unwrap(), west);
        finish(&mut whole, &waves);
        let nodes =
            |wave: &v1::PlannedWave| wave.members.iter().map(|one| one.node.clone()).collect::<Vec<_>>();
        let found: Vec<_> = whole.waves.iter().map(nodes).collect();
        assert_eq!(found, [vec!["a", "a", "b"], vec!["c"], vec![], vec!["d"]]);
        assert_eq!((whole.deferred.len(), whole.movables.len()), (1, 0));
        assert_eq!(
            whole.warnings,
            ["region west: what arm64 nodes pull is not known: no", "wave 3 selects nothing"]
        );
        let sites = |wave: &v1::PlannedWave| {
            let of = |site: &v1::PlannedSite| {
                (site.region.clone(), site.members, site.bytes_to_pull, site.unknown_nodes.len())
            };
            wave.sites.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(sites(&whole.waves[0]), [("north".to_owned(), 2, 70, 0), ("west".to_owned(), 1, 0, 1)]);
    }
}
