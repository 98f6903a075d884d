//! What the node keeps on disk, and how it reads it again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{AllocationId, AllocationIntent, ContainerName, Event, Exit, Reason, TableName, WallTime};
use skerry_wire::{Cursor, DecodeError, IntentRow, decode, encode};

use crate::ending::Verdict;

/// The cursor of the intent rows, under an empty key.
pub(crate) const CURSOR: TableName = "cursor";
/// Intent rows as they came, by allocation id.
pub(crate) const INTENT: TableName = "intent";
/// What an allocation went through here, by allocation id.
pub(crate) const LIFE: TableName = "life";
/// Events that the master has not acknowledged, by running number.
pub(crate) const EVENT: TableName = "event";
/// When the parent was last heard, under an empty key.
pub(crate) const CONTACT: TableName = "contact";

/// Every table that the brain writes.
pub const TABLES: [TableName; 5] = [CURSOR, INTENT, LIFE, EVENT, CONTACT];

/// A stored value is at most this long.
const VALUE_MAX: usize = skerry_types::Batch::VALUE_MAX;

/// A row of the ledger: table, key, value.
pub type LedgerRow = (String, Vec<u8>, Vec<u8>);

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A row is not what its table says.
    #[error("the ledger's row '{key}' of table '{table}' cannot be read")]
    Row {
        /// Its table.
        table: String,
        /// Its key as text.
        key: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A table that this version does not know: the ledger is of a newer one.
    #[error("the ledger has a table '{table}' that this version does not know: run a newer version")]
    Table {
        /// The table.
        table: String,
    },
}

/// What an allocation went through on this node. Variants are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LifeRow {
    V1(Life),
}

/// What survives a restart of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) containers: BTreeMap<ContainerName, ContainerHistory>,
    /// The boot of the machine in which this was written.
    pub(crate) boot: String,
    /// Whether its images were on disk, in that boot.
    pub(crate) has_images: bool,
    /// Whether something may be left of it on the node when no container is.
    pub(crate) is_made: bool,
    /// Since when it is to stop and goes on for a while.
    pub(crate) leaving: Option<WallTime>,
    /// Since when all containers with probes are well, if they are.
    pub(crate) ready_since: Option<WallTime>,
    /// Stopped for want of a link.
    pub(crate) is_cut_off: bool,
    /// How many containers were started, each start counted, if it is exclusive.
    pub(crate) starts: u32,
    /// The run under way; `None` between the runs of a schedule.
    pub(crate) run: Option<Run>,
    /// Why the last run ended as it did.
    pub(crate) reason: Option<Reason>,
    pub(crate) timetable: Option<Settled>,
}

/// One run of an allocation's containers: the only one, or the one of a due time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When its first container was started, by the node's clock.
    pub(crate) started: Option<WallTime>,
    /// It took longer than it may.
    pub(crate) is_exceeded: bool,
}

/// Which due times of a schedule are dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Since when the schedule is kept here.
    pub(crate) since: WallTime,
    /// All due times up to here.
    pub(crate) until: WallTime,
    /// The newest due times that were run for, in that order.
    pub(crate) ran: Vec<WallTime>,
}

/// What survives of a container.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerHistory {
    /// The number of the next start, so also how often it was started.
    pub(crate) starts: u32,
    /// The number of the first start of the run under way.
    pub(crate) base: u32,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) log_tail: String,
    /// Whether a start began of whose end nothing is known.
    pub(crate) begun: bool,
    /// Whether a start of it failed whose remains are not known to be cleared away: of what is said to have failed something may run.
    pub(crate) is_left: bool,
    /// What its health probe said last of that start.
    pub(crate) healthy: bool,
    /// What its readiness probe said last of that start.
    pub(crate) ready: bool,
    /// Whether its part in the run is over.
    pub(crate) verdict: Verdict,
}

/// When the parent was last heard. Variants are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContactRow {
    V1(Heard),
}

/// When the parent was last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// By the node's clock.
    pub(crate) at: WallTime,
    /// In which boot of the machine.
    pub(crate) boot: String,
}

/// An event that waits for the master. Variants are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EventRow {
    V1(Event),
}

/// Everything that a ledger holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) cursor: Cursor,
    pub(crate) intents: BTreeMap<AllocationId, Arc<AllocationIntent>>,
    pub(crate) lives: BTreeMap<AllocationId, Life>,
    pub(crate) events: BTreeMap<u64, Event>,
    pub(crate) heard: Option<Heard>,
}

impl Ledger {
    pub(crate) fn read(rows: impl IntoIterator<Item = LedgerRow>) -> Result<Self, LoadError> {
        let mut ledger = Self::default();
        for (table, key, value) in rows {
            ledger.take(&table, &key, &value).map_err(|error| match error {
                RowError::Table => LoadError::Table { table: table.clone() },
                RowError::Decode(source) => LoadError::Row {
                    table: table.clone(),
                    key: String::from_utf8_lossy(&key).into_owned(),
                    source,
                },
            })?;
        }
        Ok(ledger)
    }

    fn take(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        match table {
            CURSOR => self.cursor = decode(value, VALUE_MAX)?,
            INTENT => {
                let IntentRow::Allocation(intent) = IntentRow::decode(value)?;
                self.intents.insert(intent.id.clone(), intent);
            }
            LIFE => {
                let (id, LifeRow::V1(life)): (AllocationId, LifeRow) = decode(value, VALUE_MAX)?;
                self.lives.insert(id, life);
            }
            EVENT => {
                let number: [u8; 8] = key.try_into().unwrap_or_default();
                let EventRow::V1(event) = decode(value, VALUE_MAX)?;
                self.events.insert(u64::from_be_bytes(number), event);
            }
            CONTACT => {
                let ContactRow::V1(heard) = decode(value, VALUE_MAX)?;
                self.heard = Some(heard);
            }
            _ => return Err(RowError::Table),
        }
        Ok(())
    }
}

enum RowError {
    Table,
    Decode(DecodeError),
}

impl From<DecodeError> for RowError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

pub(crate) fn cursor_value(cursor: Cursor) -> Vec<u8> {
    encode(&cursor)
}

pub(crate) fn life_value(id: &AllocationId, life: &Life) -> Vec<u8> {
    encode(&(id, LifeRow::V1(life.clone())))
}

pub(crate) fn event_value(event: &Event) -> Vec<u8> {
    encode(&EventRow::V1(event.clone()))
}

pub(crate) fn contact_value(heard: &Heard) -> Vec<u8> {
    encode(&ContactRow::V1(heard.clone()))
}
