//! Trees of regions: lists over all of them, tenants, placement and its reasons.

use skerry_api::v1;
use skerry_api::v1::Explanation;

use crate::fake_master::Script;
use crate::skerry::Desk;

const WEB: &str = "apiVersion: skerry/v1\nkind: Workload\nmetadata: {name: web}\nspec:\n  containers:\n  - name: main\n    image: registry.example/main:1\n    resources: {cpu: 10m, memory: 16Mi}\n";
const ACME: &str = "apiVersion: skerry/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {weight: 100}\n";
const OSLO: &str =
    "apiVersion: skerry/v1\nkind: Site\nmetadata: {name: oslo}\nspec: {timezone: Europe/Oslo}\n";

fn node(name: &str, region: &str, reachable: bool) -> v1::Node {
    v1::Node {
        name: name.to_owned(),
        site: "oslo".to_owned(),
        region: region.to_owned(),
        reachable,
        last_seen_ms: 1,
        ..v1::Node::default()
    }
}

fn site(region: &str, reachable: u32) -> v1::Site {
    v1::Site {
        name: "oslo".to_owned(),
        region: region.to_owned(),
        nodes: 2,
        reachable,
        last_seen_ms: 1,
        ..v1::Site::default()
    }
}

fn region(name: &str, parent: &str, connected: bool) -> v1::Region {
    v1::Region {
        name: name.to_owned(),
        parent: parent.to_owned(),
        connected,
        last_seen_ms: 1,
        sites: 1,
        nodes: 2,
        ..v1::Region::default()
    }
}

fn tree() -> Script {
    Script {
        regions: vec![region("north", "", true), region("south", "north", false)],
        sites: vec![site("north", 2), site("south", 0)],
        nodes: vec![node("n1", "north", true), node("s1", "south", false)],
        ..Script::default()
    }
}

#[test]
fn everything_below_is_listed_with_its_region_and_age() {
    let desk = Desk::new(tree());
    assert_eq!(desk.run(&["get", "regions"]).out.lines().count(), 2);
    let said = desk.run(&["get", "regions", "-A"]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("NAME    PARENT   STATE"), "{said:?}");
    assert!(lines[1].starts_with("north   -        reachable"), "{said:?}");
    assert!(lines[2].starts_with("south   north    unreachable ") && lines[2].contains("d "), "{said:?}");
    let sites = desk.run(&["get", "sites", "-A"]).out;
    assert!(sites.lines().nth(2).unwrap().starts_with("oslo   south    unreachable "), "{sites}");
    let nodes = desk.run(&["get", "nodes", "-A"]).out;
    assert!(nodes.lines().nth(2).unwrap().starts_with("s1     south    oslo   unreachable "), "{nodes}");
    let wide = desk.run(&["get", "nodes", "-o", "wide"]).out;
    assert!(wide.lines().next().unwrap().contains("REGION"), "{wide}");
    let one = desk.run(&["get", "nodes", "--region", "south", "-o", "name"]).out;
    assert_eq!(one, "node/s1\n");
}

#[test]
fn things_of_one_name_in_two_regions_are_told_apart() {
    let mut script = tree();
    script.sites = vec![site("south", 0), site("west", 1)];
    let desk = Desk::new(script);
    desk.run(&["describe", "site", "oslo"]).failed(2, &["regions south, west", "--region"]);
    let said = desk.run(&["describe", "site", "oslo", "--region", "south"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("  Region        south\n"), "{said:?}");
    assert!(said.out.contains("s1") && !said.out.contains("n1"), "{said:?}");
    desk.run(&["describe", "site", "bergen"]).failed(1, &["there is no site 'bergen'"]);
}

#[test]
fn a_region_is_described_with_what_is_below_it() {
    let desk = Desk::new(tree());
    let said = desk.run(&["describe", "region", "north"]);
    assert!(said.out.contains("none: it is a root"), "{said:?}");
    assert!(said.out.contains("Regions below\n  NAME    STATE"), "{said:?}");
    let cut = desk.run(&["describe", "region/south"]).out;
    assert!(cut.contains("as it was when last heard from"), "{cut}");
}

#[test]
fn a_watch_tells_regions_apart() {
    let desk = Desk::new(Script { nodes: vec![node("n1", "north", true)], ..Script::default() });
    let running = desk.start(&["get", "nodes", "-A", "-w"]);
    running.line();
    running.line();
    desk.master.change(|script| script.nodes.push(node("n1", "south", true)));
    assert!(running.line().contains("south"));
    desk.master.change(|script| script.nodes.truncate(1));
    assert_eq!(running.message(), "node/n1 in region 'south' is gone");
}

#[test]
fn a_list_says_which_regions_it_lacks() {
    let one =
        v1::Allocation { id: "web-0-1".to_owned(), region: "north".to_owned(), ..v1::Allocation::default() };
    let desk =
        Desk::new(Script { allocations: vec![one], not_heard_from: "south,west", ..Script::default() });
    let said = desk.run(&["get", "allocations", "-A", "-o", "name"]);
    assert_eq!((said.code, said.out.as_str()), (0, "allocation/web-0-1\n"));
    assert_eq!(said.err, "regions south, west are not heard from: their allocations are not listed\n");
    let running = desk.start(&["get", "allocations", "-A", "-w"]);
    assert!(running.message().starts_with("regions south, west"));
    desk.master.change(|script| script.not_heard_from = "");
    assert_eq!(running.message(), "all regions are heard from again");
}

#[test]
fn tenants_are_listed_and_described() {
    let quota = |cpu_milli| Some(v1::Quota { cpu_milli: Some(cpu_milli), ..v1::Quota::default() });
    let acme = v1::Tenant {
        name: "acme".to_owned(),
        weight: 100,
        guarantee: quota(1_000),
        limit: quota(8_000),
        held: quota(3_000),
        used: Some(v1::Resources { cpu_milli: 2_500, ..v1::Resources::default() }),
        region: "north".to_owned(),
        ..v1::Tenant::default()
    };
    let part = v1::Tenant { name: "lab".to_owned(), parent: "acme".to_owned(), ..acme.clone() };
    let desk = Desk::new(Script { tenants: vec![acme, part], ..Script::default() });
    let table = desk.run(&["get", "tenants"]).out;
    let expect = "NAME   PARENT   WEIGHT   CPU       MEMORY\nacme   -        100      2500m/8   0\nlab    acme     100      2500m/8   0\n";
    assert_eq!(table, expect, "\n{table}");
    let text = desk.run(&["describe", "tenant", "acme"]).out;
    assert!(text.contains("  Its parts         lab\n"), "{text}");
    assert!(text.contains("  cpu         1            8       2500m      3\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&desk.run(&["get", "tenant/lab", "-o", "json"]).out).unwrap();
    assert_eq!(json["metadata"]["name"], "lab");
    desk.run(&["get", "tenant", "nobody"]).failed(1, &["there is no tenant 'nobody'"]);
    desk.master.script().tenants.clear();
    assert!(desk.run(&["get", "tenants"]).err.contains("there are no tenants"));
}

#[test]
fn documents_of_every_kind_are_applied_in_order_and_deleted_in_reverse() {
    let desk = Desk::new(Script::default());
    desk.write("all.yaml", &[WEB, OSLO, ACME].join("---\n"));
    let said = desk.run(&["apply", "-f", "all.yaml"]);
    assert_eq!(
        said.out, "tenant/acme created\nsite/oslo created\nworkload/web created (generation 1)\n",
        "{said:?}"
    );
    let said = desk.run(&["delete", "-f", "all.yaml"]);
    said.failed(1, &["workload/web: there is no workload 'web'", "1 of 3 not deleted"]);
    assert!(said.out.starts_with("site/oslo: what was said of it is deleted"), "{said:?}");
    assert_eq!(desk.master.script().asked, ["delete site/oslo", "delete tenant/acme"]);
}

fn explained() -> Explanation {
    let instances =
        |text: &str, count| Some(v1::Instances { text: text.to_owned(), count, list: Vec::new() });
    let placed = v1::PlacedWhy {
        instances: instances("0", 1),
        site: "oslo".to_owned(),
        node: "n1".to_owned(),
        score: vec![v1::ScorePart { what: "prefers site.tier=edge".to_owned(), points: 50 }],
        ..v1::PlacedWhy::default()
    };
    let refused = v1::RefusedWhy {
        instances: instances("1", 1),
        reasons: vec!["memory: 64Mi wanted, 12Mi free at most on 2 nodes".to_owned()],
        remedies: vec!["52Mi more free memory on n1".to_owned()],
    };
    Explanation {
        region: "north".to_owned(),
        placed: vec![placed],
        refused: vec![refused],
        ..Explanation::default()
    }
}

#[test]
fn a_dry_run_says_what_would_go_where() {
    let desk = Desk::new(Script { explanation: explained(), ..Script::default() });
    desk.write("web.yaml", WEB);
    for flag in ["--dry-run", "--dry-run=server"] {
        let said = desk.run(&["apply", "-f", "web.yaml", flag]);
        assert_eq!(said.code, 0, "{said:?}");
        let expect = "workload/web created (dry run): 1 would be placed, 1 without a place\n  INSTANCES   WHERE     SITE   STATE      SCORE   BECAUSE\n  0           node n1   oslo   would go   50      prefers site.tier=edge +50\n  instance 1 has no place:\n    - memory: 64Mi wanted, 12Mi free at most on 2 nodes\n  one of these would let it fit:\n    - 52Mi more free memory on n1\n";
        assert_eq!(said.out, expect, "\n{}", said.out);
    }
    assert!(desk.master.script().applied.is_empty());
    let json = desk.run(&["apply", "-f", "web.yaml", "--dry-run", "-o", "json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["explanation"]["refused"][0]["instances"]["text"], "1");
}

#[test]
fn why_is_told_of_workloads_and_of_files() {
    let desk = Desk::new(Script { explanation: explained(), ..Script::default() });
    let said = desk.run(&["explain", "acme/web"]);
    assert!(said.out.starts_with("workload/acme/web in region 'north': 1 would be placed"), "{said:?}");
    desk.write("all.yaml", &[WEB, ACME].join("---\n"));
    let said = desk.run(&["explain", "-f", "all.yaml", "-o", "name"]);
    assert_eq!(said.out, "workload/web\n");
    assert!(said.err.contains("tenant/acme is left out"), "{said:?}");
    assert_eq!(desk.master.script().asked[0], "explain acme/web");
    desk.write("tenant.yaml", ACME);
    desk.run(&["explain", "-f", "tenant.yaml"]).failed(1, &["there is no workload in the manifests"]);
    let yaml = desk.run(&["explain", "web", "-o", "yaml"]).out;
    assert!(yaml.contains("region: north"), "{yaml}");
}

#[test]
fn regions_join_with_tokens_and_leave_for_good() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["token", "create", "--region", "south"]);
    assert_eq!((said.code, said.out.as_str()), (0, "skerry-secret\n"));
    assert!(said.err.contains("lets region south join below this one once"), "{}", said.err);
    let said = desk.run(&["token", "create", "--region", "--uses", "3"]);
    assert!(said.err.contains("lets any region join below this one 3 times"), "{}", said.err);
    assert_eq!(
        desk.master.script().asked,
        ["create_token site= region=Some(\"south\")", "create_token site= region=Some(\"\")"]
    );
    desk.run(&["delete", "region", "south"]).failed(2, &["could never come back", "--yes"]);
    let said = desk.run(&["delete", "region", "south", "--yes"]);
    assert_eq!(said.out, "region/south removed (7 instances to be placed elsewhere)\n");
}

#[test]
fn rebalance_proposes_and_does_nothing() {
    let desk = Desk::new(Script::default());
    desk.run(&["rebalance"]).failed(2, &["only proposed", "--plan"]);
    let said = desk.run(&["rebalance", "--plan"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("no move would free a node: things are as tight"));
    desk.master.change(|script| script.moves.why_none = vec!["region south has no nodes".to_owned()]);
    let said = desk.run(&["rebalance", "--plan"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("- region south has no nodes"), "{said:?}");
    let one = v1::Move {
        workload: "web".to_owned(),
        allocation: "web-0-1".to_owned(),
        from: "n2".to_owned(),
        to: "n1".to_owned(),
        ..v1::Move::default()
    };
    desk.master.change(|script| {
        script.moves =
            v1::RebalanceResponse { moves: vec![one], freed: vec!["n2".to_owned()], why_none: Vec::new() };
    });
    let said = desk.run(&["rebalance", "--plan"]);
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    assert!(said.err.contains("1 move would free node n2; nothing was moved"), "{said:?}");
}

#[test]
fn a_diff_compares_what_means_something() {
    let desk = Desk::new(Script::default());
    desk.write("web.yaml", WEB);
    let fresh = desk.run(&["diff", "-f", "web.yaml"]);
    assert_eq!(fresh.code, 1, "{fresh:?}");
    assert!(fresh.out.starts_with("--- workload/web (none)\n+++ workload/web as in the file\n"), "{fresh:?}");
    assert_eq!(fresh.err, "");
    let manifest = skerry_manifest::documents(WEB).unwrap()[0].document.to_manifest().to_string();
    let web = v1::Workload {
        name: "web".to_owned(),
        tenant: "default".to_owned(),
        manifest,
        ..v1::Workload::default()
    };
    desk.master.change(|script| script.workloads.push(web));
    let same = desk.run(&["diff", "-f", "web.yaml"]);
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{same:?}");
    desk.write("web.yaml", &WEB.replace("main:1", "main:2"));
    let changed = desk.run(&["diff", "-f", "web.yaml"]);
    assert_eq!(changed.code, 1);
    let lines = |mark: char| changed.out.lines().skip(2).filter(|line| line.starts_with(mark)).count();
    assert_eq!((lines('-'), lines('+')), (1, 1), "{changed:?}");
    desk.run(&["diff", "-f", "absent.yaml"]).failed(2, &["cannot read absent.yaml"]);
}
