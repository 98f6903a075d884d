//! Seeds that always run, and fresh ones for as long as there is time. `cargo run --release -p skerry-sim -- --seed N --count N` plays more.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skerry_sim::{Options, Outcome, Tally, run, shrink};

/// Seeds of the fixed corpus.
const CORPUS: u64 = 24;
/// Seeds that found something, and would again: a time that stays due where a lease is lost amid a wait; a part that was handed back
/// and given again at one look, of which the region never heard; own nodes that were asked again and again at one look, for ever.
const FOUND: [u64; 4] = [57075, 30015, 200_076, 200_107];
/// Seeds in which a master starts from an older copy of its store at least four times.
const RESTORED: [u64; 3] = [42, 64, 75];
/// Seeds that are played for a day of ordinary weather.
const WEATHER: u64 = 2;
const DAY: Duration = Duration::from_hours(24);
/// For how many seconds fresh seeds are tried; 0 tries none. A build says two minutes.
const FRESH_S: &str = "SKERRY_SIM_FRESH_S";
/// The first of them, so that a build of the same tree plays the same ones again; the clock's number where it is not set.
const FRESH_FROM: &str = "SKERRY_SIM_FRESH_FROM";
/// Where it is not set.
const FRESH_USUALLY_S: u64 = 20;

fn play(seed: u64) -> Outcome {
    play_with(Options::of_seed(seed))
}

fn play_with(options: Options) -> Outcome {
    run(options).unwrap_or_else(|violation| panic!("\n{}\n", shrink(violation)))
}

fn sum_up(what: &str, outcomes: &[Outcome]) {
    println!("{what}: {}", outcomes.iter().collect::<Tally>());
}

#[test]
fn the_corpus_holds() {
    sum_up("corpus", &(0..CORPUS).chain(FOUND).chain(RESTORED).map(play).collect::<Vec<_>>());
}

#[test]
fn days_of_weather_hold() {
    let weather = (0..WEATHER).map(|seed| play_with(Options { storm: DAY, ..Options::weather(seed) }));
    sum_up("weather", &weather.collect::<Vec<_>>());
}

fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(now.as_millis()).expect("a time that fits 64 bits")
}

/// Seeds that nobody has tried. One that finds something is told with the command that plays it again.
#[test]
fn fresh_seeds_hold() {
    let first = std::env::var(FRESH_FROM).map_or_else(|_| clock(), |text| text.parse().expect("a seed"));
    let seconds =
        std::env::var(FRESH_S).map_or(FRESH_USUALLY_S, |text| text.parse().expect("a number of seconds"));
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds));
    let storms = (first..).map(Options::of_seed);
    // Every eighth is a day of weather.
    let worlds = storms.map(|storm| match storm.seed % 8 {
        0 => Options { storm: DAY, ..Options::weather(storm.seed) },
        _ => storm,
    });
    let fresh: Vec<Outcome> = worlds.take_while(|_| begun.elapsed() < length).map(play_with).collect();
    sum_up(&format!("fresh, from seed {first} on"), &fresh);
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in [3, 4] {
        assert_eq!(play(seed), play(seed));
    }
    assert_ne!(play(3).digest, play(4).digest);
}
