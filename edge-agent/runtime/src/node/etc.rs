//! The small files of an allocation that are bound into its containers: names and name servers.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use skerry_types::AllocationId;

/// Longest host name of Linux.
const HOSTNAME_MAX: usize = 63;
/// In this order: where systemd-resolved runs, the first holds the real servers and the second only its own stub.
const RESOLV_CONF: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// The host name of an allocation's containers.
pub(super) fn hostname(alloc: &AllocationId) -> &str {
    let text = alloc.as_str();
    text.get(..HOSTNAME_MAX).unwrap_or(text).trim_end_matches('-')
}

/// Writes the files of an allocation; what is there is replaced. Blocking.
pub(super) fn write(dir: &Path, alloc: &AllocationId, ip: Ipv4Addr) -> io::Result<()> {
    let name = hostname(alloc);
    let node = RESOLV_CONF.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    fs::create_dir_all(dir)?;
    fs::write(dir.join("hostname"), format!("{name}\n"))?;
    fs::write(dir.join("hosts"), hosts(name, ip))?;
    fs::write(dir.join("resolv.conf"), resolv_conf(&node))
}

fn hosts(name: &str, ip: Ipv4Addr) -> String {
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{ip}\t{name}\n")
}

/// The node's resolver configuration without servers on its loopback, which a container cannot reach.
fn resolv_conf(node: &str) -> String {
    let reachable = |line: &&str| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        server.is_none_or(|server| server.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()))
    };
    let lines = node.lines().filter(reachable).map(|line| format!("{line}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_left_out() {
        let node = "# stub\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\nsearch example\noptions edns0\n";
        assert_eq!(resolv_conf(node), "# stub\nnameserver 192.0.2.53\nsearch example\noptions edns0\n");
    }

    #[test]
    fn a_host_name_fits() {
        let name = |id: &str| hostname(&AllocationId::new(id).unwrap()).to_owned();
        assert_eq!(name("web-0-1"), "web-0-1");
        let cut = name(&format!("{}-0-1", "a".repeat(62)));
        assert_eq!(cut, "a".repeat(62));
    }

    #[test]
    fn files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let alloc = AllocationId::new("web-0-1").unwrap();
        for last in [2, 3] {
            write(dir.path(), &alloc, Ipv4Addr::new(10, 210, 0, last)).unwrap();
        }
        let hosts = fs::read_to_string(dir.path().join("hosts")).unwrap();
        assert!(hosts.contains("10.210.0.3\tweb-0-1\n") && !hosts.contains("10.210.0.2"), "{hosts}");
    }
}
