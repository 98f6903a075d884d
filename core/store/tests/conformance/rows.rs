//! What goes in comes out.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use skerry_store::{FORMAT, Row, Store, StoreError};
use skerry_types::Batch;
use std::collections::BTreeMap;

use crate::{Engine, Sled, each_engine};

each_engine!(
    a_new_store_is_empty,
    rows_come_back_in_order,
    a_later_write_wins,
    long_and_short_values_replace_each_other,
    any_batches_leave_what_a_map_would_hold,
    a_row_out_of_bounds_leaves_the_store_as_it_was,
    only_one_may_have_it_open,
    a_newer_format_is_refused_untouched,
    a_foreign_format_row_is_refused,
);

pub(crate) fn put(table: &'static str, key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.put(table, key, value);
    batch
}

pub(crate) fn row(table: &str, key: &[u8], value: &[u8]) -> Row {
    Row { table: table.to_owned(), key: key.to_vec(), value: value.to_vec() }
}

fn a_new_store_is_empty<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("not/yet/there");
    for _ in 0..2 {
        assert_eq!(E::open(&deep).unwrap().rows().unwrap(), []);
    }
}

fn rows_come_back_in_order<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = E::open(dir.path()).unwrap();
    let mut batch = put("b", b"1", b"x");
    batch.put("a", *b"2", *b"");
    batch.put("a", *b"", *b"empty key");
    batch.put("ab", *b"0", *b"y");
    batch.put("a", [0xff, 0], *b"z");
    batch.put("a", [0], *b"nul");
    store.commit(&[batch]).unwrap();
    let expect = [
        row("a", b"", b"empty key"),
        row("a", &[0], b"nul"),
        row("a", b"2", b""),
        row("a", &[0xff, 0], b"z"),
        row("ab", b"0", b"y"),
        row("b", b"1", b"x"),
    ];
    assert_eq!(store.rows().unwrap(), expect);
    drop(store);
    assert_eq!(E::open(dir.path()).unwrap().rows().unwrap(), expect);
}

fn a_later_write_wins<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = E::open(dir.path()).unwrap();
    let mut batch = put("t", b"twice", b"1");
    batch.put("t", *b"twice", *b"2");
    batch.put("t", *b"gone", *b"1");
    batch.delete("t", *b"gone");
    batch.delete("t", *b"back");
    batch.put("t", *b"back", *b"1");
    batch.delete("t", *b"never there");
    store.commit(&[batch, put("t", b"over", b"1"), put("t", b"over", b"2")]).unwrap();
    let expect = [row("t", b"back", b"1"), row("t", b"over", b"2"), row("t", b"twice", b"2")];
    assert_eq!(store.rows().unwrap(), expect);
    store.commit(&[]).unwrap();
    store.commit(&[Batch::default()]).unwrap();
    assert_eq!(store.rows().unwrap(), expect);
}

fn long_and_short_values_replace_each_other<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let key = [7; Batch::KEY_MAX];
    for length in [0, 1, 4095, 4096, 4097, Batch::VALUE_MAX, 8193, 4096, Batch::VALUE_MAX - 1, 0] {
        let value: Vec<u8> = (0u8..=255).cycle().take(length).collect();
        let mut store = E::open(dir.path()).unwrap();
        store.commit(&[put("long", &key, &value)]).unwrap();
        drop(store);
        let rows = E::open(dir.path()).unwrap().rows().unwrap();
        assert_eq!(rows, [row("long", &key, &value)], "{length} bytes");
    }
}

fn any_batches_leave_what_a_map_would_hold<E: Engine>() {
    const TABLES: [&str; 3] = ["a", "ab", "b"];
    let write = (0..3usize, 0u8..6, prop::option::of(0..9000usize));
    let groups = prop::collection::vec(prop::collection::vec(prop::collection::vec(write, 0..6), 0..4), 1..5);
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&groups, |groups| {
        let dir = tempfile::tempdir().unwrap();
        let mut model = BTreeMap::new();
        for group in &groups {
            let mut batches = Vec::new();
            for writes in group {
                let mut batch = Batch::default();
                for (table, key, length) in writes {
                    let (table, key) = (TABLES[*table], vec![*key]);
                    if let Some(length) = length {
                        let value = vec![key[0]; *length];
                        batch.put(table, key.clone(), value.clone());
                        model.insert((table, key), value);
                    } else {
                        batch.delete(table, key.clone());
                        model.remove(&(table, key));
                    }
                }
                batches.push(batch);
            }
            E::open(dir.path()).unwrap().commit(&batches).unwrap();
        }
        let expect: Vec<Row> = model.iter().map(|((table, key), value)| row(table, key, value)).collect();
        prop_assert_eq!(E::open(dir.path()).unwrap().rows().unwrap(), expect);
        Ok(())
    });
    outcome.unwrap();
}

fn a_row_out_of_bounds_leaves_the_store_as_it_was<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = E::open(dir.path()).unwrap();
    let bad = put("t", b"bad", &vec![0; Batch::VALUE_MAX + 1]);
    let error = store.commit(&[put("t", b"good", b"1"), bad]).unwrap_err();
    assert!(error.is_out_of_bounds(), "{error}");
    assert_eq!(store.rows().unwrap(), []);
    store.commit(&[put("t", b"after", b"1")]).unwrap();
    assert_eq!(store.rows().unwrap(), [row("t", b"after", b"1")]);
}

fn only_one_may_have_it_open<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let first = E::open(dir.path()).unwrap();
    let error = E::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    drop(first);
    drop(E::open(dir.path()).unwrap());
}

fn a_newer_format_is_refused_untouched<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = E::open(dir.path()).unwrap();
    store.commit(&[put("t", b"k", b"v")]).unwrap();
    drop(store);
    E::write_format(dir.path(), &(FORMAT + 1).to_be_bytes());
    for _ in 0..2 {
        let error = E::open(dir.path()).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found, .. } if found == FORMAT + 1), "{error}");
    }
    E::write_format(dir.path(), &FORMAT.to_be_bytes());
    assert_eq!(E::open(dir.path()).unwrap().rows().unwrap(), [row("t", b"k", b"v")]);
}

fn a_foreign_format_row_is_refused<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    drop(E::open(dir.path()).unwrap());
    E::write_format(dir.path(), b"what is this");
    let error = E::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// sled never syncs what it puts into files of their own.
#[test]
fn no_value_gets_a_file_of_its_own_in_sled() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Sled::open(dir.path()).unwrap();
    for round in 0..5u8 {
        for key in 0..30u8 {
            let value = vec![round; Batch::VALUE_MAX - usize::from(key)];
            let long_key = [key; Batch::KEY_MAX];
            store.commit(&[put("long", &long_key, &value)]).unwrap();
        }
    }
    let mut files = std::fs::read_dir(dir.path().join("rows.sled/blobs")).unwrap();
    assert!(files.next().is_none());
}
