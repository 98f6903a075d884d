//! What a workload's life is like: probes, types, updates, disconnection, scale, nearness.

use std::time::Duration;

use skerry_types::{
    OnReturn, Overlap, Place, ProbeCheck, RestartWhen, ScaleTarget, TimeZone, WaveSize, WorkloadKind,
};

use super::*;

const WEB: &str = "ports: [{name: http, container: 80}, {name: dns, container: 53, protocol: udp}]\n";

#[track_caller]
fn refuses_probe(probe: &str, expected: &str) {
    refuses_container(&format!("{WEB}health: {probe}"), &format!("health{expected}"));
}

#[test]
fn probes_are_read() {
    let text = with_container(&format!(
        "{WEB}health: {{http: {{port: http, path: /up?x=1}}, interval: 5s, timeout: 1s, failures: 2, grace: 1m}}\n\
         ready: {{exec: {{command: [/bin/check, 1]}}}}\nstop_signal: SIGQUIT"
    ));
    let container = only(&text).instance.containers[0].clone();
    let health = container.probes.health.unwrap();
    let http = "http".parse().unwrap();
    assert_eq!(health.check, ProbeCheck::Http { port: http, path: "/up?x=1".into() });
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!((health.failures, health.grace), (2, Duration::from_mins(1)));
    let ready = container.probes.ready.unwrap();
    assert_eq!(ready.check, ProbeCheck::Exec { command: vec!["/bin/check".into(), "1".into()] });
    assert_eq!((ready.interval, ready.timeout), (Duration::from_secs(10), Duration::from_secs(2)));
    assert_eq!((ready.failures, ready.grace), (3, Duration::from_secs(30)));
    assert_eq!(container.stop_signal, Some(3));
    // A port's number does as well as its name.
    let by_number = only(&with_container(&format!("{WEB}health: {{tcp: {{port: 80}}}}")));
    let check = by_number.instance.containers[0].probes.health.clone().unwrap().check;
    assert_eq!(check, ProbeCheck::Tcp { port: "http".parse().unwrap() });
}

#[test]
fn probes_that_could_never_be_well() {
    refuses_probe(
        "{http: {port: ^web}}",
        ".http.port: no port is called 'web': those that are declared are http (80), dns (53)",
    );
    refuses_probe(
        "{tcp: {port: ^81}}",
        ".tcp.port: no port is called '81': those that are declared are http (80), dns (53)",
    );
    refuses_container(
        "health: {tcp: {port: ^http}}",
        "health.tcp.port: no port is called 'http': the workload declares none; add it to the container's 'ports'",
    );
    refuses_probe(
        "{tcp: {port: ^dns}}",
        ".tcp.port: port 'dns' is udp, and only a tcp port can be looked at: declare one, or use 'exec'",
    );
    refuses_probe("^{}", ": has none of them: write exactly one of http, tcp, exec");
    refuses_probe(
        "^{tcp: {port: http}, exec: {command: [a]}}",
        ": has tcp, exec: write exactly one of http, tcp, exec",
    );
    refuses_probe(
        "{http: {port: http, path: ^up}}",
        ".http.path: 'up' is not a path: begin it with '/' and write what is not ASCII or a space as %XX",
    );
    refuses_probe("{exec: {command: ^[]}}", ".exec.command: has 0 entries: at least 1, at most 256");
    refuses_probe(
        "{exec: {command: [^\"\"]}}",
        ".exec.command[0]: is empty; name the program, as in '[\"/bin/check\"]'",
    );
    refuses_probe(
        "{tcp: {port: http}, interval: ^10ms}",
        ".interval: 10ms is out of bounds: at least 1s, at most 1h",
    );
    refuses_probe(
        "{tcp: {port: http}, failures: ^0}",
        ".failures: 0 is out of bounds: at least 1, at most 100",
    );
    refuses_probe(
        "{tcp: {port: http}, ^periodSeconds: 3}",
        ".periodSeconds: unknown field; did you mean 'interval'?",
    );
    refuses_container(
        "stop_signal: ^SIGTREM",
        "stop_signal: 'SIGTREM' is not a signal: write a name such as 'SIGTERM' or a number from 1 to 31 or 34 to 64; did \
         you mean 'SIGTERM'?",
    );
}

#[test]
fn init_containers_serve_nobody() {
    let spec = only(&with_spec("init: [{name: first, image: a, resources: {memory: 8Mi}}]"));
    assert_eq!(spec.instance.init[0].name.as_str(), "first");
    let object = "workload 'web', container 'first': spec.init[0].";
    refuses(
        &with_spec("init: [{name: first, image: a, ^ports: []}]"),
        &format!("{object}ports: unknown field; it belongs to spec.containers[]"),
    );
    refuses(
        &with_spec("init: [{name: first, image: a, ^health: {}}]"),
        &format!("{object}health: unknown field; it belongs to spec.containers[]"),
    );
    let text = with_spec("init: [{name: nginx, image: a}]").replace("- name: nginx", "- name: ^nginx");
    refuses(
        &text,
        "workload 'web', container 'nginx': spec.containers[0].name: the name 'nginx' is taken already in line 9: give each \
         container a name of its own",
    );
}

#[test]
fn resources_of_every_kind() {
    let spec = only(&with_container("resources: {bandwidth: 10M, gpu: 0.5}"));
    let reserved = spec.instance.resources();
    assert_eq!((reserved.bandwidth.0, reserved.gpu.0), (10_000_000, 500));
    refuses_container(
        "resources: {gpu: ^1.5}",
        "resources.gpu: '1.5' is not an amount of gpu: write whole graphics processors ('2') or a part of one ('0.5', '250m')",
    );
    refuses_container(
        "resources: {bandwidth: ^10Mi}",
        "resources.bandwidth: '10Mi' is not an amount of bandwidth: write a whole number of bits per second with k, M or G, \
         as in '10M'",
    );
    refuses_container("resources: {gpu: ^65}", "resources.gpu: 65 is out of bounds: at least 0, at most 64");
}

#[test]
fn jobs() {
    let job = only(&with_spec(
        "type: job\ninstances: 4\njob: {parallelism: 2, retries: 5, deadline: 1h}\nrun_deadline: 9m",
    ));
    let WorkloadKind::Job(policy) = job.kind else { panic!("a job") };
    assert_eq!((job.instances, policy.parallelism, policy.retries), (4, 2, 5));
    assert_eq!(policy.deadline, Some(Duration::from_hours(1)));
    assert_eq!(job.instance.deadline, Some(Duration::from_mins(9)));
    assert_eq!(job.instance.restart.when, RestartWhen::Never);
    let WorkloadKind::Job(policy) = only(&with_spec("type: job\ninstances: 7")).kind else { panic!("a job") };
    assert_eq!((policy.parallelism, policy.retries, policy.deadline), (7, 3, None));
    refuses_spec(
        "type: job\ninstances: ^0",
        "instances: not for a job: it has at least one instance to bring to its end",
    );
    refuses_spec(
        "type: job\nrestart: {policy: ^always}",
        "restart.policy: not for a job: it comes to an end; write 'on_failure' or 'never'",
    );
    refuses_spec(
        "type: job\nrestart: {backoff: 30s}\njob: {deadline: ^20s}",
        "job.deadline: 20s is over before a failed instance is tried again after 30s: raise it, lower restart.backoff, or \
         write 'retries: 0'",
    );
    assert!(
        parse(&with_spec("type: job\nrestart: {backoff: 30s}\njob: {deadline: 20s, retries: 0}")).is_ok()
    );
    refuses_spec(
        "job: ^{}",
        "job: not for a service: only a job is worked off; leave it out or write 'type: job'",
    );
    refuses_spec("run_deadline: ^5m", "run_deadline: not for a service: it is kept running; leave it out");
}

#[test]
fn cron_workloads() {
    let cron = only(&with_spec(
        "type: cron\nschedule: {cron: '0 3 * * mon-fri', timezone: Europe/Oslo, overlap: replace, starting_deadline: 5m}",
    ));
    assert_eq!(cron.kind, WorkloadKind::Cron);
    let schedule = cron.instance.schedule.clone().unwrap();
    assert_eq!(schedule.cron, "0 3 * * mon-fri");
    assert_eq!(schedule.timezone, TimeZone::Named("Europe/Oslo".into()));
    assert_eq!(schedule.overlap, Overlap::Replace);
    assert_eq!(schedule.starting_deadline, Some(Duration::from_mins(5)));
    assert_eq!(cron.on_disconnect.replace_after, None);
    let least =
        only(&with_spec("type: cron\nschedule: {cron: '0 3 * * *'}")).instance.schedule.clone().unwrap();
    assert_eq!((least.timezone, least.overlap), (TimeZone::Site, Overlap::Forbid));

    refuses(
        &with_spec("type: cron").replace("  containers", "  ^containers"),
        "workload 'web': spec.schedule: missing (When a cron workload runs, as in 'schedule: {cron: \"0 3 * * *\"}')",
    );
    refuses_spec(
        "schedule: ^{cron: '0 3 * * *'}",
        "schedule: not for a service: only type 'cron' goes by a schedule; leave it out or write 'type: cron'",
    );
    let refuses_schedule = |fields: &str, expected: &str| {
        refuses_spec(&format!("type: cron\nschedule: {{{fields}}}"), &format!("schedule.{expected}"));
    };
    refuses_schedule(
        "cron: ^'0 0 31 2 *'",
        "cron: '0 0 31 2 *' is never due: no such day exists; change the day or the month",
    );
    refuses_schedule(
        "cron: ^'0 25 * * *'",
        "cron: schedule '0 25 * * *': at character 3: expected an hour from 0 to 23, found '25'",
    );
    let zone = "is not a time zone: write an IANA name such as 'Europe/Oslo'";
    refuses_schedule(
        "cron: '0 3 * * *', timezone: ^Oslo",
        &format!("timezone: 'Oslo' {zone}; did you mean 'Europe/Oslo'?"),
    );
    refuses_schedule(
        "cron: '0 3 * * *', timezone: ^Europe/Olso",
        &format!("timezone: 'Europe/Olso' {zone}; did you mean 'Europe/Oslo'?"),
    );
    refuses_schedule(
        "cron: '0 3 * * *', timezone: ^Mars/Olympus_Mons",
        &format!("timezone: 'Mars/Olympus_Mons' {zone}"),
    );
}

#[test]
fn daemons() {
    let daemon = only(&with_spec("type: daemon"));
    assert_eq!((daemon.kind, daemon.instances), (WorkloadKind::Daemon, 0));
    assert_eq!(daemon.on_disconnect.replace_after, None);
    refuses_spec(
        "type: daemon\ninstances: ^3",
        "instances: not for a daemon: it has one instance on every node that matches; leave it out",
    );
    refuses_spec(
        "type: daemon\non_disconnect: {replace_after: ^10m}",
        "on_disconnect.replace_after: not for a daemon: every node that matches has its own; write 'never' or leave it out",
    );
    refuses_spec(
        "type: daemon\nplacement: {spread: ^[{by: site, max_skew: 1}]}",
        "placement.spread: not for a daemon: it is on every node that matches, so there is nothing to spread; leave it out",
    );
    assert!(
        parse(&with_spec("type: daemon\non_disconnect: {replace_after: never}\nupdate: {canary: 3}")).is_ok()
    );
}

#[test]
fn updates() {
    let update = only(&with_spec(
        "instances: 9\nupdate:\n  strategy: rolling\n  max_unavailable: 0\n  max_surge: 2\n  canary: 1\n  auto_promote: false\n  \
         auto_revert: true\n  min_healthy: 30s\n  deadline: 1h\n  abort_percent: 20\n  per_site: 3\n  waves:\n    \
         - {match: site.tier=test, percent: 50, healthy_for: 1h}\n    - {count: 5}\n    - {}\n  \
         window: {days: [sat, sun], from: 22:00, to: 04:30}",
    ))
    .update;
    assert_eq!((update.max_unavailable, update.max_surge, update.canary), (0, 2, 1));
    assert!(!update.auto_promote && update.auto_revert);
    assert_eq!((update.min_healthy, update.deadline), (Duration::from_secs(30), Duration::from_hours(1)));
    let sizes: Vec<_> = update.waves.iter().map(|wave| wave.size).collect();
    assert_eq!(sizes, [WaveSize::Percent(50), WaveSize::Count(5), WaveSize::Percent(100)]);
    assert_eq!(update.waves[0].matches.to_string(), "site.tier=test");
    assert_eq!(update.waves[0].healthy_for, Duration::from_hours(1));
    let window = update.window.unwrap();
    assert_eq!((window.days, window.from_minute, window.minutes), (0b110_0000, 22 * 60, 390));
    let whole_day = only(&with_spec("update: {window: {from: 02:00, to: 02:00}}")).update.window.unwrap();
    assert_eq!((whole_day.days, whole_day.minutes), (0b111_1111, 1440));
    let default = only(LEAST).update;
    let min_healthy = Duration::from_secs(10);
    assert_eq!(default, skerry_types::UpdatePolicy { min_healthy, ..skerry_types::UpdatePolicy::default() });

    refuses_spec(
        "update: ^{max_unavailable: 0}",
        "update: max_unavailable and max_surge are both 0, so nothing could ever be replaced: let one of them be at least 1",
    );
    refuses_spec(
        "instances: 3\nupdate: {canary: ^4}",
        "update.canary: 4 canaries are more than the 3 instances: lower it or raise instances",
    );
    refuses_spec("update: {strategy: ^recreate}", "update.strategy: 'recreate' is not one of rolling");
    refuses_spec(
        "update: {waves: [^{count: 1, percent: 5}]}",
        "update.waves[0]: has count, percent: write exactly one of count, percent",
    );
    refuses_spec(
        "update: {waves: [{match: ^'a b'}]}",
        "update.waves[0].match: selector 'a b': at character 3: expected ',' between two terms, or one of = != in notin < <= \
         > >= after a name",
    );
    refuses_spec(
        "update: {waves: [{percent: ^101}]}",
        "update.waves[0].percent: 101 is out of bounds: at least 1, at most 100",
    );
    refuses_spec(
        "update: {window: {from: ^25:00, to: 03:00}}",
        "update.window.from: '25:00' is not a time of day: write hours and minutes, as in '02:00'",
    );
    refuses_spec(
        "update: {window: {days: [^monday], from: 02:00, to: 03:00}}",
        "update.window.days[0]: 'monday' is not one of mon, tue, wed, thu, fri, sat, sun; did you mean 'mon'?",
    );
    refuses_spec(
        "update: {window: ^{from: 02:00}}",
        "update.window.to: missing (When it closes, on the next day if that comes earlier; a whole day later if it is the same)",
    );
}

#[test]
fn disconnection() {
    let spec =
        only(&with_spec("on_disconnect: {replace_after: 1h, on_return: keep_healthiest, stop_after: 2h}"));
    assert_eq!(spec.on_disconnect.replace_after, Some(Duration::from_hours(1)));
    assert_eq!(spec.on_disconnect.on_return, OnReturn::KeepHealthiest);
    assert_eq!(spec.on_disconnect.stop_after, Some(Duration::from_hours(2)));
    assert_eq!(spec.instance.stop_after, Some(Duration::from_hours(2)));
    assert_eq!(only(LEAST).on_disconnect.replace_after, Some(Duration::from_mins(10)));
    let never = only(&with_spec("on_disconnect: {replace_after: never, stop_after: never}")).on_disconnect;
    assert_eq!((never.replace_after, never.stop_after), (None, None));
    refuses_spec(
        "on_disconnect: {on_return: ^keep_orignal}",
        "on_disconnect.on_return: 'keep_orignal' is not one of keep_original, keep_new, keep_healthiest; did you mean 'keep_original'?",
    );
    refuses_spec(
        "on_disconnect: {replace_after: ^0s}",
        "on_disconnect.replace_after: 0s is out of bounds: at least 1s, at most 366d",
    );
}

#[test]
fn scaling() {
    let spec = only(&with_spec("scale: {min: 2, max: 10, cpu: 70%}"));
    let scale = spec.scale.unwrap();
    assert_eq!((spec.instances, scale.min, scale.max, scale.step), (2, 2, 10, 4));
    assert_eq!((scale.target, scale.stabilization), (ScaleTarget::Cpu(70), Duration::from_mins(5)));
    let metric = only(&with_spec(
        "instances: 3\nscale: {min: 2, max: 10, metric: {name: queue_length, value: 12.5}, stabilization: 0s, step: 1}",
    ));
    let target = metric.scale.unwrap().target;
    assert_eq!(target, ScaleTarget::Metric { name: "queue_length".into(), value_milli: 12_500 });

    let refuses_scale = |fields: &str, expected: &str| {
        refuses_spec(&format!("scale: {fields}"), &format!("scale{expected}"));
    };
    refuses_scale("{min: ^5, max: 4, cpu: 70%}", ".min: 5 is more than max 4: lower it or raise max");
    refuses_scale("^{min: 1, max: 4}", ": has none of them: write exactly one of cpu, memory, metric");
    refuses_scale(
        "^{min: 1, max: 4, cpu: 70%, memory: 70%}",
        ": has cpu, memory: write exactly one of cpu, memory, metric",
    );
    refuses_scale(
        "{min: 1, max: 4, cpu: ^'70'}",
        ".cpu: '70' is not a part in hundredths from 1% to 1000%: write it as in '70%'",
    );
    refuses_scale("{min: 1, max: 4, cpu: ^70}", ".cpu: expected text, found '70'; put it in quotes");
    refuses_scale(
        "{min: 1, max: 4, metric: {name: q, value: ^0.0001}}",
        ".metric.value: '0.0001' is not a number from 0 with 3 decimals at most, or is too large",
    );
    refuses_spec(
        "instances: ^1\nscale: {min: 2, max: 4, cpu: 70%}",
        "instances: 1 is outside of scale's 2 to 4: leave it out to begin with 2",
    );
    refuses_spec(
        "type: job\nscale: ^{min: 1, max: 4, cpu: 70%}",
        "scale: not for a job: only a service follows its load; leave it out",
    );
}

#[test]
fn nearness_and_company() {
    let placement = only(&with_spec(
        "placement:\n  near: [{point: '59.91,10.75', weight: 20}, {site: oslo-1}]\n  \
         affinity: [{match: app=cache, by: node, weight: 10}]\n  anti_affinity: [{match: app=web, by: site}]",
    ))
    .placement;
    assert_eq!(placement.near[0].to, Place::Point("59.91,10.75".parse().unwrap()));
    assert_eq!((placement.near[0].weight, placement.near[1].weight), (20, 50));
    assert_eq!(placement.near[1].to, Place::Site("oslo-1".parse().unwrap()));
    assert_eq!(placement.affinity[0].weight, Some(10));
    assert_eq!(placement.anti_affinity[0].weight, None);
    refuses_spec(
        "placement: {near: [{point: ^'91,0'}]}",
        "placement.near[0].point: '91,0' is not a place: write latitude and longitude in degrees, as in '59.91,10.75'",
    );
    refuses_spec(
        "placement: {near: [^{point: '1,1', site: a}]}",
        "placement.near[0]: has point, site: write exactly one of point, site",
    );
    refuses_spec(
        "placement: {anti_affinity: [{match: ^'', by: node}]}",
        "placement.anti_affinity[0].match: is empty; say which workloads are meant, as in 'app=web'",
    );
    refuses_spec(
        "placement: {affinity: [{match: a, by: ^rack}]}",
        "placement.affinity[0].by: 'rack' is neither 'site', 'node' nor 'region.name', nor an attribute such as 'node.rack'",
    );
    refuses_spec(
        "placement: {affinity: [^{match: a}]}",
        "placement.affinity[0].by: missing (The same or another what: `site`, `node`, or an attribute such as `node.rack`)",
    );
}

#[test]
fn priority_and_grace() {
    let spec = only(&with_spec("priority: 100\nstop_grace: 1m"));
    assert_eq!((spec.priority, spec.instance.stop_grace), (100, Duration::from_mins(1)));
    assert_eq!(only(LEAST).priority, 50);
    refuses_spec("priority: ^101", "priority: 101 is out of bounds: at least 0, at most 100");
    let spec = only(&with_spec("stop_delay: 5s"));
    assert_eq!(spec.instance.stop_delay, Duration::from_secs(5));
    assert_eq!(only(LEAST).instance.stop_delay, Duration::ZERO);
    refuses_spec("stop_delay: ^11m", "stop_delay: 11m is out of bounds: at least 0s, at most 10m");
    refuses_spec("stop_grace: ^2h", "stop_grace: 2h is out of bounds: at least 0s, at most 1h");
}

#[test]
fn what_nobody_looks_at_counts_as_well_later() {
    let check = |containers: &str, expect: u64| {
        let text = with_spec("").replace("  containers:", &format!("{containers}  containers:"));
        let found = only(&text).update.min_healthy;
        assert_eq!(found, Duration::from_secs(expect), "{containers}");
    };
    check("", 10);
    check("  update: {min_healthy: 0s}\n", 0);
    check("  update: {canary: 1}\n", 10);
    let found = |container: &str| only(&with_container(container)).update.min_healthy.as_secs();
    assert_eq!(found(""), 10);
    assert_eq!(found(&format!("{WEB}ready: {{tcp: {{port: http}}}}")), 3);
    assert_eq!(found("health: {exec: {command: [/bin/check]}}"), 3);
}

#[test]
fn exclusive_workloads_have_a_lease() {
    let lease = |spec: &str| only(&with_spec(spec)).exclusive().map(|lease| lease.length().as_secs());
    assert_eq!(lease("exclusive: false\ntype: service"), None);
    assert_eq!(lease("exclusive: true"), Some(60));
    assert_eq!(lease("exclusive: true\nlease: 10s\nstop_grace: 3s"), Some(10));
    assert_eq!(lease("exclusive: true\nlease: 1h\ntype: job"), Some(3600));
}

#[test]
fn leases_that_could_not_be_kept() {
    refuses_spec(
        "lease: ^1m",
        "lease: only what is exclusive has a lease: write 'exclusive: true' or leave it out",
    );
    refuses_spec("exclusive: true\nlease: ^9s", "lease: 9s is out of bounds: at least 10s, at most 1h");
    refuses_spec(
        "exclusive: true\nstop_grace: 10s\nlease: ^23s",
        "lease: 23s is too short to stop in: with a stop_grace of 10s for each container write 24s or more, or lower stop_grace",
    );
    assert!(parse(&with_spec("exclusive: true\nstop_grace: 10s\nlease: 24s")).is_ok());
    refuses_spec(
        "exclusive: true\nupdate: {max_surge: ^1}",
        "update.max_surge: an exclusive instance never has two copies at once: leave it out, the old copy stops before the new \
         one starts",
    );
    refuses_spec(
        "exclusive: ^true\ntype: daemon",
        "exclusive: not for a daemon: every node has its own instance, and nothing replaces it elsewhere; leave it out",
    );
}
