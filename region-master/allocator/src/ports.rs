//! Host ports of one node.

use std::collections::BTreeSet;

use skerry_types::mutant::{self, Mutant};
use skerry_types::{HostPort, InstanceSpec, PortBinding, PortSpec, Protocol};

/// The host ports an instance needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortNeed {
    wanted: Vec<PortSpec>,
    /// How many have to be chosen.
    pub(crate) auto: u32,
    /// A fixed port that is wanted twice, which no node can give.
    twice: Option<(Protocol, u16)>,
}

/// The host ports of one node that are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortBook {
    range: (u16, u16),
    taken: BTreeSet<(Protocol, u16)>,
    // Where the search begins. It goes round, so that a port which was given back rests as long as others are free:
    // clients of its last owner may still be calling.
    cursor: u16,
}

/// Why the ports do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortRefusal {
    Taken(u16, Protocol),
    RangeEmpty,
}

impl PortNeed {
    pub(crate) fn of(spec: &InstanceSpec) -> Self {
        let wanted: Vec<PortSpec> =
            spec.ports().filter(|port| port.host != HostPort::None).cloned().collect();
        let mut fixed: Vec<(Protocol, u16)> = wanted.iter().filter_map(fixed).collect();
        fixed.sort_unstable();
        let auto = wanted.iter().filter(|port| port.host == HostPort::Auto).count();
        Self {
            wanted,
            auto: u32::try_from(auto).expect("a manifest has fewer than 2^32 ports"),
            twice: fixed.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]),
        }
    }
}

fn fixed(port: &PortSpec) -> Option<(Protocol, u16)> {
    match port.host {
        HostPort::Fixed(number) => Some((port.protocol, number)),
        HostPort::Auto | HostPort::None => None,
    }
}

impl PortBook {
    pub(crate) fn set_range(&mut self, range: (u16, u16)) {
        self.range = range;
    }

    /// Binds every port of `need`, or none.
    pub(crate) fn bind(&mut self, need: &PortNeed) -> Result<Vec<PortBinding>, PortRefusal> {
        let (chosen, cursor) = self.choose(need)?;
        self.cursor = cursor;
        for binding in &chosen {
            self.take((binding.protocol, binding.host));
        }
        Ok(chosen)
    }

    /// Whether every port of `need` could be bound.
    pub(crate) fn check(&self, need: &PortNeed) -> Result<(), PortRefusal> {
        self.check_fixed(need)?;
        let (first, last) = self.range();
        let range = usize::from(last.saturating_sub(first)) + 1;
        // Asked of every node for every demand: a range with plenty left needs no search.
        if need.auto == 0 || (first <= last && self.taken.len() + need.wanted.len() <= range) {
            return Ok(());
        }
        self.choose(need).map(drop)
    }

    fn check_fixed(&self, need: &PortNeed) -> Result<(), PortRefusal> {
        let mut fixed = need.wanted.iter().filter_map(fixed);
        let taken = need.twice.or_else(|| fixed.find(|port| self.taken.contains(port)));
        taken.map_or(Ok(()), |(protocol, port)| Err(PortRefusal::Taken(port, protocol)))
    }

    fn range(&self) -> (u16, u16) {
        (self.range.0.max(1), self.range.1)
    }

    /// What is taken, in order.
    pub(crate) fn taken(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.taken.iter().copied()
    }

    pub(crate) fn take(&mut self, port: (Protocol, u16)) {
        if !mutant::is(Mutant::SharesPorts) {
            self.taken.insert(port);
        }
    }

    pub(crate) fn give_back(&mut self, port: (Protocol, u16)) {
        self.taken.remove(&port);
    }

    fn choose(&self, need: &PortNeed) -> Result<(Vec<PortBinding>, u16), PortRefusal> {
        self.check_fixed(need)?;
        let mut own: BTreeSet<(Protocol, u16)> = need.wanted.iter().filter_map(fixed).collect();
        let mut cursor = self.cursor;
        let mut chosen = Vec::with_capacity(need.wanted.len());
        for port in &need.wanted {
            let host = match port.host {
                HostPort::Fixed(number) => number,
                HostPort::Auto => {
                    let free = self.next_free(cursor, port.protocol, &own).ok_or(PortRefusal::RangeEmpty)?;
                    own.insert((port.protocol, free));
                    cursor = free.checked_add(1).unwrap_or(self.range.0);
                    free
                }
                HostPort::None => continue,
            };
            chosen.push(PortBinding {
                name: port.name.clone(),
                protocol: port.protocol,
                container: port.container,
                host,
            });
        }
        Ok((chosen, cursor))
    }

    fn next_free(&self, cursor: u16, protocol: Protocol, own: &BTreeSet<(Protocol, u16)>) -> Option<u16> {
        let (first, last) = self.range();
        let start = if (first..=last).contains(&cursor) { cursor } else { first };
        (start..=last).chain(first..start).find(|port| {
            let wanted = (protocol, *port);
            !self.taken.contains(&wanted) && !own.contains(&wanted)
        })
    }
}
