//! One coarse clock for each worker, and the deadlines that it watches.
//!
//! A wait costs a store instead of a timer: the clock looks through all deadlines at each tick and wakes whoever is
//! late. While the worker is not held up, no wait is cut short, and
//! none ends more than two ticks after its limit.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

/// A tick that is later than this finds a worker that was stopped (`SIGSTOP`, a frozen container): what has come meanwhile could
/// not be looked at, and nobody is late for that.
const HELD_UP_MS: u64 = 1_000;

/// Never.
const NEVER: u64 = u64::MAX;

/// A worker's time, in milliseconds since the process began ([`State::now_ms`](crate::control::State::now_ms)); it starts
/// at 1, so that 0 can mean never.
pub(super) struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
    /// How old `now_ms` gets.
    tick_ms: Cell<u64>,
    /// The `Date` of this second (RFC 9110, section 5.6.7).
    date: RefCell<String>,
    watched: RefCell<Vec<Rc<Watched>>>,
}

struct Watched {
    due_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// When a task has waited for too long. It is told by being woken. A clone is the same deadline.
#[derive(Clone)]
pub(super) struct Deadline(Rc<Watched>);

impl Clock {
    pub(super) fn start(start: Instant) -> Self {
        let date = RefCell::new(httpdate::fmt_http_date(SystemTime::now()));
        let (now_ms, tick_ms) = (Cell::new(1), Cell::new(0));
        let clock = Self { start, now_ms, tick_ms, date, watched: RefCell::default() };
        clock.tick();
        clock
    }

    /// The time of the last tick.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// When a wait of `limit_ms` is over that begins now: a tick later than the coarse time says, which may be a tick old.
    fn due_ms(&self, limit_ms: u64) -> u64 {
        self.now_ms().saturating_add(limit_ms).saturating_add(self.tick_ms.get())
    }

    /// The time now, in microseconds since the process began: exact, where [`now_ms`](Self::now_ms) is coarse.
    pub(super) fn now_us(&self) -> u64 {
        let elapsed = self.start.elapsed();
        elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros())
    }

    /// The time now as [`now_ms`](Self::now_ms) counts, but exact.
    pub(super) fn exact_ms(&self) -> u64 {
        us_as_ms(self.now_us())
    }

    /// The time of day, in milliseconds since 1970.
    pub(super) fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes the time of day, as `Date` has it.
    pub(super) fn write_date(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.date.borrow().as_bytes());
    }

    /// A deadline that is not set.
    pub(super) fn deadline(&self) -> Deadline {
        let watched = Rc::new(Watched { due_ms: Cell::new(NEVER), waker: RefCell::default() });
        self.watched.borrow_mut().push(Rc::clone(&watched));
        Deadline(watched)
    }

    /// Ticks for ever: each time after as many milliseconds as `pause_ms` says then.
    pub(super) async fn run(&self, pause_ms: impl Fn() -> u64) {
        loop {
            let tick_ms = pause_ms();
            self.tick_ms.set(tick_ms);
            sleep(Duration::from_millis(tick_ms)).await;
            self.tick();
        }
    }

    fn tick(&self) {
        let before = self.now_ms.get();
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NEVER - 1) + 1;
        self.now_ms.set(now);
        if now / 1_000 != before / 1_000 {
            *self.date.borrow_mut() = httpdate::fmt_http_date(SystemTime::now());
        }
        let held_up_ms = now.saturating_sub(before).saturating_sub(self.tick_ms.get());
        let more_ms = if held_up_ms > HELD_UP_MS { held_up_ms } else { 0 };
        self.watched.borrow_mut().retain(|watched| {
            watched.due_ms.set(watched.due_ms.get().saturating_add(more_ms));
            if watched.due_ms.get() <= now {
                watched.wake();
            }
            // Ours is the last one where the deadline was dropped.
            Rc::strong_count(watched) > 1
        });
    }

    /// Wakes every task that waits for something with a deadline.
    pub(super) fn wake_all(&self) {
        self.watched.borrow().iter().for_each(|watched| watched.wake());
    }
}

/// Exact microseconds as [`Clock::now_ms`] counts.
pub(super) fn us_as_ms(now_us: u64) -> u64 {
    now_us / 1_000 + 1
}

impl Watched {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Deadline {
    /// Moves it to `limit_ms` from now.
    pub(super) fn set(&self, clock: &Clock, limit_ms: u64) {
        self.0.due_ms.set(clock.due_ms(limit_ms));
    }

    /// Takes it away: what comes next may take as long as it likes.
    pub(super) fn lift(&self) {
        self.0.due_ms.set(NEVER);
    }

    /// Moves it so much further.
    pub(super) fn extend(&self, more_ms: u64) {
        self.0.due_ms.set(self.0.due_ms.get().saturating_add(more_ms));
    }

    /// Moves it to `limit_ms` from now, unless it is due before.
    pub(super) fn set_at_most(&self, clock: &Clock, limit_ms: u64) {
        self.0.due_ms.set(self.0.due_ms.get().min(clock.due_ms(limit_ms)));
    }

    /// Whether it has passed.
    pub(super) fn is_over(&self, clock: &Clock) -> bool {
        self.0.due_ms.get() <= clock.now_ms()
    }

    /// Has this task woken when it has passed. Called wherever the task is about to wait.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.0.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    async fn over(deadline: &Deadline, clock: &Clock) {
        poll_fn(|cx| match deadline.is_over(clock) {
            true => Poll::Ready(()),
            false => {
                deadline.watch(cx);
                Poll::Pending
            }
        })
        .await;
    }

    #[test]
    fn nobody_is_late_for_a_worker_that_was_stopped() {
        let an_hour_ago = Instant::now().checked_sub(Duration::from_secs(3_600));
        let Some(start) = an_hour_ago else { return };
        let clock = Clock::start(start);
        // The tick before was an hour ago.
        clock.now_ms.set(1);
        let (waiting, never) = (clock.deadline(), clock.deadline());
        waiting.set(&clock, 60_000);
        clock.tick();
        assert!(!waiting.is_over(&clock) && !never.is_over(&clock));
        assert!((59_000..=61_000).contains(&(waiting.0.due_ms.get() - clock.now_ms())));
    }

    #[tokio::test]
    async fn whoever_is_late_is_woken() {
        let clock = Clock::start(Instant::now());
        let (late, patient) = (clock.deadline(), clock.deadline());
        late.set(&clock, 20);
        patient.set(&clock, 1_000_000);
        tokio::select! {
            () = clock.run(|| 5) => unreachable!("it ticks for ever"),
            () = over(&patient, &clock) => panic!("it was not due"),
            () = over(&late, &clock) => {}
        }
        assert!(clock.now_ms() >= 20);
        assert_eq!(clock.watched.borrow().len(), 2);
        drop(late);
        clock.tick();
        assert_eq!(clock.watched.borrow().len(), 1);
    }
}
