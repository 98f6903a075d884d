//! `wait`.

use skerry_api::v1;
use tonic::Status;

use crate::fake_master::Script;
use crate::skerry::Desk;

fn web(running: u32) -> v1::Workload {
    v1::Workload {
        name: "web".to_owned(),
        tenant: "default".to_owned(),
        instances: 2,
        placed: 2,
        running,
        generation: 1,
        ..v1::Workload::default()
    }
}

#[test]
fn it_ends_when_it_is_so_and_tells_how_far_it_is() {
    let desk = Desk::new(Script { workloads: vec![web(0)], ..Script::default() });
    let mut running = desk.start(&["wait", "workload", "web", "--for", "running"]);
    assert_eq!(running.message(), "web: 0/2 running, 2 placed");
    desk.master.change(|script| script.workloads[0].running = 1);
    assert_eq!(running.message(), "web: 1/2 running, 2 placed");
    desk.master.change(|script| script.workloads[0].running = 2);
    assert_eq!(running.line(), "workload/web running");
    assert_eq!(running.code(), 0);
}

#[test]
fn it_gives_up_with_its_own_exit_code_and_says_why() {
    let pending = v1::PendingInstance {
        instances: vec![1],
        reasons: vec!["memory: 64Mi wanted, 12Mi free on n1".to_owned()],
    };
    let allocation = v1::Allocation {
        id: "web-0-1".to_owned(),
        workload: "web".to_owned(),
        node: "n1".to_owned(),
        phase: "backoff".to_owned(),
        reason: "Exited".to_owned(),
        message: "container 'main' ended with exit code 1".to_owned(),
        reachable: true,
        ..v1::Allocation::default()
    };
    let workload = v1::Workload { pending: vec![pending], ..web(0) };
    let desk =
        Desk::new(Script { workloads: vec![workload], allocations: vec![allocation], ..Script::default() });
    let said = desk.run(&["wait", "wl/web", "--for", "running", "--timeout", "2s"]);
    said.failed(
        3,
        &[
            "workload/web is not running",
            "12Mi free on n1",
            "allocation/web-0-1 on n1 backoff (Exited)",
            "exit code 1",
        ],
    );
    assert_eq!(said.out, "");
}

#[test]
fn a_silent_master_uses_up_the_time_and_no_more() {
    let desk = Desk::new(Script { silent: true, ..Script::default() });
    desk.run(&["wait", "wl/web", "--for", "running", "--timeout", "300ms"]).failed(3, &["not running"]);
    desk.run(&["get", "nodes", "--request-timeout", "200ms"])
        .failed(1, &["no answer from the master", "'north'"]);
}

#[test]
fn it_outlives_a_master_that_is_gone_for_a_while() {
    let refuse_all = Some(Status::unavailable("starting"));
    let desk = Desk::new(Script { workloads: vec![web(2)], refuse_all, ..Script::default() });
    let mut running = desk.start(&["wait", "wl/web", "--for", "running"]);
    assert_eq!(running.message(), "starting");
    desk.master.change(|script| script.refuse_all = None);
    assert_eq!(running.code(), 0);
}

#[test]
fn what_is_not_there_cannot_run_but_is_deleted() {
    let desk = Desk::new(Script::default());
    desk.run(&["wait", "wl/web", "--for", "running"]).failed(1, &["there is no workload 'web'"]);
    assert_eq!(desk.run(&["wait", "wl/web", "--for", "deleted"]).code, 0);
    let mut running = desk.start(&["wait", "node/n1", "--for", "reachable"]);
    assert_eq!(running.message(), "n1 has not joined");
    let node = v1::Node { name: "n1".to_owned(), reachable: true, ..v1::Node::default() };
    desk.master.change(|script| script.nodes.push(node));
    assert_eq!(running.code(), 0);
}
