//! Networks made ahead, with the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use skerry_runtime::network::{KnownNetwork, Network, NetworkConfig};
use skerry_types::AllocationId;
use support::{inside, mounts_below, on_a_node, run, until};

const SPARES: usize = 2;

fn config(dir: &Path) -> NetworkConfig {
    NetworkConfig {
        bridge: "skerry0".to_owned(),
        pool: "10.210.0.0/22".parse().unwrap(),
        netns_dir: dir.join("netns"),
        spares: SPARES,
    }
}

fn alloc(n: u32) -> AllocationId {
    AllocationId::new(format!("web-{n}-1")).unwrap()
}

/// The index of the link behind a namespace's `eth0`, on the node's side.
fn index_behind(netns: &Path) -> String {
    let link = inside(netns, || run("ip", &["-o", "link", "show", "eth0"]));
    link.split("@if").nth(1).and_then(|rest| rest.split(':').next()).unwrap().to_owned()
}

/// Names of the links on the node's side: those that lie ready, and those of allocations.
fn links() -> (Vec<String>, Vec<String>) {
    let all = run("ip", &["-o", "link", "show", "type", "veth"]);
    let names = all.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    names.map(str::to_owned).partition(|name| name.starts_with("sk-spare"))
}

async fn filled() {
    until("networks made ahead", || links().0.len() == SPARES).await;
}

async fn open(dir: &Path) -> Network {
    let network = Network::open(config(dir)).await.unwrap();
    network.reconcile(BTreeMap::new()).await.unwrap();
    network
}

fn reaches(netns: &Path, ip: Ipv4Addr) {
    let listener = inside(netns, || TcpListener::bind("0.0.0.0:80").unwrap());
    TcpStream::connect_timeout(&(ip, 80).into(), Duration::from_secs(5)).unwrap();
    drop(listener);
}

#[test]
fn a_network_made_ahead_is_like_any_other() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let network = open(dir.path()).await;
        filled().await;
        assert_eq!(mounts_below(dir.path()), Vec::<String>::new(), "one without an owner has no name");
        let all = run("ip", &["-o", "link", "show", "type", "veth"]);
        let ready: Vec<&str> = all.lines().filter_map(|line| line.split(": ").next()).collect();
        let mut addresses = BTreeMap::new();
        for n in 0..4 {
            let attached = network.attach(&alloc(n), None, &[]).await.unwrap();
            // The third and the fourth find none, and are made as ever.
            let was_ready = ready.contains(&index_behind(&attached.netns).as_str());
            assert_eq!(was_ready, usize::try_from(n).unwrap() < SPARES, "{n}");
            reaches(&attached.netns, attached.ip);
            let mac = inside(&attached.netns, || run("ip", &["-o", "link", "show", "eth0"]));
            assert!(mac.contains(&format!("02:5b:0a:d2:00:{:02x}", attached.ip.octets()[3])), "{mac}");
            addresses.insert(alloc(n), attached.ip);
        }
        assert_eq!(links().1.len(), 4);
        filled().await;
        network.close().await;
        assert_eq!(links().0, Vec::<String>::new());

        // Who comes later knows them by what is written on their links.
        let later = Network::open(config(dir.path())).await.unwrap();
        let known = addresses.keys().map(|alloc| (alloc.clone(), KnownNetwork::default())).collect();
        assert_eq!(later.reconcile(known).await.unwrap(), addresses);
        for alloc in addresses.keys() {
            later.detach(alloc).await.unwrap();
        }
        assert_eq!(links().1, Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path().join("netns")).unwrap().count(), 0);
        later.destroy().await.unwrap();
        until("nothing is left", || links().0.is_empty()).await;
    });
}

#[test]
fn what_lies_ready_goes_with_the_process_that_made_it() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        // Its descriptors are closed without a word, as those of a killed process are.
        let path = dir.path().to_owned();
        let killed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let network = runtime.block_on(async {
                let network = open(&path).await;
                filled().await;
                network
            });
            runtime.shutdown_background();
            drop(network);
        });
        killed.join().unwrap();
        until("the kernel takes them away", || links().0.is_empty()).await;
    });
}

#[test]
fn one_that_was_taken_away_is_made_anew() {
    on_a_node(|| async {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).await;
        filled().await;
        // A second agent takes them for what an earlier one left.
        let second = open(dir.path()).await;
        let attached = first.attach(&alloc(0), None, &[]).await.unwrap();
        reaches(&attached.netns, attached.ip);
        first.detach(&alloc(0)).await.unwrap();
        assert_eq!(mounts_below(dir.path()), Vec::<String>::new());
        first.close().await;
        second.close().await;
    });
}
