//! The loop that owns the containers.
//!
//! One thread waits for signals, connections, output and the ends of adopted containers. Everything else follows from
//! those, and nothing here calls libcontainer.

mod adopt;
mod client;
mod container;
mod create;
mod ending;
mod exits;
mod lease;
mod poller;
mod remove;
mod requests;
mod startup;
mod workers;

use crate::args::Settings;
use crate::cgroup::Hierarchies;
use crate::diag;
use crate::footprint;
use crate::journal::Journal;
use crate::layout::Layout;
use crate::logs::Scratch;
use client::{Client, ClientError};
use container::{Address, Container, Phase};
use ending::Ending;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use poller::{ClientId, Poller, Source};
use rustix::fd::OwnedFd;
use skerry_keeper_protocol::{ContainerKey, Event, ExitStatus, Failure, LogStream, Reply, ServerMessage};
pub(crate) use startup::StartError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use workers::Waiting;

/// More clients than an agent and a few people's tools have; a leak elsewhere must not exhaust the keeper.
const MAX_CLIENTS: usize = 64;
/// How long after a failed write of a record the next try comes.
const SAVE_PAUSE: Duration = Duration::from_secs(5);

/// Everything the keeper holds.
#[derive(Debug)]
pub(crate) struct Keeper {
    settings: Settings,
    layout: Layout,
    boot_id: String,
    hierarchies: Hierarchies,
    journal: Journal,
    poller: Poller,
    listener: UnixListener,
    signals: SignalFd,
    /// Soft limit of open files before the keeper raised it; containers start with it.
    open_files: Option<u64>,
    /// The program as it was found at the start: where an upgrade by signal looks.
    program: PathBuf,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    containers: BTreeMap<ContainerKey, Container>,
    /// Ended children that may be containers whose worker has not been heard.
    unclaimed: Vec<(u32, ExitStatus)>,
    /// Workers without a job yet, with the clients that announced one.
    waiting: Vec<(ClientId, Waiting)>,
    ending: Option<Ending>,
    /// Wakes the loop when the first lease ends; made for the first container that has one.
    lease_timer: Option<OwnedFd>,
    /// Code ran that an idle keeper does not need.
    pages_to_give_back: bool,
    scratch: Scratch,
    /// Held so that no second keeper works on the same directories.
    _locks: [File; 2],
}

impl Keeper {
    /// Runs until a shutdown. An upgrade does not return.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.reap_children();
        loop {
            if self.end_if_due()? {
                return Ok(());
            }
            if !self.creating() && std::mem::take(&mut self.pages_to_give_back) {
                footprint::give_back();
            }
            for source in self.poller.wait(self.next_timeout())? {
                self.handle(source);
            }
            self.handle_deadlines();
            self.scratch.trim();
        }
    }

    /// Whether a create is under way.
    fn creating(&self) -> bool {
        self.containers.values().any(|container| matches!(container.phase, Phase::Creating(_)))
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.handle_signals(),
            Source::Leases => self.leases_ended(),
            Source::Client(id) => self.serve(id),
            Source::Adopted(key) => self.adopted_ended(&key),
            Source::Output(key, stream) => self.pump(&key, stream),
        }
    }

    fn next_timeout(&self) -> Option<Duration> {
        let containers = self.containers.values().filter_map(Container::deadline);
        let ending = self.ending.iter().filter_map(Ending::deadline);
        let next = containers.chain(ending).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_deadlines(&mut self) {
        let now = Instant::now();
        let due: Vec<ContainerKey> = self
            .containers
            .iter()
            .filter(|(_, container)| container.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.save_again(&key, now);
            self.create_deadline(&key, now);
            self.remove_deadline(&key, now);
        }
        self.ending_deadline(now);
    }

    fn handle_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => self.reap_children(),
                Ok(Signal::SIGUSR2) => self.upgrade(self.program.clone(), None),
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.leave(),
                _ => {}
            }
        }
    }

    fn pump(&mut self, key: &ContainerKey, stream: LogStream) {
        if let Some(output) = self.containers.get_mut(key).and_then(|container| container.output.as_mut()) {
            output.log.pump(stream, &mut self.scratch);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                diag!(Warn, "refused a connection: {MAX_CLIENTS} are open");
                continue;
            }
            let id = ClientId(self.next_client);
            self.next_client += 1;
            let added =
                stream.set_nonblocking(true).and_then(|()| self.poller.add(&stream, Source::Client(id)));
            match added {
                Ok(token) => drop(self.clients.insert(id, Client::new(stream, token))),
                Err(error) => diag!(Warn, "cannot serve a connection: {error}"),
            }
        }
    }

    fn serve(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut result = client.transfer();
        while result.is_ok() {
            let Some(client) = self.clients.get_mut(&id) else { return };
            match client.next_request() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    self.request(Address { client: id, request: message.id }, message.request);
                }
                Err(error) => result = Err(error),
            }
        }
        self.settle(id, result);
    }

    /// Answers a request, if its client is still there.
    fn answer(&mut self, address: Address, result: Result<Reply, Failure>) {
        if let Err(failure) = &result {
            diag!(Debug, "refused: {}: {}", failure.kind, failure.message);
        }
        let Some(client) = self.clients.get_mut(&address.client) else { return };
        let sent = client.send(&ServerMessage::Reply { id: address.request, result });
        self.settle(address.client, sent);
    }

    /// Tells every greeted client.
    fn broadcast(&mut self, event: &Event) {
        let message = ServerMessage::Event(event.clone());
        let greeted: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| client.greeted).map(|(id, _)| *id).collect();
        for id in greeted {
            if let Some(client) = self.clients.get_mut(&id) {
                let sent = client.send(&message);
                self.settle(id, sent);
            }
        }
    }

    /// Watches a connection for what it needs next, or closes it.
    fn settle(&mut self, id: ClientId, result: Result<(), ClientError>) {
        let Some(client) = self.clients.get(&id) else { return };
        let (read, write) = client.interest();
        let watched =
            result.and_then(|()| Ok(self.poller.watch(client.stream(), client.token(), read, write)?));
        let Err(error) = watched else { return };
        match error {
            ClientError::HungUp => {}
            ClientError::Io(ref cause) => diag!(Debug, "closed a connection: {error}: {cause}"),
            ClientError::Frame(ref cause) => diag!(Warn, "closed a connection: {error}: {cause}"),
            ClientError::Stalled => diag!(Warn, "closed a connection: {error}"),
        }
        self.waiting.retain(|(client, _)| *client != id);
        if let Some(client) = self.clients.remove(&id) {
            self.poller.remove(client.stream(), client.token());
        }
    }

    /// Writes a container's record; a failure is retried, as what it says is so in any case.
    fn save(&mut self, key: &ContainerKey) {
        let Some(container) = self.containers.get_mut(key) else { return };
        container.save_again = match self.journal.save(&container.entry) {
            Ok(()) => None,
            Err(error) => {
                diag!(Error, "cannot write the record of {key}: {error}; free space in the state directory");
                Some(Instant::now() + SAVE_PAUSE)
            }
        };
    }

    fn save_again(&mut self, key: &ContainerKey, now: Instant) {
        let due = |container: &Container| container.save_again.is_some_and(|at| at <= now);
        if self.containers.get(key).is_some_and(due) {
            self.save(key);
        }
    }
}
