//! Replays one seed: `cargo run -p skerry-sim -- --seed N [--steps N] [--trace] [--mutation NAME]`.

use std::process::ExitCode;

use skerry_sim::{Options, UnknownMutation, run};

const USAGE: &str = "usage: skerry-sim --seed N [--steps N] [--trace] [--mutation NAME]";

#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    #[error("{USAGE}")]
    Usage,
    #[error("'{0}' is not a number; {USAGE}")]
    Number(String),
    #[error(transparent)]
    Mutation(#[from] UnknownMutation),
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Options, ArgumentError> {
    let mut options = Options::of_seed(0);
    let mut seed = None;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(ArgumentError::Usage);
        match word.as_str() {
            "--seed" => seed = Some(number(value()?)?),
            "--steps" => options.steps = Some(number(value()?)?),
            "--trace" => options.trace = true,
            "--mutation" => options.mutation = Some(value()?.parse()?),
            _ => return Err(ArgumentError::Usage),
        }
    }
    options.seed = seed.ok_or(ArgumentError::Usage)?;
    Ok(options)
}

fn number(text: String) -> Result<u64, ArgumentError> {
    text.parse().map_err(|_| ArgumentError::Number(text))
}

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(outcome) => {
            println!("{outcome:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}
