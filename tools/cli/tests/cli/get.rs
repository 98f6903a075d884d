//! `get`, `describe`, `events`, `token` and `version`.

use skerry_api::v1;
use tonic::Status;

use crate::fake_master::Script;
use crate::skerry::Desk;

const MANIFEST: &str = r#"{"apiVersion":"skerry/v1","kind":"Workload","metadata":{"name":"web","tenant":"default"},"spec":{"instances":2,"containers":[{"name":"main","image":"registry.example/main:1","resources":{"cpu":"10m","memory":"16Mi"}}]}}"#;

fn node(name: String, reachable: bool) -> v1::Node {
    v1::Node { name, site: "oslo".to_owned(), reachable, last_seen_ms: 1, ..v1::Node::default() }
}

fn web() -> v1::Workload {
    v1::Workload {
        name: "web".to_owned(),
        tenant: "default".to_owned(),
        kind: "service".to_owned(),
        instances: 2,
        running: 1,
        generation: 4,
        manifest: MANIFEST.to_owned(),
        ..v1::Workload::default()
    }
}

#[test]
fn all_pages_are_fetched() {
    let nodes = (0..25).map(|number| node(format!("n{number}"), true)).collect();
    let desk = Desk::new(Script { nodes, page: 10, ..Script::default() });
    let said = desk.run(&["get", "nodes", "-o", "name"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.lines().count(), 25);
    assert!(said.out.starts_with("node/n0\n") && said.out.ends_with("node/n24\n"));
    assert_eq!(desk.master.script().pages_served, 3);
}

#[test]
fn one_thing_by_name_in_every_form() {
    let desk = Desk::new(Script { workloads: vec![web()], ..Script::default() });
    let table = desk.run(&["get", "workload", "web"]);
    assert_eq!(table.out.lines().count(), 2, "{table:?}");
    assert!(table.out.contains("1/2"));
    let yaml = desk.run(&["get", "wl/web", "-o", "yaml"]).out;
    assert!(yaml.starts_with("apiVersion: skerry/v1\n"), "{yaml}");
    desk.write("again.yaml", &yaml);
    assert_eq!(desk.run(&["apply", "-f", "again.yaml"]).code, 0, "what is got can be applied");
    let json: serde_json::Value =
        serde_json::from_str(&desk.run(&["get", "wl", "web", "-o", "json"]).out).unwrap();
    assert_eq!(json["status"]["generation"], 4);
    assert_eq!(json["spec"]["instances"], 2);
    let list: serde_json::Value = serde_json::from_str(&desk.run(&["get", "wl", "-o", "json"]).out).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_not_there_is_an_error_and_an_empty_list_is_not() {
    let desk = Desk::new(Script::default());
    desk.run(&["get", "workload", "web"])
        .failed(1, &["there is no workload 'web' in tenant 'default'", "-A"]);
    desk.run(&["describe", "node", "n1"]).failed(1, &["there is no node 'n1'", "skerry get nodes"]);
    let said = desk.run(&["get", "workloads"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("there are no workloads in tenant 'default'"));
    assert_eq!(desk.run(&["get", "workloads", "-o", "json"]).out, "[]\n");
}

#[test]
fn what_makes_no_sense_is_usage() {
    let desk = Desk::new(Script::default());
    for args in [
        &["get", "pods"][..],
        &["get"],
        &["get", "sites", "-l", "a=b"],
        &["get", "nodes", "-n", "acme"],
        &["get", "nodes", "-l", "a b c"],
        &["get", "wl/web", "other"],
        &["describe", "event", "7"],
        &["get", "tokens", "-A"],
        &["get", "regions", "-n", "acme"],
        &["describe", "site", "oslo", "-n", "acme"],
        &["token", "create"],
        &["token", "create", "--site", "oslo", "--region"],
        &["apply", "-f", "x.yaml", "--dry-run=client"],
        &["rebalance"],
        &["drain"],
        &["drain", "n1", "--site", "oslo"],
        &["cordon", "site/oslo"],
        &["scale", "web"],
        &["explain"],
        &["rollout", "status", "node/n1"],
        &["delete", "region", "south"],
        &["delete", "tenant", "acme", "--yes"],
        &["describe", "node"],
        &["frobnicate"],
        &["wait", "node", "n1", "--for", "running"],
        &["apply"],
        &["delete", "workload", "web", "--timeout", "5s"],
    ] {
        let said = desk.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(!said.err.is_empty() && said.out.is_empty(), "{args:?}");
    }
}

#[test]
fn a_watch_prints_what_changes() {
    let desk = Desk::new(Script { nodes: vec![node("n1".to_owned(), true)], ..Script::default() });
    let running = desk.start(&["get", "nodes", "-w"]);
    assert!(running.line().starts_with("NAME"));
    assert!(running.line().contains("reachable"));
    desk.master.change(|script| script.nodes.push(node("n2".to_owned(), true)));
    assert!(running.line().starts_with("n2"));
    desk.master.change(|script| script.nodes[0].reachable = false);
    let line = running.line();
    assert!(line.starts_with("n1") && line.contains("unreachable") && line.contains('d'), "{line}");
    desk.master.change(|script| {
        script.nodes.remove(1);
    });
    assert_eq!(running.message(), "node/n2 is gone");
}

#[test]
fn a_watch_outlives_a_master_that_is_gone_for_a_while() {
    let desk = Desk::new(Script { nodes: vec![node("n1".to_owned(), true)], ..Script::default() });
    let running = desk.start(&["get", "nodes", "-w", "-o", "name"]);
    assert_eq!(running.line(), "node/n1");
    desk.master.change(|script| script.refuse_all = Some(Status::unavailable("starting")));
    assert!(running.message().contains("asking again"));
    desk.master.change(|script| {
        script.refuse_all = None;
        script.nodes.push(node("n2".to_owned(), true));
    });
    assert_eq!(running.line(), "node/n2");
}

#[test]
fn tokens_go_to_standard_output_alone() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["token", "create", "--site", "oslo", "--ttl", "2h"]);
    assert_eq!((said.code, said.out.as_str()), (0, "skerry-secret\n"));
    assert!(said.err.contains("site 'oslo' once"), "{}", said.err);
    desk.run(&["token", "revoke", "t9"]).failed(1, &["there is no token 't9'"]);
    assert_eq!(desk.run(&["token", "list", "-o", "json"]).out, "[]\n");
}

#[test]
fn versions_schema_and_completions_are_printed() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["version"]);
    assert!(said.out.contains("server   9.9.9 (region north"), "{said:?}");
    let schema: serde_json::Value = serde_json::from_str(&desk.run(&["schema"]).out).unwrap();
    assert_eq!(schema["properties"]["kind"]["type"], "string");
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.run(&["completion", shell]).out.contains("describe"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let nodes = (0..20_000).map(|number| node(format!("n{number}"), true)).collect();
    let desk = Desk::new(Script { nodes, ..Script::default() });
    let mut running = desk.start_unread(&["get", "nodes", "-o", "name"]);
    assert_eq!(running.wait().unwrap().code(), Some(0));
}

#[test]
fn colors_are_for_terminals() {
    let desk = Desk::new(Script { nodes: vec![node("n1".to_owned(), true)], ..Script::default() });
    assert!(!desk.run(&["get", "nodes"]).out.contains('\x1b'));
}
