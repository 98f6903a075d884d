//! Finds the keeper, or starts one.

use std::fs::{self, File};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use skerry_keeper_protocol::SOCKET_NAME;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::{KeeperConfig, KeeperError};

/// A keeper listens within milliseconds; a node that just booted is slow.
const START_DEADLINE: Duration = Duration::from_secs(10);
const START_LOOK: Duration = Duration::from_millis(5);
/// The keeper's log is begun anew when it starts and finds more than this.
const LOG_MAX: u64 = 1 << 20;

/// A connection to the keeper, which is started when nobody listens.
pub(super) async fn connect(config: &KeeperConfig) -> Result<UnixStream, KeeperError> {
    let socket = config.run_dir.join(SOCKET_NAME);
    match UnixStream::connect(&socket).await {
        Ok(stream) => return Ok(stream),
        Err(error) if nobody_listens(&error) => start(config)?,
        Err(source) => return Err(not_connected(config, source)),
    }
    let give_up = tokio::time::Instant::now() + START_DEADLINE;
    loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => return Ok(stream),
            // There is nothing else to wait on: the socket is not there yet and its directory may not be either.
            Err(error) if nobody_listens(&error) && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(START_LOOK).await;
            }
            Err(source) => return Err(not_connected(config, source)),
        }
    }
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
fn start(config: &KeeperConfig) -> Result<(), KeeperError> {
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
    // The runtime reaps it if it ends while this process lives.
    drop(child);
    Ok(())
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
