//! What a swarm is put through, and what is measured on the way.

use std::process;

use anyhow::{Context, Result, ensure};
use skerry_ground::measure::{Measurement, count};
use skerry_ground::region::tail;
use tokio::time::{Duration, Instant, sleep};

use crate::fleet::{Fleet, enrol, silent_links};
use crate::operator::Operator;
use crate::process::{cpu, peak_kib, rss_kib};
use crate::stage::{Stage, until};

/// Longest for anything: a swarm that takes longer has failed.
const LIMIT: Duration = Duration::from_mins(5);
/// Between two looks through the API, which cost the master something.
const API_PAUSE: Duration = Duration::from_millis(200);
const HOUR: Duration = Duration::from_hours(1);
/// Lines of the master's log that are shown when something failed.
const LOG_LINES: usize = 12;

/// How large a swarm is and how long it is watched.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Nodes.
    pub agents: usize,
    /// Workloads of one instance on each node.
    pub allocations: usize,
    /// What every operation of the scripted runtime takes.
    pub operation: Duration,
    /// Time in which nothing is done before an idle master is looked at.
    pub settle: Duration,
    /// How long an idle master is looked at.
    pub idle: Duration,
    /// How long the master is away in the second storm, beyond what it takes for links to be given up; none without.
    pub outage: Option<Duration>,
}

/// A swarm on its way.
pub struct Course {
    plan: Plan,
    stage: Stage,
    fleet: Fleet,
    operator: Operator,
    /// Of the master before anybody came, in KiB.
    empty_kib: f64,
    /// UDP bytes of a handshake that resumes its session.
    resumed: u64,
    /// Workloads so far.
    workloads: usize,
    rows: Vec<Measurement>,
}

impl Course {
    /// Runs a whole course, and gives what was measured. Everything that was started has ended then, also after a failure.
    pub fn run(plan: Plan) -> Result<Vec<Measurement>> {
        let stage = Stage::new()?;
        let host = stage.host();
        host.namespace().within(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(Self::all(plan, stage))
        })?
    }

    async fn all(plan: Plan, stage: Stage) -> Result<Vec<Measurement>> {
        let mut course = Self::begin(plan, stage).await?;
        if let Err(error) = course.measure().await {
            let said = tail(&course.stage.master.log(), LOG_LINES);
            return Err(error.context(format!("{}; the master said last:\n{said}", course.fleet.tally)));
        }
        let rows = std::mem::take(&mut course.rows);
        course.end().await?;
        Ok(rows)
    }

    async fn measure(&mut self) -> Result<()> {
        self.load().await?;
        self.rest().await?;
        self.storm("kill -9, started again at once", None).await?;
        if let Some(outage) = self.plan.outage {
            self.storm("away for long", Some(outage)).await?;
        }
        self.scatter().await
    }

    /// Starts the master, joins all nodes and links them up.
    async fn begin(plan: Plan, mut stage: Stage) -> Result<Self> {
        stage.start().await?;
        let mut operator = Operator::new(&stage.master.context())?;
        let token = operator.token(plan.agents).await?;
        let empty_kib = rss_kib(stage.pid()?)?;
        let (start, before) = (Instant::now(), cpu(stage.pid()?)?);
        let members = enrol(&token, plan.agents, &stage.keys()?).await?;
        let took = start.elapsed();
        let spent = cpu(stage.pid()?)?.saturating_sub(before);
        let mut rows = vec![
            Measurement::new("joins a second", count(plan.agents) / took.as_secs_f64(), "1/s"),
            per_thousand("master's CPU for 1,000 joins", spent, plan.agents),
        ];
        let masters = [stage.master.links().to_string()];
        let (full, resumed) = silent_links(members.first().context("a swarm has agents")?, &masters).await?;
        rows.push(Measurement::new("UDP bytes of a full handshake", count(usize::try_from(full)?), "B"));
        rows.push(Measurement::new("UDP bytes of a resumed one", count(usize::try_from(resumed)?), "B"));
        let start = Instant::now();
        let fleet = Fleet::start(members, &masters, plan.operation)?;
        let all = || fleet.tally.in_sync() == plan.agents;
        until("all agents in sync", LIMIT, all).await?;
        rows.push(Measurement::new(
            "first links, all in sync",
            seconds(fleet.tally.synced_at() - start),
            "s",
        ));
        Ok(Self { plan, stage, fleet, operator, empty_kib, resumed, workloads: 0, rows })
    }

    fn kib_per_agent(&self) -> Result<f64> {
        Ok((rss_kib(self.stage.pid()?)? - self.empty_kib) / count(self.plan.agents))
    }

    /// Puts all workloads on all nodes.
    async fn load(&mut self) -> Result<()> {
        let each = self.kib_per_agent()?;
        self.rows.push(Measurement::new("master's memory for each agent, nothing to do", each, "KiB"));
        for number in 0..self.plan.allocations {
            let (told, runs) = self.apply_to_all().await?;
            if number + 1 == self.plan.allocations {
                let name = "an apply to all, acknowledged by the last";
                self.rows.push(Measurement::new(name, seconds(told), "s").at_most(3.0));
                self.rows.push(Measurement::new("an apply to all, all run", seconds(runs), "s"));
            }
        }
        Ok(())
    }

    /// One instance more on every node: until the last node has it on disk, and until all run.
    async fn apply_to_all(&mut self) -> Result<(Duration, Duration)> {
        let name = format!("everywhere-{}", self.workloads);
        let start = Instant::now();
        self.operator.apply_to_all(&name).await?;
        let told = self.wait_until_told(start).await?;
        let runs = self.wait_until_running(&name, start).await?;
        Ok((told, runs))
    }

    async fn wait_until_told(&mut self, start: Instant) -> Result<Duration> {
        self.workloads += 1;
        let tally = &self.fleet.tally;
        let wanted = self.workloads * self.plan.agents;
        until("the last acknowledgement", LIMIT, || tally.held() == wanted).await?;
        Ok(tally.told_at() - start)
    }

    async fn wait_until_running(&mut self, name: &str, start: Instant) -> Result<Duration> {
        loop {
            let workload = self.operator.workload(name).await?;
            if usize::try_from(workload.running)? == self.plan.agents {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < LIMIT, "{name}: {} run after {LIMIT:?}", workload.running);
            sleep(API_PAUSE).await;
        }
    }

    /// Lets everything settle, and looks at what idle agents cost.
    async fn rest(&mut self) -> Result<()> {
        eprintln!("loaded: {}", self.fleet.tally);
        if self.plan.idle.is_zero() {
            return Ok(());
        }
        sleep(self.plan.settle).await;
        let (master, own) = (self.stage.pid()?, process::id());
        let (master_before, own_before) = (cpu(master)?, cpu(own)?);
        let (before, start) = (self.fleet.tally.traffic(), Instant::now());
        sleep(self.plan.idle).await;
        let passed = start.elapsed();
        let after = self.fleet.tally.traffic();
        let share = |spent: Duration| 100.0 * spent.as_secs_f64() / passed.as_secs_f64();
        let spent = share(cpu(master)?.saturating_sub(master_before));
        let own = share(cpu(own)?.saturating_sub(own_before)) / count(self.plan.agents) * 1e3;
        let bytes = count(usize::try_from(after.ip_bytes() - before.ip_bytes())?);
        let hourly = bytes / passed.as_secs_f64() * HOUR.as_secs_f64() / count(self.plan.agents);
        let each = self.kib_per_agent()?;
        let rss = rss_kib(master)? / 1024.0;
        let allocations = self.plan.allocations;
        let what = format!("master's memory for each agent, {allocations} allocations each");
        self.rows.extend([
            Measurement::new(what, each, "KiB").at_most(64.0),
            Measurement::new("master, resident", rss, "MiB"),
            Measurement::new("master's CPU with idle agents", spent, "% core").at_most(10.0),
            Measurement::new("CPU of 1,000 idle agents in the swarm", own, "% core"),
            Measurement::new("IP bytes of an idle agent an hour", hourly / 1e3, "kB"),
        ]);
        Ok(())
    }

    /// Kills the master, starts it again, at once or when it was away for long, and waits until all is as it was.
    async fn storm(&mut self, what: &str, outage: Option<Duration>) -> Result<()> {
        let steady = rss_kib(self.stage.pid()?)?;
        let agents = self.plan.agents;
        self.stage.master.kill()?;
        if let Some(outage) = outage {
            let tally = &self.fleet.tally;
            until("the loss of all links", LIMIT, || tally.in_sync() == 0).await?;
            sleep(outage).await;
        }
        // Who has not noticed yet is as good as in sync, but for its link.
        let tally = &self.fleet.tally;
        let (links, start) = (tally.links_ever(), Instant::now());
        let up = self.stage.start().await?;
        let tally = &self.fleet.tally;
        let all = || tally.links_ever() >= links + agents && tally.in_sync() == agents;
        until("all agents back", LIMIT, all).await?;
        let took = tally.synced_at() - up;
        let bytes = count(usize::try_from(tally.traffic().bytes)?) / count(agents);
        let links = tally.links_ever() - links;
        let spent = cpu(self.stage.pid()?)?;
        self.check().await?;
        // Memory that is only given back later counts.
        sleep(self.plan.settle).await;
        let (pid, name) = (self.stage.pid()?, |part: &str| format!("{what}: {part}"));
        let steady = rss_kib(pid)?.max(steady);
        let beyond = bytes - count(usize::try_from(self.resumed)?);
        self.rows.extend([
            Measurement::new(name("from the start to up"), seconds(up - start), "s"),
            Measurement::new(name("from up to all in sync"), seconds(took), "s").at_most(8.0),
            Measurement::new(name("handshakes for each agent"), count(links) / count(agents), ""),
            Measurement::new(name("UDP bytes for each agent"), bytes, "B"),
            Measurement::new(name("of these beyond a resumed handshake"), beyond, "B").at_most(1024.0),
            Measurement::new(name("master's CPU, start and storm"), seconds(spent), "s"),
            Measurement::new(name("peak of the master's memory"), peak_kib(pid)? / 1024.0, "MiB")
                .with_peer("steady", steady / 1024.0)
                .at_most(1.5 * steady / 1024.0),
        ]);
        Ok(())
    }

    /// Fails unless the master hears from every node and every instance runs.
    async fn check(&mut self) -> Result<()> {
        let (reachable, all) = self.operator.nodes().await?;
        ensure!(
            reachable == self.plan.agents && all == reachable,
            "{reachable} of {all} nodes are reachable"
        );
        for number in 0..self.workloads {
            self.wait_until_running(&format!("everywhere-{number}"), Instant::now()).await?;
        }
        let failures = self.fleet.tally.failures();
        ensure!(failures.is_empty(), "{failures:?}");
        Ok(())
    }

    /// As many instances as there are nodes, wherever they go: placements, end to end.
    async fn scatter(&mut self) -> Result<()> {
        let (name, start) = ("scattered", Instant::now());
        self.operator.apply_instances(name, self.plan.agents).await?;
        let told = self.wait_until_told(start).await?;
        let runs = self.wait_until_running(name, start).await?;
        let agents = count(self.plan.agents);
        self.rows.extend([
            Measurement::new("as many instances anywhere, acknowledged by the last", seconds(told), "s")
                .at_most(3.0),
            Measurement::new("allocations a second, end to end", agents / runs.as_secs_f64(), "1/s"),
        ]);
        Ok(())
    }

    /// Ends everything.
    async fn end(self) -> Result<()> {
        self.fleet.stop().await.context("ending the swarm")
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn per_thousand(name: &str, spent: Duration, agents: usize) -> Measurement {
    Measurement::new(name, spent.as_secs_f64() / count(agents) * 1e3, "s")
}
