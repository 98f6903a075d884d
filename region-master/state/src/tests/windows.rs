//! What an update heeds of sites: their clocks, and how many of their members move at a time.

use std::time::Duration;

use skerry_types::{LinkClass, SiteName, SiteSpec, UpdatePolicy, Window, WorkloadKind, WorkloadSpec};

use super::bench::*;
use crate::*;

const MINUTE: Duration = Duration::from_mins(1);

/// Nodes n1 and n2 at a site in Oslo, n3 at one of which nobody said where it is, and a daemon on each with this policy.
fn two_sites(update: UpdatePolicy) -> (Bench, WorkloadSpec) {
    let mut bench = Bench::new();
    let spec_of_site = SiteSpec {
        name: SiteName::new("s1").unwrap(),
        labels: skerry_types::Labels::new(),
        timezone: Some("Europe/Oslo".to_owned()),
        point: None,
        link: LinkClass::default(),
    };
    bench.call(ApiCall::ApplySite { spec: spec_of_site, dry_run: false }).unwrap();
    for node in ["n1", "n2"] {
        bench.join(node, "s1");
        bench.connect(node);
    }
    bench.join("n3", "s2");
    let link = bench.link_id();
    let identity = NodeIdentity { site: SiteName::new("s2").unwrap(), ..bench.identity("n3") };
    bench.feed(Input::LinkUp(link, ChildIdentity::Node(identity)));
    let hello = bench.node("n3").hello(link);
    bench.feed(Input::Received(link, hello));
    bench.exchange();
    let daemon = WorkloadSpec { kind: WorkloadKind::Daemon, update, ..small(spec("log", 0)) };
    bench.apply(&daemon);
    bench.wait(MINUTE);
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n3/1"]);
    (bench, daemon)
}

#[test]
fn a_window_opens_by_the_clock_of_each_site() {
    let window = Some(Window { days: 0x7f, from_minute: 120, minutes: 60 });
    let (mut bench, daemon) =
        two_sites(UpdatePolicy { window, max_unavailable: 9, ..UpdatePolicy::default() });
    // It is 22:14 in UTC, and 23:14 in Oslo: there, two in the morning is at 01:00.
    bench.apply(&changed(&daemon, "x"));
    bench.wait(MINUTE * 164);
    assert_eq!(bench.placed(), ["0@n1/1", "1@n2/1", "2@n3/1"]);
    assert_eq!(bench.rollout("log").progress.waiting, 3);
    bench.restart();
    bench.connect_all();
    bench.wait(MINUTE * 4);
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/1"]);
    bench.wait(MINUTE * 60);
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/2"]);
    assert_eq!(bench.rollout("log").state, RolloutState::Done, "waiting for a window is not being late");
}

#[test]
fn as_many_move_at_a_site_as_may_at_a_time() {
    let (mut bench, daemon) = two_sites(UpdatePolicy {
        per_site: Some(1),
        max_unavailable: 9,
        min_healthy: Duration::from_secs(10),
        ..UpdatePolicy::default()
    });
    bench.apply(&changed(&daemon, "x"));
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/1", "2@n3/2"]);
    bench.wait(MINUTE);
    assert_eq!(bench.placed(), ["0@n1/2", "1@n2/2", "2@n3/2"]);
}
