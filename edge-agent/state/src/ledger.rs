//! What the node keeps on disk, and how it reads it again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_types::{AllocationId, AllocationIntent, ContainerName, Event, Exit, TableName};
use skerry_wire::{Cursor, DecodeError, IntentRow, decode, encode};

/// The cursor of the intent rows, under an empty key.
pub(crate) const CURSOR: TableName = "cursor";
/// Intent rows as they came, by allocation id.
pub(crate) const INTENT: TableName = "intent";
/// What an allocation went through here, by allocation id.
pub(crate) const LIFE: TableName = "life";
/// Events that the master has not acknowledged, by running number.
pub(crate) const EVENT: TableName = "event";

/// Every table that the brain writes.
pub const TABLES: [TableName; 4] = [CURSOR, INTENT, LIFE, EVENT];

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
}

/// What survives of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerHistory {
    /// The number of the next start, so also how often it was started.
    pub(crate) starts: u32,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) log_tail: String,
    /// Whether it ended for good.
    pub(crate) ended: bool,
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
                self.intents.insert(intent.id.clone(), Arc::new(intent));
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
