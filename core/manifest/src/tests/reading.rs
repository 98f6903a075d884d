//! Documents as a whole: their text, their fields, and what is wrong with them.

use super::*;

#[test]
fn json_is_read_as_well() {
    let json = to_manifest(&only(LEAST));
    assert_eq!(only(&json.to_string()), only(LEAST));
    assert_eq!(only(&serde_json::to_string_pretty(&json).unwrap()), only(LEAST));
}

#[test]
fn several_documents_keep_their_order_and_lines() {
    let text = format!("# one\n{LEAST}---\n{}---\n---\n", LEAST.replace("name: web", "name: second"));
    let documents = parse(&text).unwrap();
    let seen: Vec<_> = documents.iter().map(|d| (d.spec.key.to_string(), d.line)).collect();
    assert_eq!(seen, [("web".to_owned(), 2), ("second".to_owned(), 11)]);
    refuses(
        &format!("{LEAST}---\n{}", LEAST.replace("web", "^web")),
        "workload 'web': metadata.name: the text has this workload already in line 4: keep one, \
         or give the other another name",
    );
}

#[test]
fn aliases_and_merge_keys_are_taken() {
    refuses(&with_container("env: ^*env"), "not readable as YAML or JSON: alias references unknown anchor");
    let text = with_spec("").replace(
        "    - name: nginx\n",
        "    - {name: one, image: a, env: &env {A: x, B: z}}\n    - name: nginx\n      env: {<<: *env, B: y}\n",
    );
    let env = &only(&text).instance.containers[1].env;
    let seen: Vec<_> = env.iter().map(|var| (var.name.as_str(), var.value.as_str())).collect();
    assert_eq!(seen, [("A", "x"), ("B", "y")]);
}

#[test]
fn text_that_is_no_yaml() {
    let check = |text: &str, message: &str| {
        refuses(text, &format!("not readable as YAML or JSON: {message}"));
    };
    check("a: ^[1", "unclosed bracket '['");
    check("a: b^: c", "mapping values are not allowed in this context");
    check("a:\n\t^- x", "tabs disallowed within this context (block indentation)");
    check("^{\"apiVersion\": \"skerry/v1\",", "unclosed bracket '{'");
    check("a: ^\"b", "unclosed quote");
    check("a: 1\n^\0", "unexpected character: `\\u{0}'");
}

#[test]
fn text_that_is_no_manifest() {
    let nothing = "there is no document in it: a manifest begins with 'apiVersion: skerry/v1'";
    refuses("^", nothing);
    refuses("^# nothing\n---\n", nothing);
    refuses("^- a", "expected a map, found a list");
    refuses("^a", "expected a map, found text");
    refuses("^a: b", "this is not a manifest: one begins with 'apiVersion: skerry/v1' and 'kind: Workload'");
    refuses(
        "apiVersion: skerry/v1\nkind: ^Deployment\nspec: {replicas: 3}",
        "kind: 'Deployment' is not read here: write 'Workload'",
    );
    refuses(
        &LEAST.replace("skerry/v1", "^skerry/v2"),
        "workload 'web': apiVersion: 'skerry/v2' is not read here: write 'skerry/v1'",
    );
}

#[test]
fn unknown_fields_name_what_was_meant() {
    refuses_spec("^replicas: 3", "replicas: unknown field; did you mean 'instances'?");
    refuses_spec("^instnaces: 3", "instnaces: unknown field; did you mean 'instances'?");
    refuses_spec("^image: a", "image: unknown field; it belongs to spec.containers[]");
    refuses_spec(
        "^frobnicate: a",
        "frobnicate: unknown field; the fields here are containers, exclusive, init, instances, job, lease, \
         on_disconnect, placement, priority, restart, run_deadline, scale, schedule, stop_delay, stop_grace, type, update",
    );
    refuses_container("^readOnly: true", "readOnly: unknown field; did you mean 'read_only'?");
    refuses_container("^environment: {}", "environment: unknown field; did you mean 'env'?");
    refuses_container(
        "limits: {^disk: 1Gi}",
        "limits.disk: unknown field; it belongs to spec.containers[].resources",
    );
    refuses(
        &format!("{LEAST}^replicas: 2\n"),
        "workload 'web': replicas: unknown field; the fields here are apiVersion, kind, metadata, spec",
    );
}

#[test]
fn values_of_the_wrong_kind() {
    refuses_spec("instances: ^many", "instances: expected a whole number, found text");
    refuses_spec("instances: ^\"3\"", "instances: expected a whole number, found text; take the quotes away");
    refuses_spec("instances: ^3.5", "instances: expected a whole number, found '3.5'");
    refuses_spec("instances: ^-1", "instances: -1 is out of bounds: at least 0, at most 10000");
    refuses_spec("instances: ^10001", "instances: 10001 is out of bounds: at least 0, at most 10000");
    refuses_spec(
        "placement^:",
        "placement: expected a map, found nothing; give it a value or leave the field out",
    );
    refuses_spec(
        "type: ^servcie",
        "type: 'servcie' is not one of service, job, cron, daemon; did you mean 'service'?",
    );
    refuses_container(
        "command: ^nginx -g",
        "command: expected a list, found text; begin each entry with '- '",
    );
    refuses_container("read_only: ^yes", "read_only: expected true or false, found text");
    refuses_container("env: {A: ^{}}", "env.A: expected text, found a map");
    refuses_container(
        "env: {A^: }",
        "env.A: expected text, found nothing; give it a value or leave the field out",
    );
    refuses_container("env: {A: 1, ^A: 2}", "env.A: stands twice in the same map, first in line 9: keep one");
    refuses_container(
        "capabilities: {add: [^1]}",
        "capabilities.add[0]: expected text, found '1'; put it in quotes",
    );
    refuses(&LEAST.replace("web", "^12"), "metadata.name: expected text, found '12'; put it in quotes");
}

#[test]
fn what_is_missing_is_named() {
    refuses(
        &LEAST.replace("name: nginx\n      image: registry.example/nginx:1.22\n", "^name: nginx\n"),
        "workload 'web', container 'nginx': spec.containers[0].image: missing (Image reference; a tag \
         is resolved to a digest once, when the workload is applied)",
    );
    refuses(
        "apiVersion: skerry/v1\nkind: Workload\nmetadata: {name: web}\nspec: {containers: ^[]}",
        "workload 'web': spec.containers: has 0 entries: at least 1, at most 16",
    );
    refuses(
        "^apiVersion: skerry/v1\nkind: Workload\nmetadata: {name: web}",
        "workload 'web': spec: missing (What should run, how often and where)",
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = with_container("resources: {cpu: lots}\nlimits: {memory: 1Ki}\nfoo: 1")
        .replace("name: web", "name: Web")
        .replace("      image: registry.example/nginx:1.22\n", "");
    let lines: Vec<u64> = parse(&text).unwrap_err().iter().map(|error| error.line).collect();
    assert_eq!(lines, [4, 7, 8, 9, 10]);
}

#[test]
fn sizes_are_bounded() {
    let max = limits::TEXT_BYTES_MAX;
    refuses(
        &format!("^{}", "#".repeat(max + 1)),
        &format!("the manifest has {} bytes, at most {max} are read: split it into several files", max + 1),
    );
    let many: Vec<String> = (0..limits::ENV_MAX).map(|n| format!("V{n}: {}", "x".repeat(600))).collect();
    let found = errors(&with_container(&format!("env: {{{}}}", many.join(", "))));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("at most 131072 can be stored"), "{found:?}");
    let unknown: Vec<String> = (0..1000).map(|n| format!("f{n}: x")).collect();
    assert_eq!(errors(&with_spec(&unknown.join("\n"))).len(), limits::ERRORS_MAX);
}

#[test]
fn bombs_end_early() {
    let level =
        |level: u32| format!("a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 9].join(","));
    let levels: Vec<String> = (1..9).map(level).collect();
    let bomb = format!("a0: &a0 [x,x,x,x,x,x,x,x,x]\n{}\n", levels.join("\n"));
    for text in [bomb, "[".repeat(10_000), "- ".repeat(10_000), "{a: ".repeat(500_000 / 4)] {
        let found = errors(&text);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("more than is read"), "{found:?}");
    }
}

#[test]
fn every_example_of_the_guide_is_read() {
    let guide = include_str!("../../../../docs/manifest.md");
    let examples: Vec<&str> =
        guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        if let Err(errors) = documents(example) {
            panic!("{example}\n{errors:#?}");
        }
    }
}
