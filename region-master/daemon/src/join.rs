//! How a region becomes one of another's: a CA key of its own, a certificate for it by the parent's CA, and where the parent
//! is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use skerry_link::enroll::{EnrollError, RegionGrant, RegionWish, join_region};
use skerry_link::{JoinToken, LinkClock};

use crate::ca::{Ca, Init, Joining};
use crate::settings::Settings;
use skerry_types::chain;

/// First and longest wait of a master that was started with a token and finds no parent.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// How long to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Each address once.
    Once,
    /// Until the parent answers; a no ends it.
    UntilAnswered,
}

/// The region's CA: the one that is there, or one under the parent's.
pub(crate) async fn join(settings: &Settings, patience: Patience) -> Result<Init> {
    let dir = settings.ca_dir();
    let token = settings.join_token.as_ref();
    let Some(joining) = Ca::joining(&dir)? else {
        let ca = Ca::open(&dir)?;
        ca.check_joined(token.map(|token| token.root))?;
        ca.check_asked(settings.domain.as_ref(), settings.region.as_ref())?;
        return Ok(Init { ca, created: false });
    };
    let token = token.context(
        "no join token: give one with --join-token or --join-token-file; 'skerry token create --region' at the region above \
         prints one",
    )?;
    let region = settings.region.clone().context("the region has no name: say --region NAME")?;
    let wish = RegionWish { region, domain: settings.domain.clone() };
    let clock = Arc::new(LinkClock::system(skerry_types::WallTime(0)));
    let grant = certified(&joining, token, &wish, settings, patience, &clock).await?;
    let init = joining.finish(&grant, &addresses(settings, token), clock.now())?;
    init.ca.check_joined(Some(token.root))?;
    Ok(init)
}

/// Where to dial the parent: as configured, else as when this region joined.
pub(crate) fn parents(settings: &Settings, ca: &Ca) -> Result<Vec<String>> {
    if !settings.parent.is_empty() {
        return Ok(settings.parent.clone());
    }
    let found = ca.parents()?;
    if found.is_empty() {
        return Err(anyhow!("no master of the region above is known: name one with --parent"));
    }
    Ok(found)
}

async fn certified(
    joining: &Joining,
    token: &JoinToken,
    wish: &RegionWish,
    settings: &Settings,
    patience: Patience,
    clock: &Arc<LinkClock>,
) -> Result<RegionGrant> {
    let request = joining.signing_request()?;
    let tried = addresses(settings, token);
    if tried.is_empty() {
        return Err(anyhow!("neither the join token nor --parent names a master: give --parent HOST[:PORT]"));
    }
    let mut pause = RETRY_FIRST;
    loop {
        let began = Instant::now();
        let error = match join_region(token, &settings.parent, wish, &request, clock).await {
            Ok(grant) => return Ok(grant),
            Err(error) => error,
        };
        let passing = error.is_passing();
        let told = explained(&error, &tried, began.elapsed());
        if patience == Patience::Once || !passing {
            return Err(told);
        }
        tracing::warn!(error = format!("{told:#}"), next_try = ?pause, "not joined yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn addresses(settings: &Settings, token: &JoinToken) -> Vec<String> {
    let mut all = settings.parent.clone();
    all.extend(token.addresses.iter().filter(|address| !settings.parent.contains(address)).cloned());
    all
}

/// What happened, what was tried, what to do next.
fn explained(error: &EnrollError, tried: &[String], took: Duration) -> anyhow::Error {
    let (tried, took, words) = (tried.join(", "), took.as_secs(), chain(error));
    match error {
        EnrollError::Dial(_) | EnrollError::Lost(_) if error.is_passing() => anyhow!(
            "cannot join: {words}; tried {tried} for {took} s: check that the master of the region above runs and that its UDP \
             port is reachable from here, then try again with the same token"
        ),
        EnrollError::Dial(_) => anyhow!(
            "cannot join: {words}; tried {tried}: the token and the master do not belong together; create a token at that \
             master, or name another one with --parent"
        ),
        _ => anyhow!("cannot join: {words} (asked {tried})"),
    }
}
