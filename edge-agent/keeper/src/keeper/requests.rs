//! What clients ask for.

use super::Keeper;
use super::container::{Address, Container, Owner, Phase};
use crate::process;
use rustix::process::{Signal, kill_process, pidfd_send_signal};
use skerry_keeper_protocol::{
    ContainerKey, ContainerRecord, Failure, FailureKind, MAX_FRAME_BYTES, PROTOCOL_VERSION, Reply, Request,
    encode,
};
use std::ops::Bound;

/// Room for the records of one page; the rest of the frame is for what is around them.
const PAGE_BYTES: usize = MAX_FRAME_BYTES - 1024;

impl Keeper {
    /// Carries out one request; its answer may come later.
    pub(super) fn request(&mut self, address: Address, request: Request) {
        let greeted = self.clients.get(&address.client).is_some_and(|client| client.greeted);
        if !greeted && !matches!(request, Request::Hello { .. }) {
            let message = "the first request on a connection is Hello".to_owned();
            return self.answer(address, Err(Failure { kind: FailureKind::BadRequest, message }));
        }
        let result = match request {
            Request::Hello { version } => self.hello(address, version),
            Request::List { after } => Ok(self.page(after)),
            Request::Inspect { key } => {
                self.find(&key).map(|container| Reply::Container(Box::new(container.record())))
            }
            Request::Stats { key } => {
                self.find(&key).map(|container| Reply::Stats(self.hierarchies.stats(&container.entry.cgroup)))
            }
            Request::Signal { key, signal, all } => self.signal(&key, signal, all),
            Request::Extend { key, kill_at_ms } => self.extend(&key, kill_at_ms),
            Request::Delete { key, force } => return self.delete(address, &key, force),
            Request::Create(_) | Request::Upgrade { .. } | Request::Shutdown { .. }
                if self.ending.is_some() =>
            {
                let message = "the keeper is ending or being replaced; ask again".to_owned();
                Err(Failure { kind: FailureKind::Busy, message })
            }
            Request::Create(create) => return self.create(address, *create),
            Request::Upgrade { binary } => return self.upgrade(binary, Some(address)),
            Request::Expect => return self.expect(address),
            Request::Shutdown { force } => return self.shutdown(address, force),
        };
        self.answer(address, result);
    }

    fn hello(&mut self, address: Address, version: u16) -> Result<Reply, Failure> {
        if version != PROTOCOL_VERSION {
            let message = format!("the keeper speaks version {PROTOCOL_VERSION}, not {version}");
            return Err(Failure { kind: FailureKind::UnsupportedVersion, message });
        }
        if let Some(client) = self.clients.get_mut(&address.client) {
            client.greeted = true;
        }
        let keeper = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Reply::Hello { version: PROTOCOL_VERSION, keeper, pid: std::process::id() })
    }

    pub(super) fn find(&self, key: &ContainerKey) -> Result<&Container, Failure> {
        self.containers.get(key).ok_or_else(|| Failure {
            kind: FailureKind::NotFound,
            message: format!("there is no container {key}"),
        })
    }

    fn page(&self, after: Option<ContainerKey>) -> Reply {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut records: Vec<ContainerRecord> = Vec::new();
        let mut bytes = 0;
        for container in self.containers.range((start, Bound::Unbounded)).map(|(_, container)| container) {
            let record = container.record();
            bytes += encode(&record).map_or(PAGE_BYTES, |frame| frame.len());
            if bytes > PAGE_BYTES {
                return Reply::Containers { records, more: true };
            }
            records.push(record);
        }
        Reply::Containers { records, more: false }
    }

    fn signal(&self, key: &ContainerKey, number: i32, all: bool) -> Result<Reply, Failure> {
        let container = self.find(key)?;
        let signal = Signal::from_named_raw(number).ok_or_else(|| Failure {
            kind: FailureKind::BadRequest,
            message: format!("{number} is no signal from 1 to 31"),
        })?;
        let gone =
            || Failure { kind: FailureKind::NotRunning, message: format!("container {key} does not run") };
        let Phase::Running(owner) = &container.phase else { return Err(gone()) };
        if all {
            let reached = self.signal_cgroup(&container.entry.cgroup, signal);
            return if reached > 0 { Ok(Reply::Done) } else { Err(gone()) };
        }
        let sent = match owner {
            // A child that is not reaped keeps its number.
            Owner::Child => {
                let pid = container.entry.process().and_then(|process| process::raw_pid(process.pid).ok());
                kill_process(pid.ok_or_else(gone)?, signal)
            }
            Owner::Adopted { pidfd, .. } => pidfd_send_signal(pidfd, signal),
        };
        sent.map(|()| Reply::Done).map_err(|_| gone())
    }

    fn delete(&mut self, address: Address, key: &ContainerKey, force: bool) {
        let Some(container) = self.containers.get_mut(key) else {
            return self.answer(address, Ok(Reply::Done));
        };
        match &container.phase {
            Phase::Creating(_) | Phase::Running(_) if !force => {
                let message = format!("container {key} runs; stop it first, or delete with force");
                self.answer(address, Err(Failure { kind: FailureKind::Running, message }));
            }
            Phase::Creating(_) => {
                container.deletes.push(address);
                let message = format!("create of {key} was called off by a delete");
                self.kill_create(key, Failure { kind: FailureKind::Cancelled, message });
            }
            Phase::Running(_) => {
                container.deletes.push(address);
                self.kill_container(key);
            }
            Phase::Exited | Phase::Removing(_) => self.remove(key, vec![(address, Ok(Reply::Done))]),
        }
    }

    /// Kills a running container; its end is seen as any other.
    pub(super) fn kill_container(&self, key: &ContainerKey) {
        // It fails only when the container has ended, and then its end is on the way.
        drop(self.signal(key, Signal::KILL.as_raw(), false));
    }
}
