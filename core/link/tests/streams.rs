//! Frames and bulk streams over real QUIC: good ones, and those of a stranger.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_link::tls::SharedIdentity;
use skerry_link::{Arrival, CloseReason, Connection, FrameError, LinkLost, LinkServer, ServerSettings};
use support::*;
use tokio::time::timeout;

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let ca = TestCa::new("one");
    let mut parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let mut good = connect(&mut dialer(parent.addresses(), &node, &ca.roots(), right_clock())).await;
    let cases: [(&[u8], &str); 4] = [
        (&[0xff; 64], "4294967295 bytes, at most"),
        (&[0x01, 0x00, 0x10, 0x00, 0x00], "1048577 bytes, at most"),
        (&[3, 0, 0, 0, 2, 0xff, 0xfe], "not a message"),
        (&[5, 0, 0, 0, 1, b'a', 0, 0, 0], "3 bytes are left over"),
    ];
    for (bytes, words) in cases {
        let mut bad = dialer(parent.addresses(), &node, &ca.roots(), right_clock());
        let connection = bad.connect().await;
        let (sender, _receiver) = connection.control().await.unwrap();
        sender.into_stream().write_all(bytes).await.unwrap();
        let lost = timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
        assert!(
            matches!(&lost, LinkLost::ClosedByPeer { reason: CloseReason::Protocol, detail } if detail.contains(words)),
            "{lost}"
        );
        assert!(parent.next_refusal().await.contains(words));
        assert_eq!(good.echo("still here").await, "still here");
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_told() {
    let ca = TestCa::new("one");
    let mut parent = Parent::start(&ca, right_clock(), nobody());
    let node = ca.identity(NODE, week(now()));
    let connection = dialer(parent.addresses(), &node, &ca.roots(), right_clock()).connect().await;
    let (sender, _receiver) = connection.control().await.unwrap();
    let mut raw = sender.into_stream();
    raw.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
    raw.finish().unwrap();
    assert!(parent.next_refusal().await.contains("ended inside a frame"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Header {
    Logs { allocation: String },
    Blob { bytes: u64 },
}

/// A parent's and a child's end of one connection.
async fn pair(ca: &TestCa) -> (Connection, Connection, Vec<Box<dyn std::any::Any>>) {
    let shared = SharedIdentity::new(ca.identity(REGION, week(now())), &ca.roots());
    let settings = ServerSettings::on("127.0.0.1:0".parse().unwrap());
    let mut server = LinkServer::bind(settings, &shared, &ca.roots(), right_clock()).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let node = ca.identity(NODE, week(now()));
    let mut dialer = dialer(vec![address], &node, &ca.roots(), right_clock());
    let (child, arrival) = tokio::join!(dialer.connect(), server.accept());
    let Some(Arrival::Link(parent)) = arrival else { panic!("{arrival:?}") };
    (parent, child, vec![Box::new(server), Box::new(dialer)])
}

#[tokio::test]
async fn either_end_opens_bulk_streams() {
    let ca = TestCa::new("one");
    let (parent, child, _kept) = pair(&ca).await;
    let (mut up, mut childs) = child.control().await.unwrap();
    up.send("hello").await.unwrap();
    let (mut down, mut parents) = parent.control().await.unwrap();
    assert_eq!(parents.recv::<String>(64).await.unwrap().unwrap(), "hello");

    let logs = Header::Logs { allocation: "web-0-1".to_owned() };
    let mut asked = parent.open_bulk(&logs).await.unwrap();
    let (header, mut serving) = child.accept_bulk().await.unwrap().header::<Header>().await.unwrap();
    assert_eq!(header, logs);
    serving.sender.send("a line").await.unwrap();
    serving.sender.finish().unwrap();
    assert_eq!(asked.receiver.recv::<String>(64).await.unwrap().unwrap(), "a line");
    assert_eq!(asked.receiver.recv::<String>(64).await.unwrap(), None);

    // The body behind a header is raw bytes, from exactly where the header ends.
    let mut blob = child.open_bulk(&Header::Blob { bytes: 3 }).await.unwrap().sender.into_stream();
    blob.write_all(b"abc").await.unwrap();
    blob.finish().unwrap();
    let (header, serving) = parent.accept_bulk().await.unwrap().header::<Header>().await.unwrap();
    assert_eq!(header, Header::Blob { bytes: 3 });
    assert_eq!(serving.receiver.into_stream().read_to_end(10).await.unwrap(), b"abc");
    down.send("bye").await.unwrap();
    assert_eq!(childs.recv::<String>(64).await.unwrap().unwrap(), "bye");
}

#[tokio::test]
async fn a_bulk_stream_that_nobody_reads_does_not_hold_up_control() {
    let ca = TestCa::new("one");
    let (parent, child, _kept) = pair(&ca).await;
    let (mut up, _) = child.control().await.unwrap();
    up.send("hello").await.unwrap();
    let (_down, mut parents) = parent.control().await.unwrap();
    assert_eq!(parents.recv::<String>(64).await.unwrap().unwrap(), "hello");

    // As many streams as a child may open, each written until it blocks, none read.
    let mut stuck = Vec::new();
    for index in 0..3 {
        let mut raw = child.open_bulk(&Header::Blob { bytes: index }).await.unwrap().sender.into_stream();
        let more = vec![0; 16 * 1024];
        while timeout(Duration::from_millis(200), raw.write_all(&more)).await.is_ok() {}
        stuck.push(raw);
    }
    timeout(Duration::from_secs(5), up.send("through")).await.unwrap().unwrap();
    let text = timeout(Duration::from_secs(5), parents.recv::<String>(64)).await.unwrap();
    assert_eq!(text.unwrap().unwrap(), "through");
}

#[tokio::test]
async fn a_bulk_header_of_garbage_fails_its_stream_only() {
    let ca = TestCa::new("one");
    let (parent, child, _kept) = pair(&ca).await;
    let (mut up, _) = child.control().await.unwrap();
    up.send("hello").await.unwrap();
    let (_down, mut parents) = parent.control().await.unwrap();
    assert_eq!(parents.recv::<String>(64).await.unwrap().unwrap(), "hello");
    let _garbage = child.open_bulk(&vec![9_u8; 100]).await.unwrap();
    let error = parent.accept_bulk().await.unwrap().header::<Header>().await.unwrap_err();
    assert!(matches!(error, FrameError::Malformed { .. }), "{error}");
    let _long = child.open_bulk(&vec![0_u8; 10_000]).await.unwrap();
    let error = parent.accept_bulk().await.unwrap().header::<Header>().await.unwrap_err();
    assert!(matches!(error, FrameError::TooLong { max: 4096, .. }), "{error}");
    up.send("fine").await.unwrap();
    assert_eq!(parents.recv::<String>(64).await.unwrap().unwrap(), "fine");
}

#[tokio::test]
async fn receiving_and_sending_survive_being_cancelled() {
    let ca = TestCa::new("one");
    let (parent, child, _kept) = pair(&ca).await;
    let (mut up, _) = child.control().await.unwrap();
    let texts: Vec<String> = (0..6).map(|n| format!("{n}").repeat(300_000)).collect();
    let write = async {
        for text in &texts {
            // A send that is cut off leaves its rest to the next call.
            if timeout(Duration::from_millis(1), up.send(text)).await.is_err() {
                up.flush().await.unwrap();
            }
        }
    };
    let read = async {
        let (_, mut receiver) = parent.control().await.unwrap();
        let mut got = Vec::new();
        while got.len() < texts.len() {
            let next = receiver.recv::<String>(skerry_link::MAX_FRAME_BYTES);
            if let Ok(text) = timeout(Duration::from_micros(300), next).await {
                got.push(text.unwrap().unwrap());
            }
        }
        got
    };
    let ((), got) = timeout(Duration::from_secs(30), async { tokio::join!(write, read) }).await.unwrap();
    assert!(got == texts, "frames came whole and in order");
}
