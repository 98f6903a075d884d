//! A commit returns after the disk was told to sync, seen from outside by strace.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;

use crate::crash::{CHILD_ARGS, child};
use crate::{Engine, each_engine};

each_engine!(every_acknowledgement_follows_a_sync);

const COMMITS: u64 = 30;

fn every_acknowledgement_follows_a_sync<E: Engine>() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,write", "-o"])
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(CHILD_ARGS);
    let store = dir.path().join("store");
    child::<E>(&mut command, &store, COMMITS);
    let output = command.output().expect("strace runs (Debian package strace)");
    assert!(output.status.success(), "strace failed: {output:?}");
    let file = E::data_file(&store);
    let named = format!("<{}>", file.to_str().unwrap());
    let mut synced = false;
    let mut acknowledged = 0;
    // Threads whose sync of the file was under way when strace had something else to write down.
    let mut syncing = BTreeSet::new();
    for line in fs::read_to_string(&trace).unwrap().lines() {
        let thread = line.split(' ').next().unwrap_or_default().to_owned();
        if line.contains("sync(") && line.contains(&named) {
            synced |= line.ends_with("= 0");
            if line.contains("<unfinished") {
                syncing.insert(thread);
            }
        } else if line.contains("sync resumed>") && syncing.remove(&thread) {
            synced |= line.ends_with("= 0");
        } else if line.contains("\"ack ") && !line.contains("resumed>") {
            assert!(synced, "acknowledged without a sync: {line}");
            synced = false;
            acknowledged += 1;
        }
    }
    assert_eq!(acknowledged, COMMITS);
}
