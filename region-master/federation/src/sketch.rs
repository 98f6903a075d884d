//! What a parent is told of a site's free room.
//!
//! # How
//!
//! Nodes with the same attributes and taints are a class: placement cannot tell them apart but by room. In each class, nodes
//! with the same room are a bucket. Names of nodes and what is true of the whole site (`site.*`) are not told. So far nothing is
//! lost, and for a site of the usual kind (some dozens of nodes, a few kinds of hardware) this is all.
//!
//! A sketch never takes more than [`SKETCH_BYTES_MAX`]. What does not fit is coarsened:
//!
//! - *Classes.* They may take half of it. While they take more, the class of the fewest nodes joins the one that differs from it
//!   in the fewest attributes. Attributes that differ get the value [`UNKNOWN`], and a workload that asks for one of them cannot
//!   count on these nodes. A label that makes more than 64 classes is made unknown as a whole first. Taints never mix: nodes of
//!   rare taints are left out.
//! - *Rooms.* Free amounts are rounded down to 7, 6, … 1 leading bits, the first that fits: at 3 bits an octave has four steps.
//!   Where octaves are still too many, neighbouring buckets become one with the least of each amount.
//!
//! # The error
//!
//! A sketch never promises what is not free, when it is made: each bucket's amounts are at most those of its nodes, and an
//! attribute is told only where all have it. It may hide room: of each amount less than 1/(2^(b-1)+1) is lost by rounding to `b`
//! bits, so a fifth at most with quarter octaves; joined buckets and nodes that are left out lose more, which only sites of
//! hundreds of nodes with unlike rooms meet. Of a node's graphics processors that are partly in use only the largest free part is told.
//! What was true when the
//! sketch was made may not be so when it is read: level 1 has to live with refusals, and level 2 decides.

use std::collections::BTreeMap;

use skerry_types::{Attributes, Resources, Sketch, SketchBucket, SketchClass, Taint};

use crate::classes::{Class, classes};
use crate::rounding::{Room, STEPS, least, order, room_down};

/// Longest encoded sketch in bytes: a thousand sites are two megabytes at a parent, and one costs a metered link less than a
/// minute of keep-alives.
pub const SKETCH_BYTES_MAX: usize = 2048;

/// The value of an attribute that differs among the nodes of a class, and the name of "any attribute that is not named". It
/// is no label's text.
pub const UNKNOWN: &str = "*";

/// A node as its site's sketch counts it: one that is heard from and takes new work.
#[derive(Debug, Clone, Copy)]
pub struct SketchInput<'a> {
    /// What placement selects it by.
    pub attributes: &'a Attributes,
    /// Taints that keep workloads away.
    pub taints: &'a [Taint],
    /// What is free; of graphics processors, those that are wholly free and the largest part that any other has free.
    pub free: Resources,
    /// How many more allocations it may hold.
    pub slots: u32,
}

/// The sketch of a site with these nodes, [`SKETCH_BYTES_MAX`] long at most. Costs about a microsecond for each node.
pub fn sketch<'a>(nodes: impl IntoIterator<Item = SketchInput<'a>>) -> Sketch {
    let mut classes = classes(nodes, SKETCH_BYTES_MAX / 2);
    loop {
        let steps = STEPS.iter().map(|bits| rounded(&classes, *bits));
        if let Some(fitting) = steps.into_iter().find(|rooms| bytes(&classes, rooms) <= SKETCH_BYTES_MAX) {
            return assemble(&classes, fitting);
        }
        let coarsest = rounded(&classes, STEPS[STEPS.len() - 1]);
        if let Some(fitting) = halved_until_fitting(&classes, coarsest) {
            return assemble(&classes, fitting);
        }
        // Very many classes with one bucket each: the one of the fewest nodes is not told.
        let rarest = (0..classes.len()).min_by_key(|at| classes[*at].rooms.len());
        rarest.map(|at| classes.remove(at));
    }
}

type Buckets = Vec<(Room, u32)>;

fn rounded(classes: &[Class<'_>], bits: u32) -> Vec<Buckets> {
    let buckets = |class: &Class<'_>| {
        let mut counts: BTreeMap<[u64; 6], (Room, u32)> = BTreeMap::new();
        for room in &class.rooms {
            let room = room_down(*room, bits);
            counts.entry(order(room)).or_insert((room, 0)).1 += 1;
        }
        counts.into_values().collect()
    };
    classes.iter().map(buckets).collect()
}

fn halved_until_fitting(classes: &[Class<'_>], mut rooms: Vec<Buckets>) -> Option<Vec<Buckets>> {
    while bytes(classes, &rooms) > SKETCH_BYTES_MAX {
        if rooms.iter().all(|buckets| buckets.len() <= 1) {
            return None;
        }
        for buckets in &mut rooms {
            *buckets = buckets.chunks(2).filter_map(join).collect();
        }
    }
    Some(rooms)
}

fn join(buckets: &[(Room, u32)]) -> Option<(Room, u32)> {
    buckets.iter().copied().reduce(|(a, nodes), (b, more)| (least(a, b), nodes + more))
}

fn assemble(classes: &[Class<'_>], rooms: Vec<Buckets>) -> Sketch {
    let class = |(class, buckets): (&Class<'_>, Buckets)| SketchClass {
        attributes: class
            .attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        taints: class.taints.iter().copied().cloned().collect(),
        buckets: buckets
            .into_iter()
            .map(|((free, slots), nodes)| SketchBucket { free, nodes, slots })
            .collect(),
    };
    Sketch { classes: classes.iter().zip(rooms).map(class).collect() }
}

/// Encoded size: postcard writes numbers in groups of seven bits, and a length before each text, list and map.
fn bytes(classes: &[Class<'_>], rooms: &[Buckets]) -> usize {
    let bucket = |((free, slots), nodes): &(Room, u32)| {
        let amounts = [free.cpu.0, free.memory.0, free.disk.0, free.bandwidth.0, free.gpu.0];
        let numbers = amounts.into_iter().chain([u64::from(*nodes), u64::from(*slots)]);
        numbers.map(varint_bytes).sum::<usize>()
    };
    let class = |(class, buckets): (&Class<'_>, &Buckets)| {
        class.bytes() + varint_bytes(buckets.len() as u64) + buckets.iter().map(bucket).sum::<usize>()
    };
    varint_bytes(classes.len() as u64) + classes.iter().zip(rooms).map(class).sum::<usize>()
}

pub(crate) fn varint_bytes(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(crate) fn text_bytes(text: &str) -> usize {
    varint_bytes(text.len() as u64) + text.len()
}
