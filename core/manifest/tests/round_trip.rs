//! What is written reads back as the same workload, and no text, however odd, is more than refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use skerry_manifest::{parse, to_manifest, to_yaml};
use skerry_types::{
    Bytes, Capabilities, ContainerName, ContainerSpec, EnvVar, HostPort, InstanceSpec, Limits, MilliCpu,
    Placement, PortName, PortSpec, Preference, Protocol, Resources, RestartPolicy, RestartWhen, Spread,
    SpreadBy, Taint, TenantName, WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

/// Names, among them those that a YAML reader could take for something else.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
        select(vec!["null", "true", "no", "1e3", "0x1f", "1-2"]).prop_map(String::from)
    ]
}

/// Text of any kind, among it what must be quoted, folded or escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\\x00]{0,40}",
        "\\PC{0,200}",
        "[ \\t\\n\\r:#'\"|>\\-\\[\\]{}&*!%@`,?~]{0,12}",
        "( ?[a-z]{1,12}\\n{0,2}){0,40}",
        select(vec![
            "",
            " ",
            "~",
            "null",
            "Yes",
            "1.10",
            "0755",
            ".inf",
            "<<",
            "---",
            "...",
            "- a",
            "\u{85}",
            "\u{feff}a",
            "\u{2028}"
        ])
        .prop_map(String::from),
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9]([A-Za-z0-9._/-]{0,10}[A-Za-z0-9])?"]
}

fn selector() -> impl Strategy<Value = String> {
    let terms = [
        "node.arch=amd64",
        "site.tier in (edge,metro)",
        "!spot",
        "a!=b",
        "node.memory_mb>=-2048",
        "x notin (y,z)",
        "in",
    ];
    vec(select(terms.to_vec()), 1..4).prop_map(|terms| terms.join(" , "))
}

fn resources() -> impl Strategy<Value = (Resources, Limits)> {
    let memory = prop_oneof![4_194_304..1_u64 << 44, (4_u64..1 << 20).prop_map(|mi| mi << 20)];
    (0..1_024_000_u64, memory, 0..1_u64 << 50, option::of(0..1000_u64), 0..1000_u64, 1..4_194_305_u32)
        .prop_map(|(cpu, memory, disk, more_cpu, less, pids)| {
            let resources = Resources {
                cpu: MilliCpu(cpu),
                memory: Bytes(memory.saturating_sub(less)),
                disk: Bytes(disk),
                ..Resources::default()
            };
            let cpu = more_cpu.map(|more| MilliCpu((cpu + more).min(1_024_000)));
            (resources, Limits { cpu, memory: Bytes(memory), pids })
        })
}

fn ports() -> impl Strategy<Value = BTreeMap<u16, (Protocol, u8)>> {
    btree_map(1..=u16::MAX, (select(vec![Protocol::Tcp, Protocol::Udp]), 0..3_u8), 0..4)
}

prop_compose! {
    fn container()(
        image in select(vec!["nginx", "registry.example/nginx:1.22", "registry.example:5000/a/b:1"]),
        command in vec(text(), 0..3),
        args in vec(text(), 0..3),
        env in btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,8}", text(), 0..5),
        (resources, limits) in resources(),
        ports in ports(),
        user in option::of("(0|[1-9][0-9]{0,8}|[a-z][a-z0-9_-]{0,8})(:[a-z]{1,8})?"),
        read_only in any::<bool>(),
        add in proptest::sample::subsequence(vec!["NET_ADMIN", "CHOWN", "BPF"], 0..=3),
        drop in proptest::sample::subsequence(vec!["KILL", "ALL"], 0..=2),
    ) -> ContainerSpec {
        let names = |names: Vec<&str>| names.into_iter().map(String::from).collect();
        ContainerSpec {
            name: ContainerName::new("a").expect("a name"),
            image: image.to_owned(),
            digest: None,
            command,
            args,
            env: EnvVar::from_map(env),
            resources,
            limits,
            ports: ports.into_iter().map(port).collect(),
            user,
            read_only,
            capabilities: Capabilities { add: names(add), drop: names(drop) }, probes: skerry_types::Probes::default(), stop_signal: None, }
    }
}

fn port((number, (protocol, host)): (u16, (Protocol, u8))) -> PortSpec {
    let host = match host {
        0 => HostPort::None,
        1 => HostPort::Auto,
        _ => HostPort::Fixed(number),
    };
    let name = PortName::new(format!("p{number}")).expect("a name");
    PortSpec { name, container: number, protocol, host }
}

prop_compose! {
    fn placement()(
        require in option::of(selector()),
        prefer in vec((selector(), -100..=100), 0..3),
        spread in btree_map(select(vec!["site", "node", "node.rack", "site.tier"]), option::of(1..10_000_u32), 0..4),
        tolerate in vec(label(), 0..3),
    ) -> Placement {
        let parsed = |text: String| text.parse().expect("a selector");
        Placement {
            require: parsed(require.unwrap_or_default()),
            prefer: prefer.into_iter().map(|(text, weight)| Preference { matches: parsed(text), weight }).collect(),
            spread: spread.into_iter().map(|(by, max_skew)| Spread { by: spread_by(by), max_skew }).collect(),
            tolerate: tolerate.into_iter().map(|taint| Taint::new(taint).expect("a taint")).collect(),
            ..Placement::default()
        }
    }
}

fn spread_by(text: &str) -> SpreadBy {
    match text {
        "site" => SpreadBy::Site,
        "node" => SpreadBy::Node,
        other => SpreadBy::Attribute(other.to_owned()),
    }
}

prop_compose! {
    fn spec()(
        (name, tenant) in (name(), name()),
        labels in btree_map(label(), prop_oneof![label(), Just(String::new())], 0..4),
        instances in 0..=10_000_u32,
        containers in vec(container(), 1..4),
        when in select(vec![RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]),
        (backoff, more) in (100..86_400_000_u64, 0..1_000_000_u64),
        placement in placement(),
    ) -> WorkloadSpec {
        let backoff = Duration::from_millis(backoff);
        WorkloadSpec {
            key: WorkloadKey {
                tenant: TenantName::new(tenant).expect("a name"),
                name: WorkloadName::new(name).expect("a name"),
            },
            labels,
            kind: WorkloadKind::Service,
            instances,
            instance: Arc::new(InstanceSpec {
                containers: distinct(containers),
                restart: RestartPolicy {
                    when,
                    backoff,
                    max_backoff: (backoff + Duration::from_millis(more)).min(Duration::from_hours(24)),
                },
                stop_grace: skerry_manifest::limits::DEFAULT_STOP_GRACE, init: Vec::new(), schedule: None, deadline: None, stop_after: None, }),
            placement, priority: WorkloadSpec::DEFAULT_PRIORITY, update: skerry_types::UpdatePolicy::default(), on_disconnect: skerry_types::OnDisconnect::default(), scale: None, exclusive: false, }
    }
}

/// Gives every container a name of its own, and every port to the first that has it.
fn distinct(mut containers: Vec<ContainerSpec>) -> Vec<ContainerSpec> {
    let mut used = BTreeSet::new();
    for (index, container) in containers.iter_mut().enumerate() {
        container.name = ContainerName::new(format!("c{index}")).expect("a name");
        container.ports.retain(|port| used.insert(port.container));
    }
    containers
}

/// JSON in ASCII: it may hold raw control characters that YAML, and so the reader, does not take unescaped.
fn ascii(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        match c {
            ' '..='~' => text.push(c),
            _ => text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    text
}

const FULL: &str = include_str!("../testdata/full.yaml");

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(spec in spec()) {
        for text in [to_yaml(&spec), ascii(&to_manifest(&spec).to_string())] {
            let documents = parse(&text).map_err(|errors| TestCaseError::fail(format!("{text}\n{errors:#?}")))?;
            prop_assert_eq!(documents.len(), 1);
            prop_assert_eq!(&documents[0].spec, &spec, "{}", text);
        }
    }

    #[test]
    fn many_documents_read_back(specs in vec(spec(), 1..4)) {
        let keys: BTreeSet<_> = specs.iter().map(|spec| spec.key.clone()).collect();
        prop_assume!(keys.len() == specs.len());
        let texts: Vec<String> = specs.iter().map(to_yaml).collect();
        let documents = parse(&texts.join("---\n")).map_err(|errors| TestCaseError::fail(format!("{errors:#?}")))?;
        let read: Vec<_> = documents.into_iter().map(|document| document.spec).collect();
        prop_assert_eq!(read, specs);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        accepts_or_places(&text)?;
    }

    #[test]
    fn odd_yaml_is_read_or_refused(text in "([ \\n:,&*!|>'\"%@?~#-]|a|1|\\[|\\]|\\{|\\}|---|<<: |\\.\\.\\.){0,60}") {
        accepts_or_places(&text)?;
    }

    #[test]
    fn a_damaged_manifest_is_read_or_refused(
        damage in vec((any::<Index>(), 0..4_usize, "[\\PC\\n\\t\\x00]{0,3}"), 1..6),
    ) {
        let mut chars: Vec<char> = FULL.chars().collect();
        for (at, cut, put) in damage {
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, put.chars());
        }
        accepts_or_places(&chars.into_iter().collect::<String>())?;
    }
}

/// A text is read, or every error has a place that is in it.
fn accepts_or_places(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = parse(text) else { return Ok(()) };
    prop_assert!(!errors.is_empty());
    let lines = 1 + text.chars().filter(|c| matches!(c, '\n' | '\r')).count();
    for error in errors {
        prop_assert!(error.line >= 1 && error.column >= 1, "{}", error);
        prop_assert!(usize::try_from(error.line).is_ok_and(|line| line <= lines + 1), "{}", error);
    }
    Ok(())
}
