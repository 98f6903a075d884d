//! Containers, and where they go.

use std::time::Duration;

use skerry_types::{Bytes, HostPort, MilliCpu, Protocol, RestartWhen, SpreadBy};

use super::*;

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
    let spec = only(include_str!("../../testdata/full.yaml"));
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
    assert_eq!(spec.placement.spread[3].by, SpreadBy::Attribute("region.name".into()));
    assert_eq!(spec.placement.tolerate[0].as_str(), "maintenance");
    assert_eq!(spec.instance.restart.when, RestartWhen::OnFailure);
    assert_eq!(spec.instance.restart.backoff, Duration::from_millis(1500));
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
        "placement.spread[0].by: 'rack' is neither 'site', 'node' nor 'region.name', nor an attribute such as 'node.rack'",
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
