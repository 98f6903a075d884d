//! A worker that stands by for the next create.
//!
//! To start one takes the keeper as long as all that is then left to do. So one is started while the node is quiet. More would only wait
//! for the processors together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long nothing may have been created before a worker is started ahead: what was asked for goes first.
const QUIET: Duration = Duration::from_millis(100);

/// Whether a worker stands by.
#[derive(Debug, Clone, Default)]
pub(super) struct Standby(Arc<State>);

#[derive(Debug, Default)]
struct State {
    there: AtomicBool,
    wanted: Notify,
}

impl Standby {
    /// Takes the worker, if there is one.
    pub(super) fn take(&self) -> bool {
        self.0.there.swap(false, Ordering::Relaxed)
    }

    /// Says that the keeper has just become busy or has become another one: the worker is started when it is quiet.
    pub(super) fn ask(&self) {
        self.0.wanted.notify_one();
    }

    /// Has `start` start a worker whenever one is wanted and there is none, until it is cancelled. A start that fails is tried again
    /// after the next create.
    pub(super) async fn keep(self, start: impl AsyncFn() -> bool, cancel: CancellationToken) {
        // Cancel-safe: `notified` keeps its permit, and a worker that was asked for goes with the connection.
        let keep = async {
            loop {
                self.0.wanted.notified().await;
                while tokio::time::timeout(QUIET, self.0.wanted.notified()).await.is_ok() {}
                if !self.0.there.load(Ordering::Relaxed) && start().await {
                    self.0.there.store(true, Ordering::Relaxed);
                }
            }
        };
        cancel.run_until_cancelled(keep).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_started_when_it_is_quiet() {
        let standby = Standby::default();
        let started = Arc::new(AtomicU32::new(0));
        let cancel = CancellationToken::new();
        let count = started.clone();
        let start = async move || count.fetch_add(1, Ordering::Relaxed) > 0;
        let task = tokio::spawn(standby.clone().keep(start, cancel.clone()));
        let check = async |starts: u32, there: bool| {
            tokio::time::sleep(QUIET * 2).await;
            assert_eq!((started.load(Ordering::Relaxed), standby.take()), (starts, there));
        };
        check(0, false).await;
        for _ in 0..3 {
            standby.ask();
            tokio::time::sleep(QUIET / 2).await;
        }
        assert_eq!(started.load(Ordering::Relaxed), 0, "not while others are asked for");
        check(1, false).await;
        standby.ask();
        check(2, true).await;
        check(2, false).await;
        standby.ask();
        tokio::time::sleep(QUIET * 2).await;
        standby.ask();
        check(3, true).await;
        cancel.cancel();
        task.await.unwrap();
    }
}
