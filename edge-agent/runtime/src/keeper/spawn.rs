//! Finds the keeper, or starts one.

use std::fs::{self, File};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use skerry_keeper_protocol::SOCKET_NAME;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{KeeperConfig, KeeperError};

/// A keeper listens within milliseconds; a node that just booted is slow.
const START_DEADLINE: Duration = Duration::from_secs(10);
const START_LOOK: Duration = Duration::from_millis(5);
/// First and longest pause before a keeper that ended at once is started again.
const START_AGAIN: Duration = Duration::from_millis(50);
const START_AGAIN_MAX: Duration = Duration::from_secs(1);
/// The keeper's log is begun anew when it starts and finds more than this.
const LOG_MAX: u64 = 1 << 20;

/// A connection to the keeper, which is started when nobody listens.
///
/// A keeper that finds another's lock ends at once. The other may be just starting, and will listen, or just dying, and then one
/// more has to be started: so that is done for as long as nobody listens, with growing pauses.
pub(super) async fn connect(config: &KeeperConfig) -> Result<UnixStream, KeeperError> {
    let socket = config.run_dir.join(SOCKET_NAME);
    let give_up = tokio::time::Instant::now() + START_DEADLINE;
    let mut pause = START_AGAIN;
    let mut child: Option<Child> = None;
    loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if nobody_listens(&error) && tokio::time::Instant::now() < give_up => {}
            Err(source) => return Err(not_connected(config, source)),
        }
        // There is nothing else to wait on: the socket is not there yet and its directory may not be either.
        let look_again = if child.as_mut().is_some_and(has_ended) {
            child = None;
            let now = pause;
            pause = (pause * 2).min(START_AGAIN_MAX);
            now
        } else {
            if child.is_none() {
                child = Some(start(config)?);
            }
            START_LOOK
        };
        tokio::time::sleep(look_again).await;
    }
}

/// A child that cannot be asked is taken for one that runs: the deadline ends the wait.
fn has_ended(child: &mut Child) -> bool {
    child.try_wait().is_ok_and(|status| status.is_some())
}

fn not_connected(config: &KeeperConfig, source: io::Error) -> KeeperError {
    KeeperError::Connect { socket: config.run_dir.join(SOCKET_NAME), log: log_path(config), source }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn log_path(config: &KeeperConfig) -> std::path::PathBuf {
    config.state_dir.join("keeper.log")
}

/// Starts a keeper that outlives this process: it is in a process group of its own, so nothing that is sent to the agent's
/// group or terminal reaches it, and it holds none of the agent's pipes.
///
/// The runtime reaps it if it ends while this process lives.
fn start(config: &KeeperConfig) -> Result<Child, KeeperError> {
    let failed = |source| KeeperError::Spawn { binary: config.binary.clone(), source };
    let log = open_log(config).map_err(failed)?;
    let child = Command::new(&config.binary)
        .arg("--run-dir")
        .arg(&config.run_dir)
        .arg("--state-dir")
        .arg(&config.state_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(failed)?;
    tracing::info!(pid = child.id(), "keeper started");
    Ok(child)
}

fn open_log(config: &KeeperConfig) -> io::Result<File> {
    fs::create_dir_all(&config.run_dir)?;
    fs::create_dir_all(&config.state_dir)?;
    let path = log_path(config);
    let is_long = fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX);
    if is_long {
        fs::remove_file(&path)?;
    }
    File::options().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_keeper_that_ends_at_once_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, starts) = (dir.path().join("keeper"), dir.path().join("starts"));
        // It ends at once, twice, as one does that finds the lock of a dying one.
        let script = format!(
            "#!/bin/sh\necho x >> {0}\n[ $(wc -l < {0}) -lt 3 ] && exit 1\nexec sleep 2\n",
            starts.display()
        );
        fs::write(&binary, script).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let (run_dir, state_dir) = (dir.path().join("run"), dir.path().join("state"));
        let config = KeeperConfig { binary, run_dir, state_dir };
        let listen = async {
            while fs::read_to_string(&starts).unwrap_or_default().lines().count() < 3 {
                tokio::time::sleep(START_LOOK).await;
            }
            UnixListener::bind(config.run_dir.join(SOCKET_NAME)).unwrap()
        };
        let (connected, _listener) = tokio::join!(connect(&config), listen);
        connected.unwrap();
    }
}
