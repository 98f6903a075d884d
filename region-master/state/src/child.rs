//! What a node and a region below have in common: a link, tables down, tables up.

use std::collections::BTreeSet;

use skerry_types::MonoTime;
use skerry_wire::{Cursor, Epoch, Reader, Revision, RowKey, RowValue, Writer};

use crate::input::LinkId;
use crate::records::{ChildName, ChildRecord};
use crate::state::RegionState;

/// A child's side of its link.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) record: ChildRecord,
    /// Keys of its rows that are on disk here.
    pub(crate) held: BTreeSet<RowKey>,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) link: Option<Link>,
    /// When operators were last told that somebody else has its key.
    pub(crate) twin_told: Option<MonoTime>,
}

/// A child's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Whether its hello was answered.
    pub(crate) welcomed: bool,
    /// Up to where its rows went when it said hello, until they are here.
    pub(crate) behind: Option<Cursor>,
    /// What it holds is of another life of this region's tables, and it has not said that it knows this one.
    pub(crate) is_foreign: bool,
}

impl Link {
    /// Whether more has to be heard before anything is decided by what the child said.
    pub(crate) fn is_unheard(&self) -> bool {
        self.is_foreign || self.behind.is_some()
    }
}

impl Child {
    pub(crate) fn new(epoch: Epoch, record: ChildRecord) -> Self {
        Self {
            held: BTreeSet::new(),
            writer: Writer::new(epoch, record.floor),
            reader: Reader::new(record.cursor),
            link: None,
            twin_told: None,
            record,
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.link.is_some_and(|link| link.welcomed)
    }

    /// Whether all is here that it had to say when it came.
    pub(crate) fn is_heard(&self) -> bool {
        self.link.is_some_and(|link| link.welcomed && !link.is_unheard())
    }
}

impl RegionState {
    pub(crate) fn child_mut(&mut self, name: &ChildName) -> Option<&mut Child> {
        match name {
            ChildName::Node(name) => self.nodes.get_mut(name).map(|node| &mut node.child),
            ChildName::Region(name) => self.regions.get_mut(name).map(|region| &mut region.child),
        }
    }

    /// Puts a row into a child's tables. Its revision is on disk with it.
    pub(crate) fn show_row(&mut self, name: &ChildName, revision: Revision, key: RowKey, value: RowValue) {
        if let Some(child) = self.child_mut(name) {
            child.writer.set(revision, key, Some(value));
            self.touched.insert(name.clone());
        }
    }

    pub(crate) fn next_revision(&mut self) -> Revision {
        self.name_incarnation();
        self.counters.revision = self.counters.revision.next();
        self.counters.revision
    }
}
