//! Ends of processes: workers, containers, and orphans of either.

use super::Keeper;
use super::container::{Container, Owner, Phase};
use crate::{clock, diag, process};
use rustix::process::{Signal, kill_process};
use skerry_keeper_protocol::{
    CgroupPath, ContainerKey, ContainerState, Event, Exit, ExitStatus, UnknownExit,
};

impl Keeper {
    /// Reaps every child that has ended.
    ///
    /// A container becomes this process's child when its worker ends, which may be before the worker's outcome was
    /// read: an end that nobody claims is kept while any worker is out.
    pub(super) fn reap_children(&mut self) {
        loop {
            match process::next_ended_child() {
                Ok(Some((pid, status))) => self.child_ended(pid, status),
                Ok(None) => break,
                Err(error) => {
                    diag!(Error, "cannot wait for children: {error}");
                    break;
                }
            }
        }
        if !self.creating() {
            self.unclaimed = Vec::new();
        }
    }

    fn child_ended(&mut self, pid: u32, status: ExitStatus) {
        let runs =
            |container: &Container| container.entry.process().is_some_and(|process| process.pid == pid);
        let makes = |container: &Container| matches!(&container.phase, Phase::Creating(create) if create.worker == pid);
        let found = self.containers.iter().find(|(_, container)| runs(container) || makes(container));
        match found.map(|(key, container)| (key.clone(), makes(container))) {
            Some((key, true)) => self.worker_ended(&key, status),
            Some((key, false)) => self.exited(&key, status),
            None if self.probe_ended(pid, status) => {}
            None => self.unclaimed.push((pid, status)),
        }
    }

    /// A process that is not this keeper's child has ended, so its status is not this keeper's to collect: it is read
    /// where it shows.
    pub(super) fn adopted_ended(&mut self, key: &ContainerKey) {
        let Some(container) = self.containers.get(key) else { return };
        let Phase::Running(Owner::Adopted { pidfd, .. }) = &container.phase else { return };
        let Some(identity) = container.entry.process() else { return };
        let status = process::unreaped_exit(identity)
            .or_else(|| process::reaped_exit(pidfd))
            .unwrap_or(ExitStatus::Unknown(UnknownExit::NotAChild));
        self.exited(key, status);
    }

    /// Records the end of a container, frees what it held, and tells.
    pub(super) fn exited(&mut self, key: &ContainerKey, status: ExitStatus) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let Phase::Running(owner) = std::mem::replace(&mut container.phase, Phase::Exited) else { return };
        if let Owner::Adopted { pidfd, token } = owner {
            self.poller.remove(pidfd, token);
        }
        let cgroup = container.entry.cgroup.clone();
        let oom = self.hierarchies.oom_kills(&cgroup).is_some_and(|kills| kills > 0);
        let exit = Exit { status, oom, at_unix_ms: clock::unix_ms() };
        let started_at_unix_ms = container.entry.started_at_unix_ms();
        container.entry.state = ContainerState::Exited { started_at_unix_ms, exit };
        let output = container.output.take();
        let deletes = std::mem::take(&mut container.deletes);
        // A process namespace dies with its first process, but a container need not have one.
        self.kill_cgroup(&cgroup);
        if let Some(mut output) = output {
            output.log.finish(&mut self.scratch);
            self.close_output(&output);
        }
        self.save(key);
        diag!(Debug, "{key}: {status}");
        self.broadcast(&Event::Exited { key: key.clone(), exit });
        if !deletes.is_empty() {
            let answers =
                deletes.into_iter().map(|address| (address, Ok(skerry_keeper_protocol::Reply::Done)));
            self.remove(key, answers.collect());
        }
    }

    /// Kills every process in a cgroup.
    pub(super) fn kill_cgroup(&self, cgroup: &CgroupPath) {
        self.signal_cgroup(cgroup, Signal::KILL);
    }

    /// Sends a signal to every process in a cgroup, and says to how many.
    pub(super) fn signal_cgroup(&self, cgroup: &CgroupPath, signal: Signal) -> usize {
        let pids = self.hierarchies.processes(cgroup);
        for pid in pids.iter().filter_map(|pid| process::raw_pid(*pid).ok()) {
            // A process that ended meanwhile needs no signal.
            kill_process(pid, signal).ok();
        }
        pids.len()
    }
}
