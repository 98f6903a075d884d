//! A commit returns after the disk was told to sync, seen from outside by strace.

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
    let synced_file = format!("<{}>) = 0", file.to_str().unwrap());
    let mut synced = false;
    let mut acknowledged = 0;
    for line in fs::read_to_string(&trace).unwrap().lines() {
        if line.contains("sync(") && line.contains(&synced_file) {
            synced = true;
        }
        if line.contains("\"ack ") {
            assert!(synced, "acknowledged without a sync: {line}");
            synced = false;
            acknowledged += 1;
        }
    }
    assert_eq!(acknowledged, COMMITS);
}
