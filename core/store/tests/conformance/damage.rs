//! Torn and garbled files: a clear answer, never a panic, and nothing overwritten that cannot be read.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use skerry_store::{Store, StoreError};
use skerry_types::Batch;

use crate::rows::put;
use crate::{Engine, Sled, each_engine};

each_engine!(
    a_cut_or_garbled_tail_is_answered,
    flipped_bytes_are_answered,
    a_foreign_file_is_refused_untouched,
    an_empty_file_is_not_taken_for_a_new_store,
    a_half_made_store_is_made_anew,
);

fn filled<E: Engine>(dir: &Path) {
    let mut store = E::open(dir).unwrap();
    for round in 0..30u32 {
        let batches: Vec<Batch> =
            (0..10u32).map(|slot| put("t", &(slot * 7 + round % 5).to_be_bytes(), &[1; 300])).collect();
        store.commit(&batches).unwrap();
    }
}

/// Damages a filled store and opens it.
fn check<E: Engine>(what: &str, damage: impl Fn(&mut Vec<u8>)) -> bool {
    let dir = tempfile::tempdir().unwrap();
    filled::<E>(dir.path());
    let file = E::data_file(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, &bytes).unwrap();
    let path = dir.path().to_owned();
    let answer = catch_unwind(|| E::open(&path).and_then(|mut store| store.rows()))
        .unwrap_or_else(|_| panic!("{what}: panicked"));
    match answer {
        Ok(_) => true,
        Err(error) => {
            let named = error.to_string().contains(dir.path().to_str().unwrap());
            assert!(named, "{what}: '{error}' does not say where");
            assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error} {error:?}");
            false
        }
    }
}

fn a_cut_or_garbled_tail_is_answered<E: Engine>() {
    for length in [1, 100, 4096, 5000, 65_536, 200_000, usize::MAX] {
        check::<E>(&format!("cut {length}"), |bytes| {
            bytes.truncate(bytes.len().saturating_sub(length).max(10));
        });
        check::<E>(&format!("garbled {length}"), |bytes| {
            let start = bytes.len().saturating_sub(length);
            bytes[start..].fill(0xa5);
        });
        check::<E>(&format!("zeroed {length}"), |bytes| {
            let start = bytes.len().saturating_sub(length);
            bytes[start..].fill(0);
        });
    }
}

fn flipped_bytes_are_answered<E: Engine>() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).unwrap()
    };
    for round in 0..40 {
        let picks: Vec<usize> = (0..=round).map(|_| next()).collect();
        check::<E>(&format!("flipped {round}"), |bytes| {
            // Most of a file is air: damage the bytes that say something.
            let said: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            for pick in &picks {
                bytes[said[pick % said.len()]] ^= 0x5a;
            }
        });
    }
}

fn a_foreign_file_is_refused_untouched<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    filled::<E>(dir.path());
    let file = E::data_file(dir.path());
    fs::write(&file, b"a letter to my aunt, not a store\n").unwrap();
    let error = E::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"a letter to my aunt, not a store\n", "overwritten");
}

fn an_empty_file_is_not_taken_for_a_new_store<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    filled::<E>(dir.path());
    fs::write(E::data_file(dir.path()), b"").unwrap();
    let error = E::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

fn a_half_made_store_is_made_anew<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    for draft in ["rows.redb.new", "rows.sled.new"] {
        fs::write(dir.path().join(draft), b"half").unwrap();
    }
    assert_eq!(E::open(dir.path()).unwrap().rows().unwrap(), []);
}

/// sled writes a snapshot of its index at each start; a crash or a full disk can leave half of one.
#[test]
fn half_a_snapshot_of_sled_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    filled::<Sled>(dir.path());
    let before = Sled::open(dir.path()).unwrap().rows().unwrap();
    let draft = dir.path().join("rows.sled/snap.00000000FFFFFFFF.generating");
    fs::write(draft, b"half").unwrap();
    assert_eq!(Sled::open(dir.path()).unwrap().rows().unwrap(), before);
}
