//! The node's address pool: which allocation holds which address. Pure bookkeeping.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;
use skerry_types::AllocationId;

/// Smallest subnet with a network, a bridge, a broadcast and at least five container addresses.
const PREFIX_MAX: u8 = 29;
/// A wider subnet than this would never be filled by one node.
const PREFIX_MIN: u8 = 8;

/// Why a text is not a subnet of the pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not an address pool: write an IPv4 network and a prefix from /{PREFIX_MIN} to /{PREFIX_MAX}, as in '10.210.0.0/22'"
)]
pub struct SubnetError {
    /// The text.
    pub text: String,
}

/// An IPv4 network that one node hands out: the first address is the bridge, the last the broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network's prefix length, 8 to 29.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address of the bridge: the gateway of every container.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// Whether an address may be handed to a container.
    pub fn holds(self, ip: Ipv4Addr) -> bool {
        (self.first()..=self.last()).contains(&ip.to_bits())
    }

    /// How many containers may have an address at a time.
    pub fn addresses(self) -> u32 {
        self.last() - self.first() + 1
    }

    fn first(self) -> u32 {
        self.network.to_bits() + 2
    }

    fn last(self) -> u32 {
        (self.network.to_bits() | (u32::MAX >> self.prefix)) - 1
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let parsed = text.split_once('/').and_then(|(network, prefix)| {
            let network: Ipv4Addr = network.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            let range = (PREFIX_MIN..=PREFIX_MAX).contains(&prefix);
            (range && network.to_bits() & (u32::MAX >> prefix) == 0).then_some(Self { network, prefix })
        });
        parsed.ok_or_else(|| SubnetError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

/// Which allocation holds which address.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: Subnet,
    holders: BTreeMap<Ipv4Addr, AllocationId>,
    by_alloc: BTreeMap<AllocationId, Ipv4Addr>,
    /// The last address handed out without a wish: the search goes on behind it, so that an address rests before its next
    /// use and a peer with an old connection does not meet a stranger.
    cursor: u32,
}

impl Pool {
    pub(crate) fn new(subnet: Subnet) -> Self {
        Self { subnet, holders: BTreeMap::new(), by_alloc: BTreeMap::new(), cursor: subnet.last() }
    }

    /// The address of an allocation: the one it has, else the wanted one when it is free, else the next free one. `None` when
    /// all are taken.
    pub(crate) fn claim(&mut self, alloc: &AllocationId, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some(ip) = self.by_alloc.get(alloc) {
            return Some(*ip);
        }
        let free = |ip: &Ipv4Addr| self.subnet.holds(*ip) && !self.holders.contains_key(ip);
        let ip = match wanted.filter(free) {
            Some(ip) => ip,
            None => self.next_free()?,
        };
        self.insert(alloc, ip);
        Some(ip)
    }

    /// Takes note of an address that a running allocation has, wherever it lies. False when another one holds it.
    pub(crate) fn adopt(&mut self, alloc: &AllocationId, ip: Ipv4Addr) -> bool {
        if self.holders.get(&ip).is_some_and(|holder| holder != alloc) {
            return false;
        }
        self.release(alloc);
        self.insert(alloc, ip);
        true
    }

    pub(crate) fn release(&mut self, alloc: &AllocationId) {
        if let Some(ip) = self.by_alloc.remove(alloc) {
            self.holders.remove(&ip);
        }
    }

    pub(crate) fn in_use(&self) -> usize {
        self.holders.len()
    }

    fn insert(&mut self, alloc: &AllocationId, ip: Ipv4Addr) {
        self.holders.insert(ip, alloc.clone());
        self.by_alloc.insert(alloc.clone(), ip);
    }

    fn next_free(&mut self) -> Option<Ipv4Addr> {
        let (first, last) = (self.subnet.first(), self.subnet.last());
        let behind = (self.cursor + 1..=last).chain(first..=self.cursor.min(last));
        let found = behind.map(Ipv4Addr::from_bits).find(|ip| !self.holders.contains_key(ip))?;
        self.cursor = found.to_bits();
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alloc(n: usize) -> AllocationId {
        AllocationId::new(format!("web-{n}-0")).unwrap()
    }

    #[test]
    fn a_subnet_is_a_network_and_a_sane_prefix() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Subnet>().is_ok(), good, "{text}");
        check("10.210.0.0/24", true);
        check("10.0.0.0/8", true);
        check("10.210.0.8/29", true);
        check("10.210.0.1/24", false);
        check("10.210.0.0/30", false);
        check("10.210.0.0/7", false);
        check("10.210.0.0", false);
        check("fd00::/64", false);
    }

    #[test]
    fn the_bridge_and_the_broadcast_are_never_handed_out() {
        let subnet: Subnet = "10.210.0.0/29".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 210, 0, 1));
        let mut pool = Pool::new(subnet);
        let handed: Vec<_> = (0..5).map(|n| pool.claim(&alloc(n), None).unwrap().octets()[3]).collect();
        assert_eq!(handed, [2, 3, 4, 5, 6]);
        assert_eq!(pool.claim(&alloc(5), None), None);
        assert_eq!((pool.in_use(), subnet.addresses()), (5, 5));
    }

    #[test]
    fn a_wish_is_kept_when_it_can_be() {
        let mut pool = Pool::new("10.210.0.0/24".parse().unwrap());
        let wanted = Ipv4Addr::new(10, 210, 0, 77);
        assert_eq!(pool.claim(&alloc(0), Some(wanted)), Some(wanted));
        assert_eq!(pool.claim(&alloc(0), None), Some(wanted), "asked again");
        assert_eq!(pool.claim(&alloc(1), Some(wanted)), Some(Ipv4Addr::new(10, 210, 0, 2)));
        assert_eq!(
            pool.claim(&alloc(2), Some(Ipv4Addr::new(192, 0, 2, 1))),
            Some(Ipv4Addr::new(10, 210, 0, 3))
        );
    }

    #[test]
    fn an_address_rests_before_its_next_use() {
        let mut pool = Pool::new("10.210.0.0/29".parse().unwrap());
        let first = pool.claim(&alloc(0), None).unwrap();
        pool.release(&alloc(0));
        assert_ne!(pool.claim(&alloc(1), None), Some(first));
        for n in 2..6 {
            pool.claim(&alloc(n), None).unwrap();
        }
        pool.release(&alloc(3));
        assert!(pool.claim(&alloc(9), None).is_some());
    }

    #[test]
    fn adoption_refuses_an_address_with_another_holder() {
        let mut pool = Pool::new("10.210.0.0/24".parse().unwrap());
        let ip = Ipv4Addr::new(10, 210, 0, 9);
        assert!(pool.adopt(&alloc(0), ip));
        assert!(pool.adopt(&alloc(0), ip));
        assert!(!pool.adopt(&alloc(1), ip));
        assert_eq!(pool.claim(&alloc(0), None), Some(ip));
    }
}
