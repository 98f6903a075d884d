//! Which nodes a sketch counts together, and what that costs where there are too many kinds.

use std::collections::{BTreeMap, BTreeSet};

use skerry_types::Taint;

use crate::rounding::Room;
use crate::sketch::{SketchInput, UNKNOWN, text_bytes, varint_bytes};

/// Above this many classes a whole attribute is given up, not one class: a label that is different on each node makes thousands.
const PAIRWISE_MAX: usize = 64;

/// Nodes of the same attributes and taints, as far as is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class<'a> {
    pub(crate) attributes: BTreeMap<&'a str, &'a str>,
    pub(crate) taints: BTreeSet<&'a Taint>,
    pub(crate) rooms: Vec<Room>,
}

type Kind<'a> = (BTreeMap<&'a str, &'a str>, BTreeSet<&'a Taint>);

impl Class<'_> {
    /// Encoded size without the rooms.
    pub(crate) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(key, value)| text_bytes(key) + text_bytes(value));
        let taints = self.taints.iter().map(|taint| text_bytes(taint.as_str()));
        varint_bytes(self.attributes.len() as u64)
            + varint_bytes(self.taints.len() as u64)
            + attributes.sum::<usize>()
            + taints.sum::<usize>()
    }

    /// Names fewer attributes, the longest left out first, until the class takes `bound` bytes. What is left out counts as
    /// unknown, all of it under one name. False when the taints alone are too long.
    fn trim(&mut self, bound: usize) -> bool {
        while self.bytes() > bound {
            let size = |(key, value): (&&str, &&str)| key.len() + value.len();
            let named = self.attributes.iter().filter(|(key, _)| **key != UNKNOWN);
            let Some(longest) = named.max_by_key(|entry| size(*entry)).map(|(key, _)| *key) else {
                return false;
            };
            self.attributes.remove(longest);
            self.attributes.insert(UNKNOWN, UNKNOWN);
        }
        true
    }
}

/// Groups nodes, and merges the groups until all of them take `bound` bytes without their rooms. Nodes may be left out where
/// merging would hide more than that.
pub(crate) fn classes<'a>(nodes: impl IntoIterator<Item = SketchInput<'a>>, bound: usize) -> Vec<Class<'a>> {
    let mut classes = group(nodes.into_iter().map(|node| {
        let told = node.attributes.iter().filter(|(key, _)| *key != "node.name" && !key.starts_with("site."));
        let attributes = told.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Class { attributes, taints: node.taints.iter().collect(), rooms: vec![(node.free, node.slots)] }
    }));
    while classes.len() > PAIRWISE_MAX && give_up_attribute(&mut classes) {
        classes = group(classes);
    }
    classes.retain_mut(|class| class.trim(bound / 2));
    while classes.iter().map(Class::bytes).sum::<usize>() > bound || classes.len() > PAIRWISE_MAX {
        merge_rarest(&mut classes);
    }
    classes
}

fn group<'a>(nodes: impl IntoIterator<Item = Class<'a>>) -> Vec<Class<'a>> {
    let mut kinds: BTreeMap<Kind<'a>, Vec<Room>> = BTreeMap::new();
    for node in nodes {
        kinds.entry((node.attributes, node.taints)).or_default().extend(node.rooms);
    }
    kinds.into_iter().map(|((attributes, taints), rooms)| Class { attributes, taints, rooms }).collect()
}

/// Makes the attribute of the most values unknown everywhere. False when none has two.
fn give_up_attribute(classes: &mut [Class<'_>]) -> bool {
    let keys: BTreeSet<&str> = classes.iter().flat_map(|class| class.attributes.keys().copied()).collect();
    let values = |key: &str| -> usize {
        let found: BTreeSet<Option<&&str>> = classes.iter().map(|class| class.attributes.get(key)).collect();
        found.len()
    };
    let most = keys.into_iter().map(|key| (values(key), key)).max();
    let Some((_, key)) = most.filter(|(values, _)| *values > 1) else { return false };
    for class in classes {
        class.attributes.insert(key, UNKNOWN);
    }
    true
}

/// Joins the class of the fewest nodes to the one that it differs from least; attributes that differ become unknown. Taints
/// never mix: a class of taints of its own is left out.
fn merge_rarest(classes: &mut Vec<Class<'_>>) {
    let rarest = (0..classes.len()).min_by_key(|at| classes[*at].rooms.len());
    let Some(rare) = rarest.map(|at| classes.remove(at)) else { return };
    let partners = classes.iter_mut().filter(|class| class.taints == rare.taints);
    let partner = partners.min_by_key(|class| (differing(class, &rare).len(), class.rooms.len()));
    let Some(class) = partner else { return };
    for key in differing(class, &rare) {
        class.attributes.insert(key, UNKNOWN);
    }
    class.rooms.extend(rare.rooms);
}

fn differing<'a>(a: &Class<'a>, b: &Class<'a>) -> BTreeSet<&'a str> {
    let keys = a.attributes.keys().chain(b.attributes.keys()).copied();
    keys.filter(|key| a.attributes.get(key) != b.attributes.get(key)).collect()
}
