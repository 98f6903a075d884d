//! Plain request and answer with the kernel's routing netlink. Blocking, but the kernel answers within the call, so a request
//! costs what the kernel's own work costs.

use std::io;
use std::num::NonZeroI32;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills a dump's datagrams up to this size when the reader offers it.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// A request and its flags beside REQUEST and ACK.
pub(crate) type Request = (RouteNetlinkMessage, u16);

/// A routing netlink socket. It sees the network namespace in which the opening thread was.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends requests in one system call and waits for all answers. The kernel works through all of them whatever the outcome
    /// of each; the first failure is returned.
    pub(crate) fn batch(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(512);
        let count = requests.len();
        for (message, flags) in requests {
            self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_ACK | flags);
        }
        self.socket.send(&bytes, 0)?;
        let mut outcome = Ok(());
        let mut answered = 0;
        while answered < count {
            for payload in self.receive()? {
                if let NetlinkPayload::Error(error) = payload {
                    answered += 1;
                    outcome = outcome.and(acknowledged(error.code));
                }
            }
        }
        outcome
    }

    /// One request.
    pub(crate) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.batch(vec![(message, flags)])
    }

    /// The index of the link of this name. In the namespace of the socket, wherever the calling thread is.
    pub(crate) fn index_of(&mut self, name: &str) -> io::Result<u32> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut bytes = Vec::with_capacity(64);
        self.append(&mut bytes, RouteNetlinkMessage::GetLink(link), NLM_F_REQUEST);
        self.socket.send(&bytes, 0)?;
        for payload in self.receive()? {
            match payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    return Ok(link.header.index);
                }
                NetlinkPayload::Error(error) => acknowledged(error.code)?,
                _ => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel gave no link"))
    }

    /// All objects of a kind.
    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut bytes = Vec::with_capacity(64);
        self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&bytes, 0)?;
        let mut found = Vec::new();
        loop {
            for payload in self.receive()? {
                match payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Error(error) => acknowledged(error.code)?,
                    NetlinkPayload::Done(_) => return Ok(found),
                    _ => {}
                }
            }
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let start = bytes.len();
        // Messages in one datagram begin at multiples of four (NLMSG_ALIGNTO).
        bytes.resize(start + packet.buffer_len().next_multiple_of(4), 0);
        packet.serialize(&mut bytes[start..]);
    }

    /// The answers of one datagram.
    fn receive(&mut self) -> io::Result<Vec<NetlinkPayload<RouteNetlinkMessage>>> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        self.socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        let mut payloads = Vec::new();
        while !rest.is_empty() {
            let packet = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let length = usize::try_from(packet.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(length.max(16)..).unwrap_or_default();
            payloads.push(packet.payload);
        }
        Ok(payloads)
    }
}

fn acknowledged(code: Option<NonZeroI32>) -> io::Result<()> {
    code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code.get().saturating_abs())))
}
