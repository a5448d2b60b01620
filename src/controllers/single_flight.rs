//! A read that many ask for at the same time, made for all of them at once.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Instant};

use parking_lot::Mutex;

type Slot<T> = Arc<tokio::sync::Mutex<Option<Read<T>>>>;

/// Reads under way by what is read; nothing is kept once nobody waits for it.
pub struct Shared<K, T> {
    reads: Mutex<HashMap<K, Slot<T>>>,
}

struct Read<T> {
    began: Instant,
    found: T,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self {
            reads: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, T: Clone> Shared<K, T> {
    /// What a read found that began after this was asked for: one of another who asked, or this one. So nobody is told
    /// of a time before the question, and however many ask at once, two reads serve them all.
    pub async fn read(&self, what: K, read: impl Future<Output = T>) -> T {
        let asked = Instant::now();
        let slot = self.reads.lock().entry(what).or_default().clone();
        let mut last = slot.lock().await;
        let shared = last
            .as_ref()
            .filter(|last| last.began >= asked)
            .map(|last| last.found.clone());
        let found = if let Some(found) = shared {
            found
        } else {
            let began = Instant::now();
            let found = read.await;
            *last = Some(Read {
                began,
                found: found.clone(),
            });
            found
        };
        drop(last);
        drop(slot);
        self.reads.lock().retain(|_, slot| Arc::strong_count(slot) > 1);
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// A read that waits until it is let through, and finds how many there have been.
    async fn counted(reads: &AtomicUsize, gate: &Semaphore) -> usize {
        let number = reads.fetch_add(1, Ordering::SeqCst) + 1;
        gate.acquire().await.unwrap().forget();
        number
    }

    #[tokio::test]
    async fn a_hundred_who_ask_at_once_are_served_by_two_reads() {
        let (shared, reads, gate) = (Shared::default(), AtomicUsize::new(0), Semaphore::new(0));
        let all = join_all((0..100).map(|_| shared.read("warnings", counted(&reads, &gate))));
        let (found, ()) = tokio::join!(all, async { gate.add_permits(2) });
        assert_eq!(reads.load(Ordering::SeqCst), 2);
        assert_eq!(found[0], 1);
        assert!(found[1..].iter().all(|found| *found == 2), "{found:?}");
    }

    #[tokio::test]
    async fn who_asks_while_a_read_is_under_way_gets_a_later_one() {
        let (shared, reads, gate) = (Shared::default(), AtomicUsize::new(0), Semaphore::new(0));
        let first = shared.read("warnings", counted(&reads, &gate));
        let second = async {
            while reads.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let asked = shared.read("warnings", counted(&reads, &gate));
            gate.add_permits(2);
            asked.await
        };
        assert_eq!(tokio::join!(first, second), (1, 2));
    }

    #[tokio::test]
    async fn other_things_are_read_apart_and_nothing_is_kept() {
        let (shared, reads, gate) = (Shared::default(), AtomicUsize::new(0), Semaphore::new(3));
        for (number, what) in ["a", "b", "a"].into_iter().enumerate() {
            assert_eq!(shared.read(what, counted(&reads, &gate)).await, number + 1);
            assert!(shared.reads.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_read_that_is_given_up_leaves_the_others_to_read() {
        let (shared, reads, gate) = (Shared::default(), AtomicUsize::new(0), Semaphore::new(0));
        let mut given_up = Box::pin(shared.read("warnings", counted(&reads, &gate)));
        assert!(futures::poll!(&mut given_up).is_pending());
        let other = shared.read("warnings", counted(&reads, &gate));
        drop(given_up);
        gate.add_permits(1);
        assert_eq!(other.await, 2);
    }
}
