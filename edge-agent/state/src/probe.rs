//! Looking whether a container is well.
//!
//! One [`Watch`] per probe of a running container. It is made anew with each start; after a restart of the agent it goes on
//! from what the ledger says of the same start, so that a container that was well stays so until it fails again.

use std::net::Ipv4Addr;
use std::time::Duration;

use skerry_types::{InstanceSpec, MonoTime, Now, Probe, ProbeCheck, ReasonCode};

use crate::effects::Effects;
use crate::restart::share_of;
use crate::{ContainerRef, Failure, Look, OpId, Operation, Outcome};

/// The first look at a container that was just started. Until it is well, the next come after twice as long each, up to the
/// probe's interval: a service that is up in a second need not wait for an interval of ten.
const FIRST: Duration = Duration::from_millis(200);
/// Looks are never closer than this, whatever a probe says.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A container that is not well is ended.
    Health,
    /// A container that is not well gets no traffic.
    Ready,
}

/// What a probe's looks came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Not enough was seen.
    Open,
    Well,
    /// Too many looks in a row failed; how the last one did.
    Unwell(String),
}

/// One probe of a running container.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) purpose: Purpose,
    pub(crate) judgement: Judgement,
    /// Whether this start of the container ever was well.
    pub(crate) was_well: bool,
    probe: Probe,
    look: Result<Look, String>,
    next: Next,
    grace_until: MonoTime,
    /// Failures in a row that count.
    failures: u32,
    looks: u32,
    /// Spreads the looks of many containers.
    seed: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    At(MonoTime),
    Looking(OpId),
}

impl Watch {
    /// Begins with a container that has run for `ran`. `seed` is a name that no other probe on the node has.
    pub(crate) fn new(
        purpose: Purpose,
        probe: &Probe,
        spec: &InstanceSpec,
        (was_well, ran): (bool, Duration),
        (now, seed): (Now, String),
    ) -> Self {
        let probe = Probe { interval: probe.interval.max(INTERVAL_MIN), ..probe.clone() };
        let first = if was_well {
            share_of(probe.interval, &seed, 0)
        } else {
            FIRST.min(probe.interval) + share_of(FIRST, &seed, 0)
        };
        Self {
            purpose,
            judgement: if was_well { Judgement::Well } else { Judgement::Open },
            was_well,
            look: look(&probe.check, spec),
            next: Next::At(now.mono + first),
            grace_until: now.mono + probe.grace.saturating_sub(ran),
            failures: 0,
            looks: 0,
            seed: seed.into(),
            probe,
        }
    }

    /// When the next look is due.
    pub(crate) fn timeout(&self) -> Option<MonoTime> {
        match self.next {
            Next::At(at) => Some(at),
            Next::Looking(_) => None,
        }
    }

    /// Looks, if it is time to.
    pub(crate) fn look(
        &mut self,
        container: ContainerRef,
        (pid, address): (u32, Option<Ipv4Addr>),
        fx: &mut Effects,
    ) {
        let Next::At(at) = self.next else { return };
        if fx.now().mono < at {
            return;
        }
        match &self.look {
            Ok(look) => {
                let (look, timeout) = (look.clone(), self.probe.timeout);
                let probe = Operation::Probe { container, pid, address, look, timeout };
                self.next = Next::Looking(fx.begin(probe));
            }
            Err(why) => {
                let why = why.clone();
                self.failed(&why, fx.now());
                self.pause(fx.now());
            }
        }
    }

    pub(crate) fn awaits(&self, op: OpId) -> bool {
        self.next == Next::Looking(op)
    }

    /// The look that was awaited is over. True when the judgement is another than before.
    pub(crate) fn answered(&mut self, result: &Result<Outcome, Failure>, now: Now) -> bool {
        let before = self.judgement.clone();
        match result {
            Ok(_) => {
                self.failures = 0;
                self.was_well = true;
                self.judgement = Judgement::Well;
            }
            Err(failure) if failure.reason.code == ReasonCode::Unhealthy => {
                self.failed(&failure.reason.message, now);
            }
            // Nothing was found out.
            Err(_) => {}
        }
        self.pause(now);
        before != self.judgement
    }

    fn failed(&mut self, why: &str, now: Now) {
        if !self.was_well && now.mono < self.grace_until {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        // The first word stays, so that what is told does not change with every look.
        let known = matches!(self.judgement, Judgement::Unwell(_));
        if self.failures >= self.probe.failures && !known {
            self.judgement = Judgement::Unwell(why.to_owned());
        }
    }

    fn pause(&mut self, now: Now) {
        let in_a_hurry = self.purpose == Purpose::Ready || now.mono < self.grace_until;
        let pause = if !self.was_well && in_a_hurry {
            FIRST.saturating_mul(2_u32.saturating_pow(self.looks.min(16))).min(self.probe.interval)
        } else {
            self.probe.interval
        };
        self.looks = self.looks.saturating_add(1);
        self.next = Next::At(now.mono + pause + share_of(pause / 16, &self.seed, self.looks));
    }
}

/// What to do, with the port's number. The message says why it cannot be done.
fn look(check: &ProbeCheck, spec: &InstanceSpec) -> Result<Look, String> {
    let number = |name: &skerry_types::PortName| {
        let port = spec.ports().find(|port| port.name == *name);
        port.map(|port| port.container)
            .ok_or_else(|| format!("its probe asks port '{name}', which is not declared"))
    };
    Ok(match check {
        ProbeCheck::Http { port, path } => Look::Http { port: number(port)?, path: path.clone() },
        ProbeCheck::Tcp { port } => Look::Tcp { port: number(port)? },
        ProbeCheck::Exec { command } => Look::Exec { command: command.clone() },
    })
}
