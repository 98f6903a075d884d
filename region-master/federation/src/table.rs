//! Digests laid out for level 1: made once when a digest changes, read at each decision.
//!
//! A master of thousands of sites looks at all of them for each workload. Digests lie all over the memory and are full of texts;
//! a [`SiteTable`] has the numbers of a region's sites side by side, and instead of texts it has indices. What many sites have in
//! common, attributes of nodes and labels of sites, is one object by [`Alike`], so that a selector is held against it once and
//! not at each site.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use skerry_types::{
    Attributes, Bandwidth, Bytes, Labels, LinkClass, MilliCpu, MilliGpu, RegionName, Resources, SiteDigest,
    SketchBucket, SketchClass, Taint,
};

use crate::number;
use crate::position::Position;

/// What all nodes of a class have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) attributes: Attributes,
    pub(crate) taints: Vec<Taint>,
}

/// Makes what is alike in many tables one object. Kept as long as the tables are; tables made without a common one work the
/// same, and are slower.
#[derive(Debug, Default)]
pub struct Alike {
    kinds: Pool<Kind>,
    labels: Pool<Labels>,
}

/// Objects that are in use, and some that no longer are.
#[derive(Debug)]
struct Pool<T> {
    known: HashSet<Arc<T>>,
    /// From this size on it is looked for what is no longer in use.
    sweep_at: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), sweep_at: Self::SWEEP_LEAST }
    }
}

impl<T> Pool<T> {
    const SWEEP_LEAST: usize = 64;
}

impl<T: Eq + Hash> Pool<T> {
    fn one(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.sweep_at = Self::SWEEP_LEAST.max(self.known.len() * 2);
        }
        let made = Arc::new(value);
        self.known.insert(Arc::clone(&made));
        made
    }
}

/// The sites of a region and of those below it.
///
/// What a decision mostly looks at is a line of the cache for each site and a quarter of one for each bucket; the rest stands
/// apart.
#[derive(Debug, Default)]
pub struct SiteTable {
    digests: Vec<Arc<SiteDigest>>,
    pub(crate) rows: Vec<SiteRow>,
    pub(crate) classes: Vec<ClassRow>,
    buckets: Vec<BucketRow>,
    /// Disk, bandwidth and graphics processors of each bucket, in the order of the buckets.
    rare: Vec<[u64; 3]>,
    /// Where each site lies.
    pub(crate) positions: Vec<Option<Position>>,
    /// What rows say by index.
    pub(crate) kinds: Vec<Arc<Kind>>,
    pub(crate) labels: Vec<Arc<Labels>>,
    pub(crate) regions: Vec<RegionName>,
}

/// A site. Indices are those of its table.
#[derive(Debug)]
pub(crate) struct SiteRow {
    classes: (u32, u32),
    pub(crate) labels: u32,
    pub(crate) region: u32,
    /// What its link costs; metered above all that is not.
    pub(crate) link: u64,
    /// Cpu and memory: what workloads may reserve, and what is reserved.
    pub(crate) capacity: [u64; 2],
    pub(crate) reserved: [u64; 2],
}

/// A class of nodes.
#[derive(Debug)]
pub(crate) struct ClassRow {
    buckets: (u32, u32),
    pub(crate) kind: u32,
}

/// Nodes of a class that have about the same free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketRow {
    pub(crate) memory: u64,
    /// Thousandths of a processor; a node with more than four million of them counts as one with so many.
    pub(crate) cpu: u32,
    pub(crate) nodes: u16,
    pub(crate) slots: u16,
}

impl SiteTable {
    /// Lays out digests, in their order. Takes about a microsecond for each.
    pub fn new(digests: Vec<Arc<SiteDigest>>, alike: &mut Alike) -> Self {
        let mut table = Self { rows: Vec::with_capacity(digests.len()), ..Self::default() };
        let mut known = Known::default();
        for digest in &digests {
            let first = number(table.classes.len());
            for class in &digest.sketch.classes {
                table.add_class(class, alike, &mut known.kinds);
            }
            let labels = alike.labels.one(digest.spec.labels.clone());
            let usual = |amounts: &Resources| [amounts.cpu.0, amounts.memory.0];
            table.rows.push(SiteRow {
                classes: (first, number(table.classes.len())),
                labels: known.labels.index_of(Arc::as_ptr(&labels), &mut table.labels, || labels),
                region: known.regions.index_of(&digest.region, &mut table.regions, || digest.region.clone()),
                link: link_cost(&digest.spec.link),
                capacity: usual(&digest.capacity),
                reserved: usual(&digest.reserved),
            });
            table.positions.push(digest.spec.point.map(Position::of));
        }
        Self { digests, ..table }
    }

    fn add_class(&mut self, class: &SketchClass, alike: &mut Alike, known: &mut Numbers<*const Kind>) {
        let kind = Kind { attributes: class.attributes.clone(), taints: class.taints.clone() };
        let kind = alike.kinds.one(kind);
        let kind = known.index_of(Arc::as_ptr(&kind), &mut self.kinds, || kind);
        let start = number(self.buckets.len());
        class.buckets.iter().for_each(|bucket| self.add_bucket(bucket));
        self.classes.push(ClassRow { buckets: (start, number(self.buckets.len())), kind });
    }

    /// More nodes than a row can count take several.
    fn add_bucket(&mut self, bucket: &SketchBucket) {
        let free = &bucket.free;
        let mut left = bucket.nodes;
        while left > 0 {
            let nodes = u16::try_from(left).unwrap_or(u16::MAX);
            left -= u32::from(nodes);
            self.buckets.push(BucketRow {
                memory: free.memory.0,
                cpu: u32::try_from(free.cpu.0).unwrap_or(u32::MAX),
                nodes,
                slots: u16::try_from(bucket.slots).unwrap_or(u16::MAX),
            });
            self.rare.push([free.disk.0, free.bandwidth.0, free.gpu.0]);
        }
    }

    /// What the sites told.
    pub fn digests(&self) -> &[Arc<SiteDigest>] {
        &self.digests
    }

    /// How many sites.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The classes of a site.
    pub(crate) fn classes_of(&self, row: &SiteRow) -> &[ClassRow] {
        self.classes.get(range(row.classes)).unwrap_or_default()
    }

    /// What nodes of a class have free: the usual, and the rare.
    pub(crate) fn buckets_of(&self, class: &ClassRow) -> Buckets<'_> {
        let rows = self.buckets.get(range(class.buckets)).unwrap_or_default();
        Buckets { rows, rare: &self.rare, first: crate::index(class.buckets.0) }
    }
}

/// What nodes of a class have free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets<'a> {
    pub(crate) rows: &'a [BucketRow],
    rare: &'a [[u64; 3]],
    first: usize,
}

impl Buckets<'_> {
    /// Each with all that it has free.
    pub(crate) fn all(&self) -> impl Iterator<Item = SketchBucket> {
        let rare = self.rare.get(self.first..).unwrap_or_default();
        self.rows.iter().zip(rare).map(|(row, [disk, bandwidth, gpu])| SketchBucket {
            free: Resources {
                cpu: MilliCpu(u64::from(row.cpu)),
                memory: Bytes(row.memory),
                disk: Bytes(*disk),
                bandwidth: Bandwidth(*bandwidth),
                gpu: MilliGpu(*gpu),
            },
            nodes: u32::from(row.nodes),
            slots: u32::from(row.slots),
        })
    }
}

impl FromIterator<Arc<SiteDigest>> for SiteTable {
    fn from_iter<I: IntoIterator<Item = Arc<SiteDigest>>>(digests: I) -> Self {
        Self::new(digests.into_iter().collect(), &mut Alike::default())
    }
}

fn range((first, end): (u32, u32)) -> Range<usize> {
    crate::index(first)..crate::index(end)
}

/// Numbers given in a table so far.
#[derive(Default)]
struct Known<'a> {
    kinds: Numbers<*const Kind>,
    labels: Numbers<*const Labels>,
    regions: Numbers<&'a RegionName>,
}

/// Values in the order in which they came first, by what tells them apart.
pub(crate) struct Numbers<K> {
    known: HashMap<K, u32>,
    /// Neighbours mostly have what the last one had.
    last: Option<(K, u32)>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), last: None }
    }
}

impl<K: Copy + Eq + Hash> Numbers<K> {
    /// The number of `key`, whose value joins `values` if it is not there.
    pub(crate) fn index_of<T>(&mut self, key: K, values: &mut Vec<T>, value: impl FnOnce() -> T) -> u32 {
        if let Some((_, known)) = self.last.filter(|(last, _)| *last == key) {
            return known;
        }
        let found = *self.known.entry(key).or_insert_with(|| {
            values.push(value());
            number(values.len() - 1)
        });
        self.last = Some((key, found));
        found
    }
}

/// Metered links are dearer than all that are not.
fn link_cost(link: &LinkClass) -> u64 {
    (u64::from(link.metered) << 63) | link.micros_per_mb.min(u64::MAX >> 1)
}
