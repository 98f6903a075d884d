//! Work that must not be done twice at once, and things that must not be collected meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_registry::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// One lock per digest, made when it is wanted and dropped with its last user.
#[derive(Clone, Default)]
pub(super) struct Flights {
    locks: Arc<Mutex<BTreeMap<Digest, Arc<AsyncMutex<()>>>>>,
}

/// Holds a digest's lock.
pub(super) struct Flight {
    flights: Flights,
    digest: Digest,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    /// Waits until nobody else works on `digest`. Cancel-safe.
    pub(super) async fn lock(&self, digest: Digest) -> Flight {
        let lock = Arc::clone(self.map().entry(digest).or_default());
        // Made before the wait, so that a cancelled wait tidies the map too.
        let mut flight = Flight { flights: self.clone(), digest, guard: None };
        flight.guard = Some(lock.lock_owned().await);
        flight
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<AsyncMutex<()>>>> {
        // Every update is one insert or remove, so a panic elsewhere cannot leave the map half changed.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut map = self.flights.map();
        drop(self.guard.take());
        if map.get(&self.digest).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            map.remove(&self.digest);
        }
    }
}

/// Digests of images, layers and blobs that pulls under way need, with a count each.
#[derive(Clone, Default)]
pub(super) struct Pins {
    counts: Arc<Mutex<BTreeMap<Digest, usize>>>,
}

/// Pins until it is dropped.
pub(super) struct Pinned {
    pins: Pins,
    digests: Vec<Digest>,
}

impl Pins {
    /// Pins `digests`. What exists after this returns stays; what does not must be made.
    pub(super) fn pin(&self, digests: Vec<Digest>) -> Pinned {
        let mut counts = self.counts();
        for digest in &digests {
            *counts.entry(*digest).or_default() += 1;
        }
        drop(counts);
        Pinned { pins: self.clone(), digests }
    }

    /// Runs `work` with a test for being pinned; nobody pins or unpins meanwhile.
    pub(super) fn frozen<T>(&self, work: impl FnOnce(&dyn Fn(&Digest) -> bool) -> T) -> T {
        let counts = self.counts();
        work(&|digest| counts.contains_key(digest))
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        // Each update of a count is complete, so a panic elsewhere leaves the map usable.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut counts = self.pins.counts();
        for digest in &self.digests {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}
