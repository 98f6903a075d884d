//! Forgetting containers, without a trace.

use super::Keeper;
use super::container::{Answer, Container, Phase, Remove};
use crate::cgroup::Removal;
use crate::diag;
use skerry_keeper_protocol::{CgroupPath, ContainerKey, Failure, FailureKind};
use std::io;
use std::time::{Duration, Instant};

/// The first pause between two tries to remove a cgroup; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// How long killed processes may take to leave their cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

impl Keeper {
    /// Removes all that is left of a container that does not run, and then sends `answers`.
    pub(super) fn remove(&mut self, key: &ContainerKey, mut answers: Vec<Answer>) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let done = Ok(skerry_keeper_protocol::Reply::Done);
        answers.extend(container.deletes.drain(..).map(|address| (address, done.clone())));
        if let Phase::Removing(remove) = &mut container.phase {
            remove.answers.append(&mut answers);
            return;
        }
        let now = Instant::now();
        let remove = Remove { next_try: now, pause: FIRST_PAUSE, give_up: now + PATIENCE, answers };
        container.phase = Phase::Removing(remove);
        let output = container.output.take();
        if let Some(mut output) = output {
            output.log.finish(&mut self.scratch);
            self.close_output(&output);
        }
        self.remove_deadline(key, now);
    }

    /// Tries to remove a container whose time for that has come.
    pub(super) fn remove_deadline(&mut self, key: &ContainerKey, now: Instant) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let cgroup = container.entry.cgroup.clone();
        let Phase::Removing(remove) = &mut container.phase else { return };
        if remove.next_try > now {
            return;
        }
        remove.next_try = now + remove.pause;
        remove.pause = (remove.pause * 2).min(MAX_PAUSE);
        let give_up = remove.give_up <= now;
        match self.try_remove(key, &cgroup) {
            Ok(Removal::Gone) => self.removed(key),
            Ok(Removal::Busy) if !give_up => {}
            Ok(Removal::Busy) => {
                let pids = self.hierarchies.processes(&cgroup);
                let reason =
                    format!("its worker, or processes {pids:?} in cgroup {}, do not end", cgroup.as_str());
                self.not_removed(key, &reason);
            }
            Err(error) => self.not_removed(key, &error.to_string()),
        }
    }

    fn try_remove(&self, key: &ContainerKey, cgroup: &CgroupPath) -> io::Result<Removal> {
        self.kill_cgroup(cgroup);
        let dir = self.layout.container(key);
        let held = dir.hold()?;
        if held.is_none() && dir.path().exists() {
            return Ok(Removal::Busy);
        }
        if self.hierarchies.remove(cgroup)? == Removal::Busy {
            return Ok(Removal::Busy);
        }
        self.prune_parents(cgroup);
        match std::fs::remove_dir_all(dir.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Last: if this process is killed before, the next one still knows what is to be removed.
        self.journal.forget(key)?;
        Ok(Removal::Gone)
    }

    fn prune_parents(&self, cgroup: &CgroupPath) {
        // A worker that makes a group must not find a parent of it gone.
        let creating = |other: &&Container| matches!(other.phase, Phase::Creating(_));
        let makers = self.containers.values().filter(creating);
        let kept: Vec<CgroupPath> = makers.map(|other| other.entry.cgroup.clone()).collect();
        self.hierarchies.prune_parents(cgroup, &kept);
    }

    fn removed(&mut self, key: &ContainerKey) {
        let Some(container) = self.containers.remove(key) else { return };
        if let Phase::Removing(remove) = container.phase {
            for (address, result) in remove.answers {
                self.answer(address, result);
            }
        }
    }

    /// Keeps the container as exited: a later delete tries again.
    fn not_removed(&mut self, key: &ContainerKey, reason: &str) {
        diag!(Error, "cannot remove {key}: {reason}");
        let Some(container) = self.containers.get_mut(key) else { return };
        let Phase::Removing(remove) = std::mem::replace(&mut container.phase, Phase::Exited) else { return };
        self.record_interrupted(key);
        let message = format!("cannot remove {key}: {reason}");
        for (address, result) in remove.answers {
            let failure = Failure { kind: FailureKind::Io, message: message.clone() };
            self.answer(address, Err(result.err().unwrap_or(failure)));
        }
    }
}
