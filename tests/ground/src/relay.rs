use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Host;

/// Longest datagram of UDP.
const DATAGRAM_MAX: usize = 65_535;

/// How long a datagram waits for its turn on a slow line before it is dropped, as in the buffer of a modem.
const QUEUE_MAX: Duration = Duration::from_secs(2);

/// How long the relay sleeps at most before it looks whether it should end.
const NAP: Duration = Duration::from_millis(100);

/// What a [`Relay`] does to each datagram, in either direction. The default passes all at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// From one end to the other.
    pub delay: Duration,
    /// Bits that pass in a second, with 28 bytes of headers for each datagram; `None`: as many as come.
    pub bits_per_second: Option<u64>,
    /// Share of datagrams that arrive twice, in percent.
    pub twice_percent: u64,
}

/// A box on a host between others and one UDP address: a bad line, and a translation of addresses that can forget.
///
/// The kernel here has no queueing discipline that delays. The relay ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    orders: Arc<Mutex<Orders>>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Orders {
    line: Line,
    forget: bool,
    end: bool,
}

impl Relay {
    /// Passes what comes to `port` of `host` on to `to`, and answers back.
    pub fn start(host: &Host, port: u16, to: SocketAddr) -> Result<Self> {
        let address = SocketAddr::from((host.address(), port));
        let namespace = host.namespace().clone();
        let outside = namespace.within(|| UdpSocket::bind(address))?.context("binding the relay")?;
        let orders = Arc::new(Mutex::new(Orders::default()));
        let mut passing = Passing {
            outside,
            dial: Box::new(move || {
                let socket = namespace.within(|| UdpSocket::bind("0.0.0.0:0"))??;
                socket.connect(to)?;
                Ok(socket)
            }),
            peers: BTreeMap::new(),
            due: BinaryHeap::new(),
            free: [Instant::now(); 2],
            count: 0,
        };
        let told = Arc::clone(&orders);
        let thread = std::thread::spawn(move || passing.run(&told));
        Ok(Self { address, orders, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the line.
    pub fn become_line(&self, line: Line) {
        locked(&self.orders).line = line;
    }

    /// Forgets which port stands for whom, as a translator does when it restarts: the next datagram of each peer leaves from
    /// another port.
    pub fn forget_ports(&self) {
        locked(&self.orders).forget = true;
    }

    /// Ends it, and tells what went wrong in it.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        locked(&self.orders).end = true;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow!("the relay panicked"))?
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the relay at {}: {error:#}", self.address);
        }
    }
}

fn locked(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    In,
    Out,
}

/// A datagram on its way. The number keeps those of one moment in order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    at: Instant,
    number: u64,
    way: Way,
    peer: SocketAddr,
    bytes: Vec<u8>,
}

struct Passing {
    outside: UdpSocket,
    dial: Box<dyn Fn() -> Result<UdpSocket> + Send>,
    /// One socket for each who speaks from outside.
    peers: BTreeMap<SocketAddr, UdpSocket>,
    due: BinaryHeap<Reverse<Datagram>>,
    /// From when on each way's line is free.
    free: [Instant; 2],
    count: u64,
}

impl Passing {
    fn run(&mut self, orders: &Mutex<Orders>) -> Result<()> {
        self.outside.set_nonblocking(true).context("the relay's socket")?;
        loop {
            let line = {
                let mut orders = locked(orders);
                if orders.end {
                    return Ok(());
                }
                if std::mem::take(&mut orders.forget) {
                    self.peers.clear();
                }
                orders.line
            };
            self.wait()?;
            self.take_in(line)?;
            self.pass_on();
        }
    }

    fn wait(&self) -> Result<()> {
        let now = Instant::now();
        let due = self.due.peek().map_or(NAP, |Reverse(next)| next.at.saturating_duration_since(now));
        let timeout = Timespec::try_from(due.min(NAP)).context("a time to wait")?;
        let sockets = std::iter::once(&self.outside).chain(self.peers.values());
        let mut sockets: Vec<PollFd<'_>> = sockets.map(|one| PollFd::new(one, PollFlags::IN)).collect();
        match poll(&mut sockets, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for datagrams"),
        }
    }

    fn take_in(&mut self, line: Line) -> Result<()> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while let Ok((length, peer)) = self.outside.recv_from(&mut buffer) {
            if !self.peers.contains_key(&peer) {
                let socket = (self.dial)().context("a way on for a new peer")?;
                socket.set_nonblocking(true).context("the way on")?;
                self.peers.insert(peer, socket);
            }
            self.queue(line, Way::In, peer, &buffer[..length]);
        }
        let mut back = Vec::new();
        for (peer, socket) in &self.peers {
            while let Ok(length) = socket.recv(&mut buffer) {
                back.push((*peer, buffer[..length].to_vec()));
            }
        }
        for (peer, bytes) in back {
            self.queue(line, Way::Out, peer, &bytes);
        }
        Ok(())
    }

    fn queue(&mut self, line: Line, way: Way, peer: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        let free = &mut self.free[usize::from(way == Way::Out)];
        let begins = (*free).max(now);
        if let Some(rate) = line.bits_per_second {
            if begins - now > QUEUE_MAX {
                return;
            }
            let bits = (bytes.len() as u64 + 28) * 8;
            *free = begins + Duration::from_micros(bits * 1_000_000 / rate.max(1));
        }
        let at = (*free).max(now) + line.delay;
        self.count += 1;
        let copies = if self.count * line.twice_percent % 100 < line.twice_percent { 2 } else { 1 };
        for _ in 0..copies {
            let datagram = Datagram { at, number: self.count, way, peer, bytes: bytes.to_vec() };
            self.due.push(Reverse(datagram));
        }
    }

    fn pass_on(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(next)) = self.due.pop() else { return };
            // What cannot be sent is lost, like any datagram.
            let _lost = match next.way {
                Way::In => self.peers.get(&next.peer).map(|socket| socket.send(&next.bytes)),
                Way::Out => Some(self.outside.send_to(&next.bytes, next.peer)),
            };
        }
    }
}
