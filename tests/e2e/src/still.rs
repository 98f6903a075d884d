use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Processes that stand still, as under a debugger, until this is dropped, so that a failed test can end them.
#[derive(Debug, Default)]
pub struct Still(Vec<Pid>);

impl Still {
    /// Stops these processes where they are.
    pub fn stand(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut still = Self::default();
        for pid in pids {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
            kill_process(pid, Signal::STOP).with_context(|| format!("stopping {pid:?}"))?;
            still.0.push(pid);
        }
        Ok(still)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for pid in &self.0 {
            if let Err(error) = kill_process(*pid, Signal::CONT) {
                eprintln!("{pid:?} cannot go on: {error}");
            }
        }
    }
}
