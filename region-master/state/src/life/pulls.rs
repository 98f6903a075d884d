//! What the nodes of a wave would have to pull.

use std::collections::BTreeMap;

use skerry_types::{Bytes, LayerSize};

use super::calls::PlannedMember;

/// Compressed bytes that a member's node lacks of the images that `layers` has for each architecture; `None` when it did not say of every
/// layer whether it holds it, or nothing is known for its architecture. A node pulls a layer once, however many members it has.
pub fn to_pull(member: &PlannedMember, layers: &BTreeMap<String, Vec<LayerSize>>) -> Option<Bytes> {
    let (held, layers) = (member.layers.as_ref()?, layers.get(&member.arch)?);
    let sizes: BTreeMap<_, _> = layers.iter().map(|one| (one.layer, one.size.0)).collect();
    let bytes = sizes.into_iter().try_fold(0_u64, |sum, (layer, size)| {
        Some(if held.holds(layer)? { sum } else { sum.saturating_add(size) })
    });
    bytes.map(Bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skerry_types::{InstanceIndex, LayerId, NodeLayers};

    use super::*;

    fn layer(number: u8) -> LayerId {
        LayerId::of(&[number; 32])
    }

    fn member(arch: &str, held: Option<&[u8]>) -> PlannedMember {
        PlannedMember {
            instance: InstanceIndex(0),
            site: "oslo".parse().unwrap(),
            node: "n1".parse().unwrap(),
            matching: 0,
            is_deferred: false,
            arch: arch.to_owned(),
            layers: held.map(|held| Arc::new(NodeLayers::new(held.iter().map(|number| layer(*number))))),
        }
    }

    #[test]
    fn only_what_is_known_to_be_lacking_is_counted() {
        let sized = |number: u8| LayerSize { layer: layer(number), size: Bytes(u64::from(number) * 100) };
        // The same layer twice in an image is pulled once.
        let layers = BTreeMap::from([("amd64".to_owned(), vec![sized(1), sized(2), sized(2), sized(5)])]);
        let check = |arch: &str, held: Option<&[u8]>, expect: Option<u64>| {
            assert_eq!(to_pull(&member(arch, held), &layers), expect.map(Bytes), "{arch} {held:?}");
        };
        check("amd64", Some(&[1, 2, 5, 9]), Some(0));
        check("amd64", Some(&[1]), Some(700));
        check("amd64", Some(&[]), Some(800));
        check("amd64", None, None);
        check("arm64", Some(&[1, 2, 5]), None);
    }
}
