//! Containers that may run up to a certain time only: they are killed then, whoever is dead.
//!
//! The time is one of `CLOCK_BOOTTIME`, and a timer of that clock wakes the loop: a machine that slept through it kills at once
//! when it wakes. It stands in a file beside the container's pipes, so that a keeper that comes later kills what is late.

use std::io;
use std::time::Duration;

use super::Keeper;
use super::container::{Container, Phase};
use super::poller::Source;
use crate::layout::ContainerDir;
use crate::{clock, diag};
use rustix::process::Signal;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use skerry_keeper_protocol::{ContainerKey, Failure, FailureKind, Reply};

/// How long after a kill the next comes for what has not ended.
const KILL_AGAIN_MS: u64 = 1000;

/// When a container is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Milliseconds of `CLOCK_BOOTTIME`.
    pub(super) kill_at_ms: u64,
    /// It was killed, and is again then if it has not ended.
    again_at_ms: Option<u64>,
}

impl Lease {
    pub(super) const fn new(kill_at_ms: u64) -> Self {
        Self { kill_at_ms, again_at_ms: None }
    }

    /// Whether it has come to its end.
    pub(super) fn is_over(self) -> bool {
        clock::boottime_ms() >= self.kill_at_ms
    }

    fn due_ms(self) -> u64 {
        self.again_at_ms.unwrap_or(self.kill_at_ms)
    }

    /// Replaces what the container's directory says. Whoever reads it sees the last one or this.
    pub(super) fn write(self, dir: &ContainerDir) -> io::Result<()> {
        let path = dir.lease();
        let staged = path.with_extension("tmp");
        std::fs::write(&staged, self.kill_at_ms.to_string())?;
        std::fs::rename(&staged, &path)
    }

    /// What the container's directory says. One that cannot be read is over: nobody knows how long it may run.
    pub(super) fn read(dir: &ContainerDir) -> Option<Self> {
        match std::fs::read_to_string(dir.lease()) {
            Ok(text) => Some(Self::new(text.parse().unwrap_or(0))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(Self::new(0)),
        }
    }
}

/// Why nothing is started.
pub(super) fn lease_is_over(key: &ContainerKey) -> Failure {
    let message = format!("{key} is not started: the time up to which it may run has come");
    Failure { kind: FailureKind::DeadlineExceeded, message }
}

impl Keeper {
    /// Puts off the time at which a container is killed.
    pub(super) fn extend(&mut self, key: &ContainerKey, kill_at_ms: u64) -> Result<Reply, Failure> {
        self.find(key)?;
        let dir = self.layout.container(key);
        let late = || {
            let message = format!("container {key} does not run, or was killed when its time had come");
            Failure { kind: FailureKind::NotRunning, message }
        };
        let lease = self.containers.get_mut(key).filter(|container| is_alive(container));
        let lease = lease.and_then(|container| container.lease.as_mut()).ok_or_else(late)?;
        if lease.again_at_ms.is_some() || lease.is_over() {
            return Err(late());
        }
        if kill_at_ms > lease.kill_at_ms {
            let extended = Lease::new(kill_at_ms);
            extended.write(&dir).map_err(|error| Failure {
                kind: FailureKind::Io,
                message: format!("cannot write the lease of {key}: {error}"),
            })?;
            *lease = extended;
            self.wake_for_leases();
        }
        Ok(Reply::Done)
    }

    /// Sets the timer to the first lease that ends.
    pub(super) fn wake_for_leases(&mut self) {
        let alive = self.containers.values().filter(|container| is_alive(container));
        let Some(next) = alive.filter_map(|container| container.lease).map(Lease::due_ms).min() else {
            return;
        };
        if let Err(error) = self.set_lease_timer(next) {
            // Without a timer nothing would end them in time.
            diag!(Error, "cannot set the timer of leases: {error}; what has one is killed");
            self.kill_leased(u64::MAX);
        }
    }

    fn set_lease_timer(&mut self, at_ms: u64) -> io::Result<()> {
        if self.lease_timer.is_none() {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
            self.poller.add(&timer, Source::Leases)?;
            self.lease_timer = Some(timer);
        }
        // A time of zero would turn the timer off.
        let at = Duration::from_millis(at_ms.max(1));
        let value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at.subsec_nanos()),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Some(timer) = &self.lease_timer {
            let new = Itimerspec { it_interval: never, it_value: value };
            timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &new)?;
        }
        Ok(())
    }

    /// The timer has gone off.
    pub(super) fn leases_ended(&mut self) {
        if let Some(timer) = &self.lease_timer {
            // How often it went off does not matter; nothing to read means that it was set anew meanwhile.
            rustix::io::read(timer, &mut [0_u8; 8]).ok();
        }
        self.kill_leased(clock::boottime_ms());
        self.wake_for_leases();
    }

    /// Kills what may not run any more at this time.
    fn kill_leased(&mut self, now_ms: u64) {
        let is_due = |container: &Container| {
            is_alive(container) && container.lease.is_some_and(|lease| lease.due_ms() <= now_ms)
        };
        let due: Vec<ContainerKey> = self
            .containers
            .iter()
            .filter(|(_, container)| is_due(container))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(container) = self.containers.get_mut(&key) else { continue };
            if let Some(lease) = &mut container.lease {
                lease.again_at_ms = Some(clock::boottime_ms() + KILL_AGAIN_MS);
            }
            let (cgroup, creating) =
                (container.entry.cgroup.clone(), matches!(container.phase, Phase::Creating(_)));
            diag!(Warn, "{key} is killed: the time up to which it may run has come");
            if creating {
                self.kill_create(&key, lease_is_over(&key));
            } else {
                self.kill_container(&key);
                self.signal_cgroup(&cgroup, Signal::KILL);
            }
        }
    }
}

fn is_alive(container: &Container) -> bool {
    matches!(container.phase, Phase::Creating(_) | Phase::Running(_))
}
