//! What is read, what is refused and in which words.

use std::time::Duration;

use skerry_types::{Bytes, HostPort, MilliCpu, Protocol, RestartWhen, SpreadBy};

use super::*;

const LEAST: &str = "\
apiVersion: skerry/v1
kind: Workload
metadata:
  name: web
spec:
  containers:
    - name: nginx
      image: registry.example/nginx:1.22
";

/// The smallest manifest with lines added to its container.
fn with_container(lines: &str) -> String {
    lines.lines().fold(LEAST.to_owned(), |text, line| format!("{text}      {line}\n"))
}

/// The smallest manifest with lines added to its spec.
fn with_spec(lines: &str) -> String {
    lines.lines().fold(LEAST.to_owned(), |text, line| format!("{text}  {line}\n"))
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the text must be refused");
    errors.iter().map(ToString::to_string).collect()
}

/// The text is refused with this error and no other. A `^` stands before the place that the error must name.
#[track_caller]
fn refuses(marked: &str, expected: &str) {
    let (before, after) = marked.split_once('^').expect("a mark before the place of the error");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let expected = format!("line {line}, column {column}: {expected}");
    assert_eq!(errors(&format!("{before}{after}")), [expected], "\n{marked}");
}

#[track_caller]
fn refuses_container(lines: &str, expected: &str) {
    let object = "workload 'web', container 'nginx': spec.containers[0].";
    refuses(&with_container(lines), &format!("{object}{expected}"));
}

#[track_caller]
fn refuses_spec(lines: &str, expected: &str) {
    refuses(&with_spec(lines), &format!("workload 'web': spec.{expected}"));
}

fn only(text: &str) -> WorkloadSpec {
    let documents = parse(text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let [document] = <[WorkloadDocument; 1]>::try_from(documents).expect("one document");
    document.spec
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = only(LEAST);
    assert_eq!(spec.key.to_string(), "web");
    assert_eq!(spec.instances, 1);
    assert_eq!(spec.instance.stop_grace, Duration::from_secs(10));
    assert_eq!(spec.instance.restart.when, RestartWhen::Always);
    assert_eq!(spec.instance.restart.backoff, Duration::from_secs(1));
    assert_eq!(spec.instance.restart.max_backoff, Duration::from_mins(5));
    let container = &spec.instance.containers[0];
    assert_eq!(container.resources.cpu, MilliCpu(100));
    assert_eq!(container.resources.memory, Bytes(64 << 20));
    assert_eq!(container.resources.disk, Bytes(128 << 20));
    assert_eq!(container.limits.cpu, None);
    assert_eq!(container.limits.memory, Bytes(64 << 20));
    assert_eq!(container.limits.pids, 512);
    assert!(!container.read_only && container.user.is_none() && container.digest.is_none());
    assert!(spec.placement.require.is_empty());
}

#[test]
fn every_supported_field_is_read() {
    let spec = only(include_str!("../testdata/full.yaml"));
    assert_eq!(spec.key.to_string(), "shop/web");
    assert_eq!(spec.labels["release"], "1.10");
    assert_eq!(spec.instances, 3);
    let [web, log] = spec.instance.containers.as_slice() else { panic!("two containers") };
    assert_eq!(web.command, ["nginx"]);
    assert_eq!(web.args, ["-g", "daemon off;", "3600"]);
    assert_eq!((web.env[0].name.as_str(), web.env[0].value.as_str()), ("LEVEL", "info"));
    assert_eq!((web.env[1].name.as_str(), web.env[1].value.as_str()), ("PORT", "0080"));
    assert_eq!(web.resources.cpu, MilliCpu(250));
    assert_eq!(web.resources.memory, Bytes(64 << 20));
    assert_eq!(web.resources.disk, Bytes(200 << 20));
    assert_eq!(web.limits.cpu, Some(MilliCpu(1500)));
    assert_eq!(web.limits.memory, Bytes(128 << 20));
    assert_eq!(web.limits.pids, 200);
    assert_eq!(web.ports[0].host, HostPort::Auto);
    assert_eq!(web.ports[1].host, HostPort::Fixed(8443));
    assert_eq!(log.ports[0].host, HostPort::None);
    assert_eq!(log.ports[0].protocol, Protocol::Udp);
    assert_eq!(web.user.as_deref(), Some("101:101"));
    assert_eq!(log.user.as_deref(), Some("0"));
    assert!(web.read_only);
    assert_eq!(web.capabilities.add, ["NET_BIND_SERVICE"]);
    assert_eq!(web.capabilities.drop, ["ALL"]);
    assert_eq!(spec.placement.require.keys().count(), 3);
    assert_eq!(spec.placement.prefer[0].weight, -20);
    assert_eq!(spec.placement.prefer[1].weight, 50);
    assert_eq!(spec.placement.spread[0].by, SpreadBy::Site);
    assert_eq!(spec.placement.spread[1].max_skew, Some(2));
    assert_eq!(spec.placement.spread[2].by, SpreadBy::Attribute("node.rack".into()));
    assert_eq!(spec.placement.tolerate[0].as_str(), "maintenance");
    assert_eq!(spec.instance.restart.when, RestartWhen::OnFailure);
    assert_eq!(spec.instance.restart.backoff, Duration::from_millis(1500));
}

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
        "frobnicate: unknown field; the fields here are containers, exclusive, init, instances, job, on_disconnect, \
         placement, priority, restart, run_deadline, scale, schedule, stop_grace, type, update",
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
fn later_values_are_refused_by_name() {
    refuses_spec("exclusive: ^true", "exclusive: 'true' is not supported in this release; leave it out");
    assert!(parse(&with_spec("exclusive: false\ntype: service")).is_ok());
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
    refuses_spec("type: ^servcie", "type: 'servcie' is not one of service, job, cron, daemon; did you mean 'service'?");
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
fn amounts_and_their_bounds() {
    let cpu = "write whole or decimal cores ('2', '0.5') or thousandths ('250m')";
    refuses_container(
        "resources: {cpu: ^lots}",
        &format!("resources.cpu: 'lots' is not an amount of cpu: {cpu}"),
    );
    refuses_container(
        "resources: {cpu: ^0.0001}",
        &format!("resources.cpu: '0.0001' is not an amount of cpu: {cpu}"),
    );
    refuses_container(
        "resources: {cpu: ^1025}",
        "resources.cpu: 1025 is out of bounds: at least 0, at most 1024",
    );
    refuses_container(
        "resources: {memory: ^64MB}",
        "resources.memory: '64MB' is not an amount of bytes: write a whole number with Ki, Mi, Gi, Ti (powers of 1024) \
         or k, M, G, T (powers of 1000), as in '64Mi'",
    );
    refuses_container(
        "resources: {memory: ^1Mi}",
        "resources.memory: 1Mi is out of bounds: at least 4Mi, at most 16Ti",
    );
    refuses_container(
        "limits: {memory: ^32Mi}",
        "limits.memory: the limit 32Mi is below the 64Mi that spec.containers[0].resources.memory reserves: raise the \
         limit or reserve less",
    );
    refuses_container(
        "limits: {cpu: ^50m}",
        "limits.cpu: the limit 50m is below the 100m that spec.containers[0].resources.cpu reserves: raise the limit \
         or reserve less",
    );
    refuses_container("limits: {pids: ^0}", "limits.pids: 0 is out of bounds: at least 1, at most 4194304");
    // Nothing is concluded from a reservation that is wrong itself.
    refuses_container(
        "resources: ^[32Mi]\nlimits: {memory: 16Mi}",
        "resources: expected a map, found a list",
    );
    assert!(parse(&with_container("resources: {cpu: 0, memory: 0, disk: 0}\nlimits: {memory: 4Mi}")).is_ok());
}

#[test]
fn names_of_containers_and_ports_are_taken_once() {
    refuses(
        &format!("{LEAST}    - {{name: ^nginx, image: a}}\n"),
        "workload 'web', container 'nginx': spec.containers[1].name: the name 'nginx' is taken already \
         in line 7: give each container a name of its own",
    );
    let twice = |first: &str, second: &str, expected: &str| {
        refuses_container(&format!("ports:\n- {first}\n- {second}"), &format!("ports[1].{expected}"));
    };
    twice(
        "{name: http, container: 80}",
        "{name: ^http, container: 81}",
        "name: the name 'http' is taken already in line 10: give each port of the workload a name of its own",
    );
    twice(
        "{name: one, container: 80}",
        "{name: two, container: ^80}",
        "container: port 80/tcp of the instance is taken already in line 10: the containers of an instance share their \
         ports: let one of them listen elsewhere",
    );
    twice(
        "{name: one, container: 80, host: 80}",
        "{name: two, container: 81, host: ^80}",
        "host: host port 80/tcp is taken already in line 10: take another, or 'auto'",
    );
    let both = with_container(
        "ports: [{name: a, container: 53, host: 53}, {name: b, container: 53, host: 53, protocol: udp}]",
    );
    assert!(parse(&both).is_ok(), "the transports do not share their ports");
}

#[test]
fn ports_and_their_bounds() {
    let port = |rest: &str| format!("ports: [{{name: a, {rest}}}]");
    refuses_container(
        &port("container: ^0"),
        "ports[0].container: 0 is out of bounds: at least 1, at most 65535",
    );
    let host = "is not a host port: write a number from 1 to 65535, 'auto' or 'none'";
    for bad in ["0", "65536", "some"] {
        refuses_container(
            &port(&format!("container: 1, host: ^{bad}")),
            &format!("ports[0].host: '{bad}' {host}"),
        );
    }
    refuses_container(
        &port("container: 1, protocol: ^tpc"),
        "ports[0].protocol: 'tpc' is not one of tcp, udp; did you mean 'tcp'?",
    );
    let ports: Vec<String> = (1..=33).map(|p| format!("{{name: NAME{p}, container: PORT{p}}}")).collect();
    let ports = ports.join(", ");
    let one = ports.replace("NAME", "a").replace("PORT", "1");
    let two = ports.replace("NAME", "b").replace("PORT", "2");
    let text = format!("{LEAST}      ports: [{one}]\n    - {{name: b, image: a, ports: [{two}]}}\n");
    refuses(
        &text.replace("- name: nginx", "^- name: nginx"),
        "workload 'web': spec.containers: the containers have 66 ports together, at most 64 are allowed",
    );
}

#[test]
fn words_names_and_users() {
    refuses_container(
        "env: {1A: ^x}",
        "env.1A: '1A' cannot name an environment variable: letters, digits, '_', '-' and '.', not beginning with a digit",
    );
    refuses_container(
        "args: [^\"a\\0\"]",
        "args[0]: holds a zero byte, which no program can be given: take it out",
    );
    refuses_container(
        &format!("args: [^{}]", "a".repeat(32 * 1024 + 1)),
        "args[0]: has 32769 bytes, at most 32768 are taken",
    );
    let user = "is not a user: write 'uid', 'uid:gid', 'name' or 'name:group'";
    for bad in ["a b", ":1", "a:", "a:b:c", "-a", "4294967295", "\u{e5}"] {
        refuses_container(&format!("user: ^\"{bad}\""), &format!("user: '{bad}' {user}"));
    }
    for good in ["0", "101:101", "www-data", "a.b:c_d", "4294967294"] {
        assert!(parse(&with_container(&format!("user: {good}"))).is_ok(), "{good}");
    }
    refuses_container(
        "capabilities: {add: [^NET_BIND_SERVCE]}",
        "capabilities.add[0]: 'NET_BIND_SERVCE' is not a capability; did you mean 'NET_BIND_SERVICE'?",
    );
    refuses_container(
        "capabilities: {add: [^ALL]}",
        "capabilities.add[0]: 'ALL' can only be taken away: add the capabilities that are needed, one by one",
    );
    refuses(
        &LEAST.replace("name: nginx", "name: ^Nginx"),
        "workload 'web', container 'Nginx': spec.containers[0].name: container name 'Nginx' must be \
         lower-case letters, digits and '-', and begin and end with a letter or digit",
    );
    refuses(
        &LEAST.replace("registry.example/nginx:1.22", "^registry.example/nginx:1 22"),
        "workload 'web', container 'nginx': spec.containers[0].image: image 'registry.example/nginx:1 22' \
         has the tag '1 22': 1 to 128 letters, digits, '_', '.' and '-', beginning with a letter, digit or '_'",
    );
    refuses(
        &LEAST.replace("  name: web\n", "  name: web\n  labels: {\"a b\": ^c}\n"),
        "workload 'web': metadata.labels.a b: 'a b' must be 1 to 253 of letters, digits, '-', '_', '.' \
         and '/', and begin and end with a letter or digit",
    );
}

#[test]
fn placement_and_restart() {
    refuses_spec(
        "placement: {require: ^\"a b\"}",
        "placement.require: selector 'a b': at character 3: expected ',' between two terms, or one of = != in notin < \
         <= > >= after a name",
    );
    refuses_spec(
        "placement: {prefer: [{match: ^\"\"}]}",
        "placement.prefer[0].match: is empty; say which nodes are preferred, as in 'site.country=no'",
    );
    refuses_spec(
        "placement: {prefer: [{match: a, weight: ^101}]}",
        "placement.prefer[0].weight: 101 is out of bounds: at least -100, at most 100",
    );
    refuses_spec(
        "placement: {spread: [{by: ^rack}]}",
        "placement.spread[0].by: 'rack' is neither 'site' nor 'node' nor an attribute such as 'node.rack'",
    );
    refuses_spec(
        "placement: {spread: [{by: node, max_skew: ^0}]}",
        "placement.spread[0].max_skew: 0 is out of bounds: at least 1, at most 10000",
    );
    refuses_spec(
        "placement: {spread: [{by: node}, {by: ^node}]}",
        "placement.spread[1].by: a spread by 'node' is taken already in line 9: keep one",
    );
    refuses_spec(
        "restart: {backoff: ^fast}",
        "restart.backoff: 'fast' is not a duration: write whole numbers with d, h, m, s or ms, largest first, as in \
         '10s' or '1h30m'",
    );
    refuses_spec(
        "restart: {backoff: ^10ms}",
        "restart.backoff: 10ms is out of bounds: at least 100ms, at most 1d",
    );
    refuses_spec(
        "restart: {backoff: ^10m}",
        "restart.backoff: 10m is longer than max_backoff 5m: lower it or raise max_backoff",
    );
    refuses_spec(
        "restart: {policy: ^on-failure}",
        "restart.policy: 'on-failure' is not one of always, on_failure, never; did you mean 'on_failure'?",
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
    let guide = include_str!("../../../docs/manifest.md");
    let examples: Vec<&str> =
        guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        if let Err(errors) = parse(example) {
            panic!("{example}\n{errors:#?}");
        }
    }
}
