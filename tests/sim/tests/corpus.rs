//! Seeds that always run, and fresh ones each time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skerry_sim::{Options, Outcome, run};

/// Seeds of the fixed corpus.
const CORPUS: u64 = 12;
/// How long fresh seeds are tried.
const FRESH_FOR: Duration = Duration::from_secs(1);

fn play(seed: u64) -> Outcome {
    run(Options::of_seed(seed)).unwrap_or_else(|violation| panic!("\n{violation}\n"))
}

fn sum_up(what: &str, outcomes: &[Outcome]) {
    let hours = |outcome: &Outcome| outcome.virtual_time.as_secs_f64() / 3600.0;
    let virtual_hours: f64 = outcomes.iter().map(hours).sum();
    let node_hours: f64 = outcomes
        .iter()
        .map(|outcome| hours(outcome) * f64::from(u32::try_from(outcome.nodes).expect("few nodes")))
        .sum();
    let applied: u64 = outcomes.iter().map(|outcome| outcome.applied).sum();
    let containers: u64 = outcomes.iter().map(|outcome| outcome.containers).sum();
    println!(
        "{what}: {} seeds, {virtual_hours:.0} virtual hours, {node_hours:.0} node-hours, {applied} calls, \
         {containers} starts",
        outcomes.len()
    );
}

#[test]
fn the_corpus_holds() {
    sum_up("corpus", &(0..CORPUS).map(play).collect::<Vec<_>>());
}

#[test]
fn fresh_seeds_hold() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let first = u64::try_from(now.as_millis()).expect("a time that fits 64 bits");
    let begun = Instant::now();
    let seeds = (first..first + 10_000).take_while(|_| begun.elapsed() < FRESH_FOR);
    let fresh = seeds.map(play).collect::<Vec<_>>();
    sum_up("fresh", &fresh);
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in [3, 4] {
        assert_eq!(play(seed), play(seed));
    }
    assert_ne!(play(3).digest, play(4).digest);
}
