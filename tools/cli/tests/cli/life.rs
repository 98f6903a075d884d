//! The life of workloads and nodes: updates, scale, cordon and drain.

use skerry_api::v1;

use crate::fake_master::Script;
use crate::skerry::Desk;

const WEB: &str = "apiVersion: skerry/v1\nkind: Workload\nmetadata: {name: web}\nspec:\n  containers:\n  - name: main\n    image: registry.example/main:1\n    resources: {cpu: 10m, memory: 16Mi}\n";

fn web() -> v1::Workload {
    v1::Workload { name: "web".to_owned(), tenant: "default".to_owned(), ..v1::Workload::default() }
}

fn rollout(state: &str, updated: u32) -> v1::Rollout {
    v1::Rollout {
        generation: 3,
        from_generation: 2,
        state: state.to_owned(),
        updated,
        healthy: updated,
        total: 3,
        ..v1::Rollout::default()
    }
}

#[test]
fn an_update_is_shown_and_steered() {
    let desk = Desk::new(Script { rollout: rollout("paused", 1), ..Script::default() });
    let said = desk.run(&["rollout", "status", "web"]);
    assert_eq!(
        said.out, "workload/web: generation 3 (from 2) is paused: 1 of 3 updated, 1 well\n",
        "{said:?}"
    );
    for verb in ["pause", "resume", "promote"] {
        let said = desk.run(&["rollout", verb, "workload/web", "-n", "acme"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.starts_with(&format!("workload/acme/web {verb}")), "{said:?}");
    }
    desk.run(&["rollout", "undo", "web"]);
    desk.run(&["rollout", "undo", "web", "--to", "2"]);
    assert_eq!(
        desk.master.script().asked,
        [
            "pause acme/web",
            "resume acme/web",
            "promote acme/web",
            "undo default/web to=0",
            "undo default/web to=2"
        ]
    );
    let json = desk.run(&["rollout", "status", "web", "-o", "json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["state"], "paused");
}

#[test]
fn an_update_is_watched_to_its_end() {
    let script = || Script { workloads: vec![web()], rollout: rollout("running", 1), ..Script::default() };
    let desk = Desk::new(script());
    let mut running = desk.start(&["rollout", "status", "web", "-w"]);
    assert!(running.line().contains("is going out: 1 of 3 updated"));
    desk.master.change(|script| script.rollout = rollout("running", 2));
    assert!(running.line().contains("2 of 3 updated"));
    desk.master.change(|script| script.rollout = rollout("done", 3));
    assert!(running.line().contains("is out: 3 of 3 updated"));
    assert_eq!(running.code(), 0);

    let desk = Desk::new(script());
    let mut running = desk.start(&["rollout", "status", "web", "-w"]);
    running.line();
    desk.master.change(|script| script.rollout = rollout("reverting", 1));
    assert!(running.line().contains("is being taken back"));
    desk.master.change(|script| script.rollout = v1::Rollout { generation: 4, ..rollout("done", 3) });
    running.line();
    assert_eq!(running.message(), "error: workload/web is back at generation 4");
    assert_eq!(running.code(), 1);

    let desk = Desk::new(script());
    let mut running = desk.start(&["rollout", "status", "web", "-w"]);
    running.line();
    desk.master.change(|script| {
        let state = "failed".to_owned();
        script.revisions = vec![v1::Revision { generation: 3, state, ..v1::Revision::default() }];
        script.rollout = v1::Rollout { generation: 4, ..rollout("done", 3) };
    });
    running.line();
    assert_eq!(running.message(), "error: workload/web is back at generation 4");
    assert_eq!(running.code(), 1);

    let desk = Desk::new(script());
    desk.run(&["rollout", "status", "web", "-w", "--timeout", "300ms"])
        .failed(3, &["the update of workload/web has not ended after 300ms", "1 of 3 updated"]);
}

#[test]
fn earlier_generations_are_listed() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["rollout", "history", "web"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("workload/web has no earlier generations"));
    desk.master.script().revisions = vec![v1::Revision {
        generation: 2,
        at_ms: 1,
        state: "done".to_owned(),
        manifest: r#"{"spec":{"containers":[{"image":"registry.example/main:1"}]}}"#.to_owned(),
        ended_at_ms: 2,
    }];
    let said = desk.run(&["rollout", "history", "web"]);
    assert!(said.out.starts_with("GENERATION   STATE   AGE"), "{said:?}");
    assert!(said.out.trim_end().ends_with("registry.example/main:1"), "{said:?}");
    let said = desk.run(&["rollout", "history", "web", "-o", "wide"]);
    assert!(said.out.starts_with("GENERATION   STATE   AGE"), "{said:?}");
    assert!(said.out.contains("ENDED"), "{said:?}");
}

#[test]
fn waves_are_planned_before_anything_moves() {
    let wave = v1::PlannedWave {
        number: 1,
        members: vec![v1::PlannedMember {
            instance: 0,
            node: "n1".to_owned(),
            site: "oslo".to_owned(),
            region: "north".to_owned(),
        }],
        sites: vec![v1::PlannedSite {
            site: "oslo".to_owned(),
            region: "north".to_owned(),
            members: 1,
            bytes_to_pull: 3 << 20,
            unknown_nodes: vec!["n1".to_owned()],
        }],
        ..v1::PlannedWave::default()
    };
    let warnings = vec!["wave 2 selects nothing".to_owned()];
    let plan = v1::RolloutPlanResponse { waves: vec![wave], warnings, ..v1::RolloutPlanResponse::default() };
    let desk = Desk::new(Script { plan, ..Script::default() });
    desk.write("web.yaml", WEB);
    let said = desk.run(&["rollout", "plan", "-f", "web.yaml"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Wave 1: 1 member on 1 site, 3Mi to pull, not known for n1"), "{said:?}");
    assert!(said.err.contains("workload/web: warning: wave 2 selects nothing"), "{said:?}");
    assert!(desk.master.script().applied.is_empty());
}

#[test]
fn a_workload_is_scaled() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["scale", "web", "--instances", "5"]);
    assert_eq!(said.out, "workload/web scaled from 2 to 5 instances (generation 5)\n", "{said:?}");
    assert_eq!(desk.master.script().asked, ["scale default/web 5"]);
}

#[test]
fn nodes_are_cordoned_by_name_and_by_site() {
    let node =
        |name: &str| v1::Node { name: name.to_owned(), site: "oslo".to_owned(), ..v1::Node::default() };
    let desk = Desk::new(Script { nodes: vec![node("n1"), node("n2")], ..Script::default() });
    let said = desk.run(&["cordon", "node/n1"]);
    assert_eq!(said.out, "node/n1 takes no further allocations\n", "{said:?}");
    let said = desk.run(&["uncordon", "--site", "oslo", "-o", "name"]);
    assert_eq!(said.out, "node/n1\nnode/n2\n");
    desk.run(&["cordon", "--site", "bergen"]).failed(1, &["there is no node at site 'bergen'"]);
    assert_eq!(desk.master.script().asked, ["cordon n1 true", "cordon n1 false", "cordon n2 false"]);
}

#[test]
fn a_drain_is_waited_for_and_says_what_holds_it_up() {
    let draining = |remaining| {
        let blocked = vec!["web-0-1: no other node has 64Mi of memory free".to_owned()];
        Some(v1::Draining { remaining, blocked, ..v1::Draining::default() })
    };
    let node = |remaining| v1::Node {
        name: "n1".to_owned(),
        reachable: true,
        cordoned: true,
        draining: draining(remaining),
        ..v1::Node::default()
    };
    let desk = Desk::new(Script { nodes: vec![node(3)], ..Script::default() });
    desk.run(&["drain", "n1", "--wait", "--timeout", "300ms", "--deadline", "1h"])
        .failed(3, &["node/n1 is not drained", "3 allocations left: web-0-1: no other node has 64Mi"]);
    let mut running = desk.start(&["drain", "n1", "--wait"]);
    assert_eq!(running.line(), "node/n1 drains: 3 allocations to move");
    desk.master.change(|script| script.nodes[0] = node(0));
    assert_eq!(running.code(), 0);
    let said = desk.run(&["drain", "--site", "oslo", "--force"]);
    assert_eq!(said.out, "site/oslo drains: 3 allocations to move from 2 nodes (n1, n2)\n", "{said:?}");
    assert_eq!(
        desk.master.script().asked,
        [
            "drain node=n1 site= deadline=3600000 force=false",
            "drain node=n1 site= deadline=0 force=false",
            "drain node= site=oslo deadline=0 force=true"
        ]
    );
    assert!(desk.run(&["get", "nodes"]).out.contains("reachable, drained"));
    assert!(desk.run(&["describe", "node", "n1"]).out.contains("Drained: it can be switched off"));
}
