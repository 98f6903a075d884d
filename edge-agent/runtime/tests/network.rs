//! The node's network with the real kernel and the real nft.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use skerry_runtime::network::{KnownNetwork, Network, NetworkConfig, NetworkError, PortForward};
use skerry_types::{AllocationId, Protocol};
use support::{inside, mounts_below, on_a_node, run};

fn config(dir: &Path) -> NetworkConfig {
    NetworkConfig {
        bridge: "skerry0".to_owned(),
        pool: "10.210.0.0/22".parse().unwrap(),
        netns_dir: dir.join("netns"),
        spares: 0,
    }
}

fn alloc(n: u32) -> AllocationId {
    AllocationId::new(format!("web-{n}-1")).unwrap()
}

fn tcp(host: u16, container: u16) -> PortForward {
    PortForward { protocol: Protocol::Tcp, host, container }
}

async fn open(dir: &Path) -> Network {
    let network = Network::open(config(dir)).await.unwrap();
    network.reconcile(BTreeMap::new()).await.unwrap();
    network
}

/// Takes away what a failed test leaves: pins outlive the test's namespace.
struct Pins<'a>(&'a Path);

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        let pins = std::fs::read_dir(self.0.join("netns")).into_iter().flatten().flatten();
        for pin in pins {
            nix::mount::umount2(&pin.path(), nix::mount::MntFlags::MNT_DETACH).ok();
        }
    }
}

/// Answers each connection with a greeting and the address it saw, until the test's process ends.
fn serve(netns: &Path, port: u16) {
    let listener = inside(netns, move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            write!(stream, "{}", stream.peer_addr().unwrap().ip()).unwrap();
        }
    });
}

fn ask(address: (Ipv4Addr, u16)) -> IpAddr {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(address), Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.parse().unwrap()
}

#[test]
fn host_ports_lead_to_containers_from_everywhere() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        let web = network.attach(&alloc(0), None, &[tcp(8080, 80)]).await.unwrap();
        let sibling = network.attach(&alloc(1), None, &[]).await.unwrap();
        serve(&web.netns, 80);
        network.ports_ready(&alloc(0)).await.unwrap();

        let gateway = Ipv4Addr::new(10, 210, 0, 1);
        let web_ip = web.ip;
        assert_eq!(ask((web_ip, 80)), gateway, "from the node to the container");
        ask((gateway, 8080));
        assert_eq!(ask((Ipv4Addr::LOCALHOST, 8080)), gateway, "from the node's loopback");
        let from_sibling = inside(&sibling.netns, move || ask((web_ip, 80)));
        assert_eq!(from_sibling, sibling.ip, "a sibling shows its own address");
        inside(&sibling.netns, move || ask((gateway, 8080)));
        inside(&web.netns, move || ask((gateway, 8080)));

        let outside = Outside::connect(dir.path());
        assert_eq!(outside.ask(8080), OUTSIDE, "a caller from outside keeps its address");
        serve(&outside.netns, 9000);
        let seen = inside(&sibling.netns, || ask((OUTSIDE, 9000)));
        assert_eq!(seen, UPLINK, "the pool is hidden from the outside");
        network.close().await;
    });
}

#[test]
fn udp_ports_are_forwarded() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        let port = PortForward { protocol: Protocol::Udp, host: 5300, container: 53 };
        let dns = network.attach(&alloc(0), None, &[port]).await.unwrap();
        network.ports_ready(&alloc(0)).await.unwrap();
        let server = inside(&dns.netns, || UdpSocket::bind("0.0.0.0:53").unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"ping", "127.0.0.1:5300").unwrap();
        let mut buffer = [0; 16];
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"ping");
        server.send_to(b"pong", peer).unwrap();
        let (length, peer) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer), (&b"pong"[..], "127.0.0.1:5300".parse().unwrap()));
        network.close().await;
    });
}

#[test]
fn a_container_does_not_reach_the_loopback_of_the_node() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        let web = network.attach(&alloc(0), None, &[]).await.unwrap();
        network.settled().await.unwrap();
        let _secret = TcpListener::bind("127.0.0.1:7000").unwrap();
        let reached = inside(&web.netns, || {
            run("ip", &["link", "set", "lo", "down"]);
            run("ip", &["route", "add", "127.0.0.0/8", "via", "10.210.0.1", "dev", "eth0"]);
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            TcpStream::connect_timeout(&"127.0.0.1:7000".parse().unwrap(), Duration::from_millis(500)).is_ok()
        });
        assert!(!reached);
        network.close().await;
    });
}

#[test]
fn what_is_detached_leaves_nothing() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        let before = run("ip", &["-o", "link"]).lines().count();
        for n in 0..3 {
            network.attach(&alloc(n), None, &[tcp(8000 + u16::try_from(n).unwrap(), 80)]).await.unwrap();
        }
        network.settled().await.unwrap();
        assert!(run("nft", &["list", "ruleset"]).contains("8002 : 10.210.0.4 . 80"));
        assert_eq!(run("ip", &["-o", "link"]).lines().count(), before + 3);
        for n in 0..4 {
            network.detach(&alloc(n)).await.unwrap();
            network.detach(&alloc(n)).await.unwrap();
        }
        network.settled().await.unwrap();
        assert!(!run("nft", &["list", "ruleset"]).contains("elements"));
        assert_eq!(run("ip", &["-o", "link"]).lines().count(), before);
        assert_eq!(mounts_below(dir.path()), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path().join("netns")).unwrap().count(), 0);
        network.destroy().await.unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        assert!(!run("ip", &["-o", "link"]).contains("skerry0"));
    });
}

#[test]
fn a_restarted_agent_takes_over_what_it_knows_and_removes_the_rest() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let first = open(dir.path()).await;
        let web = first.attach(&alloc(0), None, &[tcp(8080, 80)]).await.unwrap();
        first.attach(&alloc(1), None, &[tcp(8081, 80)]).await.unwrap();
        first.ports_ready(&alloc(1)).await.unwrap();
        serve(&web.netns, 80);
        first.close().await;
        drop(first);
        // What a crash between the file and the mount leaves, and a reboot.
        std::fs::write(dir.path().join("netns/half-done"), "").unwrap();

        ask((Ipv4Addr::LOCALHOST, 8080));
        let second = Network::open(config(dir.path())).await.unwrap();
        let known = KnownNetwork { ports: vec![tcp(8080, 80)], pid: None };
        let kept = second.reconcile(BTreeMap::from([(alloc(0), known)])).await.unwrap();
        assert_eq!(kept, BTreeMap::from([(alloc(0), web.ip)]));
        second.settled().await.unwrap();
        ask((Ipv4Addr::LOCALHOST, 8080));
        let rules = run("nft", &["list", "ruleset"]);
        assert!(rules.contains("8080") && !rules.contains("8081"), "{rules}");
        assert_eq!(run("ip", &["-o", "link", "show", "type", "veth"]).lines().count(), 1);
        assert_eq!(std::fs::read_dir(dir.path().join("netns")).unwrap().count(), 1);
        let again = second.attach(&alloc(0), None, &[tcp(8080, 80)]).await.unwrap();
        assert_eq!(again, web);
        let fresh = second.attach(&alloc(2), Some(web.ip), &[]).await.unwrap();
        assert_ne!(fresh.ip, web.ip, "an adopted address is taken");
        second.close().await;
    });
}

#[test]
fn a_lost_pin_is_made_again_from_a_living_process() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let first = open(dir.path()).await;
        let web = first.attach(&alloc(0), None, &[]).await.unwrap();
        let mut payload =
            inside(&web.netns, || std::process::Command::new("sleep").arg("60").spawn().unwrap());
        first.close().await;
        nix::mount::umount(&web.netns).unwrap();
        let second = Network::open(config(dir.path())).await.unwrap();
        let known = KnownNetwork { ports: Vec::new(), pid: Some(payload.id()) };
        let kept = second.reconcile(BTreeMap::from([(alloc(0), known)])).await.unwrap();
        assert_eq!(kept.len(), 1);
        let inode =
            |path: &str| std::fs::metadata(path).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap();
        let own = inode(&format!("/proc/{}/ns/net", payload.id()));
        assert_eq!(inode(web.netns.to_str().unwrap()), own);
        payload.kill().unwrap();
        payload.wait().unwrap();
        second.close().await;
    });
}

#[test]
fn a_taken_port_is_named() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        let foreign = TcpListener::bind("0.0.0.0:8080").unwrap();
        let error = network.attach(&alloc(0), None, &[tcp(8080, 80)]).await.unwrap_err();
        assert!(error.to_string().starts_with("host port 8080/tcp is taken"), "{error}");
        drop(foreign);
        network.attach(&alloc(0), None, &[tcp(8080, 80)]).await.unwrap();
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "held against others");
        let error = network.attach(&alloc(1), None, &[tcp(8080, 81)]).await.unwrap_err();
        assert!(matches!(&error, NetworkError::PortClaimed { holder, .. } if *holder == alloc(0)), "{error}");
        network.close().await;
    });
}

#[test]
fn half_made_networks_are_made_anew() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        // The pin without a link, and the bare file.
        let web = network.attach(&alloc(0), None, &[]).await.unwrap();
        network.close().await;
        run("ip", &["link", "del", link_of(&web.netns).as_str()]);
        let second = Network::open(config(dir.path())).await.unwrap();
        let known = BTreeMap::from([(alloc(0), KnownNetwork::default())]);
        assert!(second.reconcile(known).await.unwrap().is_empty());
        let again = second.attach(&alloc(0), Some(web.ip), &[]).await.unwrap();
        assert_eq!(again.ip, web.ip);
        serve(&again.netns, 80);
        ask((web.ip, 80));
        second.close().await;
    });
}

#[test]
fn forty_networks_come_and_go() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let _pins = Pins(dir.path());
        let network = open(dir.path()).await;
        network.settled().await.unwrap();
        let mut addresses = std::collections::BTreeSet::new();
        for n in 0..40 {
            addresses.insert(network.attach(&alloc(n), None, &[]).await.unwrap().ip);
        }
        assert_eq!(addresses.len(), 40, "each has an address of its own");
        for n in 0..40 {
            network.detach(&alloc(n)).await.unwrap();
        }
        let next = network.attach(&alloc(40), None, &[]).await.unwrap();
        assert!(next.netns.exists());
        network.close().await;
    });
}

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A machine beside the node, on the node's uplink.
struct Outside {
    netns: std::path::PathBuf,
}

impl Outside {
    fn connect(dir: &Path) -> Self {
        let netns = dir.join("netns/outside");
        let file = netns.clone();
        std::thread::spawn(move || {
            std::fs::write(&file, "").unwrap();
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let flags = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some("/proc/thread-self/ns/net"), &file, None::<&str>, flags, None::<&str>)
                .unwrap();
        })
        .join()
        .unwrap();
        let far = netns.to_str().unwrap();
        run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", far]);
        run("ip", &["addr", "add", &format!("{UPLINK}/24"), "dev", "uplink"]);
        run("ip", &["link", "set", "uplink", "up"]);
        inside(&netns, || {
            run("ip", &["addr", "add", &format!("{OUTSIDE}/24"), "dev", "eth0"]);
            run("ip", &["link", "set", "eth0", "up"]);
        });
        Self { netns }
    }

    fn ask(&self, port: u16) -> IpAddr {
        inside(&self.netns, move || ask((UPLINK, port)))
    }
}

/// The node's end of the veth whose other end is in a namespace.
fn link_of(netns: &Path) -> String {
    let links = inside(netns, || run("ip", &["-o", "link", "show", "eth0"]));
    let index = links.split("@if").nth(1).and_then(|rest| rest.split(':').next()).unwrap().to_owned();
    let all = run("ip", &["-o", "link"]);
    let line = all.lines().find(|line| line.starts_with(&format!("{index}: "))).unwrap();
    line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap().to_owned()
}
