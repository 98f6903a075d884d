//! What an idle connection costs its parent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::*;
use tokio::time::timeout;

const CONNECTIONS: usize = 500;
/// 33 KiB were measured with the control stream open and the parent's task for it, in a debug build.
const BOUND_KIB: u64 = 48;
const CHILD: &str = "SKERRY_TEST_PARENT";

/// Ends the process of the children also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("the children's process can be killed");
        self.0.wait().expect("the children's process ends");
    }
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Not a test by itself: holds the children's ends, so that their memory is not counted.
#[tokio::test]
async fn children_of_the_memory_test() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let (address, dir) = given.split_once('|').unwrap();
    let (identity, roots) = skerry_link::Credentials::at(dir).load().unwrap().unwrap();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut dialer = dialer(vec![address.to_owned()], &identity, &roots, right_clock());
        held.push((connect(&mut dialer).await, dialer));
    }
    println!("connected");
    held[0].0.connection.closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_cheap() {
    let ca = std::sync::Arc::new(TestCa::new("one"));
    let issuer = ca.clone();
    let issuing: Issuing = std::sync::Arc::new(move |request| Ok(issuer.grant(request, NODE, week(now()))));
    let parent = Parent::start(&ca, right_clock(), issuing);
    let dir = tempfile::tempdir().unwrap();
    let token = skerry_link::JoinToken::generate(ca.root_hash(), parent.addresses()).unwrap();
    let wish = skerry_link::enroll::JoinWish { node: "n1".parse().unwrap(), site: None };
    let credentials = skerry_link::Credentials::at(dir.path());
    skerry_link::enroll::join(&token, &[], &wish, &credentials, &right_clock()).await.unwrap();

    let before = anonymous_kib();
    let begin = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "children_of_the_memory_test", "--nocapture"])
        .env(CHILD, format!("{}|{}", parent.address, dir.path().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let connected = tokio::task::spawn_blocking(move || {
        lines.map_while(Result::ok).any(|line| line.contains("connected"))
    });
    assert!(timeout(Duration::from_mins(2), connected).await.unwrap().unwrap(), "the children connect");
    let each = (anonymous_kib() - before) / CONNECTIONS as u64;
    println!("{each} KiB for each of {CONNECTIONS} idle connections, connected in {:?}", begin.elapsed());
    assert!(each <= BOUND_KIB, "{each} KiB for each idle connection, at most {BOUND_KIB} are expected");
    drop(child);
}
