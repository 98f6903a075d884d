//! Taking over from an earlier keeper: one that died, or the one that this process was before its upgrade.

use super::Keeper;
use super::container::{Container, Output, Owner, Phase};
use super::lease::Lease;
use super::poller::Source;
use crate::journal::Entry;
use crate::{clock, diag, process};
use rustix::fd::OwnedFd;
use skerry_keeper_protocol::{
    ContainerKey, ContainerState, Exit, ExitStatus, LogStream, ProcessIdentity, UnknownExit,
};
use std::io;

impl Keeper {
    /// Reads the records and owns what still runs.
    pub(super) fn adopt_all(&mut self) -> io::Result<()> {
        let loaded = self.journal.load()?;
        for path in loaded.damaged {
            diag!(Error, "{} is no readable record; look for processes in its cgroup", path.display());
        }
        for entry in loaded.entries {
            let key = entry.key.clone();
            let container = Container {
                entry,
                save_again: None,
                output: None,
                phase: Phase::Exited,
                deletes: Vec::new(),
                lease: None,
            };
            self.containers.insert(key.clone(), container);
            self.adopt(&key);
        }
        self.wake_for_leases();
        self.clear_strays()
    }

    fn adopt(&mut self, key: &ContainerKey) {
        let Some(container) = self.containers.get(key) else { return };
        let entry = &container.entry;
        let same_boot = entry.boot_id == self.boot_id;
        match entry.state {
            ContainerState::Exited { .. } => {}
            _ if !same_boot => self.record_unknown(key, UnknownExit::NodeRebooted),
            ContainerState::Creating => {
                self.kill_cgroup(&entry.cgroup);
                self.record_unknown(key, UnknownExit::CreateInterrupted);
            }
            ContainerState::Running { process, .. } => match process::open(process) {
                Ok(Some(pidfd)) => self.adopt_running(key, process, pidfd),
                Ok(None) => self.record_unknown(key, UnknownExit::KeeperAway),
                Err(error) => {
                    diag!(Error, "cannot open process {} of {key}: {error}", process.pid);
                    self.record_unknown(key, UnknownExit::KeeperAway);
                }
            },
        }
    }

    fn adopt_running(&mut self, key: &ContainerKey, process: ProcessIdentity, pidfd: OwnedFd) {
        let owner = if process::is_own_child(process.pid) {
            Owner::Child
        } else {
            match self.poller.add(&pidfd, Source::Adopted(key.clone())) {
                Ok(token) => Owner::Adopted { pidfd, token },
                Err(error) => {
                    diag!(Error, "cannot watch process {} of {key}: {error}", process.pid);
                    return;
                }
            }
        };
        let output = self.reopen_output(key);
        let lease = Lease::read(&self.layout.container(key));
        if let Some(container) = self.containers.get_mut(key) {
            container.phase = Phase::Running(owner);
            container.output = output;
            container.lease = lease;
        }
        diag!(Info, "adopted {key} (pid {})", process.pid);
    }

    fn reopen_output(&mut self, key: &ContainerKey) -> Option<Output> {
        let dir = self.layout.container(key);
        let policy = self.containers.get(key)?.entry.log.clone();
        if !dir.fifo(LogStream::Stdout).exists() {
            diag!(Warn, "the output pipes of {key} are gone; its output is lost from here on");
        }
        std::fs::create_dir_all(dir.path())
            .and_then(|()| self.open_output(key, &dir, &policy))
            .inspect_err(|error| diag!(Error, "cannot reopen the output of {key}: {error}"))
            .ok()
    }

    /// Records the end of a container that was not seen.
    fn record_unknown(&mut self, key: &ContainerKey, reason: UnknownExit) {
        let Some(container) = self.containers.get_mut(key) else { return };
        set_unknown(&mut container.entry, reason, &self.hierarchies);
        container.phase = Phase::Exited;
        diag!(Warn, "{key}: {}", ExitStatus::Unknown(reason));
        self.save(key);
    }

    /// Gives an end to a container that never started and could not be removed.
    pub(super) fn record_interrupted(&mut self, key: &ContainerKey) {
        let creating = |container: &Container| matches!(container.entry.state, ContainerState::Creating);
        if self.containers.get(key).is_some_and(creating) {
            self.record_unknown(key, UnknownExit::CreateInterrupted);
        }
    }

    /// Removes run directories that no record names, and sockets of processes that were killed.
    fn clear_strays(&self) -> io::Result<()> {
        for file in std::fs::read_dir(self.layout.words())? {
            // Whose it is may just have taken the name away.
            match std::fs::remove_file(file?.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for file in std::fs::read_dir(self.layout.containers())? {
            let file = file?;
            let name = file.file_name();
            if !self.containers.keys().any(|key| key.as_str() == name) {
                std::fs::remove_dir_all(file.path())?;
            }
        }
        Ok(())
    }
}

fn set_unknown(entry: &mut Entry, reason: UnknownExit, hierarchies: &crate::cgroup::Hierarchies) {
    let oom =
        reason == UnknownExit::KeeperAway && hierarchies.oom_kills(&entry.cgroup).is_some_and(|n| n > 0);
    let exit = Exit { status: ExitStatus::Unknown(reason), oom, at_unix_ms: clock::unix_ms() };
    entry.state = ContainerState::Exited { started_at_unix_ms: entry.started_at_unix_ms(), exit };
}
