//! Rows of named tables in an engine that knows only keys: `TABLE 0x00 KEY`, which sorts by table, then key.

use std::collections::BTreeMap;

use skerry_types::{Batch, Write};

use crate::StoreError;

const SEPARATOR: u8 = 0;
/// Longest table name in bytes: tables are few and named by hand.
const TABLE_MAX: usize = 32;

/// The row that says which format the store has. A table name is never empty, so no row can have this key.
pub(crate) const FORMAT_KEY: &[u8] = b"\0format";

/// What a group of batches leaves behind, by engine key; `None` removes.
pub(crate) type Changes<'a> = BTreeMap<Vec<u8>, Option<&'a [u8]>>;

/// Folds batches into their outcome: the last write of a row wins.
pub(crate) fn fold(batches: &[Batch]) -> Result<Changes<'_>, StoreError> {
    let mut changes = Changes::new();
    for write in batches.iter().flat_map(|batch| &batch.writes) {
        check(write)?;
        changes.insert(join(write.table, &write.key), write.value.as_deref());
    }
    Ok(changes)
}

fn check(write: &Write) -> Result<(), StoreError> {
    let bounds = |part, bytes, min, max| {
        if (min..=max).contains(&bytes) {
            return Ok(());
        }
        Err(StoreError::OutOfBounds { table: write.table, part, bytes, min, max })
    };
    debug_assert!(!write.table.as_bytes().contains(&SEPARATOR), "a table name has no NUL");
    bounds("table name", write.table.len(), 1, TABLE_MAX)?;
    bounds("key", write.key.len(), 0, Batch::KEY_MAX)?;
    bounds("value", write.value.as_ref().map_or(0, Vec::len), 0, Batch::VALUE_MAX)
}

fn join(table: &str, key: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(table.len() + 1 + key.len());
    joined.extend_from_slice(table.as_bytes());
    joined.push(SEPARATOR);
    joined.extend_from_slice(key);
    joined
}

/// Table and key of an engine key; `None` when it is not one.
pub(crate) fn split(joined: &[u8]) -> Option<(&str, &[u8])> {
    let at = joined.iter().position(|byte| *byte == SEPARATOR)?;
    let table = std::str::from_utf8(&joined[..at]).ok()?;
    (!table.is_empty()).then_some((table, &joined[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_where_they_were_joined() {
        let check = |table: &str, key: &[u8]| assert_eq!(split(&join(table, key)), Some((table, key)));
        check("t", b"");
        check("nodes", b"n1");
        check("t", b"\0\0");
        check("t", &[0xff; 512]);
        assert_eq!(split(FORMAT_KEY), None);
        assert_eq!(split(b"no separator"), None);
        assert_eq!(split(b"\xff\0key"), None);
    }

    #[test]
    fn a_row_out_of_bounds_is_named() {
        let check = |key: usize, value: usize, part: Option<&str>| {
            let mut batch = Batch::default();
            batch.put("t", vec![1; key], vec![1; value]);
            let found = match fold(&[batch]) {
                Ok(_) => None,
                Err(StoreError::OutOfBounds { part, .. }) => Some(part),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, part, "{key} {value}");
        };
        check(0, 0, None);
        check(Batch::KEY_MAX, Batch::VALUE_MAX, None);
        check(Batch::KEY_MAX + 1, 0, Some("key"));
        check(1, Batch::VALUE_MAX + 1, Some("value"));
    }
}
