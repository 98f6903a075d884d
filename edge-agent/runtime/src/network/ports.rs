//! Host ports: is one free on the node, and staying so while an allocation has it.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use serde::{Deserialize, Serialize};
use skerry_types::Protocol;

/// One host port that leads to a port of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortForward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port on every address of the node.
    pub host: u16,
    /// The port in the allocation.
    pub container: u16,
}

/// A host port held against other processes of the node, as long as this lives.
///
/// The socket is bound and never listens: traffic goes by the packet rules before it could reach it, and until the rules are in
/// place a caller is refused, not left waiting.
#[derive(Debug)]
pub(crate) struct Reservation {
    _socket: Option<OwnedFd>,
}

/// Takes a port of the node, or says `AddrInUse`.
///
/// Old connections of a program that left may block a bare bind for a minute (TIME-WAIT); a listener that may reuse addresses
/// tells them from a program that is there. Then the port is free but cannot be held.
pub(crate) fn reserve(protocol: Protocol, port: u16) -> io::Result<Reservation> {
    match bind_bare(protocol, port) {
        Ok(socket) => Ok(Reservation { _socket: Some(socket) }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match protocol {
                Protocol::Tcp => drop(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?),
                Protocol::Udp => drop(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?),
            }
            Ok(Reservation { _socket: None })
        }
        Err(error) => Err(error),
    }
}

fn bind_bare(protocol: Protocol, port: u16) -> io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, port))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_until_dropped() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let held = reserve(Protocol::Tcp, free).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", free)).is_err());
        drop(held);
        assert!(TcpListener::bind(("127.0.0.1", free)).is_ok());
    }

    #[test]
    fn a_foreign_program_is_seen() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = reserve(Protocol::Tcp, tcp.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = reserve(Protocol::Udp, udp.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
