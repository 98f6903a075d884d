//! Which member of a fleet goes in which wave.

use skerry_types::{Attributes, InstanceIndex, Wave, WaveSize};

/// The wave of each member, from 0. A member is in the first wave that matches it and has room; those that no wave takes are in
/// one more, the last. The members of a wave that takes only some are those with the lowest numbers, so the same members are in
/// the same waves however often it is asked.
///
/// `members` are in order of their numbers, each with the attributes of its node.
pub fn assign(waves: &[Wave], members: &[(InstanceIndex, &Attributes)]) -> Vec<usize> {
    let mut assigned: Vec<Option<usize>> = vec![None; members.len()];
    for (number, wave) in waves.iter().enumerate() {
        let matching: Vec<usize> = members
            .iter()
            .enumerate()
            .filter(|(at, (_, attributes))| assigned[*at].is_none() && wave.matches.matches(attributes))
            .map(|(at, _)| at)
            .collect();
        for at in matching.iter().take(room(wave.size, matching.len())) {
            assigned[*at] = Some(number);
        }
    }
    assigned.into_iter().map(|wave| wave.unwrap_or(waves.len())).collect()
}

/// The numbers of waves, from 0, that take no member though they should.
pub fn empty(waves: &[Wave], members: &[(InstanceIndex, &Attributes)]) -> Vec<usize> {
    let assigned = assign(waves, members);
    (0..waves.len()).filter(|wave| !assigned.contains(wave)).collect()
}

/// How many of `matching` members a wave takes; a percentage is rounded up.
fn room(size: WaveSize, matching: usize) -> usize {
    match size {
        WaveSize::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(matching),
        WaveSize::Percent(percent) => {
            let percent = usize::try_from(percent.min(100)).unwrap_or(100);
            matching.saturating_mul(percent).div_ceil(100)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wave(matches: &str, size: WaveSize) -> Wave {
        Wave { matches: matches.parse().unwrap(), size, healthy_for: Duration::ZERO }
    }

    #[test]
    fn members_go_to_the_first_wave_with_room() {
        let (edge, core): (Attributes, Attributes) = (
            [("site.tier".to_owned(), "edge".to_owned())].into(),
            [("site.tier".to_owned(), "core".to_owned())].into(),
        );
        let members: Vec<(InstanceIndex, &Attributes)> =
            (0..10).map(|n| (InstanceIndex(n), if n % 2 == 0 { &edge } else { &core })).collect();
        let check = |waves: &[Wave], expect: &[usize]| assert_eq!(assign(waves, &members), expect);
        check(&[], &[0; 10]);
        check(&[wave("site.tier=core", WaveSize::Percent(30))], &[1, 0, 1, 0, 1, 1, 1, 1, 1, 1]);
        check(
            &[wave("site.tier=core", WaveSize::Count(1)), wave("", WaveSize::Percent(50))],
            &[1, 0, 1, 1, 1, 1, 2, 2, 2, 2],
        );
        let nothing = [wave("site.tier=moon", WaveSize::Percent(100)), wave("", WaveSize::Percent(100))];
        assert_eq!(empty(&nothing, &members), [0]);
    }
}
