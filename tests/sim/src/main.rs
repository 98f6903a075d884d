//! Replays one seed: `cargo run -p skerry-sim -- --seed N [--steps N] [--trace] [--mutation NAME]`, or plays many:
//! `--seed N --count N`. What is found without `--trace` is made smaller before it is told.

use std::process::ExitCode;
use std::time::Instant;

use std::time::Duration;

use skerry_sim::{Options, Tally, UnknownKnob, UnknownMutation, run, shrink};

const USAGE: &str = "usage: skerry-sim --seed N [--steps N] [--trace] [--mutation NAME] [--count N] [--weather] \
     [--storm-ms N] [--pace N] [--without NAME,...] [--nodes N] [--patience-ms N]";

#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    #[error("{USAGE}")]
    Usage,
    #[error("'{0}' is not a number; {USAGE}")]
    Number(String),
    #[error(transparent)]
    Mutation(#[from] UnknownMutation),
    #[error(transparent)]
    Knob(#[from] UnknownKnob),
}

fn read(mut words: impl Iterator<Item = String>) -> Result<(Options, Option<u64>), ArgumentError> {
    let mut options = Options::of_seed(0);
    let (mut seed, mut count) = (None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(ArgumentError::Usage);
        match word.as_str() {
            "--seed" => seed = Some(number(value()?)?),
            "--count" => count = Some(number(value()?)?),
            "--steps" => options.steps = Some(number(value()?)?),
            "--weather" => options = Options { seed: options.seed, ..Options::weather(0) },
            "--storm-ms" => options.storm = Duration::from_millis(number(value()?)?),
            "--pace" => options.pace = number(value()?)?.max(1),
            "--without" => options.without = value()?.parse()?,
            "--nodes" => {
                options.nodes = Some(usize::try_from(number(value()?)?.max(1)).unwrap_or(usize::MAX));
            }
            "--patience-ms" => options.patience = Duration::from_millis(number(value()?)?),
            "--trace" => options.trace = true,
            "--mutation" => options.mutation = Some(value()?.parse()?),
            _ => return Err(ArgumentError::Usage),
        }
    }
    options.seed = seed.ok_or(ArgumentError::Usage)?;
    Ok((options, count))
}

fn number(text: String) -> Result<u64, ArgumentError> {
    text.parse().map_err(|_| ArgumentError::Number(text))
}

fn play_one(options: Options) -> ExitCode {
    match run(options) {
        Ok(outcome) => {
            println!("{outcome:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            // Asked for as it is, it is shown as it is.
            let violation = if options.trace { violation } else { shrink(violation) };
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

/// Plays as many seeds as asked for, and says in a line what each of them found.
fn play_many(options: Options, count: u64) -> ExitCode {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut failed = 0;
    for seed in options.seed..options.seed.saturating_add(count) {
        match run(Options { seed, ..options }) {
            Ok(outcome) => tally.add(&outcome),
            Err(violation) => {
                failed += 1;
                println!("seed {seed}, after {:?}: {}", violation.at, violation.what);
            }
        }
    }
    let rate = tally.node_hours() / begun.elapsed().as_secs_f64();
    println!("{tally}; {failed} failed; {rate:.0} node-hours a second");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    match read(std::env::args().skip(1)) {
        Ok((options, None)) => play_one(options),
        Ok((options, Some(count))) => play_many(options, count),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
