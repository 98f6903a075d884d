//! Many agents in one process.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use skerry_link::enroll::{Enrolled, JoinWish, join};
use skerry_link::{CloseReason, Credentials, DialSettings, DialSockets, Dialer, JoinToken, LinkClock};
use skerry_types::{NodeName, WallTime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::body::Body;
use crate::tally::{Tally, Traffic};

/// Joins at a time: each waits a second after its answer until it is sure that the master has heard it.
const JOINS_AT_A_TIME: usize = 512;
/// After which all of a handshake has crossed, acknowledgements included.
const SILENCE: Duration = Duration::from_secs(1);
/// Links that leave by one socket. A machine has far fewer sockets than a region has nodes.
const LINKS_PER_SOCKET: usize = 100;

/// A node that has joined.
#[derive(Debug)]
pub(crate) struct Member {
    node: NodeName,
    enrolled: Enrolled,
}

/// Joins as many nodes, `n0` and on, each with a key of its own and by the real exchange. `folder` keeps their keys meanwhile.
pub(crate) async fn enrol(token: &JoinToken, agents: usize, folder: &Path) -> Result<Vec<Member>> {
    let clock = Arc::new(LinkClock::system(WallTime(0)));
    let turns = Arc::new(Semaphore::new(JOINS_AT_A_TIME));
    let token = Arc::new(token.clone());
    let mut joins = JoinSet::new();
    for number in 0..agents {
        let node = NodeName::new(format!("n{number}"))?;
        let credentials = Credentials::at(folder.join(node.as_str()));
        let (token, clock, turns) = (Arc::clone(&token), Arc::clone(&clock), Arc::clone(&turns));
        joins.spawn(async move {
            let _turn = turns.acquire().await.context("the turns are over")?;
            let wish = JoinWish { node: node.clone(), site: None };
            let enrolled = join(&token, &[], &wish, &credentials, &clock).await;
            let enrolled = enrolled.with_context(|| format!("joining {node}"))?;
            Ok::<_, anyhow::Error>(Member { node, enrolled })
        });
    }
    let mut members = Vec::with_capacity(agents);
    while let Some(joined) = joins.join_next().await {
        members.push(joined.context("a join failed")??);
    }
    Ok(members)
}

/// UDP bytes of a link on which nothing is said: after a full handshake, and after one that resumes its session.
pub(crate) async fn silent_links(member: &Member, masters: &[String]) -> Result<(u64, u64)> {
    let clock = Arc::new(LinkClock::system(WallTime(0)));
    let Enrolled { identity, roots, .. } = &member.enrolled;
    let mut dialer = Dialer::new(DialSettings::to(masters.to_vec()), identity, roots, clock, 1)?;
    let mut bytes = [0; 2];
    for bytes in &mut bytes {
        let connection = dialer.connect().await;
        sleep(SILENCE).await;
        *bytes = Traffic::of(&connection).bytes;
        connection.close(CloseReason::Done, "");
    }
    dialer.shut_down().await;
    Ok((bytes[0], bytes[1]))
}

/// Agents that run.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) tally: Arc<Tally>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Fleet {
    /// Starts an agent for each member; each dials at once. `delay` is what an operation of theirs takes.
    pub(crate) fn start(members: Vec<Member>, masters: &[String], delay: Duration) -> Result<Self> {
        let tally = Arc::new(Tally::new(members.len()));
        let clock = Arc::new(LinkClock::system(WallTime(0)));
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut sockets = DialSockets::default();
        for (number, member) in members.into_iter().enumerate() {
            if number % LINKS_PER_SOCKET == 0 {
                sockets = DialSockets::default();
            }
            let settings = DialSettings::to(masters.to_vec());
            let keep_alive = settings.keep_alive;
            let Enrolled { identity, roots, .. } = member.enrolled;
            let dialer = Dialer::new(settings, &identity, &roots, Arc::clone(&clock), rand::random())?;
            let agent = Agent {
                number,
                body: Body::new(member.node, number, delay)?,
                dialer: dialer.sharing(&sockets),
                keep_alive,
                tally: Arc::clone(&tally),
                cancel: cancel.clone(),
            };
            tasks.spawn(agent.run());
        }
        Ok(Self { tally, tasks, cancel })
    }

    /// Ends all agents.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("an agent failed")?;
        }
        let failures = self.tally.failures();
        if let Some(first) = failures.first() {
            bail!("{} agents found something wrong with the master, such as: {first}", failures.len());
        }
        Ok(())
    }
}
