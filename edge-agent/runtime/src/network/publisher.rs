//! Brings the packet rules in force: one task that loads the latest state, however many changes came meanwhile.
//!
//! A load costs 16 to 28 ms, nearly all of it nft's own start, so changes that come during one load share the next.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Far above what a load of a full table takes on a slow gateway.
const NFT_DEADLINE: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of nft's complaint that are kept.
const COMPLAINT_MAX: usize = 1024;

/// Why the packet rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// nft cannot be run.
    #[error("nft cannot be run; install the nftables package")]
    Spawn(#[source] std::io::Error),
    /// nft took too long.
    #[error("nft did not end within {} s", NFT_DEADLINE.as_secs())]
    Deadline,
    /// nft or the kernel refused the rules.
    #[error("nft refused the packet rules: {complaint}")]
    Refused {
        /// What nft wrote, cut to a readable length.
        complaint: String,
    },
    /// The task that loads rules has ended: the runtime is shutting down.
    #[error("packet rules are not loaded any more; the agent is shutting down")]
    Ended,
}

/// What the last load did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    /// Rules up to this version were tried.
    pub(crate) version: u64,
    /// Why they are not in force.
    pub(crate) failure: Option<Arc<RulesError>>,
}

/// Runs until cancelled: on each wake-up takes the latest rules and their version from `latest` and loads them. A failed load
/// is tried again, slower each time, and at once when something changes.
pub(crate) async fn run(
    latest: impl Fn() -> (u64, String),
    wake: Arc<Notify>,
    applied: watch::Sender<Applied>,
    cancel: CancellationToken,
) {
    let mut retry = None;
    loop {
        // Every arm is cancel-safe: `notified` keeps its permit, the others hold no state.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = wake.notified() => {}
            () = pause(retry) => {}
        }
        let (version, rules) = latest();
        let failure = load(&rules).await.err().map(Arc::new);
        retry = match &failure {
            None => None,
            Some(error) => {
                tracing::warn!(error = %error, "packet rules are not in force");
                Some(retry.map_or(RETRY_FIRST, |last: Duration| (last * 2).min(RETRY_MAX)))
            }
        };
        applied.send_replace(Applied { version, failure });
    }
}

async fn pause(retry: Option<Duration>) {
    match retry {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Loads one transaction. Nothing is changed when it fails.
pub(crate) async fn load(rules: &str) -> Result<(), RulesError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(RulesError::Spawn)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A write fails only when nft is gone, and then its exit status tells.
            drop(stdin.write_all(rules.as_bytes()).await);
        }
    };
    let run = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(NFT_DEADLINE, run)
        .await
        .map_err(|_| RulesError::Deadline)?
        .map_err(RulesError::Spawn)?;
    if output.status.success() {
        return Ok(());
    }
    let mut complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    complaint.truncate(complaint.floor_char_boundary(COMPLAINT_MAX));
    Err(RulesError::Refused { complaint })
}
