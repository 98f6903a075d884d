//! The simulator can fail: each mistake made on purpose is found.

use skerry_sim::{Mutation, Options, run};

/// Seeds within which a mistake must show.
const SEEDS: u64 = 512;

#[test]
fn every_mutation_is_found() {
    for mutation in Mutation::all() {
        let options = |seed| Options { mutation: Some(mutation), ..Options::of_seed(seed) };
        let found = (0..SEEDS).find_map(|seed| run(options(seed)).err());
        let violation = found.unwrap_or_else(|| panic!("{mutation} is not found in {SEEDS} seeds"));
        let what: String = violation.what.chars().take(120).collect();
        println!("{mutation}: seed {}, after {:?}: {what}", violation.options.seed, violation.at);
    }
}
