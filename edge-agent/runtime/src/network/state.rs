//! Who has which address and which host port, and the version of the rules that follow from it. Pure, but for the sockets that
//! hold ports.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use skerry_types::{AllocationId, Protocol};

use super::pool::Pool;
use super::ports::{self, PortForward, Reservation};
use super::rules::Target;
use super::{NetworkError, Subnet};

type HostPort = (Protocol, u16);

/// What [`State::claim`] settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) ip: Ipv4Addr,
    /// Namespace and link are there already.
    pub(crate) plugged: bool,
    pub(crate) rules_changed: bool,
}

#[derive(Debug)]
struct Entry {
    ip: Ipv4Addr,
    ports: Vec<PortForward>,
    plugged: bool,
    /// The version of the rules that first held its ports.
    rules_version: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct State {
    pool: Pool,
    subnet: Subnet,
    entries: BTreeMap<AllocationId, Entry>,
    forwards: BTreeMap<HostPort, Target>,
    reserved: BTreeMap<HostPort, Reservation>,
    version: u64,
}

impl State {
    pub(crate) fn new(subnet: Subnet) -> Self {
        Self {
            pool: Pool::new(subnet),
            subnet,
            entries: BTreeMap::new(),
            forwards: BTreeMap::new(),
            reserved: BTreeMap::new(),
            version: 0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn forwards(&self) -> &BTreeMap<HostPort, Target> {
        &self.forwards
    }

    pub(crate) fn address(&self, alloc: &AllocationId) -> Option<Ipv4Addr> {
        self.entries.get(alloc).map(|entry| entry.ip)
    }

    /// Asks for the rules to be loaded although nothing changed.
    pub(crate) fn touch(&mut self) {
        self.version += 1;
    }

    /// Takes an address and host ports for an allocation: all or nothing.
    pub(crate) fn claim(
        &mut self,
        alloc: &AllocationId,
        wanted: Option<Ipv4Addr>,
        ports: &[PortForward],
    ) -> Result<Claim, NetworkError> {
        let same = self.entries.get(alloc).filter(|entry| entry.ports == ports);
        if let Some(entry) = same {
            return Ok(Claim { ip: entry.ip, plugged: entry.plugged, rules_changed: false });
        }
        let reserved = self.reserve(alloc, ports)?;
        let Some(ip) = self.pool.claim(alloc, wanted) else {
            return Err(NetworkError::PoolExhausted { pool: self.subnet, in_use: self.pool.in_use() });
        };
        let plugged = self.entries.get(alloc).is_some_and(|entry| entry.plugged);
        let rules_changed = self.open_ports(alloc, ip, plugged, ports, reserved);
        Ok(Claim { ip, plugged, rules_changed })
    }

    /// Takes over what runs already. A port that something else took meanwhile is forwarded all the same: the rules come before
    /// any socket of the node.
    pub(crate) fn adopt(&mut self, alloc: &AllocationId, ip: Ipv4Addr, ports: &[PortForward]) {
        if !self.pool.adopt(alloc, ip) {
            tracing::warn!(%alloc, %ip, "two allocations have one address");
        }
        let held = ports.iter().filter_map(|port| {
            let socket = ports::reserve(port.protocol, port.host).ok()?;
            Some(((port.protocol, port.host), socket))
        });
        let reserved = held.collect();
        self.open_ports(alloc, ip, true, ports, reserved);
    }

    pub(crate) fn plugged(&mut self, alloc: &AllocationId) {
        if let Some(entry) = self.entries.get_mut(alloc) {
            entry.plugged = true;
        }
    }

    /// The version of the rules with an allocation's ports; `None` when it has no ports.
    pub(crate) fn rules_version(&self, alloc: &AllocationId) -> Result<Option<u64>, NetworkError> {
        let entry =
            self.entries.get(alloc).ok_or_else(|| NetworkError::NotAttached { alloc: alloc.clone() })?;
        Ok(entry.rules_version)
    }

    /// Takes an allocation's host ports away. Whether it had any.
    pub(crate) fn close_ports(&mut self, alloc: &AllocationId) -> bool {
        let Some(entry) = self.entries.get_mut(alloc) else { return false };
        entry.plugged = false;
        entry.rules_version = None;
        let ports = std::mem::take(&mut entry.ports);
        for port in &ports {
            self.forwards.remove(&(port.protocol, port.host));
            self.reserved.remove(&(port.protocol, port.host));
        }
        self.version += u64::from(!ports.is_empty());
        !ports.is_empty()
    }

    pub(crate) fn release(&mut self, alloc: &AllocationId) {
        self.close_ports(alloc);
        self.entries.remove(alloc);
        self.pool.release(alloc);
    }

    fn reserve(
        &self,
        alloc: &AllocationId,
        ports: &[PortForward],
    ) -> Result<BTreeMap<HostPort, Reservation>, NetworkError> {
        let mut reserved = BTreeMap::new();
        for &PortForward { protocol, host: port, .. } in ports {
            match self.holder(protocol, port) {
                Some(holder) if holder == alloc => continue,
                Some(holder) => {
                    return Err(NetworkError::PortClaimed { port, protocol, holder: holder.clone() });
                }
                None => {}
            }
            let socket = ports::reserve(protocol, port).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => NetworkError::PortTaken { port, protocol },
                _ => NetworkError::Port { port, protocol, source },
            })?;
            reserved.insert((protocol, port), socket);
        }
        Ok(reserved)
    }

    fn holder(&self, protocol: Protocol, port: u16) -> Option<&AllocationId> {
        let has = |entry: &Entry| entry.ports.iter().any(|p| p.protocol == protocol && p.host == port);
        self.entries.iter().find(|(_, entry)| has(entry)).map(|(alloc, _)| alloc)
    }

    fn open_ports(
        &mut self,
        alloc: &AllocationId,
        ip: Ipv4Addr,
        plugged: bool,
        ports: &[PortForward],
        mut reserved: BTreeMap<HostPort, Reservation>,
    ) -> bool {
        // Ports that stay keep their socket: it is moved over before the others are let go.
        for port in ports {
            let key = (port.protocol, port.host);
            if let Some(kept) = self.reserved.remove(&key) {
                reserved.insert(key, kept);
            }
        }
        let closed = self.close_ports(alloc);
        self.reserved.append(&mut reserved);
        for port in ports {
            self.forwards.insert((port.protocol, port.host), Target { ip, port: port.container });
        }
        self.version += u64::from(!ports.is_empty());
        let rules_version = (!ports.is_empty()).then_some(self.version);
        self.entries.insert(alloc.clone(), Entry { ip, ports: ports.to_vec(), plugged, rules_version });
        closed || !ports.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alloc(n: usize) -> AllocationId {
        AllocationId::new(format!("web-{n}-0")).unwrap()
    }

    fn state() -> State {
        State::new("10.210.0.0/29".parse().unwrap())
    }

    /// A port that nothing listens on at this moment.
    fn free_port() -> PortForward {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        PortForward { protocol: Protocol::Tcp, host: port, container: 80 }
    }

    #[test]
    fn a_claim_is_repeatable() {
        let mut state = state();
        let port = free_port();
        let first = state.claim(&alloc(0), None, &[port]).unwrap();
        assert!(first.rules_changed && !first.plugged);
        state.plugged(&alloc(0));
        let version = state.version();
        let again = state.claim(&alloc(0), None, &[port]).unwrap();
        assert_eq!(again, Claim { ip: first.ip, plugged: true, rules_changed: false });
        assert_eq!(state.version(), version);
    }

    #[test]
    fn a_port_has_one_holder() {
        let mut state = state();
        let port = free_port();
        state.claim(&alloc(0), None, &[port]).unwrap();
        let error = state.claim(&alloc(1), None, &[port]).unwrap_err();
        assert!(matches!(error, NetworkError::PortClaimed { holder, .. } if holder == alloc(0)));
        state.release(&alloc(0));
        state.claim(&alloc(1), None, &[port]).unwrap();
        assert_eq!(state.forwards().len(), 1);
    }

    #[test]
    fn a_failed_claim_takes_nothing() {
        let mut state = state();
        let free = free_port();
        let foreign = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let taken = PortForward { host: foreign.local_addr().unwrap().port(), ..free };
        let error = state.claim(&alloc(0), None, &[free, taken]).unwrap_err();
        assert!(matches!(error, NetworkError::PortTaken { port, .. } if port == taken.host));
        assert!(state.forwards().is_empty());
        assert!(std::net::TcpListener::bind(("0.0.0.0", free.host)).is_ok());
        for n in 0..5 {
            state.claim(&alloc(n), None, &[]).unwrap();
        }
        let error = state.claim(&alloc(5), None, &[free]).unwrap_err();
        assert!(matches!(error, NetworkError::PoolExhausted { in_use: 5, .. }));
        assert!(state.forwards().is_empty());
    }

    #[test]
    fn without_ports_no_rule_changes() {
        let mut state = state();
        assert!(!state.claim(&alloc(0), None, &[]).unwrap().rules_changed);
        assert_eq!(state.rules_version(&alloc(0)).unwrap(), None);
        assert!(!state.close_ports(&alloc(0)));
        assert_eq!(state.version(), 0);
    }
}
