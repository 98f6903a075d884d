//! The node's packet rules as text for `nft -f -`. Pure: everything comes from the state in memory, the whole table is replaced
//! in one transaction, so nothing is left over from what no longer exists.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skerry_types::Protocol;

use super::Subnet;

/// Where the traffic of one host port goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
}

/// What the rules are made from.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Subnet,
    pub(crate) forwards: &'a BTreeMap<(Protocol, u16), Target>,
}

impl Rules<'_> {
    /// The transaction that makes the table exactly this.
    ///
    /// - `prerouting` and `output` send host ports to their containers, for traffic from elsewhere and from the node itself.
    /// - `postrouting` hides the pool from the outside, and makes answers come back the way of the question where a container
    ///   reaches a sibling, or the node a container, through a host port.
    /// - `input` keeps containers off what listens on the node's loopback, which `route_localnet` would open to them.
    pub(crate) fn render(&self) -> String {
        let Self { table, bridge, subnet, .. } = self;
        let tcp = self.elements(Protocol::Tcp);
        let udp = self.elements(Protocol::Udp);
        format!(
            "table ip {table}
delete table ip {table}
table ip {table} {{
  map tcp_forwards {{
    type inet_service : ipv4_addr . inet_service
{tcp}  }}
  map udp_forwards {{
    type inet_service : ipv4_addr . inet_service
{udp}  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local dnat ip to tcp dport map @tcp_forwards
    fib daddr type local dnat ip to udp dport map @udp_forwards
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local dnat ip to tcp dport map @tcp_forwards
    fib daddr type local dnat ip to udp dport map @udp_forwards
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != \"{bridge}\" masquerade
    oifname \"{bridge}\" ct status dnat ip saddr {{ {subnet}, 127.0.0.0/8 }} masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname \"{bridge}\" ip daddr 127.0.0.0/8 ct state != {{ established, related }} drop
  }}
}}
"
        )
    }

    /// The `elements` line of a map; nothing when it is empty, which nft wants left out.
    fn elements(&self, protocol: Protocol) -> String {
        let mut list = String::new();
        for ((_, host), Target { ip, port }) in self.forwards.iter().filter(|((p, _), _)| *p == protocol) {
            let separator = if list.is_empty() { "    elements = { " } else { ", " };
            write!(list, "{separator}{host} : {ip} . {port}").expect("a String takes all that is written");
        }
        if !list.is_empty() {
            list.push_str(" }\n");
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(forwards: &[(Protocol, u16, u8, u16)]) -> String {
        let target = |last, port| Target { ip: Ipv4Addr::new(10, 210, 0, last), port };
        let forwards =
            forwards.iter().map(|&(p, host, last, port)| ((p, host), target(last, port))).collect();
        let subnet = "10.210.0.0/24".parse().unwrap();
        Rules { table: "skerry", bridge: "skerry0", subnet, forwards: &forwards }.render()
    }

    #[test]
    fn the_table_is_replaced_as_a_whole() {
        let text = render(&[]);
        assert!(text.starts_with("table ip skerry\ndelete table ip skerry\ntable ip skerry {\n"), "{text}");
        assert!(!text.contains("elements"), "an empty map has no elements: {text}");
        assert!(text.contains("ip saddr 10.210.0.0/24 oifname != \"skerry0\" masquerade"), "{text}");
    }

    #[test]
    fn forwards_are_sorted_by_protocol_and_port() {
        let text = render(&[
            (Protocol::Tcp, 8443, 3, 443),
            (Protocol::Udp, 53, 4, 5353),
            (Protocol::Tcp, 80, 2, 8080),
        ]);
        assert!(text.contains("elements = { 80 : 10.210.0.2 . 8080, 8443 : 10.210.0.3 . 443 }\n"), "{text}");
        assert!(text.contains("elements = { 53 : 10.210.0.4 . 5353 }\n"), "{text}");
    }
}
