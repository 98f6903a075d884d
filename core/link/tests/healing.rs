//! A cut in the middle: nothing is told to anybody, and what was sent meanwhile arrives soon after the cut is healed.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::relay::Relay;
use support::*;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::test]
async fn what_was_sent_into_a_cut_arrives_soon_after_it() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let relay = Relay::to(parent.address).await;
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(vec![relay.address.to_string()], &node, &ca.roots(), right_clock());
    let mut welcomed = connect(&mut dialer).await;
    let connection = welcomed.connection.clone();
    let mut guard = JoinSet::new();
    guard.spawn(async move { connection.stalled(Duration::from_mins(1)).await });

    relay.cut.store(true, Ordering::SeqCst);
    let cut = Instant::now();
    welcomed.sender.send("news").await.unwrap();
    // Healed just after something was sent in vain, eight seconds into the cut: QUIC's own next try is as far away again.
    let mut dropped = relay.dropped.clone();
    let late = |at: &Option<Instant>| at.is_some_and(|at| at >= cut + Duration::from_secs(8));
    timeout(Duration::from_secs(30), dropped.wait_for(late)).await.unwrap().unwrap();
    relay.cut.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    let echoed = timeout(Duration::from_secs(5), welcomed.receiver.recv::<String>(64)).await;
    assert_eq!(echoed.expect("within 5 s of healing").unwrap().unwrap(), "news");
    println!("arrived {:?} after healing", healed.elapsed());
}

#[tokio::test]
async fn a_cut_that_lasts_ends_patience() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let relay = Relay::to(parent.address).await;
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(vec![relay.address.to_string()], &node, &ca.roots(), right_clock());
    let mut welcomed = connect(&mut dialer).await;
    let idle =
        timeout(Duration::from_millis(2500), welcomed.connection.stalled(Duration::from_secs(3))).await;
    assert!(idle.is_err(), "the greeting was answered, nothing is owed");
    assert_eq!(welcomed.echo("there").await, "there");

    relay.cut.store(true, Ordering::SeqCst);
    welcomed.sender.send("news").await.unwrap();
    let patience = welcomed.connection.stalled(Duration::from_secs(3));
    timeout(Duration::from_secs(10), patience).await.expect("patience ends");
    welcomed.connection.close(skerry_link::CloseReason::Done, "");
    relay.cut.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    assert_eq!(connect(&mut dialer).await.echo("again").await, "again");
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
}
