//! The queue of the brain's orders to one link.
//!
//! A channel of tokio keeps room for 64 orders for as long as it lives, 2 KiB for each of ten thousand links on most of which nothing
//! is said for hours. This one has room while there are orders.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The room that an empty queue may keep.
const KEPT: usize = 1;

/// Makes a queue that takes up to `most` orders.
pub(crate) fn queue<T>(most: usize) -> (Orders<T>, OrderReceiver<T>) {
    let shared = Arc::new(Shared {
        waiting: Mutex::new(Waiting { orders: VecDeque::new(), ends: Ends::Both }),
        news: Notify::new(),
    });
    (Orders { shared: Arc::clone(&shared), most }, OrderReceiver { shared })
}

/// The brain's end. Dropping it lets the link take what was given, and then end.
#[derive(Debug)]
pub(crate) struct Orders<T> {
    shared: Arc<Shared<T>>,
    most: usize,
}

/// The link's end.
#[derive(Debug)]
pub(crate) struct OrderReceiver<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    waiting: Mutex<Waiting<T>>,
    news: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    orders: VecDeque<T>,
    ends: Ends,
}

/// Which ends are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    One,
}

impl<T> Orders<T> {
    /// Gives an order. An error gives it back: the queue is full, or the link is over.
    pub(crate) fn give(&self, order: T) -> Result<(), T> {
        let mut waiting = self.shared.locked();
        if waiting.ends == Ends::One || waiting.orders.len() >= self.most {
            return Err(order);
        }
        waiting.orders.push_back(order);
        drop(waiting);
        self.shared.news.notify_one();
        Ok(())
    }
}

impl<T> OrderReceiver<T> {
    /// The next order; `None` when there are no more and the brain's end is gone. Cancel-safe: an order stays in the queue until
    /// it is returned.
    pub(crate) async fn next(&mut self) -> Option<T> {
        loop {
            {
                let mut waiting = self.shared.locked();
                if let Some(order) = waiting.orders.pop_front() {
                    if waiting.orders.is_empty() {
                        waiting.orders.shrink_to(KEPT);
                    }
                    return Some(order);
                }
                if waiting.ends == Ends::One {
                    return None;
                }
            }
            // News that came since the look is kept: the next line ends at once.
            self.shared.news.notified().await;
        }
    }
}

impl<T> Shared<T> {
    fn locked(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Orders<T> {
    fn drop(&mut self) {
        self.shared.locked().ends = Ends::One;
        self.shared.news.notify_one();
    }
}

impl<T> Drop for OrderReceiver<T> {
    fn drop(&mut self) {
        let mut waiting = self.shared.locked();
        waiting.ends = Ends::One;
        waiting.orders.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_come_in_turn_and_the_last_ones_after_the_end() {
        let (orders, mut receiver) = queue(2);
        assert_eq!((orders.give(1), orders.give(2), orders.give(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(receiver.next().await, Some(1));
        assert_eq!(orders.give(4), Ok(()));
        drop(orders);
        assert_eq!((receiver.next().await, receiver.next().await), (Some(2), Some(4)));
        assert_eq!((receiver.next().await, receiver.next().await), (None, None));
    }

    #[tokio::test]
    async fn who_waits_hears_of_orders_and_of_the_end() {
        let (orders, mut receiver) = queue(1);
        let given = async {
            tokio::task::yield_now().await;
            assert_eq!(orders.give(1), Ok(()));
            tokio::task::yield_now().await;
            drop(orders);
        };
        let taken = async { (receiver.next().await, receiver.next().await) };
        assert_eq!(tokio::join!(taken, given).0, (Some(1), None));
    }

    #[test]
    fn a_link_that_is_over_takes_nothing() {
        let (orders, receiver) = queue(1);
        drop(receiver);
        assert_eq!(orders.give(1), Err(1));
    }

    #[tokio::test]
    async fn an_empty_queue_keeps_no_room() {
        let (orders, mut receiver) = queue(32);
        for order in 0..32 {
            assert_eq!(orders.give(order), Ok(()));
        }
        for order in 0..32 {
            assert_eq!(receiver.next().await, Some(order));
        }
        assert!(orders.shared.locked().orders.capacity() <= 4);
    }
}
