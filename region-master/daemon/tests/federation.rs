//! Masters above and below one another, as real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skerry_api::v1;
use skerry_link::{
    Connection, DialSettings, Dialer, FramedReceiver, FramedSender, LinkClock, MAX_FRAME_BYTES,
};
use skerry_master::ca::{Ca, ServerNames};
use skerry_types::WallTime;
use skerry_wire::{
    Cursor, Epoch, Hello, Incarnation, RefusalCode, Revision, Row, RowKey, RowsFrame, TableId, ToChild,
    ToParent,
};
use support::*;

/// A root that runs.
fn root(dir: &std::path::Path) -> Master {
    Place::new(dir, "root").made().start()
}

fn below() -> v1::ListRequest {
    v1::ListRequest { below: true, ..v1::ListRequest::default() }
}

#[tokio::test]
async fn a_region_joins_by_a_token_and_links_up() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let token = root.region_token("").await;
    // It is started without an `init` of its own.
    let south = Place::new(dir.path(), "south").below(&root.place, &token).start();
    let seen = root.sees("south", true).await;
    assert_eq!((seen.parent.as_str(), seen.path.len()), ("root", 0));
    let own = south.sees("south", true).await;
    assert_eq!(own.parent, "root", "{own:?}");

    // Any depth: the token is south's, the federation is the same.
    let token = south.region_token("rome").await;
    let rome = Place::new(dir.path(), "rome").below(&south.place, &token).start();
    let deep = root.sees("rome", true).await;
    assert_eq!((deep.parent.as_str(), deep.path), ("south", vec!["south".to_owned()]));

    // What regions are asked for comes from all of them, each named.
    let answer = root.client().await.list_events(below()).await.unwrap();
    assert!(answer.metadata().get(skerry_api::NOT_HEARD_FROM).is_none());
    let events = answer.into_inner().events;
    assert!(events.iter().any(|event| event.region == "root"), "{events:?}");
    assert!(events.iter().any(|event| event.region == "south"), "{events:?}");

    // One at a time they are the same, whoever has them.
    let mut one_by_one = Vec::new();
    let mut request = v1::ListRequest { page_size: 1, ..below() };
    loop {
        let page = root.client().await.list_events(request.clone()).await.unwrap().into_inner();
        assert!(page.events.len() <= 1);
        one_by_one.extend(page.events);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(one_by_one.len() >= events.len());
    assert_eq!(one_by_one[0], events[0]);
    let missed = events.iter().filter(|event| !one_by_one.contains(event)).count();
    assert_eq!(missed, 0, "{one_by_one:?} for {events:?}");

    // A log is asked for hop by hop, and the answer comes back as it was given.
    let log = |region: &str| v1::LogsRequest {
        allocation: "web-0-1".to_owned(),
        region: region.to_owned(),
        ..v1::LogsRequest::default()
    };
    let missing =
        root.client().await.logs(log("rome")).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    assert_eq!(missing.message(), "there is no allocation 'web-0-1'");
    let nowhere = root.client().await.logs(log("paris")).await.unwrap_err();
    assert!(nowhere.message().contains("no region 'paris' below 'root'"), "{nowhere}");

    // The operator of a region above may operate a region, one of a region below may not.
    let mut from_above = rome.place.client_as(&root.place).await;
    assert_eq!(from_above.version(v1::VersionRequest {}).await.unwrap().into_inner().region, "rome");
    let mut from_below = root.place.client_as(&south.place).await;
    let refused = from_below.version(v1::VersionRequest {}).await.unwrap_err();
    assert!(refused.message().contains("certified by region 'south', which is not above"), "{refused}");

    // South goes, and with it what is below. The list says what it lacks.
    let place = south.kill();
    root.sees("south", false).await;
    let answer = root.client().await.list_allocations(below()).await.unwrap();
    let lacks = answer.metadata().get(skerry_api::NOT_HEARD_FROM).unwrap();
    assert_eq!(lacks.to_str().unwrap(), "south");
    let south = place.start();
    root.sees("south", true).await;
    south.sees("rome", true).await;
    root.sees("rome", true).await;
}

#[tokio::test]
async fn a_region_that_may_not_join_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let refused = |place: &Place, words: &str| {
        let output = place.init();
        let told = text(&output);
        assert!(!output.status.success() && told.contains(words), "{told}");
    };
    let place = |name: &str, token: &str| {
        let home = dir.path().join(format!("{name}-{}", rand::random::<u32>()));
        Place::new(&home, name).below(&root.place, token)
    };
    let sites = root.site_token("oslo").await;
    refused(&place("south", &sites), "the join token is for nodes");
    let east = root.region_token("east").await;
    refused(&place("south", &east), "the join token is for another region");
    refused(&place("south", &east), "'east'");
    // The refused ones did not use it up.
    assert!(place("east", &east).init().status.success());
    let again = root.region_token("").await;
    refused(&place("east", &again), "region of this name already");
    refused(&place("root", &again), "region of this name already");
    let other_root = Place::new(&dir.path().join("other"), "root").made().start();
    let other = other_root.region_token("").await;
    refused(&place("south", &other), "from another CA than the master that answers");
    refused(&Place::new(dir.path(), "west").with(&["--parent", "127.0.0.1:1"]), "no join token");

    // A root stays a root.
    let stays = other_root.kill();
    refused(&stays.clone().below(&root.place, &again), "holds the root CA of the federation");
    let run = stays.below(&root.place, &again).command("run").output().unwrap();
    assert!(text(&run).contains("give a region that joins another federation a data directory of its own"));
}

#[tokio::test]
async fn a_kill_while_joining_leaves_what_the_next_start_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let rounds = 24;
    let token = root.region_token("first").await;
    let began = Instant::now();
    assert!(Place::new(dir.path(), "first").below(&root.place, &token).init().status.success());
    let usual = began.elapsed();
    let mut whole = 0;
    for round in 0..rounds {
        let name = format!("r{round}");
        // One use: a second key would be refused.
        let token = root.region_token(&name).await;
        let place = Place::new(dir.path(), &name).below(&root.place, &token);
        let mut child = place.command("init").spawn().unwrap();
        // Spread over the time that a start, a handshake, a commit and the files take.
        let until = Instant::now() + usual * round * 5 / (4 * rounds);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        drop(child.kill());
        child.wait().unwrap();
        let before = Ca::find(&place.dir.join("ca")).unwrap().map(|ca| ca.authorities());
        whole += u32::from(before.is_some());
        let output = place.init();
        assert!(output.status.success(), "round {round}: {}", text(&output));
        let ca = Ca::open(&place.dir.join("ca")).unwrap();
        assert_eq!(ca.parent().unwrap().as_str(), "root");
        assert!(before.is_none_or(|keys| keys == ca.authorities()), "round {round}: another CA");
        let again = place.init();
        assert!(text(&again).contains("was there already"), "{}", text(&again));
        assert!(!place.dir.join(".ca.key").exists(), "the key lies in one place only");
    }
    println!("{whole} of {rounds} rounds were killed after the CA was in place");
}

#[tokio::test]
async fn two_starts_at_once_join_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let token = root.region_token("").await;
    let place = Place::new(dir.path(), "south").below(&root.place, &token);
    let starts: Vec<_> = (0..4).map(|_| place.command("init").spawn().unwrap()).collect();
    let outputs: Vec<_> = starts.into_iter().map(|one| one.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", text(output));
    }
    let made = outputs.iter().filter(|output| !text(output).contains("was there already")).count();
    assert_eq!(made, 1);
}

#[tokio::test]
async fn the_ca_of_a_region_renews_also_after_it_ran_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = Place::new(dir.path(), "root").made().with(&["--region-certificate-life", "10s"]).start();
    let token = root.region_token("").await;
    let south = Place::new(dir.path(), "south").below(&root.place, &token).start();
    root.sees("south", true).await;
    let ends = |place: &Place| Ca::open(&place.dir.join("ca")).unwrap().validity().not_after;
    let key = |place: &Place| Ca::open(&place.dir.join("ca")).unwrap().authorities();
    let first = (ends(&south.place), key(&south.place));
    south.says("the certificate of the region's CA is renewed").await;
    assert!(ends(&south.place) > first.0);
    assert_eq!(key(&south.place), first.1);
    south.says("the master's certificate is renewed").await;
    root.sees("south", true).await;

    // Away until it has run out.
    let place = south.kill();
    let over = ends(&place);
    wait_for("the end of the certificate", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now > Duration::from_millis(over.0 + 1000)).then_some(())
    })
    .await;
    let south = place.start();
    south.says("the certificate of the region's CA is renewed").await;
    root.sees("south", true).await;
    assert_eq!(key(&south.place), first.1);
    root.says("an expired certificate renews with its key").await;
}

#[tokio::test]
async fn a_removed_region_is_told_once_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let token = root.region_token("").await;
    let south = Place::new(dir.path(), "south").below(&root.place, &token).start();
    root.sees("south", true).await;
    let mut operator = root.client().await;
    let remove = v1::RemoveRegionRequest { name: "south".to_owned() };
    let refused = operator.remove_region(remove.clone()).await.unwrap_err();
    assert!(refused.message().contains("connected"), "{refused}");
    let place = south.kill();
    root.sees("south", false).await;
    operator.remove_region(remove).await.unwrap();
    let mut south = place.start();
    let words = "the link to the region above cannot be kept";
    south.says(words).await;
    // It dials on, with waits that grow, and says the same only once.
    wait_for("two more refusals", || (root.count("region south") >= 4).then_some(())).await;
    assert_eq!(south.count(words), 1, "{}", south.log());
    assert!(south.is_alive());
    assert_eq!(south.sees("south", true).await.name, "south");
}

#[tokio::test]
async fn masters_with_live_links_end_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let token = root.region_token("").await;
    let south = Place::new(dir.path(), "south").below(&root.place, &token).start();
    root.sees("south", true).await;
    // A call that goes on while they end.
    let mut watcher = root.client().await;
    let change = watcher.list_workloads(v1::ListRequest::default()).await.unwrap().into_inner().change;
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move {
        let wait =
            v1::ListRequest { after_change: change.max(1), wait_ms: 30_000, ..v1::ListRequest::default() };
        watcher.list_workloads(wait).await.is_ok()
    });
    let bound = Duration::from_secs(5);
    let (took, well, _) = root.terminate();
    assert!(well && took < bound, "the root took {took:?}");
    println!("the root ended within {took:?}");
    south.says("closed by the other side: shutting down").await;
    let (took, well, _) = south.terminate();
    assert!(well && took < bound, "the region below took {took:?}");
    println!("the region below ended within {took:?}");
}

#[tokio::test]
async fn a_region_above_that_is_another_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let (one, two) = (root.region_token("").await, root.region_token("").await);
    let south = Place::new(dir.path(), "south").below(&root.place, &one).start();
    root.sees("south", true).await;
    let north = Place::new(dir.path(), "north").below(&root.place, &two);
    assert!(north.init().status.success());
    // It was moved below its sibling by hand: neither believes the other.
    let wrong = format!("127.0.0.1:{}", south.place.links);
    let mut north = Place { more: Vec::new(), ..north }.with(&["--parent", &wrong]).start();
    let words = north.says("who answers is not the region above; check --parent").await;
    assert!(words.contains("region/south"), "{words}");
    assert!(north.is_alive());
    // Below itself is no other case.
    let place = north.kill();
    let own = format!("127.0.0.1:{}", place.links);
    let circle = Place { more: Vec::new(), ..place }.with(&["--parent", &own]).start();
    let words = circle.says("who answers is not the region above").await;
    assert!(words.contains("region/north"), "{words}");
}

/// Somebody with a region's certificate who says strange things.
async fn strange(place: &Place, parent: &Place) -> (Dialer, FramedSender, FramedReceiver, Connection) {
    let ca = Ca::open(&place.dir.join("ca")).unwrap();
    let clock = Arc::new(LinkClock::system(WallTime(0)));
    let identity = ca.server_identity(&ServerNames::default(), clock.now()).unwrap();
    let settings = DialSettings::to(vec![format!("127.0.0.1:{}", parent.links)]);
    let mut dialer = Dialer::new(settings, &identity, ca.roots(), clock, 1).unwrap();
    let connection = tokio::time::timeout(PATIENCE, dialer.connect()).await.unwrap();
    let (sender, receiver) = connection.control().await.unwrap();
    (dialer, sender, receiver, connection)
}

fn hello(oldest: u16, newest: u16) -> ToParent {
    ToParent::Hello(Hello {
        oldest,
        newest,
        software: "0".to_owned(),
        cursor: Cursor::default(),
        epoch: Epoch(7),
        head: Revision(0),
    })
}

async fn next(receiver: &mut FramedReceiver) -> Option<ToChild> {
    let read = receiver.recv::<ToChild>(MAX_FRAME_BYTES);
    tokio::time::timeout(PATIENCE, read).await.unwrap().ok().flatten()
}

#[tokio::test]
async fn a_strange_region_is_refused_and_nothing_else_suffers() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = root(dir.path());
    let token = root.region_token("").await;
    let south = Place::new(dir.path(), "south").below(&root.place, &token);
    assert!(south.init().status.success());

    let (_dialer, mut sender, mut receiver, _connection) = strange(&south, &root.place).await;
    sender.send(&hello(0, 0)).await.unwrap();
    match next(&mut receiver).await {
        Some(ToChild::Refused(refused)) => assert_eq!(refused.code, RefusalCode::Version, "{refused:?}"),
        other => panic!("an older protocol was answered with {other:?}"),
    }

    // A row longer than a store takes, in a frame that is not.
    let (_dialer, mut sender, mut receiver, connection) = strange(&south, &root.place).await;
    sender.send(&hello(1, 1)).await.unwrap();
    assert!(matches!(next(&mut receiver).await, Some(ToChild::Welcome(_))));
    let key = RowKey::new(TableId::SITE, "south/oslo");
    let row = Row { key, revision: Revision(1), value: Some(vec![0; Row::VALUE_MAX + 1]) };
    let rows = RowsFrame::Snapshot {
        epoch: Epoch(7),
        incarnation: Incarnation(1),
        first: true,
        rows: vec![row],
        end: Some(Revision(1)),
    };
    sender.send(&ToParent::Rows(rows)).await.unwrap();
    let lost = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(lost.to_string().contains("protocol error: row 'south/oslo' is over the bounds"), "{lost}");

    // A length that nobody would allocate.
    let (_dialer, sender, _receiver, connection) = strange(&south, &root.place).await;
    sender.into_stream().write_all(&[0xff; 64]).await.unwrap();
    tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();

    assert!(root.is_alive());
    let south = south.start();
    root.sees("south", true).await;
    drop(south);
}

#[test]
fn the_flags_are_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_skerry-master")).arg("--help").output().unwrap();
    let told = text(&output);
    for flag in ["--parent", "--join-token", "--join-token-file", "--region-certificate-life"] {
        assert!(told.contains(flag), "{flag}: {told}");
    }
}
