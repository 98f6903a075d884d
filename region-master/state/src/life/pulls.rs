//! What the nodes of a wave would have to pull.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::{Bytes, LayerSize, NodeName, SiteName};

use super::calls::PlannedMember;

/// A site's part of a wave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SitePull {
    /// Members of the wave.
    pub members: u32,
    /// Compressed bytes of the layers that its nodes lack, each node's counted.
    pub bytes: Bytes,
    /// Nodes of which it is not known what they lack; nothing of theirs is in `bytes`.
    pub unknown: BTreeSet<NodeName>,
}

/// What the nodes of `members` lack of the images that `layers` has for each architecture.
pub fn to_pull(
    members: &[PlannedMember],
    layers: &BTreeMap<String, Vec<LayerSize>>,
) -> BTreeMap<SiteName, SitePull> {
    let mut sites: BTreeMap<SiteName, SitePull> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for member in members {
        let site = sites.entry(member.site.clone()).or_default();
        site.members += 1;
        // A node pulls a layer once, however many members it has.
        if !seen.insert(&member.node) {
            continue;
        }
        match layers.get(&member.arch).and_then(|layers| lacks(member, layers)) {
            Some(bytes) => site.bytes = Bytes(site.bytes.0.saturating_add(bytes)),
            None => drop(site.unknown.insert(member.node.clone())),
        }
    }
    sites
}

/// Bytes that a member's node lacks; `None` when it did not say of every layer whether it holds it.
fn lacks(member: &PlannedMember, layers: &[LayerSize]) -> Option<u64> {
    let held = member.layers.as_ref()?;
    let sizes: BTreeMap<_, _> = layers.iter().map(|one| (one.layer, one.size.0)).collect();
    sizes.into_iter().try_fold(0_u64, |sum, (layer, size)| {
        Some(if held.holds(layer)? { sum } else { sum.saturating_add(size) })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skerry_types::{InstanceIndex, LayerId, NodeLayers};

    use super::*;

    fn layer(number: u8) -> LayerId {
        LayerId::of(&[number; 32])
    }

    fn member(instance: u32, node: &str, arch: &str, held: Option<&[u8]>) -> PlannedMember {
        PlannedMember {
            instance: InstanceIndex(instance),
            site: "oslo".parse().unwrap(),
            node: node.parse().unwrap(),
            arch: arch.to_owned(),
            layers: held.map(|held| Arc::new(NodeLayers::new(held.iter().map(|number| layer(*number))))),
        }
    }

    #[test]
    fn only_what_is_known_to_be_lacking_is_counted() {
        let sized = |number: u8| LayerSize { layer: layer(number), size: Bytes(u64::from(number) * 100) };
        // The same layer twice in an image is pulled once.
        let layers = BTreeMap::from([("amd64".to_owned(), vec![sized(1), sized(2), sized(2), sized(5)])]);
        let members = [
            member(0, "all", "amd64", Some(&[1, 2, 5, 9])),
            member(1, "some", "amd64", Some(&[1])),
            member(2, "some", "amd64", Some(&[1])),
            member(3, "none", "amd64", Some(&[])),
            member(4, "silent", "amd64", None),
            member(5, "other", "arm64", Some(&[1, 2, 5])),
        ];
        let found = to_pull(&members, &layers);
        let oslo = found.values().next().unwrap();
        assert_eq!((oslo.members, oslo.bytes), (6, Bytes(700 + 800)));
        let unknown: Vec<&str> = oslo.unknown.iter().map(NodeName::as_str).collect();
        assert_eq!(unknown, ["other", "silent"]);
    }
}
