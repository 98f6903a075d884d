//! Workloads as operators make them up. What a name ends with says which rules hold for it.

use std::sync::Arc;
use std::time::Duration;

use skerry_types::{
    Bytes, Capabilities, ContainerName, ContainerSpec, HostPort, ImageDigest, InstanceSpec, JobPolicy,
    Labels, Lease, Limits, MilliCpu, OnDisconnect, OnReturn, Overlap, Placement, PortName, PortSpec, Probes,
    Protocol, Resources, RestartPolicy, RestartWhen, Schedule, Selector, TenantName, TimeZone, UpdatePolicy,
    Wave, WaveSize, WorkloadKey, WorkloadKind, WorkloadName, WorkloadSpec,
};

use crate::event::MasterAt;
use crate::rng::Rng;

/// What the containers of a version that never runs are told.
const BAD: &str = "bad";
/// Longer than a cut of the last stages, so that only storms make replacements.
const REPLACE_AFTER_S: std::ops::Range<u64> = 200..300;

/// How often what is due again and again is due in a world of this pace: every two minutes of a storm, every half an hour of
/// weather.
pub(crate) fn every_ms(pace: u64) -> u64 {
    pace.min(15) * 120_000
}

/// How many times as long as in a storm leases are in a world of this pace.
pub(crate) fn lease_factor(pace: u64) -> u64 {
    pace.min(2)
}

/// The rules of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// It wants one port of the node's.
    Port,
    /// What is away for long is replaced.
    Replaced,
    /// An update makes before it breaks.
    Surge,
    /// It is of a tenant with a limit.
    Limited,
    /// It never runs twice, and what is away is replaced soon.
    Exclusive,
    /// Its instances come to an end, once each.
    Job,
    /// Its instances run again and again, when they are due.
    Cron,
    /// Every node has one.
    Daemon,
    /// Every region has one of this name.
    Clash,
}

impl Rules {
    const ALL: [Self; 9] = [
        Self::Port,
        Self::Replaced,
        Self::Surge,
        Self::Limited,
        Self::Exclusive,
        Self::Job,
        Self::Cron,
        Self::Daemon,
        Self::Clash,
    ];

    fn letter(self) -> char {
        match self {
            Self::Port => 'p',
            Self::Replaced => 'r',
            Self::Surge => 's',
            Self::Limited => 'l',
            Self::Exclusive => 'x',
            Self::Job => 'j',
            Self::Cron => 't',
            Self::Daemon => 'd',
            Self::Clash => 'c',
        }
    }

    pub(crate) fn of(key: &WorkloadKey) -> Self {
        let last = key.name.as_str().chars().next_back();
        Self::ALL.into_iter().find(|rules| Some(rules.letter()) == last).unwrap_or(Self::Clash)
    }

    /// Whether its containers come to an end by themselves.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Job | Self::Cron)
    }

    fn kind(self, rng: &mut Rng) -> WorkloadKind {
        match self {
            Self::Job => {
                let (parallelism, retries) = (1 + rng.below(3), rng.below(3));
                let number = |count| u32::try_from(count).unwrap_or_default();
                WorkloadKind::Job(JobPolicy {
                    parallelism: number(parallelism),
                    retries: number(retries),
                    deadline: None,
                })
            }
            Self::Cron => WorkloadKind::Cron,
            Self::Daemon => WorkloadKind::Daemon,
            _ => WorkloadKind::Service,
        }
    }

    pub(crate) fn surge(self) -> usize {
        usize::from(matches!(self, Self::Surge | Self::Limited))
    }

    pub(crate) fn max_unavailable(self) -> usize {
        match self {
            Self::Surge => 0,
            Self::Limited => 2,
            _ => 1,
        }
    }
}

/// The tenant with a limit.
pub(crate) fn limited() -> TenantName {
    TenantName::new("acme").expect("a tenant name")
}

/// One of the workloads that operators of a region know of.
pub(crate) fn any_key(rng: &mut Rng, at: MasterAt) -> WorkloadKey {
    let rules = match at {
        0 => Rules::ALL[rng.below(Rules::ALL.len())],
        _ => Rules::ALL[1 + rng.below(Rules::ALL.len() - 1)],
    };
    let name = if rules == Rules::Clash { "c".to_owned() } else { format!("w{at}-{}", rules.letter()) };
    let tenant = if rules == Rules::Limited { limited() } else { TenantName::default() };
    WorkloadKey { tenant, name: WorkloadName::new(name).expect("a workload name") }
}

/// Whether it is a version that never runs.
pub(crate) fn is_bad(spec: &InstanceSpec) -> bool {
    spec.containers.iter().any(|container| container.args.iter().any(|word| word == BAD))
}

/// Makes a version that never runs.
pub(crate) fn spoil(spec: &mut WorkloadSpec) {
    Arc::make_mut(&mut spec.instance).containers[0].args = vec![BAD.to_owned()];
}

/// Makes another version, which runs and takes no more than the one before. Without room it may fail, and what it would go back
/// to may be one that never runs for long.
pub(crate) fn renew(spec: &mut WorkloadSpec) {
    spec.update.auto_revert = false;
    // Nobody is there to say the word.
    spec.update.auto_promote = true;
    Arc::make_mut(&mut spec.instance).containers[0].args = vec!["mended".to_owned()];
}

pub(crate) fn any(rng: &mut Rng, key: WorkloadKey, pace: u64) -> WorkloadSpec {
    let rules = Rules::of(&key);
    let host = match rng.below(3) {
        _ if rules == Rules::Port => HostPort::Fixed(8080),
        0 => HostPort::None,
        _ => HostPort::Auto,
    };
    let name = PortName::new("http").expect("a port name");
    let port = PortSpec { name, container: 80, protocol: Protocol::Tcp, host };
    let count = 1 + rng.below(2);
    let mut containers: Vec<ContainerSpec> = (0..count).map(|at| container(rng, at)).collect();
    containers[0].ports.push(port);
    let small = matches!(rules, Rules::Port | Rules::Exclusive | Rules::Clash);
    let exclusive = (rules == Rules::Exclusive).then(|| {
        // No longer than the last stages can wait for.
        let length = Duration::from_secs(rng.within(24..60) * lease_factor(pace));
        Lease::new(length).expect("twice the longest stop and its margin, and less than an hour")
    });
    WorkloadSpec {
        key,
        labels: Labels::new(),
        kind: rules.kind(rng),
        instances: match rules {
            Rules::Daemon => 0,
            _ => u32::try_from(rng.below(if small { 3 } else { 6 })).unwrap_or_default(),
        },
        instance: Arc::new(InstanceSpec {
            containers,
            restart: RestartPolicy {
                when: match (rules.ends(), rng.percent(80)) {
                    (false, true) => RestartWhen::Always,
                    (true, true) | (false, false) => RestartWhen::OnFailure,
                    (true, false) => RestartWhen::Never,
                },
                backoff: Duration::from_millis(500),
                max_backoff: Duration::from_secs(8),
            },
            stop_grace: Duration::from_secs(rng.within(1..5)),
            stop_delay: Duration::ZERO,
            init: Vec::new(),
            schedule: (rules == Rules::Cron).then(|| schedule(rng, pace)),
            deadline: None,
            stop_after: None,
            exclusive,
        }),
        placement: Placement::default(),
        priority: WorkloadSpec::DEFAULT_PRIORITY,
        update: update(rng, rules),
        on_disconnect: on_disconnect(rng, rules),
        scale: None,
    }
}

fn update(rng: &mut Rng, rules: Rules) -> UpdatePolicy {
    UpdatePolicy {
        max_unavailable: u32::try_from(rules.max_unavailable()).unwrap_or_default(),
        max_surge: u32::try_from(rules.surge()).unwrap_or_default(),
        canary: u32::from(rng.percent(20)),
        auto_promote: rng.percent(80),
        waves: waves(rng),
        abort_percent: [1, 50, 100][rng.below(3)],
        auto_revert: rng.percent(50) && rules != Rules::Limited,
        min_healthy: Duration::from_secs(rng.within(0..4)),
        deadline: Duration::from_secs(90),
        ..UpdatePolicy::default()
    }
}

fn schedule(rng: &mut Rng, pace: u64) -> Schedule {
    Schedule {
        cron: format!("*/{} * * * *", every_ms(pace) / 60_000),
        timezone: TimeZone::Named("UTC".to_owned()),
        overlap: [Overlap::Forbid, Overlap::Replace][rng.below(2)],
        starting_deadline: rng.percent(50).then_some(Duration::from_secs(30)),
    }
}

/// Half of the updates go all at once, the others by one instance, then half of them, then the rest.
fn waves(rng: &mut Rng) -> Vec<Wave> {
    let count = if rng.percent(50) { 1 + rng.below(2) } else { 0 };
    let sizes = [WaveSize::Count(1), WaveSize::Percent(50)];
    let wave = |size| Wave {
        matches: Selector::default(),
        size,
        healthy_for: Duration::from_secs(rng.within(0..10)),
    };
    sizes.into_iter().take(count).map(wave).collect()
}

fn on_disconnect(rng: &mut Rng, rules: Rules) -> OnDisconnect {
    if rules == Rules::Exclusive {
        let replace_after = Some(Duration::from_secs(rng.within(1..60)));
        return OnDisconnect { replace_after, ..OnDisconnect::default() };
    }
    if rules != Rules::Replaced {
        return OnDisconnect::default();
    }
    OnDisconnect {
        replace_after: Some(Duration::from_secs(rng.within(REPLACE_AFTER_S))),
        on_return: [OnReturn::KeepOriginal, OnReturn::KeepNew, OnReturn::KeepHealthiest][rng.below(3)],
        stop_after: None,
    }
}

fn container(rng: &mut Rng, at: usize) -> ContainerSpec {
    let image = rng.below(6);
    ContainerSpec {
        name: ContainerName::new(format!("c{at}")).expect("a container name"),
        image: format!("registry.example/i{image}:1"),
        digest: ImageDigest::new(format!("sha256:{image:064x}")).ok(),
        command: Vec::new(),
        args: vec![rng.within(0..30).to_string()],
        env: Vec::new(),
        resources: Resources {
            cpu: MilliCpu(rng.within(1..6) * 100),
            memory: Bytes(rng.within(1..6) << 26),
            disk: Bytes(0),
            ..Resources::default()
        },
        limits: Limits { cpu: None, memory: Bytes(1 << 29), pids: 64 },
        ports: Vec::new(),
        user: None,
        read_only: false,
        capabilities: Capabilities::default(),
        probes: Probes::default(),
        stop_signal: None,
    }
}
