//! Which layers of images a node holds, and how large a layer is.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// Names a layer among those of a region: the first eight bytes of the digest of its unpacked content. Two of ten thousand
/// layers are taken for one another with a chance of one in 10^11, and then an estimate is off by a layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerId([u8; 8]);

impl LayerId {
    /// Of the layer whose unpacked content has this SHA-256 digest.
    pub fn of(digest: &[u8; 32]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(first)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The layers that a node holds. It changes only when images come or go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLayers {
    held: BTreeSet<LayerId>,
    /// Whether there are more than are named.
    has_more: bool,
}

impl NodeLayers {
    /// Most layers that are named: 4 KiB on the link, and some twenty images of usual size.
    pub const MAX: usize = 512;

    /// Those of a node; what is too many is left out.
    pub fn new(layers: impl IntoIterator<Item = LayerId>) -> Self {
        let mut held: BTreeSet<LayerId> = layers.into_iter().collect();
        let has_more = held.len() > Self::MAX;
        while held.len() > Self::MAX {
            held.pop_last();
        }
        Self { held, has_more }
    }

    /// Whether the node holds a layer; `None` when it did not say.
    pub fn holds(&self, layer: LayerId) -> Option<bool> {
        let held = self.held.contains(&layer);
        (held || !self.has_more).then_some(held)
    }
}

/// A layer as a registry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// Which.
    pub layer: LayerId,
    /// What a pull of it costs: its compressed bytes.
    pub size: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u16) -> LayerId {
        let mut digest = [7; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        LayerId::of(&digest)
    }

    #[test]
    fn what_is_not_named_is_not_held_or_not_known() {
        let few = NodeLayers::new([1, 2, 2].map(layer));
        assert_eq!([1, 2, 3].map(|n| few.holds(layer(n))), [Some(true), Some(true), Some(false)]);
        let full = NodeLayers::new((0..512).map(layer));
        assert_eq!(full.holds(layer(600)), Some(false));
        let many = NodeLayers::new((0..513).map(layer));
        assert_eq!([0, 511, 512].map(|n| many.holds(layer(n))), [Some(true), Some(true), None]);
    }
}
