//! Kill -9 while writing: what was acknowledged is there, and each batch is there whole or not at all.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skerry_store::{Row, Store};
use skerry_types::Batch;

use crate::rows::row;
use crate::{Engine, Redb, Sled, each_engine};

each_engine!(nothing_acknowledged_is_lost);

const ROUNDS: u64 = 40;
const ENGINE: &str = "SKERRY_STORE_TEST_ENGINE";
const DIR: &str = "SKERRY_STORE_TEST_DIR";
const COMMITS: &str = "SKERRY_STORE_TEST_COMMITS";

/// A child that was started by a test, killed when the test is over however it ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How to run this test binary as a child that writes to the store in `dir`, `commits` times at most.
pub(crate) fn child<E: Engine>(program: &mut Command, dir: &Path, commits: u64) {
    program
        .env(ENGINE, E::NAME)
        .env(DIR, dir)
        .env(COMMITS, commits.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
}

/// The arguments that make this test binary run [`child_process`] alone.
pub(crate) const CHILD_ARGS: [&str; 4] = ["--exact", "crash::child_process", "--nocapture", "--quiet"];

/// Not a test of its own: what [`child`] runs.
#[test]
fn child_process() {
    let Some(engine) = env::var_os(ENGINE) else {
        return;
    };
    let dir = env::var_os(DIR).unwrap();
    let commits = env::var(COMMITS).unwrap().parse().unwrap();
    match engine.to_str() {
        Some(Redb::NAME) => write_on::<Redb>(Path::new(&dir), commits),
        Some(Sled::NAME) => write_on::<Sled>(Path::new(&dir), commits),
        other => panic!("no engine {other:?}"),
    }
}

fn write_on<E: Engine>(dir: &Path, commits: u64) {
    let mut store = E::open(dir).unwrap();
    let mut number = counter(&store.rows().unwrap());
    for _ in 0..commits {
        let first = number + 1;
        number += 1 + number % 4;
        let group: Vec<Batch> = (first..=number).map(batch).collect();
        store.commit(&group).unwrap();
        // One call of write, so that a trace shows it whole.
        std::io::stdout().write_all(format!("ack {number}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

/// The batch with this number: rows that must agree, some long, some taken away.
fn batch(number: u64) -> Batch {
    let slot = (number % 40).to_be_bytes();
    let length = if number.is_multiple_of(11) { 20_000 } else { 50 };
    let mut value = number.to_be_bytes().to_vec();
    value.resize(length, 1);
    let mut batch = Batch::default();
    batch.put("counter", *b"", number.to_be_bytes());
    batch.put("left", slot, value.clone());
    if number.is_multiple_of(7) {
        batch.delete("right", slot);
    } else {
        batch.put("right", slot, value);
    }
    batch
}

/// The rows after all batches up to this one.
fn model(last: u64) -> Vec<Row> {
    let mut rows = BTreeMap::new();
    for write in (1..=last).flat_map(|number| batch(number).writes) {
        match write.value {
            Some(value) => rows.insert((write.table, write.key), value),
            None => rows.remove(&(write.table, write.key)),
        };
    }
    rows.into_iter().map(|((table, key), value)| row(table, &key, &value)).collect()
}

fn counter(rows: &[Row]) -> u64 {
    let row = rows.iter().find(|row| row.table == "counter");
    row.map_or(0, |row| u64::from_be_bytes(row.value[..].try_into().unwrap()))
}

fn nothing_acknowledged_is_lost<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(CHILD_ARGS);
        child::<E>(&mut command, dir.path(), u64::MAX);
        let mut writer = Guard(command.spawn().unwrap());
        let lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        let mut acks = 0;
        let wanted = 1 + round * 37 % 50;
        let early = round % 3 == 0;
        if early {
            // Any moment will do: while it opens, or in its first writes.
            std::thread::sleep(Duration::from_micros(round * 700));
            writer.0.kill().unwrap();
        }
        for line in lines {
            if let Some(number) = line.unwrap().strip_prefix("ack ") {
                acknowledged = number.parse().unwrap();
                acks += 1;
            }
            if acks == wanted && !early {
                // The child is in the middle of a later write; its pipe still holds what it acknowledged meanwhile.
                writer.0.kill().unwrap();
            }
        }
        drop(writer);
        assert!(early || acks >= wanted, "round {round}: the child ended by itself");
        let rows = E::open(dir.path()).unwrap().rows().unwrap();
        let found = counter(&rows);
        assert!(found >= acknowledged, "round {round}: {acknowledged} was acknowledged, {found} found");
        assert!(rows == model(found), "round {round}: batch {found} is torn");
    }
}
