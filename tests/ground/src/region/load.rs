use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Operator;
use crate::{Namespace, http};

/// Pause of each caller between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// Requests under way at a time.
const CALLERS: usize = 2;

/// HTTP requests to the instances of a workload without an end, by way of a list of the ready ones that is refreshed from
/// the operator API. As a balancer does it, a request that an instance did not take goes to another of a fresh list, once.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    from: Namespace,
    operator: Operator,
    workload: String,
    path: String,
    ends: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    ready: Vec<SocketAddr>,
    served: u64,
    retried: u64,
    failures: Vec<String>,
}

impl Load {
    /// Begins to fetch `path` from the instances that are ready. The first list must not be empty.
    pub fn start(from: &Namespace, operator: &Operator, workload: &str, path: &str) -> Result<Self> {
        let ready = ready(operator, workload)?;
        ensure!(!ready.is_empty(), "no instance of {workload} is ready");
        let shared = Arc::new(Shared {
            from: from.clone(),
            operator: operator.clone(),
            workload: workload.to_owned(),
            path: path.to_owned(),
            ends: AtomicBool::new(false),
            seen: Mutex::new(Seen { ready, ..Seen::default() }),
        });
        let call = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.call(number))
        };
        let mut threads: Vec<JoinHandle<()>> = (0..CALLERS).map(call).collect();
        let refresher = Arc::clone(&shared);
        threads.push(std::thread::spawn(move || refresher.refresh()));
        Ok(Self { shared, threads })
    }

    /// How many requests were answered so far.
    pub fn served(&self) -> u64 {
        self.shared.seen().served
    }

    /// Ends the requests. Gives how many were answered, and how many of them only by a second instance; any that failed is an
    /// error.
    pub fn end(mut self) -> Result<(u64, u64)> {
        self.stop()?;
        let seen = self.shared.seen();
        let (served, failures) = (seen.served, &seen.failures);
        let first = failures.iter().take(5).collect::<Vec<_>>();
        ensure!(failures.is_empty(), "{} of {served} requests failed: {first:#?}", failures.len());
        Ok((served, seen.retried))
    }

    fn stop(&mut self) -> Result<()> {
        self.shared.ends.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).map(JoinHandle::join).filter(Result::is_err).count();
        ensure!(ended == 0, "a caller panicked");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error}");
        }
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, number: usize) {
        let mut turn = number;
        while !self.ends.load(Ordering::Relaxed) {
            turn += 1;
            if self.fetch(turn).is_err() {
                let again = self.list().and_then(|()| self.fetch(turn + 1));
                let mut seen = self.seen();
                match again {
                    Ok(()) => seen.retried += 1,
                    Err(error) => seen.failures.push(format!("{error:#}")),
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One request to the instance whose turn it is.
    fn fetch(&self, turn: usize) -> Result<()> {
        let address = {
            let ready = &self.seen().ready;
            ready.get(turn % ready.len().max(1)).copied().context("no instance is ready")?
        };
        http::fetch(&self.from, address, &self.path)?;
        self.seen().served += 1;
        Ok(())
    }

    fn list(&self) -> Result<()> {
        let ready = ready(&self.operator, &self.workload)?;
        self.seen().ready = ready;
        Ok(())
    }

    fn refresh(&self) {
        while !self.ends.load(Ordering::Relaxed) {
            if let Err(error) = self.list() {
                self.seen().failures.push(format!("the list: {error:#}"));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Where the instances that are ready take requests.
fn ready(operator: &Operator, workload: &str) -> Result<Vec<SocketAddr>> {
    let is_ready = |one: &&Value| {
        one.get("desired").and_then(Value::as_str) != Some("stop")
            && one.get("ready").and_then(Value::as_bool) == Some(true)
    };
    operator.allocations(workload)?.iter().filter(is_ready).map(address).collect()
}

fn address(allocation: &Value) -> Result<SocketAddr> {
    let ip = allocation.get("node_address").and_then(Value::as_str).context("no address")?.parse()?;
    let port = allocation.pointer("/ports/0/host").and_then(Value::as_u64).context("no port")?;
    Ok(SocketAddr::new(ip, u16::try_from(port)?))
}
