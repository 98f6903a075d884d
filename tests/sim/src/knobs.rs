//! What a run can do without: kinds of faults, and kinds of what operators ask for.

use std::fmt;
use std::str::FromStr;

/// Kinds of faults, and how many of [`Knobs::FAULTS`] draws each has.
const FAULTS: [(&str, usize); 13] = [
    ("cut", 3),
    ("stall", 1),
    ("flap", 2),
    ("crash-agent", 2),
    ("crash-master", 1),
    ("crash-keeper", 1),
    ("reboot", 1),
    ("fill-node", 1),
    ("fill-master", 1),
    ("bad-runtime", 1),
    ("delay", 1),
    ("crash-all", 1),
    ("clock", 2),
];
/// Kinds of what operators ask for, and how many of [`Knobs::ASKS`] draws each has.
const ASKS: [(&str, usize); 11] = [
    ("delete", 12),
    ("scale", 12),
    ("pause", 4),
    ("resume", 10),
    ("undo", 6),
    ("spoil", 6),
    ("promote", 6),
    ("apply", 24),
    ("drain", 7),
    ("uncordon", 9),
    ("limit", 4),
];

/// Kinds of mishaps, and how many of [`Knobs::MISHAPS`] draws each has.
const MISHAPS: [(&str, usize); 4] = [("lies", 4), ("copy-disk", 2), ("old-disk", 3), ("old-store", 2)];

/// A set of kinds that are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Knobs(u64);

impl Knobs {
    /// Versions that never run.
    pub(crate) const SPOIL: Self = Self(1 << (FAULTS.len() + 5));
    /// Draws of faults.
    pub(crate) const FAULTS: usize = 18;
    /// Draws of what operators ask for.
    pub(crate) const ASKS: usize = 100;
    /// Draws of mishaps.
    pub(crate) const MISHAPS: usize = 11;

    /// Each kind by itself.
    pub fn each() -> impl Iterator<Item = Self> {
        (0..FAULTS.len() + ASKS.len() + MISHAPS.len()).map(|at| Self(1 << at))
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has_fault(self, draw: usize) -> bool {
        self.has(kind(&FAULTS, draw))
    }

    pub(crate) fn has_ask(self, draw: usize) -> bool {
        self.has(FAULTS.len() + kind(&ASKS, draw))
    }

    pub(crate) fn has_mishap(self, draw: usize) -> bool {
        self.has(FAULTS.len() + ASKS.len() + kind(&MISHAPS, draw))
    }

    fn has(self, at: usize) -> bool {
        self.0 & (1 << at) != 0
    }

    /// Whether nothing is left out.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Which kind a draw is of.
fn kind(kinds: &[(&str, usize)], mut draw: usize) -> usize {
    for (at, (_, draws)) in kinds.iter().enumerate() {
        if draw < *draws {
            return at;
        }
        draw -= draws;
    }
    kinds.len() - 1
}

fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().chain(&ASKS).chain(&MISHAPS).map(|(name, _)| *name)
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mine = names().enumerate().filter(|(at, _)| self.has(*at)).map(|(_, name)| name);
        f.write_str(&mine.collect::<Vec<_>>().join(","))
    }
}

/// Nothing of this name can be left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no '{0}' to leave out; there are: {list}", list = names().collect::<Vec<_>>().join(", "))]
pub struct UnknownKnob(String);

impl FromStr for Knobs {
    type Err = UnknownKnob;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let at = names().position(|name| name == word);
            all.0 |= 1 << at.ok_or_else(|| UnknownKnob(word.to_owned()))?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_has_a_kind_and_every_kind_its_name() {
        let lists = [
            (FAULTS.as_slice(), Knobs::FAULTS),
            (ASKS.as_slice(), Knobs::ASKS),
            (MISHAPS.as_slice(), Knobs::MISHAPS),
        ];
        for (kinds, draws) in lists {
            assert_eq!(kinds.iter().map(|(_, count)| count).sum::<usize>(), draws);
            assert_eq!((kind(kinds, 0), kind(kinds, draws - 1)), (0, kinds.len() - 1));
        }
        let all = Knobs::each().fold(Knobs::default(), Knobs::and);
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!(all.to_string().split(',').count(), Knobs::each().count());
        assert_eq!(Knobs::SPOIL.to_string(), "spoil");
        assert!("none".parse::<Knobs>().is_err());
    }
}
