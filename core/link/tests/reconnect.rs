//! Coming back, after whatever happened to the parent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skerry_link::{BackoffSettings, DialSettings, DialState, Dialer, LinkLost, ServerSettings};
use support::relay::Relay;
use support::*;
use tokio::time::timeout;

#[tokio::test]
async fn a_parent_that_was_killed_is_found_again() {
    let ca = TestCa::new("one");
    let identity = ca.identity(REGION, week(now()));
    let (roots, any) = (ca.roots(), "127.0.0.1:0".parse().unwrap());
    // A runtime of its own, whose end takes tasks and sockets away; the cut swallows what they might still say, as a kill would.
    let first = tokio::runtime::Runtime::new().unwrap();
    let guard = first.enter();
    let parent = Parent::start_at(any, &identity, &roots, right_clock(), nobody());
    drop(guard);
    let address = parent.address;
    let node = ca.identity(NODE, week(now()));
    let relay = Relay::to(address).await;
    let mut dialer = dialer(vec![relay.address.to_string()], &node, &roots, right_clock());
    let mut before = connect(&mut dialer).await;
    assert_eq!(before.echo("one").await, "one");
    relay.cut.store(true, Ordering::SeqCst);
    first.shutdown_background();
    drop(parent);

    let _parent = restart(address, &identity, &roots).await;
    relay.cut.store(false, Ordering::SeqCst);
    before.sender.send("two").await.unwrap();
    let lost = timeout(Duration::from_secs(5), before.connection.closed()).await.unwrap();
    assert_eq!(lost, LinkLost::Reset, "a restarted parent says at once that it does not know the connection");
    let begin = Instant::now();
    let mut after = connect(&mut dialer).await;
    assert_eq!(after.echo("three").await, "three");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_parent_that_was_killed_calls_its_children_back() {
    let ca = TestCa::new("one");
    let (identity, roots) = (ca.identity(REGION, week(now())), ca.roots());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connected");
    let remembering = |listen| ServerSettings { memory: Some(path.clone()), ..ServerSettings::on(listen) };
    let first = tokio::runtime::Runtime::new().unwrap();
    let guard = first.enter();
    let any = "127.0.0.1:0".parse().unwrap();
    let parent = Parent::start_with(remembering(any), &identity, &roots, right_clock(), nobody());
    drop(guard);
    let address = parent.address;
    let node = ca.identity(NODE, week(now()));
    let relay = Relay::to(address).await;
    let mut dialer = dialer(vec![relay.address.to_string()], &node, &roots, right_clock());
    let mut before = connect(&mut dialer).await;
    assert_eq!(before.echo("one").await, "one");
    let left = std::fs::read(&path).unwrap();
    relay.cut.store(true, Ordering::SeqCst);
    drop(parent);
    tokio::task::spawn_blocking(move || first.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    // A kill leaves what an orderly end takes out.
    std::fs::write(&path, left).unwrap();
    relay.cut.store(false, Ordering::SeqCst);
    // One handshake at a time is a crowd.
    let crowded = ServerSettings { max_handshakes: 1, ..remembering(address) };
    let _parent =
        start_again(address, || Parent::start_with(crowded, &identity, &roots, right_clock(), nobody()))
            .await;
    // The child says nothing, and its next keep-alive is most of 25 seconds away.
    let lost = timeout(Duration::from_secs(5), before.connection.closed()).await.unwrap();
    assert_eq!(lost, LinkLost::Reset);
    assert_eq!(connect(&mut dialer).await.echo("two").await, "two");
    assert_eq!(relay.retries.load(Ordering::SeqCst), 0, "a child that is called back is at its address");
}

#[tokio::test]
async fn a_crowded_parent_has_strangers_show_their_address() {
    let ca = TestCa::new("one");
    let (identity, roots) = (ca.identity(REGION, week(now())), ca.roots());
    let any = "127.0.0.1:0".parse().unwrap();
    let crowded = ServerSettings { max_handshakes: 1, ..ServerSettings::on(any) };
    let parent = Parent::start_with(crowded, &identity, &roots, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let relay = Relay::to(parent.address).await;
    let mut dialer = dialer(vec![relay.address.to_string()], &node, &roots, right_clock());
    assert_eq!(connect(&mut dialer).await.echo("one").await, "one");
    assert_eq!(relay.retries.load(Ordering::SeqCst), 1);
}

async fn restart(
    address: std::net::SocketAddr,
    identity: &skerry_link::tls::Identity,
    roots: &skerry_link::tls::TrustRoots,
) -> Parent {
    start_again(address, || Parent::start_at(address, identity, roots, right_clock(), nobody())).await
}

/// Starts a parent once its port is free.
async fn start_again(address: std::net::SocketAddr, start: impl FnOnce() -> Parent) -> Parent {
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "the killed parent's port is free again");
        tokio::task::yield_now().await;
    }
    start()
}

#[tokio::test]
async fn a_parent_that_comes_late_is_found_within_seconds() {
    let ca = TestCa::new("one");
    let identity = ca.identity(REGION, week(now()));
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    let node = ca.identity(NODE, week(now()));
    let addresses = vec!["no-such-name.invalid:1".to_owned(), address.to_string()];
    let mut dialer = dialer(addresses, &node, &ca.roots(), right_clock());
    let mut state = dialer.state();
    let late = async {
        // Two attempts into the void.
        state
            .wait_for(|s| matches!(s, DialState::Connecting { failures, .. } if *failures >= 2))
            .await
            .unwrap();
        drop(free);
        let parent = Parent::start_at(address, &identity, &ca.roots(), right_clock(), nobody());
        (parent, Instant::now())
    };
    let ((_parent, came), welcomed) = tokio::join!(late, connect_slowly(&mut dialer));
    drop(welcomed);
    assert!(came.elapsed() < Duration::from_secs(5), "{:?}", came.elapsed());
}

async fn connect_slowly(dialer: &mut Dialer) -> Welcomed {
    timeout(Duration::from_mins(1), async {
        let connection = dialer.connect().await;
        let (mut sender, mut receiver) = connection.control().await.unwrap();
        sender.send("hello").await.unwrap();
        assert_eq!(receiver.recv::<String>(64).await.unwrap().unwrap(), "welcome");
        Welcomed { connection, sender, receiver }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_hint_ends_a_long_wait() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let settings = DialSettings {
        backoff: BackoffSettings { first: Duration::from_hours(1), max: Duration::from_hours(1) },
        ..DialSettings::to(parent.addresses())
    };
    let mut dialer = Dialer::new(settings, &node, &ca.roots(), right_clock(), 1).unwrap();
    let first = connect(&mut dialer).await;
    first.connection.close(skerry_link::CloseReason::Done, "");
    let hint = dialer.hint();
    hint.try_again();
    let mut second = connect(&mut dialer).await;
    assert_eq!(second.echo("soon").await, "soon");
}

#[tokio::test]
async fn an_unresolvable_name_is_named() {
    let ca = TestCa::new("one");
    let node = ca.identity(NODE, week(now()));
    let words =
        refusal(&mut dialer(vec!["no-such-name.invalid:7444".to_owned()], &node, &ca.roots(), right_clock()))
            .await;
    assert!(words.contains("no-such-name.invalid:7444"), "{words}");
}

#[tokio::test]
async fn a_silent_parent_is_asked_for_one_handshake_at_a_time() {
    let ca = TestCa::new("one");
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(vec![address.to_string()], &node, &ca.roots(), right_clock());
    // Every first packet of an attempt and its repetitions name the same connection (RFC 9000, 17.2).
    let asked = async {
        let (mut seen, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            let (len, _) = silent.recv_from(&mut buffer).await.unwrap();
            assert!(len >= 1200, "a first packet fills its datagram");
            let id = buffer[6..6 + usize::from(buffer[5])].to_vec();
            if seen.first().is_some_and(|(first, _)| *first != id) {
                return seen;
            }
            seen.push((id, Instant::now()));
        }
    };
    let seen = tokio::select! {
        seen = timeout(Duration::from_secs(20), asked) => seen.expect("a second attempt"),
        _ = dialer.connect() => unreachable!("nobody answers"),
    };
    let last = seen.last().unwrap().1;
    assert!(seen.len() >= 2, "the first attempt is repeated before another begins");
    assert!(last.elapsed() < Duration::from_secs(4), "{:?} without asking", last.elapsed());
}
