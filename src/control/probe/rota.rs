//! Whose turn it is, and how long until the next: plain data, with the time handed in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// Times by id. A heap finds the next one; what was moved or removed stays in it until its turn, and is passed over.
#[derive(Debug, Default)]
pub(super) struct Rota {
    due_ms: HashMap<u64, u64>,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Rota {
    /// It is its turn then, and at no other time.
    pub(super) fn set(&mut self, id: u64, due_ms: u64) {
        self.due_ms.insert(id, due_ms);
        self.heap.push(Reverse((due_ms, id)));
        if self.heap.len() > 2 * self.due_ms.len() + 64 {
            let due = self.due_ms.iter().map(|(&id, &due_ms)| Reverse((due_ms, id)));
            self.heap = due.collect();
        }
    }

    /// It has no turn any more.
    pub(super) fn remove(&mut self, id: u64) {
        self.due_ms.remove(&id);
    }

    /// When it is its turn, where it has one.
    pub(super) fn due_ms(&self, id: u64) -> Option<u64> {
        self.due_ms.get(&id).copied()
    }

    /// When the next turn is.
    pub(super) fn next_ms(&mut self) -> Option<u64> {
        while let Some(&Reverse((due_ms, id))) = self.heap.peek() {
            if self.due_ms.get(&id) == Some(&due_ms) {
                return Some(due_ms);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes somebody whose turn it is: who is taken has no turn until it gets one.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<u64> {
        self.next_ms().filter(|due_ms| *due_ms <= now_ms)?;
        let Reverse((_, id)) = self.heap.pop()?;
        self.due_ms.remove(&id);
        Some(id)
    }
}

/// New servers that come together are first asked over this time: 5,000 a second.
pub(super) fn spread(count: usize, interval: Duration) -> Duration {
    let micros = u64::try_from(count.saturating_sub(1)).unwrap_or(u64::MAX).saturating_mul(200);
    Duration::from_micros(micros).min(interval)
}

/// The time to the next check: the interval give or take a tenth, so that many servers, and many balancers, do not keep
/// step. `chance` is from 0 to 1.
pub(super) fn pause(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance)
}

/// The time to the second check: from half an interval to a whole one, so that what began together soon is not together.
pub(super) fn second_pause(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.5 + 0.5 * chance)
}

/// The first pause of a server that has never passed.
const EARLY: Duration = Duration::from_millis(500);

/// The time to the next check of a server that never passed yet: short at first, for it may be just starting, and nobody
/// wants to wait a whole interval for it.
pub(super) fn early_pause(tries: u8, interval: Duration, chance: f64) -> Duration {
    pause(EARLY.saturating_mul(1 << tries.min(16)).min(interval), chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn the_earliest_is_next_and_is_taken_once() {
        let mut rota = Rota::default();
        for (id, due_ms) in [(1, 30), (2, 10), (3, 20)] {
            rota.set(id, due_ms);
        }
        assert_eq!((rota.next_ms(), rota.take(9)), (Some(10), None));
        rota.remove(2);
        assert_eq!((rota.next_ms(), rota.take(25), rota.take(25)), (Some(20), Some(3), None));
        assert_eq!((rota.take(30), rota.next_ms()), (Some(1), None));
    }

    #[test]
    fn who_is_moved_has_one_turn_only() {
        let mut rota = Rota::default();
        for due_ms in (1..=10_000).rev() {
            rota.set(7, due_ms);
        }
        assert!(rota.heap.len() <= 67, "{}", rota.heap.len());
        assert_eq!(
            (rota.due_ms(7), rota.take(u64::MAX), rota.take(u64::MAX)),
            (Some(1), Some(7), None)
        );
    }

    #[test]
    fn pauses_keep_to_their_bounds() {
        for step in 0..=100 {
            let chance = f64::from(step) / 100.0;
            let bounds = |pause: Duration, from: u64, to: u64| {
                let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
                assert!((from..=to).contains(&pause), "{pause:?} at {chance}");
            };
            bounds(pause(INTERVAL, chance), 9_000, 11_000);
            bounds(second_pause(INTERVAL, chance), 5_000, 10_000);
            bounds(early_pause(0, INTERVAL, chance), 450, 550);
            bounds(early_pause(2, INTERVAL, chance), 1_800, 2_200);
            bounds(early_pause(255, INTERVAL, chance), 9_000, 11_000);
        }
    }

    #[test]
    fn one_is_asked_at_once_and_many_over_a_while() {
        assert_eq!(spread(1, INTERVAL), Duration::ZERO);
        assert_eq!(spread(10_001, INTERVAL), Duration::from_secs(2));
        assert_eq!(spread(1_000_000, INTERVAL), INTERVAL);
    }
}
