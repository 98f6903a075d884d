//! From the model to what the API shows.

use skerry_types as types;

use crate::v1;

/// Amounts as the API shows them.
pub fn resources(amounts: &types::Resources) -> v1::Resources {
    v1::Resources {
        cpu_milli: amounts.cpu.0,
        memory_bytes: amounts.memory.0,
        disk_bytes: amounts.disk.0,
        bandwidth_bits: amounts.bandwidth.0,
        gpu_milli: amounts.gpu.0,
    }
}

/// Bounds as the API shows them.
pub fn quota(quota: &types::Quota) -> v1::Quota {
    v1::Quota {
        cpu_milli: quota.cpu.map(|cpu| cpu.0),
        memory_bytes: quota.memory.map(|memory| memory.0),
        disk_bytes: quota.disk.map(|disk| disk.0),
        bandwidth_bits: quota.bandwidth.map(|bandwidth| bandwidth.0),
        gpu_milli: quota.gpu.map(|gpu| gpu.0),
    }
}

/// Instances as the API shows them.
pub fn instances(set: &types::InstanceSet) -> v1::Instances {
    v1::Instances {
        text: set.to_string(),
        count: set.len(),
        list: set.iter().map(|instance| instance.0).collect(),
    }
}

/// What `region` says of where a workload's instances are. What the regions below say is the caller's to add.
pub fn explanation(
    region: &types::RegionName,
    key: &types::WorkloadKey,
    why: &types::Explanation,
) -> v1::Explanation {
    v1::Explanation {
        region: region.to_string(),
        tenant: key.tenant.to_string(),
        name: key.name.to_string(),
        placed: why.placed.iter().map(placed).collect(),
        refused: why.refused.iter().map(refused).collect(),
        ..v1::Explanation::default()
    }
}

fn placed(why: &types::PlacedWhy) -> v1::PlacedWhy {
    let (region, site, node) = match &why.target {
        types::Target::Node { site, node } => (String::new(), site.to_string(), node.to_string()),
        types::Target::Region(region) => (region.to_string(), String::new(), String::new()),
    };
    let part = |part: &types::ScorePart| v1::ScorePart { what: part.what.clone(), points: part.points };
    v1::PlacedWhy {
        instances: Some(instances(&why.instances)),
        region,
        site,
        node,
        present: why.present,
        score: why.score.iter().map(part).collect(),
    }
}

fn refused(why: &types::RefusedWhy) -> v1::RefusedWhy {
    v1::RefusedWhy {
        instances: Some(instances(&why.instances)),
        reasons: why.reasons.iter().map(ToString::to_string).collect(),
        remedies: why.remedies.clone(),
    }
}

/// An end as the API shows it.
pub fn exit(exit: &types::Exit) -> v1::Exit {
    let kind = match exit.kind {
        types::ExitKind::Code(code) => v1::exit::Kind::Code(code),
        types::ExitKind::Signal(signal) => v1::exit::Kind::Signal(signal),
        types::ExitKind::Unknown => v1::exit::Kind::Unknown(true),
    };
    v1::Exit {
        kind: Some(kind),
        out_of_memory: exit.out_of_memory,
        at_ms: exit.at.0,
        ran_for_ms: u64::try_from(exit.ran_for.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_target_is_a_node_with_its_site_or_a_region() -> Result<(), Box<dyn Error>> {
        let why = |first: u32, target: types::Target| types::PlacedWhy {
            instances: vec![(first, first + 1)].into(),
            target,
            present: first == 0,
            score: vec![types::ScorePart { what: "prefers a".to_owned(), points: -3 }],
        };
        let on_node = types::Target::Node { site: "oslo".parse()?, node: "n1".parse()? };
        let below = types::Target::Region("south".parse()?);
        let refused = types::RefusedWhy {
            instances: types::InstanceSet::first(1),
            reasons: Vec::new(),
            remedies: vec!["more room".to_owned()],
        };
        let explained =
            types::Explanation { placed: vec![why(0, on_node), why(2, below)], refused: vec![refused] };
        let key = types::WorkloadKey { tenant: "acme".parse()?, name: "web".parse()? };
        let shown = explanation(&"north".parse()?, &key, &explained);
        assert_eq!(
            (shown.region.as_str(), shown.tenant.as_str(), shown.name.as_str()),
            ("north", "acme", "web")
        );
        let places: Vec<[&str; 3]> =
            shown.placed.iter().map(|one| [one.region.as_str(), &one.site, &one.node]).collect();
        assert_eq!(places, [["", "oslo", "n1"], ["south", "", ""]]);
        let instances = shown.placed[1].instances.clone().unwrap_or_default();
        assert_eq!((instances.text.as_str(), instances.count, instances.list), ("2-3", 2, vec![2, 3]));
        assert!(shown.placed[0].present && !shown.placed[1].present);
        assert_eq!(shown.placed[0].score[0].points, -3);
        assert_eq!(shown.refused[0].remedies, ["more room"]);
        Ok(())
    }

    #[test]
    fn what_is_not_bounded_is_absent() {
        let bounded = types::Quota { gpu: Some(types::MilliGpu(500)), ..types::Quota::default() };
        assert_eq!(quota(&bounded), v1::Quota { gpu_milli: Some(500), ..v1::Quota::default() });
    }
}
