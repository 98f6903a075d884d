use std::collections::BTreeMap;

use skerry_api::v1;
use skerry_types::WallTime;

use super::workload::instances_text;
use super::{Setting, allocation, node, workload};

const MINUTE_MS: u64 = 60_000;
const NOW: WallTime = WallTime(10_000 * MINUTE_MS);
const SETTING: Setting = Setting { now: NOW, color: false };
const MANIFEST: &str = r#"{"spec":{"containers":[{"name":"main","image":"registry.example/main:1","resources":{"cpu":"10m","memory":"16Mi"}}],"placement":{"require":"site.tier=edge"}}}"#;

fn ago(minutes: u64) -> u64 {
    NOW.0 - minutes * MINUTE_MS
}

fn crashing() -> v1::Allocation {
    let exit = v1::Exit {
        kind: Some(v1::exit::Kind::Code(3)),
        out_of_memory: false,
        at_ms: ago(1),
        ran_for_ms: 2_000,
    };
    v1::Allocation {
        id: "web-0-1".to_owned(),
        tenant: "default".to_owned(),
        workload: "web".to_owned(),
        generation: 2,
        node: "n1".to_owned(),
        site: "oslo".to_owned(),
        phase: "backoff".to_owned(),
        desired: "run".to_owned(),
        reason: "Exited".to_owned(),
        message: "container 'main' ended with exit code 3".to_owned(),
        address: "10.88.0.2".to_owned(),
        node_address: "10.1.0.2".to_owned(),
        ports: vec![v1::PortBinding {
            name: "http".to_owned(),
            protocol: "tcp".to_owned(),
            container: 80,
            host: 20_001,
        }],
        containers: vec![v1::Container {
            name: "main".to_owned(),
            image: "registry.example/main:1".to_owned(),
            digest: "sha256:abc".to_owned(),
            state: "backoff".to_owned(),
            restarts: 5,
            next_start_at_ms: NOW.0 + 30_000,
            last_exit: Some(exit),
            log_tail: "starting\n\x1b[31mcannot open /data\x1b[0m\n".to_owned(),
            ..v1::Container::default()
        }],
        resources: Some(v1::Resources { cpu_milli: 10, memory_bytes: 16 << 20, ..v1::Resources::default() }),
        placed_at_ms: ago(20),
        since_ms: ago(1),
        reachable: true,
        ..v1::Allocation::default()
    }
}

fn event(number: u64) -> v1::Event {
    v1::Event {
        number,
        at_ms: ago(5),
        level: "info".to_owned(),
        subject: "allocation/web-0-1".to_owned(),
        reason: "Placed".to_owned(),
        message: format!("event {number}"),
        ..v1::Event::default()
    }
}

fn check(text: &str, expect: &str) {
    assert_eq!(text, expect.trim_start_matches('\n'), "\n{text}");
}

#[test]
fn a_crash_loop_shows_its_last_exit_and_the_end_of_its_log() {
    check(
        &allocation::text(&crashing(), &[event(1)], SETTING),
        "
allocation/web-0-1
  Workload   web, instance 0, generation 2
  Node       n1 (site oslo)
  State      backoff for 1m
  Should     run
  Reason     Exited
  Message    container 'main' ended with exit code 3
  Placed     20m ago
  Address    10.88.0.2
  Reserved   cpu 10m, memory 16Mi, disk 0

Ports
  NAME   PROTOCOL   CONTAINER   HOST
  http   tcp        80          10.1.0.2:20001

Container main
  Image       registry.example/main:1
  Digest      sha256:abc
  State       backoff, starts again in 30s
  Restarts    5
  Last exit   exit code 3 after 2s, 1m ago
  End of its log at its last exit:
    | starting
    | [31mcannot open /data[0m

Events
  AGE   LEVEL   SUBJECT              REASON   MESSAGE
  5m    info    allocation/web-0-1   Placed   event 1
",
    );
}

#[test]
fn an_allocation_on_a_silent_node_says_when_it_was_so() {
    let cut = v1::Allocation { reachable: false, last_seen_ms: ago(180), ..crashing() };
    let text = allocation::text(&cut, &[], SETTING);
    assert!(text.contains("  State      was backoff when node n1 was last heard from: 3h ago\n"), "{text}");
}

#[test]
fn a_workload_shows_why_instances_are_not_placed() {
    let pending = v1::PendingInstance {
        instances: vec![2, 1, 7],
        reasons: vec![
            "memory: 64Mi wanted, 12Mi free at most".to_owned(),
            "host port 80: taken on 2 of 2 nodes".to_owned(),
        ],
    };
    let web = v1::Workload {
        tenant: "default".to_owned(),
        name: "web".to_owned(),
        kind: "service".to_owned(),
        generation: 2,
        instances: 4,
        created_at_ms: ago(60),
        changed_at_ms: ago(20),
        manifest: MANIFEST.to_owned(),
        pending: vec![pending],
        ..v1::Workload::default()
    };
    check(
        &workload::text(&web, &[crashing()], &[], SETTING),
        "
workload/web
  Tenant    default
  Kind      service
  State     pending
  Running   0/4 of generation 2
  Created   1h ago
  Changed   20m ago

Placement
  require: site.tier=edge

Containers
  main   registry.example/main:1   cpu 10m, memory 16Mi

Not placed
  instances 1 to 2, 7
    - memory: 64Mi wanted, 12Mi free at most
    - host port 80: taken on 2 of 2 nodes

Allocations
  ID        GENERATION   NODE   STATE              LAST HEARD   RESTARTS   PORTS                    MESSAGE
  web-0-1   2            n1     backoff (Exited)   live         5          10.1.0.2:20001->80/tcp   container 'main' ended with exit code 3

Events
  none
",
    );
}

#[test]
fn a_node_shows_what_it_has_and_when_it_was_heard_from() {
    let amount = |cpu_milli: u64, memory_mib: u64| {
        Some(v1::Resources {
            cpu_milli,
            memory_bytes: memory_mib << 20,
            disk_bytes: 1 << 30,
            ..v1::Resources::default()
        })
    };
    let n1 = v1::Node {
        name: "n1".to_owned(),
        site: "oslo".to_owned(),
        last_seen_ms: ago(180),
        joined_at_ms: ago(3 * 1440),
        labels: BTreeMap::from([("rack".to_owned(), "a".to_owned())]),
        taints: vec!["maintenance".to_owned()],
        machine: amount(4000, 2048),
        capacity: amount(3800, 1536),
        reserved: amount(10, 16),
        used: amount(120, 300),
        arch: "amd64".to_owned(),
        os: "linux".to_owned(),
        kernel: "6.1".to_owned(),
        cgroup: "v1".to_owned(),
        agent_version: "0.1.0".to_owned(),
        allocations: 3,
        allocations_max: 253,
        certificate_expires_ms: NOW.0 + 90 * MINUTE_MS,
        ..v1::Node::default()
    };
    let events: Vec<v1::Event> = (1..=12).rev().map(event).collect();
    let text = node::text(&n1, &[], &events, SETTING);
    let (head, tail) = text.split_once("\nEvents").unwrap();
    check(
        head,
        "
node/n1
  Site          oslo
  State         unreachable 3h
  Last heard    3h ago
  Holds         3 of at most 253 allocations
  Joined        3d ago
  Machine       amd64 linux 6.1
  Cgroups       v1
  Agent         0.1.0
  Certificate   ends in 1h

Resources
  RESOURCE   MACHINE   FOR WORKLOADS   RESERVED   IN USE
  cpu        4         3800m           10m        120m
  memory     2Gi       1.5Gi           16Mi       300Mi
  disk       1Gi       1Gi             1Gi        1Gi

Labels
  rack   a

Taints
  maintenance

Allocations
  none
",
    );
    assert!(tail.starts_with(" (2 older ones not shown)\n"), "{tail}");
    assert!(!tail.contains("event 2\n") && tail.trim_end().ends_with("event 12"), "{tail}");
}

#[test]
fn a_workload_shows_its_update_and_what_other_regions_do_for_it() {
    let instances =
        |text: &str, count| Some(v1::Instances { text: text.to_owned(), count, list: Vec::new() });
    let share = |region: &str, reachable: bool| v1::Share {
        region: region.to_owned(),
        instances: instances("0-3", 4),
        placed: 3,
        running: 2,
        reachable,
        last_seen_ms: ago(180),
        ..v1::Share::default()
    };
    let web = v1::Workload {
        name: "web".to_owned(),
        region: "north".to_owned(),
        instances: 12,
        running: 6,
        generation: 2,
        rollout: Some(v1::Rollout {
            generation: 2,
            from_generation: 1,
            state: "waiting_promotion".to_owned(),
            updated: 1,
            healthy: 1,
            total: 12,
            ..v1::Rollout::default()
        }),
        shares: vec![
            v1::Share { handed_back: instances("3", 1), ..share("south", true) },
            share("west", false),
            v1::Share { refused: "it owns a workload of that name".to_owned(), ..share("east", true) },
        ],
        ..v1::Workload::default()
    };
    let text = workload::text(&web, &[], &[], SETTING);
    let (head, rest) = text.split_once("\n\n").unwrap();
    check(
        &format!("{head}\n"),
        "
workload/web
  Region    north
  State     canary waits
  Running   6/12 of generation 2
  Update    generation 2 (from 1) waits for promotion: 1 of 12 updated, 1 well
  Created   never
  Changed   never
",
    );
    let shares = rest.split("\n\n").next().unwrap();
    check(
        shares,
        "
In other regions
  REGION   STATE            INSTANCES   PLACED   RUNNING   NOTE
  south    reachable        0-3         3        2         no place for 3
  west     unreachable 3h   0-3         3        was 2     -
  east     reachable        0-3         3        2         refused: it owns a workload of that name",
    );
}

#[test]
fn a_drain_shows_how_far_it_is_and_what_holds_it_up() {
    let draining = v1::Draining {
        started_at_ms: ago(5),
        deadline_at_ms: NOW.0 + 10 * MINUTE_MS,
        remaining: 2,
        blocked: vec!["web-0-1: no other node has 64Mi of memory free".to_owned()],
        ..v1::Draining::default()
    };
    let n1 = v1::Node {
        name: "n1".to_owned(),
        site: "oslo".to_owned(),
        reachable: true,
        last_seen_ms: NOW.0,
        cordoned: true,
        orphans: 1,
        draining: Some(draining),
        ..v1::Node::default()
    };
    let text = node::text(&n1, &[], &[], SETTING);
    let (head, _) = text.split_once("\nResources").unwrap();
    check(
        head,
        "
node/n1
  Site          oslo
  State         reachable
  Last heard    0s ago
  Allocations   no more are taken, and those that are here move away
  Orphans       1 allocation from before the master's store: apply the workloads again, or delete them

Draining: 2 allocations left
  Since                  5m ago
  Stopped all the same   in 10m
  web-0-1: no other node has 64Mi of memory free
",
    );
}

#[test]
fn instances_are_told_in_runs() {
    let check = |instances: &[u32], expect: &str| assert_eq!(instances_text(instances), expect);
    check(&[3], "instance 3");
    check(&[0, 1, 2, 3], "instances 0 to 3");
    check(&[5, 1, 2], "instances 1 to 2, 5");
    check(&[u32::MAX], "instance 4294967295");
}

#[test]
fn the_holder_of_a_lease_and_its_token() {
    let check = |lease: v1::Lease, lines: &[&str]| {
        let allocation = v1::Allocation { lease: Some(lease), ..crashing() };
        let text = super::allocation::text(&allocation, &[], SETTING);
        for line in lines {
            assert!(
                text.lines().any(|found| found.split_whitespace().eq(line.split_whitespace())),
                "{line} in\n{text}"
            );
        }
    };
    let lease = v1::Lease {
        length_ms: 60_000,
        renewed_at_ms: NOW.0 - 5000,
        over_at_ms: NOW.0 + 55_000,
        fencing_token: 7,
    };
    check(
        lease,
        &["Lease          node n1 renewed it 5s ago; over in 55s if it does not again", "Fencing token  7"],
    );
    let unknown = v1::Lease { renewed_at_ms: 0, ..lease };
    check(
        unknown,
        &["Lease          not renewed since the master started; node n1 may hold one, over in 55s"],
    );
    let over = v1::Lease { over_at_ms: NOW.0 - 60_000, ..lease };
    check(over, &["Lease          over since 1m: node n1 runs nothing of it"]);
}
