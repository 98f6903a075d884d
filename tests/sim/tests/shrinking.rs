//! What was found is told in its smallest form, and the command that is told finds it again.

use skerry_sim::{Mutation, Options, run, shrink};
use skerry_types::Mutant;

#[test]
fn a_mistake_is_found_in_less_than_it_was_found_in() {
    let mutation = Some(Mutation::Brain(Mutant::RestartForgetsRoom));
    let options = |seed| Options { mutation, ..Options::of_seed(seed) };
    let found = (0..16).find_map(|seed| run(options(seed)).err()).expect("one of these seeds finds it");
    let small = shrink(found.clone());
    assert!(small.options.storm < found.options.storm && small.steps < found.steps, "{small}");
    let left_out = small.options.without.to_string();
    assert!(left_out.split(',').count() > 6, "few kinds are needed, but without are only {left_out}");
    let restarts = !left_out.contains("crash-master") || !left_out.contains("crash-all");
    assert!(restarts, "a restart of a master is what it takes");
    let again = run(small.options).expect_err("the same options find it again");
    assert_eq!((&again.what, again.steps), (&small.what, small.steps));
    let command = small.to_string();
    let told = format!("--storm-ms {}", small.options.storm.as_millis());
    assert!(command.contains(&told) && command.ends_with("--mutation RestartForgetsRoom"), "{command}");
}
