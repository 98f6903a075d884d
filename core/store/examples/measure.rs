//! What a store costs: `cargo run --profile quick -p skerry-store --all-features --example measure -- redb|sled DIR`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use skerry_store::{RedbStore, SledStore, Store};
use skerry_types::Batch;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(engine), Some(dir)) = (arguments.next(), arguments.next()) else {
        return Err("usage: measure redb|sled DIR".into());
    };
    match engine.as_str() {
        "redb" => measure(Path::new(&dir), |dir| Ok(RedbStore::open(dir)?)),
        "sled" => measure(Path::new(&dir), |dir| Ok(SledStore::open(dir)?)),
        other => Err(format!("no engine '{other}': redb or sled").into()),
    }
}

fn measure<S: Store>(dir: &Path, open: impl Fn(&Path) -> Outcome<S>) -> Outcome<()> {
    say("before")?;
    let start = Instant::now();
    let mut store = open(dir)?;
    println!("made in {:?}", start.elapsed());
    say("open")?;
    for group in [1, 16, 256] {
        let (rate, p99) = commits(&mut store, group)?;
        println!("groups of {group:>3}: {rate:>8.0} commits/s, p99 {p99:?}");
    }
    say("after commits")?;
    drop(store);
    let start = Instant::now();
    let mut store = open(dir)?;
    let opened = start.elapsed();
    println!("opened in {opened:?}, {} rows read after {:?}", store.rows()?.len(), start.elapsed());
    Ok(())
}

/// Commits groups of batches of one 300-byte row among 2,000 for two seconds.
fn commits(store: &mut impl Store, group: u32) -> Outcome<(f64, Duration)> {
    let start = Instant::now();
    let mut times = Vec::new();
    let mut number = 0u32;
    while start.elapsed() < Duration::from_secs(2) {
        let batches: Vec<Batch> = (0..group)
            .map(|_| {
                number = number.wrapping_add(7919);
                let mut batch = Batch::default();
                batch.put("allocations", (number % 2000).to_be_bytes(), [1; 300]);
                batch
            })
            .collect();
        let before = Instant::now();
        store.commit(&batches)?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    let rate = f64::from(u32::try_from(times.len())?) / start.elapsed().as_secs_f64();
    Ok((rate, times[times.len() * 99 / 100]))
}

/// The memory and the threads of this process, as the kernel counts them.
fn say(when: &str) -> Outcome<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name| status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    println!("{when}: {} {}", field("RssAnon:"), field("Threads:"));
    Ok(())
}
