//! Commands in containers that run.

use std::process::Stdio;
use std::time::Duration;

use skerry_keeper_protocol::{
    CgroupPathError, ContainerState, ExecJob, ExecOutcome, ExitStatus, FailureKind, FrameError,
    MAX_FRAME_BYTES, ProcessIdentity, decode, encode,
};
use skerry_types::ExitKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{ContainerRef, Runtime};
use crate::keeper::KeeperError;

/// How long the making and the ending of a command may take beside its own time. A container that is frozen keeps it waiting.
const SLACK: Duration = Duration::from_secs(2);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// How; `None` when it took too long and was killed.
    pub end: Option<ExitKind>,
    /// What it said, at most [`skerry_keeper_protocol::EXEC_OUTPUT_MAX`] bytes of it.
    pub output: String,
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such container, or it has ended.
    #[error("container {0} does not run")]
    NotRunning(ContainerRef),
    /// The command cannot be run in the container: its program is not there, or may not be run.
    #[error("{message}")]
    Refused {
        /// For people.
        message: String,
    },
    /// The node could not run it.
    #[error("cannot run a command in {container}: {message}")]
    Failed {
        /// In which container.
        container: ContainerRef,
        /// For people.
        message: String,
    },
    /// The keeper's program could not be started, or did not answer.
    #[error("cannot run a command in {container}")]
    Process {
        /// In which container.
        container: ContainerRef,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The container's cgroup cannot be named.
    #[error(transparent)]
    Cgroup(#[from] CgroupPathError),
    /// The command is too long, or the answer is none.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The keeper was to say what runs.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl Runtime {
    /// Runs a command in a container, with the user, the environment, the rights and the limits of the container's own program,
    /// and kills it after `within`. What it starts in its process group is killed with it; what leaves that goes on.
    pub async fn exec(
        &self,
        container: &ContainerRef,
        command: &[String],
        within: Duration,
    ) -> Result<Executed, ExecError> {
        let job = ExecJob {
            asked_by: std::process::id(),
            process: self.process(container).await?,
            bundle: self.shared.paths.bundle(container),
            cgroup: self.cgroup(container).parse()?,
            run_dir: self.shared.paths.keeper_run(),
            command: command.to_vec(),
            timeout_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
        };
        let failed = |source| ExecError::Process { container: container.clone(), source };
        let answer = tokio::time::timeout(within + SLACK, self.ask_worker(encode(&job)?)).await;
        let Ok(answer) = answer else { return Ok(Executed { end: None, output: String::new() }) };
        match decode(answer.map_err(failed)?.get(4..).unwrap_or_default())? {
            ExecOutcome::Ended { status, output } => Ok(executed(Some(kind(status)), &output)),
            ExecOutcome::TimedOut { output } => Ok(executed(None, &output)),
            ExecOutcome::Failed { kind: FailureKind::NotRunning, .. } => {
                Err(ExecError::NotRunning(container.clone()))
            }
            ExecOutcome::Failed { kind: FailureKind::CreateFailed, message } => {
                Err(ExecError::Refused { message })
            }
            ExecOutcome::Failed { message, .. } => {
                Err(ExecError::Failed { container: container.clone(), message })
            }
        }
    }

    async fn process(&self, container: &ContainerRef) -> Result<ProcessIdentity, ExecError> {
        let key = self.shared.known(|known| known.latest(container).map(|entry| entry.key.clone()));
        let record = match key {
            Some(key) => self.keeper.inspect(key).await?,
            None => None,
        };
        match record.map(|record| record.state) {
            Some(ContainerState::Running { process, .. }) => Ok(process),
            _ => Err(ExecError::NotRunning(container.clone())),
        }
    }

    /// Has a process of its own do it. Dropping this kills the process, and the command with it.
    async fn ask_worker(&self, job: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let mut worker = Command::new(&self.config.keeper_binary)
            .arg("exec")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (worker.stdin.take(), worker.stdout.take());
        if let Some(mut stdin) = stdin {
            stdin.write_all(&job).await?;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            let longest = u64::try_from(MAX_FRAME_BYTES).unwrap_or(u64::MAX);
            stdout.take(longest).read_to_end(&mut answer).await?;
        }
        worker.wait().await?;
        Ok(answer)
    }
}

fn executed(end: Option<ExitKind>, output: &[u8]) -> Executed {
    Executed { end, output: String::from_utf8_lossy(output).into_owned() }
}

fn kind(status: ExitStatus) -> ExitKind {
    match status {
        ExitStatus::Code(code) => ExitKind::Code(code),
        ExitStatus::Signal(signal) => ExitKind::Signal(signal),
        ExitStatus::Unknown(_) => ExitKind::Unknown,
    }
}
