//! `apply` and `delete`.

use skerry_api::v1;
use tonic::Status;

use crate::fake_master::Script;
use crate::skerry::Desk;

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: skerry/v1\nkind: Workload\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: main\n    image: registry.example/main:1\n    resources: {{cpu: 10m, memory: 16Mi}}\n"
    )
}

#[test]
fn every_document_of_every_file_is_applied() {
    let desk = Desk::new(Script::default());
    desk.write("two.yaml", &format!("{}---\n{}", manifest("a"), manifest("b")));
    desk.write("one.yaml", &manifest("c"));
    let said = desk.run(&["apply", "-f", "two.yaml", "-f", "one.yaml"]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines, ["a", "b", "c"].map(|name| format!("workload/{name} created (generation 1)")));
    let applied = desk.master.script().applied.clone();
    assert_eq!(applied.len(), 3);
    assert!(skerry_manifest::parse(&applied[0]).is_ok(), "what is sent is a manifest");
    let said = desk.run_with_input(&["apply", "-f", "-", "--dry-run", "-o", "name"], &manifest("d"));
    assert_eq!((said.code, said.out.as_str()), (0, "workload/d\n"));
}

#[test]
fn nothing_is_sent_when_anything_is_wrong() {
    let desk = Desk::new(Script::default());
    desk.write("good.yaml", &manifest("good"));
    desk.write("bad.yaml", &manifest("bad").replace("image:", "imgae:"));
    let said = desk.run(&["apply", "-f", "good.yaml", "-f", "bad.yaml"]);
    said.failed(1, &["bad.yaml: line 7", "imgae", "nothing was sent"]);
    assert_eq!(said.out, "");
    assert!(desk.master.script().applied.is_empty());
}

#[test]
fn a_refusal_names_its_workload_and_the_others_are_applied() {
    let refuse =
        Some(("b", Status::failed_precondition("image registry.example/main:1 is not in the registry")));
    let desk = Desk::new(Script { refuse, ..Script::default() });
    desk.write("all.yaml", &["a", "b", "c"].map(manifest).join("---\n"));
    let said = desk.run(&["apply", "-f", "all.yaml"]);
    said.failed(
        1,
        &["workload/b: image registry.example/main:1 is not in", "2 of 3 workloads applied, 1 refused"],
    );
    assert_eq!(said.out.lines().count(), 2);
}

#[test]
fn when_nothing_can_be_sent_it_says_what_was_not() {
    let refuse_all = Some(Status::permission_denied("an agent's certificate may not apply"));
    let desk = Desk::new(Script { refuse_all, ..Script::default() });
    desk.write("all.yaml", &["a", "b"].map(manifest).join("---\n"));
    let said = desk.run(&["apply", "-f", "all.yaml"]);
    said.failed(
        1,
        &["an agent's certificate may not", "workload/b: not sent", "operator's certificate", "'north'"],
    );
}

#[test]
fn a_workload_is_deleted_and_waited_for() {
    let web =
        v1::Workload { name: "web".to_owned(), tenant: "default".to_owned(), ..v1::Workload::default() };
    let desk = Desk::new(Script { workloads: vec![web], ..Script::default() });
    let mut running = desk.start(&["delete", "workload", "web", "--wait"]);
    assert_eq!(running.line(), "workload/web deleted (2 allocations stopping)");
    assert!(running.message().starts_with("web: 0/0 running"));
    desk.master.change(|script| script.workloads.clear());
    assert_eq!(running.code(), 0);
    desk.run(&["delete", "wl/web"]).failed(1, &["there is no workload 'web'"]);
}

#[test]
fn a_node_is_removed_only_when_it_is_meant() {
    let node = v1::Node { name: "n1".to_owned(), ..v1::Node::default() };
    let desk = Desk::new(Script { nodes: vec![node], ..Script::default() });
    desk.run(&["delete", "node", "n1"]).failed(2, &["--yes"]);
    assert_eq!(desk.master.script().nodes.len(), 1);
    let said = desk.run(&["delete", "node", "n1", "--yes"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "node/n1 removed (3 allocations to be placed elsewhere)\n")
    );
}
