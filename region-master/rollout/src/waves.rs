//! Which member of a fleet goes in which wave.
//!
//! A wave has so many seats, over all regions. Who owns the workload deals them out: to its own nodes first, then to the regions below in
//! their order, each of which has said how many members of its own the wave could take. Within a region those with the lowest numbers take
//! them.

use skerry_types::{Attributes, InstanceIndex, Wave, WaveSize};

/// The members of a region and their waves, as far as these are dealt out. The same seats give the same waves however often it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seating {
    waves: usize,
    members: Vec<Member>,
    /// Waves whose seats are dealt out, from the first.
    dealt: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    instance: InstanceIndex,
    /// A bit for each wave that it matches.
    matching: u64,
    wave: Option<usize>,
}

impl Seating {
    /// Nobody is in a wave yet. `members` are in order of their numbers, each with what [`matching`] says of it.
    pub fn new(waves: usize, members: impl IntoIterator<Item = (InstanceIndex, u64)>) -> Self {
        let members =
            members.into_iter().map(|(instance, matching)| Member { instance, matching, wave: None });
        Self { waves, members: members.collect(), dealt: 0 }
    }

    /// Waves whose seats are dealt out, from the first.
    pub fn dealt(&self) -> usize {
        self.dealt
    }

    /// How many members the next wave could take.
    pub fn matching(&self) -> u32 {
        u32::try_from(self.members.iter().filter(|member| self.may_have_next(member)).count())
            .unwrap_or(u32::MAX)
    }

    /// Gives so many seats of the next wave to members.
    pub fn deal(&mut self, seats: u32) {
        let (next, seats) = (self.dealt, usize::try_from(seats).unwrap_or(usize::MAX));
        let chosen = (0..self.members.len()).filter(|at| self.may_have_next(&self.members[*at]));
        for at in chosen.take(seats).collect::<Vec<_>>() {
            self.members[at].wave = Some(next);
        }
        self.dealt += 1;
    }

    /// The wave of each member, from 0, in order of their numbers. Those that no wave has taken are in one more, the last.
    pub fn waves(&self) -> impl Iterator<Item = (InstanceIndex, usize)> {
        self.members.iter().map(|member| (member.instance, member.wave.unwrap_or(self.waves)))
    }

    fn may_have_next(&self, member: &Member) -> bool {
        member.wave.is_none()
            && member.matching.checked_shr(number(self.dealt)).is_some_and(|bits| bits & 1 == 1)
    }
}

/// A bit for each of the first 64 waves that a node with these attributes matches, the first wave's the lowest.
pub fn matching(waves: &[Wave], attributes: &Attributes) -> u64 {
    let all = waves.iter().take(64).enumerate();
    all.fold(0, |bits, (at, wave)| bits | u64::from(wave.matches.matches(attributes)) << at)
}

/// Deals out all waves, where all members are known.
pub fn assign(waves: &[Wave], members: impl IntoIterator<Item = (InstanceIndex, u64)>) -> Vec<usize> {
    let mut seating = Seating::new(waves.len(), members);
    for wave in waves {
        seating.deal(seats(wave.size, seating.matching()));
    }
    seating.waves().map(|(_, wave)| wave).collect()
}

/// How many of `matching` members a wave takes; a percentage is rounded up.
pub fn seats(size: WaveSize, matching: u32) -> u32 {
    match size {
        WaveSize::Count(count) => count.min(matching),
        WaveSize::Percent(percent) => {
            let part = (u64::from(matching) * u64::from(percent.min(100))).div_ceil(100);
            u32::try_from(part).unwrap_or(u32::MAX)
        }
    }
}

/// Deals seats out to those who come first; `matching` is how many each could take.
pub fn deal(seats: u32, matching: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut left = seats;
    let share = |matching: u32| {
        let share = matching.min(left);
        left -= share;
        share
    };
    matching.into_iter().map(share).collect()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wave(matches: &str, size: WaveSize) -> Wave {
        Wave { matches: matches.parse().unwrap(), size, healthy_for: Duration::ZERO }
    }

    fn tier(name: &str) -> Attributes {
        [("site.tier".to_owned(), name.to_owned())].into()
    }

    #[test]
    fn members_go_to_the_first_wave_with_room() {
        let (edge, core) = (tier("edge"), tier("core"));
        let check = |waves: &[Wave], expect: &[usize]| {
            let tier = |n| if n % 2 == 0 { &edge } else { &core };
            let members = (0..10).map(|n| (InstanceIndex(n), matching(waves, tier(n))));
            assert_eq!(assign(waves, members), expect);
        };
        check(&[], &[0; 10]);
        check(&[wave("site.tier=core", WaveSize::Percent(30))], &[1, 0, 1, 0, 1, 1, 1, 1, 1, 1]);
        check(
            &[wave("site.tier=core", WaveSize::Count(1)), wave("", WaveSize::Percent(50))],
            &[1, 0, 1, 1, 1, 1, 2, 2, 2, 2],
        );
        let nothing = [wave("site.tier=moon", WaveSize::Percent(100)), wave("", WaveSize::Percent(100))];
        check(&nothing, &[1; 10]);
    }

    #[test]
    fn what_is_not_dealt_out_is_in_the_last_wave_and_may_be_in_the_next() {
        let (edge, core) = (tier("edge"), tier("core"));
        let waves = [wave("site.tier=core", WaveSize::Count(9)), wave("", WaveSize::Count(1))];
        let tiers = [&edge, &core, &core].into_iter();
        let members = (0..).map(InstanceIndex).zip(tiers.map(|tier| matching(&waves, tier)));
        let mut seating = Seating::new(waves.len(), members);
        let check = |seating: &Seating, matching: u32, expect: &[usize]| {
            let waves: Vec<usize> = seating.waves().map(|(_, wave)| wave).collect();
            assert_eq!((seating.matching(), waves.as_slice()), (matching, expect));
        };
        check(&seating, 2, &[2, 2, 2]);
        seating.deal(1);
        check(&seating, 2, &[2, 0, 2]);
        seating.deal(u32::MAX);
        check(&seating, 0, &[1, 0, 1]);
    }

    #[test]
    fn seats_are_dealt_out_to_those_who_come_first() {
        let check = |seats: u32, matching: &[u32], expect: &[u32]| {
            assert_eq!(deal(seats, matching.iter().copied()), expect, "{seats} among {matching:?}");
        };
        check(3, &[2, 9, 9], &[2, 1, 0]);
        check(0, &[2, 9], &[0, 0]);
        check(99, &[2, 9], &[2, 9]);
        check(3, &[0, 0, 5], &[0, 0, 3]);
        check(3, &[], &[]);
        assert_eq!((seats(WaveSize::Percent(1), 3000), seats(WaveSize::Percent(100), 7)), (30, 7));
        assert_eq!((seats(WaveSize::Percent(1), 1), seats(WaveSize::Count(3), 2)), (1, 2));
    }
}
