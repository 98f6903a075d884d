//! Who is let in and who is believed, over real QUIC.

mod support;

use std::sync::Arc;
use std::time::Duration;

use skerry_link::{DialState, LinkClock, Validity};
use skerry_types::WallTime;
use support::*;

#[tokio::test]
async fn both_sides_know_each_other() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(parent.addresses(), &node, &ca.roots(), right_clock());
    let mut welcomed = connect(&mut dialer).await;
    assert_eq!(welcomed.connection.peer_id().to_string(), REGION);
    assert_eq!(welcomed.echo("a word").await, "a word");
    let largest = "x".repeat(skerry_link::MAX_FRAME_BYTES - 5);
    assert_eq!(welcomed.echo(&largest).await.len(), largest.len());
    assert!(matches!(*dialer.state().borrow(), DialState::Connected { .. }));
    dialer.shut_down().await;
}

#[tokio::test]
async fn a_master_of_another_ca_is_not_believed() {
    let (ours, theirs) = (TestCa::new("one"), TestCa::new("two"));
    let mut parent = Parent::start(&theirs, right_clock(), nobody());
    let node = ours.identity(NODE, week(now()));
    let words = refusal(&mut dialer(parent.addresses(), &node, &ours.roots(), right_clock())).await;
    assert!(words.contains("AnotherCa"), "{words}");
    let seen = parent.next_refusal().await;
    assert!(seen.contains("handshake"), "{seen}");
}

#[tokio::test]
async fn a_stranger_of_another_ca_is_told_so() {
    let (ours, theirs) = (TestCa::new("one"), TestCa::new("two"));
    let parent = Parent::start(&theirs, right_clock(), nobody());
    // It trusts the parent's root, but its own certificate is from elsewhere. A node would not even believe the answer.
    let user = ours.identity(USER, week(now()));
    let words = refusal(&mut dialer(parent.addresses(), &user, &theirs.roots(), right_clock())).await;
    assert!(words.contains("does not accept our certificate"), "{words}");
    assert!(words.contains("another CA"), "{words}");
}

#[tokio::test]
async fn a_users_certificate_is_refused_with_the_reason() {
    let ca = TestCa::new("one");
    let mut parent = Parent::start(&ca, right_clock(), nobody());
    let user = ca.identity(USER, week(now()));
    let words = refusal(&mut dialer(parent.addresses(), &user, &ca.roots(), right_clock())).await;
    assert!(words.contains("wrong identity") && words.contains("user/ada' is a user"), "{words}");
    assert!(parent.next_refusal().await.contains("is a user"));
}

#[tokio::test]
async fn a_node_that_poses_as_a_master_is_not_believed() {
    let ca = TestCa::new("one");
    let other = ca.identity("spiffe://edge.example/region/south", week(now()));
    let any = "127.0.0.1:0".parse().unwrap();
    let parent = Parent::start_at(any, &other, &ca.roots(), right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let words = refusal(&mut dialer(parent.addresses(), &node, &ca.roots(), right_clock())).await;
    assert!(words.contains("NotTheMaster") && words.contains("south"), "{words}");
}

#[tokio::test]
async fn an_expired_node_is_told_to_renew() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let over = Validity { not_before: now() - 9 * DAY, not_after: now() - 2 * DAY };
    let node = ca.identity(NODE, over);
    let words = refusal(&mut dialer(parent.addresses(), &node, &ca.roots(), right_clock())).await;
    assert!(words.contains("certificate expired: renew it"), "{words}");
    assert!(words.contains("2880 minutes ago"), "{words}");
}

#[tokio::test]
async fn a_nodes_clock_may_be_wrong_by_days() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    // The parent's certificate holds from a day ago to a week ahead.
    for clock in
        [now() - 2 * DAY, later(now(), 2 * DAY), later(now(), 13 * DAY), now() - 300 * DAY, WallTime(0)]
    {
        let (_, clock) = Hands::at(clock);
        let mut welcomed = connect(&mut dialer(parent.addresses(), &node, &ca.roots(), clock)).await;
        assert_eq!(welcomed.echo("here").await, "here");
    }
}

#[tokio::test]
async fn a_clock_beyond_tolerance_is_named() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let (_, clock) = Hands::at(later(now(), 15 * DAY));
    let words = refusal(&mut dialer(parent.addresses(), &node, &ca.roots(), clock)).await;
    assert!(words.contains("Expired"), "{words}");
    // A floor told by a master counts for certain: no tolerance past it.
    let floor = Arc::new(LinkClock::system(later(now(), 8 * DAY)));
    let words = refusal(&mut dialer(parent.addresses(), &node, &ca.roots(), floor)).await;
    assert!(words.contains("Expired"), "{words}");
}

#[tokio::test]
async fn a_resumed_session_is_judged_anew() {
    let ca = TestCa::new("one");
    let (hands, clock) = Hands::at(now());
    let parent = Parent::start(&ca, clock, nobody());
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(parent.addresses(), &node, &ca.roots(), right_clock());
    let first = connect(&mut dialer).await;
    let shown = first.connection.peer().fingerprint;
    first.connection.close(skerry_link::CloseReason::Done, "");

    // A full handshake would show the replaced certificate; a resumed one shows the former.
    parent.shared.swap(ca.identity(REGION, week(now())), &ca.roots());
    let second = connect(&mut dialer).await;
    assert_eq!(second.connection.peer().fingerprint, shown, "the session was not resumed");
    second.connection.close(skerry_link::CloseReason::Done, "");

    hands.set(later(now(), 8 * DAY));
    let third = tokio::time::timeout(Duration::from_secs(20), dialer.connect()).await.unwrap();
    assert_eq!(third.peer().fingerprint, shown, "the session was not resumed");
    let words = third.closed().await.to_string();
    assert!(words.contains("certificate expired"), "{words}");

    // A renewed identity does not show the former one through an old ticket.
    let renewed = Validity { not_before: now(), not_after: later(now(), 20 * DAY) };
    dialer.set_identity(&ca.identity(NODE, renewed), &ca.roots()).unwrap();
    let mut fourth = connect(&mut dialer).await;
    assert_eq!(fourth.echo("again").await, "again");
    assert_ne!(fourth.connection.peer().fingerprint, shown);
}
