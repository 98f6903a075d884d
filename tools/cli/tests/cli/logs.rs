//! `logs`.

use skerry_api::v1;

use crate::fake_master::Script;
use crate::skerry::Desk;

const T: &str = "2026-01-02T03:04:05.123456789Z";

fn allocation(id: &str) -> v1::Allocation {
    v1::Allocation {
        id: id.to_owned(),
        workload: "web".to_owned(),
        tenant: "default".to_owned(),
        phase: "running".to_owned(),
        containers: vec![v1::Container { name: "main".to_owned(), ..v1::Container::default() }],
        ..v1::Allocation::default()
    }
}

fn desk() -> Desk {
    let line = |text: &str| format!("{T} stdout F {text}\n");
    Desk::new(Script {
        workloads: vec![v1::Workload {
            name: "web".to_owned(),
            tenant: "default".to_owned(),
            ..v1::Workload::default()
        }],
        allocations: vec![allocation("web-0-1"), allocation("web-1-2")],
        logs: vec![("web-0-1", vec![line("one"), line("two")]), ("web-1-2", vec![line("three")])],
        ..Script::default()
    })
}

#[test]
fn an_allocations_log_is_its_text() {
    let desk = desk();
    let said = desk.run(&["logs", "web-0-1", "--tail", "5", "--since", "5m"]);
    assert_eq!((said.code, said.out.as_str()), (0, "one\ntwo\n"), "{said:?}");
    let asked = desk.master.script().log_requests.remove(0);
    assert_eq!((asked.tail, asked.follow, asked.container.as_str()), (5, false, "main"));
    assert!(asked.since_ms > 0);
    let said = desk.run(&["logs", "web-0-1", "--timestamps"]);
    assert_eq!(said.out, format!("{T} one\n{T} two\n"));
}

#[test]
fn a_workloads_logs_say_whose_each_line_is() {
    let desk = desk();
    let said = desk.run(&["logs", "workload/web"]);
    assert_eq!(said.out, "[web-0-1] one\n[web-0-1] two\n[web-1-2] three\n", "{said:?}");
    let followed = desk.run(&["logs", "-f", "workload/web"]);
    assert_eq!((followed.code, followed.out.lines().count()), (0, 3));
    desk.master.script().allocations.truncate(1);
    assert_eq!(desk.run(&["logs", "workload/web"]).out, "one\ntwo\n");
}

#[test]
fn what_cannot_be_shown_is_told() {
    let desk = desk();
    desk.run(&["logs", "web"]).failed(1, &["skerry logs workload/web"]);
    desk.run(&["logs", "web-7-7"]).failed(1, &["there is no allocation 'web-7-7'"]);
    desk.run(&["logs", "web-0-1", "-c", "side"]).failed(1, &["no container 'side'", "main"]);
    desk.run(&["logs", "node/n1"]).failed(2, &["have no logs"]);
    desk.master.script().logs.clear();
    desk.run(&["logs", "web-0-1"]).failed(1, &["node 'n1' is not heard from"]);
}
