//! The links of the node: the bridge, and one veth pair per allocation.
//!
//! What a link is for is written on the link itself (its alias holds the allocation and the address), so a restarted agent reads
//! its state back from the kernel and needs no file that could disagree.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use skerry_registry::Digest;
use skerry_types::AllocationId;

use super::Subnet;
use super::netlink::{Netlink, Request};

/// The index of the loopback link of every network namespace.
const LO_INDEX: u32 = 1;
/// The index that `eth0` is given in its namespace.
const ETH0_INDEX: u32 = 2;
const ALIAS_PREFIX: &str = "skerry:";

/// A veth of ours that was found on the bridge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundVeth {
    pub(crate) index: u32,
    /// The allocation and its address, when the alias tells.
    pub(crate) owner: Option<(AllocationId, Ipv4Addr)>,
}

/// The name of an allocation's link on the node's side: at most 15 bytes are allowed, an allocation id has up to 88.
pub(crate) fn host_link(alloc: &AllocationId) -> String {
    let digest = Digest::of(alloc.as_str().as_bytes()).hex();
    format!("sk{}", &digest[..12])
}

/// Makes the bridge, gives it the pool's gateway address and raises it; what already is so stays. Returns its index.
pub(crate) fn ensure_bridge(netlink: &mut Netlink, name: &str, subnet: Subnet) -> io::Result<u32> {
    let mut bridge = raised(LinkMessage::default());
    bridge.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        // A bridge without an address of its own takes the lowest of its ports', which changes as containers come and go.
        LinkAttribute::Address(mac(subnet.gateway())),
    ];
    let created = netlink.request(RouteNetlinkMessage::NewLink(bridge), NLM_F_CREATE | NLM_F_EXCL);
    existing_is_fine(created)?;
    let index = nix::net::if_::if_nametoindex(name)?;
    netlink.batch(vec![raise(index)])?;
    existing_is_fine(netlink.batch(vec![address(index, subnet.gateway(), subnet.prefix())]))?;
    Ok(index)
}

/// Removes a link of this name if there is one.
pub(crate) fn remove(netlink: &mut Netlink, name: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    absent_is_fine(netlink.request(RouteNetlinkMessage::DelLink(link), 0))
}

/// Removes a link by its index if it still is there.
pub(crate) fn remove_index(netlink: &mut Netlink, index: u32) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    absent_is_fine(netlink.request(RouteNetlinkMessage::DelLink(link), 0))
}

/// All veths of ours on the bridge.
pub(crate) fn veths(netlink: &mut Netlink, bridge: u32) -> io::Result<Vec<FoundVeth>> {
    let links = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let found = links.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => found_veth(&link, bridge),
        _ => None,
    });
    Ok(found.collect())
}

fn found_veth(link: &LinkMessage, bridge: u32) -> Option<FoundVeth> {
    let mut on_bridge = false;
    let mut ours = false;
    let mut owner = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(index) => on_bridge = *index == bridge,
            LinkAttribute::IfName(name) => ours = name.starts_with("sk"),
            LinkAttribute::IfAlias(text) => owner = parse_alias(text),
            _ => {}
        }
    }
    (on_bridge && ours).then_some(FoundVeth { index: link.header.index, owner })
}

/// The name that a link has on the node's side while it has no allocation.
pub(crate) fn spare_link(slot: usize) -> String {
    format!("sk-spare{slot}")
}

/// Puts a veth pair between the bridge and a fresh namespace, the far end inside it from the start, and sets up the inside:
/// loopback, `eth0`, the address, the default route.
///
/// `outside` is a socket in the node's namespace, `inside` one in the fresh namespace that `namespace` names.
pub(crate) fn plug(
    outside: &mut Netlink,
    inside: &mut Netlink,
    namespace: BorrowedFd<'_>,
    bridge: u32,
    alloc: &AllocationId,
    ip: Ipv4Addr,
    subnet: Subnet,
) -> io::Result<()> {
    let link = lay(outside, namespace, bridge, &host_link(alloc))?;
    own(outside, link, alloc, ip)?;
    address_inside(inside, ip, subnet)
}

/// Puts a veth pair between the bridge and a fresh namespace, the far end inside it from the start. Both ends are down. Returns
/// the index of the near one.
pub(crate) fn lay(
    outside: &mut Netlink,
    namespace: BorrowedFd<'_>,
    bridge: u32,
    name: &str,
) -> io::Result<u32> {
    // The kernel takes these only for a link that is there already.
    let mut port = LinkMessage::default();
    port.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        // A container that reaches itself through a host port: where br_netfilter is on, the bridge and not the router hands
        // the packet back, and a bridge does so only on a hairpin port.
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]),
    ];
    outside.batch(vec![
        (RouteNetlinkMessage::NewLink(veth(name, namespace, bridge)), NLM_F_CREATE | NLM_F_EXCL),
        (RouteNetlinkMessage::NewLink(port), 0),
    ])?;
    outside.index_of(name)
}

/// Writes on a link on the node's side whose it is, and raises it. It must be down: some kernels rename no other.
pub(crate) fn own(outside: &mut Netlink, link: u32, alloc: &AllocationId, ip: Ipv4Addr) -> io::Result<()> {
    let mut near = raised(LinkMessage::default());
    near.header.index = link;
    near.attributes = vec![
        LinkAttribute::IfName(host_link(alloc)),
        LinkAttribute::IfAlias(format!("{ALIAS_PREFIX}{alloc}:{ip}")),
    ];
    outside.request(RouteNetlinkMessage::NewLink(near), 0)
}

/// Sets up the inside of a namespace: loopback, `eth0`, the address, the default route.
pub(crate) fn address_inside(inside: &mut Netlink, ip: Ipv4Addr, subnet: Subnet) -> io::Result<()> {
    let mut far = raised(LinkMessage::default());
    far.header.index = ETH0_INDEX;
    // From the address, so that what neighbours remember stays right when an address goes to another container.
    far.attributes = vec![LinkAttribute::Address(mac(ip))];
    inside.batch(vec![
        raise(LO_INDEX),
        (RouteNetlinkMessage::NewLink(far), 0),
        address(ETH0_INDEX, ip, subnet.prefix()),
        default_route(subnet.gateway()),
    ])
}

fn veth(name: &str, namespace: BorrowedFd<'_>, bridge: u32) -> LinkMessage {
    let mut far = LinkMessage::default();
    far.header.index = ETH0_INDEX;
    far.attributes =
        vec![LinkAttribute::IfName("eth0".to_owned()), LinkAttribute::NetNsFd(namespace.as_raw_fd())];
    let mut near = LinkMessage::default();
    near.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]),
    ];
    near
}

fn raise(index: u32) -> Request {
    let mut link = raised(LinkMessage::default());
    link.header.index = index;
    (RouteNetlinkMessage::NewLink(link), 0)
}

fn raised(mut link: LinkMessage) -> LinkMessage {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

fn address(index: u32, ip: Ipv4Addr, prefix: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(ip.into()), AddressAttribute::Address(ip.into())];
    (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn default_route(gateway: Ipv4Addr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(ETH0_INDEX)];
    (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A locally administered address (second bit of the first byte) made from an IPv4 address.
fn mac(ip: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = ip.octets();
    vec![0x02, 0x5b, a, b, c, d]
}

fn parse_alias(text: &str) -> Option<(AllocationId, Ipv4Addr)> {
    let (alloc, ip) = text.strip_prefix(ALIAS_PREFIX)?.split_once(':')?;
    Some((AllocationId::new(alloc).ok()?, ip.parse().ok()?))
}

fn existing_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is(&error, Errno::EEXIST) { Ok(()) } else { Err(error) })
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is(&error, Errno::ENODEV) { Ok(()) } else { Err(error) })
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_fits_the_kernel_and_differs_by_allocation() {
        let name = |id: &str| host_link(&AllocationId::new(id).unwrap());
        assert_eq!(name("web-0-1").len(), 14);
        assert_ne!(name("web-0-1"), name("web-0-2"));
    }

    #[test]
    fn an_alias_reads_back() {
        let ip = Ipv4Addr::new(10, 210, 0, 7);
        assert_eq!(
            parse_alias("skerry:web-0-1:10.210.0.7"),
            Some((AllocationId::new("web-0-1").unwrap(), ip))
        );
        for foreign in
            ["", "skerry:", "skerry:web-0-1", "skerry:Web:10.210.0.7", "uplink", "skerry:web-0-1:x"]
        {
            assert_eq!(parse_alias(foreign), None, "{foreign}");
        }
    }
}
