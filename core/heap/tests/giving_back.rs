//! What is freed amid what stays goes back to the system, which by itself it would not.

#![cfg(target_env = "gnu")]

use std::fs;

use skerry_heap::{Thrift, give_back};

const BLOCK: usize = 16 * 1024;
const BLOCKS: usize = 4096;

/// Of this process, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").expect("this process is in /proc");
    let pages: Option<usize> = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.expect("the second number is of pages") * 4096
}

#[test]
fn holes_go_back() {
    Thrift { arenas: 1, trim_at: 64 * 1024, map_from: 256 * 1024 }.settle();
    let mut blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![1; BLOCK]).collect();
    // Every eighth stays, so that there is no end of a heap to be cut off.
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 8 == 0
    });
    let full = resident();
    assert!(full > BLOCKS * BLOCK / 2, "the allocator gave it back by itself: {full} resident");
    assert!(give_back());
    let left = resident();
    assert!(full - left > BLOCKS * BLOCK / 2, "{full} resident, {left} after it");
    assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == 1)));
}
