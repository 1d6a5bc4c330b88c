//! What waits to be told by a thread of its own, bounded: whoever puts something in never waits, and what does not fit is
//! lost and counted.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What waits to be told.
pub(super) struct Outbox<B> {
    state: Mutex<State<B>>,
    /// Something waits, or there is an order.
    changed: Condvar,
    /// The teller has ended.
    ended: Condvar,
    /// So many may wait.
    count_max: usize,
    /// So many are told at once rather than waited with for more.
    enough: usize,
}

struct State<B> {
    waiting: B,
    count: usize,
    /// The teller has nothing to do, and must be woken.
    is_idle: bool,
    orders: Orders,
    has_ended: bool,
}

/// What the teller is told itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Orders {
    /// Open the file anew. Said once.
    pub(super) reopen: bool,
    /// Tell what there is, until then at most, and end.
    pub(super) stop_by: Option<Instant>,
}

impl Orders {
    /// Whether there is no time left.
    pub(super) fn is_over(self, now: Instant) -> bool {
        self.stop_by.is_some_and(|stop_by| stop_by <= now)
    }
}

impl<B: Default> Outbox<B> {
    pub(super) fn new(count_max: usize, enough: usize) -> Self {
        let state = State {
            waiting: B::default(),
            count: 0,
            is_idle: false,
            orders: Orders::default(),
            has_ended: false,
        };
        let (changed, ended) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), changed, ended, count_max, enough }
    }

    /// Puts one thing in, where `put` finds room for it. False: it is lost.
    pub(super) fn put(&self, put: impl FnOnce(&mut B) -> bool) -> bool {
        let mut state = self.lock();
        if state.count >= self.count_max || !put(&mut state.waiting) {
            return false;
        }
        state.count += 1;
        let wakes = state.is_idle || state.count == self.enough;
        state.is_idle = false;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        true
    }

    /// For the teller: waits until there is something to tell, and a little more for what comes with it. Tells what there
    /// is, how many, and what else to do.
    pub(super) fn take(&self, gather: Duration) -> (B, usize, Orders) {
        let is_ordered = |state: &State<B>| state.orders != Orders::default();
        let mut state = self.lock();
        while state.count == 0 && !is_ordered(&state) {
            state.is_idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_idle = false;
        let gathers = |state: &mut State<B>| state.count < self.enough && !is_ordered(state);
        let waited = self.changed.wait_timeout_while(state, gather, gathers);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let orders = state.orders;
        state.orders.reopen = false;
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.count), orders)
    }

    /// For the teller: waits before it tries again, unless there is an order that it has not heard.
    pub(super) fn pause(&self, time: Duration) -> Orders {
        let state = self.lock();
        let (is_stopping, stop_by) = (state.orders.stop_by.is_some(), state.orders.stop_by);
        let left = stop_by.map(|by| by.saturating_duration_since(Instant::now()));
        let time = left.map_or(time, |left| time.min(left));
        let waits = |state: &mut State<B>| {
            !state.orders.reopen && state.orders.stop_by.is_some() == is_stopping
        };
        let waited = self.changed.wait_timeout_while(state, time, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let orders = state.orders;
        state.orders.reopen = false;
        orders
    }

    /// For the teller: it has ended.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.lock().orders.reopen = true;
        self.changed.notify_one();
    }

    /// Has the teller end after what is there now, at that time at the latest.
    pub(super) fn stop(&self, by: Instant) {
        self.lock().orders.stop_by.get_or_insert(by);
        self.changed.notify_one();
    }

    /// Waits until the teller has ended, until then at most. Tells whether it has.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let time = until.saturating_duration_since(Instant::now());
        let waited = self.ended.wait_timeout_while(self.lock(), time, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// Held for a copy, never for a wait.
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn put(outbox: &Outbox<Vec<u32>>, number: u32) -> bool {
        outbox.put(|waiting| {
            waiting.push(number);
            true
        })
    }

    #[test]
    fn what_does_not_fit_is_lost() {
        let outbox = Outbox::<Vec<u32>>::new(2, 10);
        assert!(put(&outbox, 1) && put(&outbox, 2) && !put(&outbox, 3));
        let (taken, count, _) = outbox.take(Duration::ZERO);
        assert_eq!((taken, count), (vec![1, 2], 2));
        assert!(put(&outbox, 4));
        assert!(!outbox.put(|_| false), "it found no room");
    }

    #[test]
    fn enough_is_not_waited_with_for_more() {
        let outbox = Arc::new(Outbox::<Vec<u32>>::new(10, 3));
        let teller = Arc::clone(&outbox);
        let teller = thread::spawn(move || teller.take(LONG).0);
        let began = Instant::now();
        assert!((1..=3).all(|number| put(&outbox, number)));
        assert_eq!(teller.join().expect("it ends"), [1, 2, 3]);
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn an_order_ends_a_pause_and_is_heard_once() {
        let outbox = Arc::new(Outbox::<Vec<u32>>::new(10, 10));
        let teller = Arc::clone(&outbox);
        let teller = thread::spawn(move || {
            let first = teller.pause(LONG);
            let second = teller.take(LONG).2;
            teller.end();
            (first, second)
        });
        outbox.reopen();
        let by = Instant::now() + LONG;
        // The first order must have been heard, or both come at once.
        while outbox.lock().orders.reopen {
            thread::yield_now();
        }
        outbox.stop(by);
        assert!(outbox.wait(by));
        let (first, second) = teller.join().expect("it ends");
        assert_eq!(first, Orders { reopen: true, stop_by: None });
        assert_eq!(second, Orders { reopen: false, stop_by: Some(by) });
        assert!(second.is_over(by) && !second.is_over(by - LONG));
    }
}
