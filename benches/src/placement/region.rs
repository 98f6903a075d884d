//! A region's brain over its real store: what placing costs when every allocation is on disk before anybody hears of it, and what the
//! books of a fleet's update cost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rustix::time::{ClockId, clock_gettime};
use skerry_region_state::{
    Action, ApiCall, CallId, ChildIdentity, EnrollWish, Input, LinkId, NewToken, NodeIdentity, RegionConfig,
    RegionState, SecretHash, TokenScope,
};
use skerry_store::{SledStore, Store};
use skerry_types::{
    AllocationId, AllocationStatus, Batch, Bytes, Generation, MilliCpu, MonoTime, NodeFacts, NodeName, Now,
    PersistId, Phase, RegionName, Resources, SiteName, UpdatePolicy, WallTime, Wave, WaveSize, WorkloadKind,
    WorkloadSpec,
};
use skerry_wire::{
    Cursor, Epoch, Hello, Incarnation, IntentRow, ObservedRow, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Revision,
    Row, RowKey, RowsFrame, TableId, ToChild, ToParent,
};

use super::skerry::workload;
use crate::Measurement;

/// Nodes of the region whose placements are measured.
const NODES: usize = 1_000;
/// Workloads, and instances of each.
const WORKLOADS: u32 = 20;
const INSTANCES: u32 = 1_000;
/// Members of the fleet whose update is measured, and its waves.
const FLEET: usize = 10_000;
const WAVES: u32 = 10;
/// Nomad's scheduler on the machine that the goals were set on, at as many nodes.
const NOMAD_PER_SECOND: f64 = 4_619.0;

/// Allocations a second with each batch on disk before the answer leaves.
pub(crate) fn durable(folder: &Path) -> Result<Vec<Measurement>> {
    let store = SledStore::open(folder.join("store"))?;
    let mut region = Region::new(Some(store), NODES)?;
    let specs: Vec<WorkloadSpec> = (0..WORKLOADS)
        .map(|number| workload(&format!("w{number}"), INSTANCES, small()))
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    for spec in specs {
        region.apply(spec)?;
    }
    let took = begin.elapsed().as_secs_f64();
    let placed = u32::try_from(region.state.intents().count())?;
    if placed != WORKLOADS * INSTANCES {
        bail!("{placed} of {} instances found a place", WORKLOADS * INSTANCES);
    }
    let rate = f64::from(placed) / took;
    let row = Measurement::new("durable allocations a second, 1,000 nodes", rate, "/s");
    Ok(vec![row.with_peer("Nomad, another day", NOMAD_PER_SECOND).at_least(20_000.0)])
}

/// What a master's processor does for an update of ten thousand members in ten waves, from the first to the last report.
pub(crate) fn fleet_update() -> Result<Vec<Measurement>> {
    let mut region = Region::new(None, FLEET)?;
    let mut spec = workload("fleet", 0, small())?;
    spec.kind = WorkloadKind::Daemon;
    region.apply(spec.clone())?;
    region.report_all()?;
    Arc::make_mut(&mut spec.instance).containers[0].args = vec!["2".to_owned()];
    let wave = |_| Wave {
        matches: skerry_types::Selector::default(),
        size: WaveSize::Count(u32::try_from(FLEET).unwrap_or(u32::MAX) / WAVES),
        healthy_for: Duration::from_secs(30),
    };
    spec.update = UpdatePolicy {
        max_unavailable: u32::try_from(FLEET)?,
        waves: (0..WAVES - 1).map(wave).collect(),
        ..UpdatePolicy::default()
    };
    region.spent = Duration::ZERO;
    region.apply(spec)?;
    let mut rounds = 0;
    while region.outdated() > 0 {
        region.report_all()?;
        region.wait(Duration::from_secs(31))?;
        rounds += 1;
        if rounds > 10 * WAVES {
            bail!("the update does not end: {} members are left", region.outdated());
        }
    }
    let row = Measurement::new(
        "update of 10,000 nodes in 10 waves, master's processor",
        region.spent.as_secs_f64(),
        "s",
    );
    Ok(vec![row.at_most(1.0)])
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn small() -> Resources {
    Resources { cpu: MilliCpu(10), memory: Bytes(1 << 20), ..Resources::ZERO }
}

/// A brain, its store, and nodes that say what they are told to.
struct Region {
    state: RegionState,
    store: Option<SledStore>,
    now: Now,
    nodes: Vec<Fake>,
    calls: u64,
    /// Processor time inside the brain: the clock on the wall shows who else runs, too.
    spent: Duration,
}

/// A node as the region sees it.
struct Fake {
    link: LinkId,
    revision: u64,
    /// What it was told and has not answered.
    told: Vec<Row>,
    cursor: Cursor,
}

impl Region {
    fn new(store: Option<SledStore>, nodes: usize) -> Result<Self> {
        let now = Now { mono: MonoTime(Duration::from_secs(1)), wall: WallTime(1_700_000_000_000) };
        let config = RegionConfig {
            region: RegionName::new("bench")?,
            incarnation: Incarnation(7),
            software: "bench".to_owned(),
            has_parent: false,
        };
        let state = RegionState::load(config, now, Vec::new())?;
        let mut region = Self { state, store, now, nodes: Vec::new(), calls: 0, spent: Duration::ZERO };
        let site = SiteName::new("s")?;
        let id = "t".parse()?;
        let token = NewToken {
            id,
            secret: SecretHash([1; 32]),
            scope: TokenScope::Site(site.clone()),
            expires: WallTime(u64::MAX),
            uses: u32::MAX,
        };
        region.call(ApiCall::CreateToken(token))?;
        for number in 0..nodes {
            region.join(number, &site)?;
        }
        Ok(region)
    }

    fn join(&mut self, number: usize, site: &SiteName) -> Result<()> {
        let node = NodeName::new(format!("n{number:05}"))?;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&u64::try_from(number)?.to_be_bytes());
        let wish = EnrollWish::Node { node: node.clone(), site: None };
        self.calls += 1;
        let (call, token, secret) = (CallId(self.calls), "t".parse()?, SecretHash([1; 32]));
        self.feed(Input::Enroll { call, token, secret, wish, key })?;
        let link = LinkId(u64::try_from(number)? + 1);
        let identity = NodeIdentity { node, site: site.clone(), expires: WallTime(u64::MAX), key };
        self.feed(Input::LinkUp(link, ChildIdentity::Node(identity)))?;
        let hello = Hello {
            oldest: PROTOCOL_OLDEST,
            newest: PROTOCOL_NEWEST,
            software: "bench".to_owned(),
            cursor: Cursor::default(),
            epoch: Epoch(1),
            head: Revision(0),
        };
        self.nodes.push(Fake { link, revision: 1, told: Vec::new(), cursor: Cursor::default() });
        self.feed(Input::Received(link, ToParent::Hello(hello)))?;
        let capacity = Resources {
            cpu: MilliCpu(64_000),
            memory: Bytes(64 << 30),
            disk: Bytes(1 << 40),
            ..Resources::ZERO
        };
        let facts =
            NodeFacts { capacity, machine: capacity, port_range: (20_000, 29_999), ..NodeFacts::default() };
        let row = Row {
            key: RowKey::new(TableId::FACTS, ""),
            revision: Revision(1),
            value: Some(ObservedRow::Facts(facts).encode()),
        };
        let frame = RowsFrame::Snapshot {
            epoch: Epoch(1),
            incarnation: Incarnation(1),
            first: true,
            rows: vec![row],
            end: Some(Revision(1)),
        };
        self.feed(Input::Received(link, ToParent::Rows(frame)))
    }

    fn apply(&mut self, spec: WorkloadSpec) -> Result<()> {
        self.call(ApiCall::Apply { spec: Arc::new(spec), dry_run: false })
    }

    fn call(&mut self, call: ApiCall) -> Result<()> {
        self.calls += 1;
        self.feed(Input::Call(CallId(self.calls), call))
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        let end = self.now.mono + time;
        while let Some(at) = self.state.poll_timeout().filter(|at| *at <= end) {
            self.now.mono = at.max(self.now.mono);
            self.feed(Input::Timeout)?;
        }
        self.now.mono = end;
        Ok(())
    }

    /// Lets the brain take something in, and does what it says until it has no more to say.
    fn feed(&mut self, input: Input) -> Result<()> {
        self.handle(input);
        loop {
            let begin = processor_time();
            let actions: Vec<Action> = std::iter::from_fn(|| self.state.poll_action()).collect();
            self.spent += processor_time().saturating_sub(begin);
            let mut batches: Vec<Batch> = Vec::new();
            let mut last = None;
            for action in actions {
                match action {
                    Action::Persist(id, batch) => {
                        last = Some(id);
                        batches.push(batch);
                    }
                    Action::Send(link, ToChild::Rows(frame)) => self.hear(link, frame),
                    Action::Reply(_, Err(error)) => bail!("the region refuses: {error}"),
                    _ => {}
                }
            }
            let Some(id) = last else { return Ok(()) };
            if let Some(store) = &mut self.store {
                store.commit(&batches)?;
            }
            self.handle(Input::Persisted(PersistId(id.0)));
        }
    }

    fn handle(&mut self, input: Input) {
        let begin = processor_time();
        self.state.handle(self.now, input);
        self.spent += processor_time().saturating_sub(begin);
    }

    fn hear(&mut self, link: LinkId, frame: RowsFrame) {
        let Some(node) = self.nodes.get_mut(usize::try_from(link.0).unwrap_or(usize::MAX) - 1) else {
            return;
        };
        let (epoch, incarnation, rows, end) = match frame {
            RowsFrame::Delta { epoch, incarnation, rows } => (epoch, incarnation, rows, None),
            RowsFrame::Snapshot { epoch, incarnation, rows, end, .. } => (epoch, incarnation, rows, end),
        };
        let newest = rows.iter().map(|row| row.revision).max().into_iter().chain(end).max();
        let revision = newest.unwrap_or_default().max(node.cursor.revision);
        node.cursor = Cursor { epoch, incarnation, revision };
        node.told.extend(rows);
    }

    /// Every node says that it does what it was told.
    fn report_all(&mut self) -> Result<()> {
        loop {
            let heard: Vec<usize> =
                (0..self.nodes.len()).filter(|at| !self.nodes[*at].told.is_empty()).collect();
            if heard.is_empty() {
                return Ok(());
            }
            for at in heard {
                self.report(at)?;
            }
        }
    }

    fn report(&mut self, at: usize) -> Result<()> {
        let node = &mut self.nodes[at];
        let (link, cursor) = (node.link, node.cursor);
        let mut rows = Vec::new();
        for row in std::mem::take(&mut node.told) {
            node.revision += 1;
            let value = row.value.as_deref().map(status).transpose()?;
            let key = RowKey::new(TableId::STATUS, row.key.key);
            rows.push(Row { key, revision: Revision(node.revision), value });
        }
        self.feed(Input::Received(link, ToParent::Ack(cursor)))?;
        self.feed(Input::Received(
            link,
            ToParent::Rows(RowsFrame::Delta { epoch: Epoch(1), incarnation: Incarnation(1), rows }),
        ))
    }

    /// Allocations of a generation before the last.
    fn outdated(&self) -> usize {
        let newest = self.state.intents().map(|(_, intent)| intent.generation).max().unwrap_or(Generation(0));
        self.state.intents().filter(|(_, intent)| intent.generation < newest).count()
    }
}

/// What a node that does as it is told says of an allocation.
fn status(intent: &[u8]) -> Result<Vec<u8>> {
    let IntentRow::Allocation(intent) =
        IntentRow::decode(intent).map_err(|error| anyhow!("a row of intent: {error}"))?;
    let runs = intent.desired == skerry_types::Desired::Run;
    let status = AllocationStatus {
        id: AllocationId::new(intent.id.as_str())?,
        generation: intent.generation,
        phase: if runs { Phase::Running } else { Phase::Stopped },
        reason: None,
        address: None,
        containers: Vec::new(),
        since: WallTime(1),
        ready_since: runs.then_some(WallTime(1)),
        last_due: None,
        token: None,
    };
    Ok(ObservedRow::Status(status).encode())
}
