use std::collections::BTreeMap;

use skerry_api::v1;
use skerry_types::WallTime;

use crate::args::Output;
use crate::rows::Row;
use crate::verbs::listing::{self, Style};

const HOUR_MS: u64 = 3_600_000;
const NOW: WallTime = WallTime(100 * HOUR_MS);

fn shown<T: Row>(items: &[T], output: Output, all: bool) -> String {
    listing::text(items, Style { output, all, color: false }, false, NOW).unwrap()
}

fn check<T: Row>(items: &[T], expect: &str) {
    let text = shown(items, Output::Table, false);
    assert_eq!(text.trim_end(), expect.trim(), "\n{text}");
}

fn amount(cpu_milli: u64, memory_mib: u64) -> v1::Resources {
    v1::Resources { cpu_milli, memory_bytes: memory_mib << 20, ..v1::Resources::default() }
}

fn web(name: &str, running: u32, unreachable: u32) -> v1::Workload {
    v1::Workload {
        tenant: "default".to_owned(),
        name: name.to_owned(),
        kind: "service".to_owned(),
        generation: 2,
        instances: 3,
        running,
        unreachable,
        created_at_ms: NOW.0 - 72 * HOUR_MS,
        changed_at_ms: NOW.0 - 2 * HOUR_MS,
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..v1::Workload::default()
    }
}

fn instance(id: &str, phase: &str, reachable: bool) -> v1::Allocation {
    v1::Allocation {
        id: id.to_owned(),
        tenant: "default".to_owned(),
        workload: "web".to_owned(),
        node: "n1".to_owned(),
        phase: phase.to_owned(),
        reachable,
        last_seen_ms: NOW.0 - 3 * HOUR_MS,
        placed_at_ms: NOW.0 - 4 * HOUR_MS,
        node_address: "10.1.0.2".to_owned(),
        ports: vec![v1::PortBinding {
            name: "http".to_owned(),
            protocol: "tcp".to_owned(),
            container: 80,
            host: 20_001,
        }],
        containers: vec![v1::Container { restarts: 2, ..v1::Container::default() }],
        ..v1::Allocation::default()
    }
}

#[test]
fn a_workload_is_green_only_when_all_of_it_is_heard_from() {
    let pending = v1::PendingInstance { instances: vec![2], reasons: vec!["no room".to_owned()] };
    check(
        &[
            web("all", 3, 0),
            web("cut", 3, 1),
            web("new", 1, 0),
            v1::Workload { pending: vec![pending], ..web("wide", 2, 0) },
            v1::Workload { deleting: true, ..web("old", 3, 0) },
        ],
        "
NAME   KIND      STATE         RUNNING                  GENERATION   AGE
all    service   running       3/3                      2            3d
cut    service   unreachable   3/3 (1 not heard from)   2            3d
new    service   starting      1/3                      2            3d
wide   service   pending       2/3                      2            3d
old    service   deleting      3/3                      2            3d
",
    );
}

#[test]
fn jobs_schedules_and_updates_have_states_of_their_own() {
    let kind = |kind: &str, one: v1::Workload| v1::Workload { kind: kind.to_owned(), ..one };
    let updating = |state: &str, running: u32| {
        let rollout = v1::Rollout { state: state.to_owned(), ..v1::Rollout::default() };
        v1::Workload { rollout: Some(rollout), ..web(state, running, 0) }
    };
    check(
        &[
            kind("job", v1::Workload { completed: 1, active: 2, ..web("goes", 2, 0) }),
            kind("job", v1::Workload { completed: 1, failed: 1, ..web("fails", 0, 0) }),
            kind("job", v1::Workload { completed: 3, ..web("ends", 0, 0) }),
            kind("job", v1::Workload { active: 1, ..web("cut", 1, 1) }),
            kind("cron", web("sleeps", 0, 0)),
            kind("cron", v1::Workload { active: 1, ..web("wakes", 1, 0) }),
            v1::Workload { here: Some(1), ..web("part", 1, 0) },
            updating("running", 3),
            updating("waiting_promotion", 1),
            updating("failed", 2),
            updating("done", 3),
        ],
        "
NAME                KIND      STATE           RUNNING                            GENERATION   AGE
goes                job       running         1/3 completed                      2            3d
fails               job       failed          1/3 completed, 1 failed            2            3d
ends                job       completed       3/3 completed                      2            3d
cut                 job       unreachable     0/3 completed (1 not heard from)   2            3d
sleeps              cron      waiting         0                                  2            3d
wakes               cron      running         1                                  2            3d
part                service   running         1/1                                2            3d
running             service   updating        3/3                                2            3d
waiting_promotion   service   canary waits    1/3                                2            3d
failed              service   update failed   2/3                                2            3d
done                service   running         3/3                                2            3d
",
    );
}

#[test]
fn an_allocation_on_a_silent_node_is_what_it_was() {
    let failing = v1::Allocation { reason: "Exited".to_owned(), ..instance("web-1-3", "backoff", true) };
    check(
        &[instance("web-0-1", "running", true), failing, instance("web-2-4", "running", false)],
        "
ID        WORKLOAD   NODE   STATE              LAST HEARD   RESTARTS   PORTS                    AGE
web-0-1   web        n1     running            live         2          10.1.0.2:20001->80/tcp   4h
web-1-3   web        n1     backoff (Exited)   live         2          10.1.0.2:20001->80/tcp   4h
web-2-4   web        n1     was running        3h           2          10.1.0.2:20001->80/tcp   4h
",
    );
}

#[test]
fn nodes_sites_and_regions_show_when_they_were_last_heard_from() {
    let node = |name: &str, reachable: bool, last_seen_ms: u64| v1::Node {
        name: name.to_owned(),
        site: "oslo".to_owned(),
        reachable,
        last_seen_ms,
        joined_at_ms: NOW.0 - 50 * HOUR_MS,
        allocations: 4,
        reserved: Some(amount(250, 64)),
        capacity: Some(amount(4000, 1536)),
        ..v1::Node::default()
    };
    let restored = v1::Node { orphans: 2, ..node("n4", true, NOW.0) };
    check(
        &[node("n1", true, NOW.0), node("n2", false, NOW.0 - 3 * HOUR_MS), node("n3", false, 0), restored],
        "
NAME   SITE   STATE            ALLOCATIONS     CPU      MEMORY       AGE
n1     oslo   reachable        4               250m/4   64Mi/1.5Gi   2d
n2     oslo   unreachable 3h   4               250m/4   64Mi/1.5Gi   2d
n3     oslo   never seen       4               250m/4   64Mi/1.5Gi   2d
n4     oslo   reachable        4, 2 orphaned   250m/4   64Mi/1.5Gi   2d
",
    );
    let site = |name: &str, reachable: u32| v1::Site {
        name: name.to_owned(),
        nodes: 2,
        reachable,
        allocations: 5,
        running: 4,
        last_seen_ms: NOW.0 - HOUR_MS,
        ..v1::Site::default()
    };
    check(
        &[site("bergen", 2), site("oslo", 1), site("tromso", 0)],
        "
NAME     STATE              NODES   ALLOCATIONS   RUNNING   CPU   MEMORY
bergen   reachable          2/2     5             4         0/0   0/0
oslo     partly reachable   1/2     5             4         0/0   0/0
tromso   unreachable 1h     0/2     5             4         0/0   0/0
",
    );
    let region = |name: &str, silent_hours: u64, reachable: u32| v1::Region {
        name: name.to_owned(),
        sites: 2,
        nodes: 3,
        reachable,
        connected: silent_hours == 0,
        last_seen_ms: NOW.0 - silent_hours * HOUR_MS,
        ..v1::Region::default()
    };
    check(
        &[region("north", 0, 2), region("south", 3, 0)],
        "
NAME    STATE            SITES   NODES   WORKLOADS   ALLOCATIONS   RUNNING   CPU   MEMORY
north   reachable        2       2/3     0           0             0         0/0   0/0
south   unreachable 3h   2       0/3     0           0             0         0/0   0/0
",
    );
}

#[test]
fn events_and_tokens_are_one_line_each() {
    let event = v1::Event {
        number: 7,
        at_ms: NOW.0 - HOUR_MS,
        level: "warning".to_owned(),
        subject: "allocation/web-0-1".to_owned(),
        reason: "Exited".to_owned(),
        message: "container 'main'\nended".to_owned(),
        ..v1::Event::default()
    };
    check(
        &[event],
        "
AGE   LEVEL     SUBJECT              REASON   MESSAGE
1h    warning   allocation/web-0-1   Exited   container 'main' ended
",
    );
    let token = v1::Token {
        id: "t1".to_owned(),
        site: "oslo".to_owned(),
        uses: 3,
        used: 1,
        created_at_ms: NOW.0 - HOUR_MS,
        expires_at_ms: NOW.0 + HOUR_MS,
        region: None,
    };
    check(
        &[
            token.clone(),
            v1::Token { site: String::new(), region: Some(v1::RegionScope::default()), ..token },
        ],
        "
ID   LETS JOIN    USED   EXPIRES   AGE
t1   site oslo    1/3    in 1h     1h
t1   any region   1/3    in 1h     1h
",
    );
}

#[test]
fn other_tenants_are_named() {
    let other = v1::Workload { tenant: "acme".to_owned(), ..web("web", 3, 0) };
    assert!(shown(&[other.clone(), web("web", 3, 0)], Output::Table, true).starts_with("TENANT    NAME"));
    assert_eq!(shown(&[other, web("web", 3, 0)], Output::Name, true), "workload/acme/web\nworkload/web\n");
}

#[test]
fn every_kind_has_a_cell_for_each_column() {
    fn count<T: Row + Default>() {
        assert_eq!(T::default().cells(NOW).len(), T::COLUMNS.len(), "{}", T::KIND);
    }
    count::<v1::Workload>();
    count::<v1::Allocation>();
    count::<v1::Node>();
    count::<v1::Site>();
    count::<v1::Region>();
    count::<v1::Tenant>();
    count::<v1::Event>();
    count::<v1::Token>();
}

#[test]
fn a_manifest_that_cannot_be_read_still_shows_its_status() {
    let strange = v1::Workload { manifest: "not json".to_owned(), ..web("web", 1, 0) };
    let document = strange.document();
    assert_eq!(document["metadata"]["name"], "web");
    assert_eq!(document["status"]["running"], 1);
    assert_eq!(strange.yaml(), None);
}
