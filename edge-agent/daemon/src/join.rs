//! How a node becomes one of a region's: a key of its own, a certificate for it, and where the masters are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use skerry_link::enroll::{EnrollError, Enrolled, JoinWish, join};
use skerry_link::tls::{Identity, TrustRoots};
use skerry_link::{Credentials, JoinToken, LinkClock, SpiffeId};
use skerry_types::{NodeName, chain};

use crate::Settings;
use crate::clock::TimeFloor;

/// First and longest wait of an agent that was started with a token and finds no master.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// Where the node's identity lies.
pub(crate) fn credentials(settings: &Settings) -> Credentials {
    Credentials::at(settings.data_dir.join("identity"))
}

/// Joins once and says how it went.
pub async fn join_once(settings: &Settings) -> Result<String> {
    let token = settings.token()?.context(
        "no join token: give one with --token or --token-file; 'skerry token create --site SITE' prints one",
    )?;
    let clock = Arc::new(LinkClock::system(TimeFloor::open(&settings.data_dir).kept()));
    let enrolled = enroll(settings, &token, &clock).await.map_err(JoinFailure::explained)?;
    Ok(format!(
        "joined as {}; next: start 'skerry-agent', if it does not run already",
        enrolled.identity.certificate().id
    ))
}

/// The node's identity: the stored one, or a first one by the configured token. The latter waits for a master for as long
/// as it takes; the former asks nobody.
pub(crate) async fn identity(settings: &Settings, clock: &Arc<LinkClock>) -> Result<(Identity, TrustRoots)> {
    if let Some((identity, roots)) = credentials(settings).load()? {
        check_name(settings, &identity)?;
        return Ok((identity, roots));
    }
    let token = settings.token()?.with_context(|| {
        let dir = settings.data_dir.display();
        format!("this node is not enrolled ({dir} holds no identity): run 'skerry-agent join --token TOKEN', or give the token in agent.toml")
    })?;
    let mut pause = RETRY_FIRST;
    loop {
        match enroll(settings, &token, clock).await {
            Ok(enrolled) => return Ok((enrolled.identity, enrolled.roots)),
            Err(failure) if failure.is_passing() => {
                tracing::warn!(error = format!("{:#}", failure.explained()), next_try = ?pause, "not joined yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            Err(failure) => return Err(failure.explained()),
        }
    }
}

/// The masters to dial: the configured ones, else those that the node joined by.
pub(crate) fn masters(settings: &Settings) -> Result<Vec<String>> {
    if !settings.masters.is_empty() {
        return Ok(settings.masters.clone());
    }
    let path = masters_file(&settings.data_dir);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let masters: Vec<String> = text.lines().map(str::to_owned).collect();
    if masters.is_empty() {
        bail!("no master is known: name one with --master or 'masters' in agent.toml");
    }
    Ok(masters)
}

fn masters_file(data_dir: &Path) -> PathBuf {
    data_dir.join("masters")
}

/// The name in a certificate.
pub(crate) fn node_of(identity: &Identity) -> Result<NodeName> {
    match &identity.certificate().id {
        SpiffeId::Node { node, .. } => Ok(node.clone()),
        other => bail!("the stored identity is {other}, a {}'s and not a node's", other.kind()),
    }
}

fn check_name(settings: &Settings, identity: &Identity) -> Result<()> {
    let enrolled = node_of(identity)?;
    match &settings.node {
        Some(wanted) if *wanted != enrolled => bail!(
            "this node joined as {enrolled} and is configured as {wanted}: take the name out of the configuration, or use \
             another data directory than {} and join with a new token",
            settings.data_dir.display()
        ),
        _ => Ok(()),
    }
}

async fn enroll(
    settings: &Settings,
    token: &JoinToken,
    clock: &Arc<LinkClock>,
) -> Result<Enrolled, JoinFailure> {
    let wish =
        JoinWish { node: settings.node_or_host().map_err(anyhow::Error::from)?, site: settings.site.clone() };
    let began = Instant::now();
    let joined = join(token, &settings.masters, &wish, &credentials(settings), clock).await;
    let tried: Vec<String> = settings.masters.iter().chain(&token.addresses).cloned().collect();
    let enrolled =
        joined.map_err(|error| JoinFailure::Enroll { error, tried: tried.clone(), took: began.elapsed() })?;
    TimeFloor::open(&settings.data_dir).raise(enrolled.master_time);
    let path = masters_file(&settings.data_dir);
    std::fs::write(&path, format!("{}\n", tried.join("\n")))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(enrolled)
}

/// Why a node did not join.
enum JoinFailure {
    Enroll { error: EnrollError, tried: Vec<String>, took: Duration },
    Other(anyhow::Error),
}

impl From<anyhow::Error> for JoinFailure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl JoinFailure {
    fn is_passing(&self) -> bool {
        match self {
            Self::Enroll { error, tried, .. } => !tried.is_empty() && error.is_passing(),
            Self::Other(_) => false,
        }
    }

    /// What happened, what was tried, what to do next.
    fn explained(self) -> anyhow::Error {
        match self {
            Self::Other(error) => error,
            Self::Enroll { tried, .. } if tried.is_empty() => {
                anyhow!(
                    "cannot join: neither the token nor --master names a master: give --master HOST[:PORT]"
                )
            }
            Self::Enroll { error, tried, took } => {
                let (tried, took, words) = (tried.join(", "), took.as_secs(), chain(&error));
                match error {
                    EnrollError::Dial(_) | EnrollError::Lost(_) if error.is_passing() => anyhow!(
                        "cannot join: {words}; tried {tried} for {took} s: check that the master runs and that its UDP port is \
                         reachable from here, then try again with the same token"
                    ),
                    EnrollError::Dial(_) => anyhow!(
                        "cannot join: {words}; tried {tried}: the token and the master do not belong together; create a token \
                         at this master, or name another one with --master"
                    ),
                    _ => anyhow!("cannot join: {words} (asked {tried})"),
                }
            }
        }
    }
}
