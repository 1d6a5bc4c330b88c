//! A backend's turn, its requests, and how many of them may be sent again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::traffic::{Kind, Took, Traffic};

/// Statuses, methods and protocols that one backend tells apart.
const BACKEND_KEYS_MAX: usize = 32;

/// A backend's place in its round, and its requests.
#[derive(Debug, Default)]
pub struct BackendLive {
    turn: AtomicUsize,
    retries: AtomicU64,
    /// How many requests may be sent again.
    pub budget: RetryBudget,
    /// There from its first request on.
    traffic: OnceLock<Box<Traffic>>,
}

/// Keeps retries from becoming a storm: a server that fails under load must not get several times that load.
#[derive(Debug, Default)]
pub struct RetryBudget {
    window: Mutex<Window>,
}

/// A while in which retries are counted.
#[derive(Debug, Default)]
struct Window {
    since_ms: u64,
    /// The backend's requests when it began.
    requests: u64,
    retries: u64,
}

/// How long retries are counted together, in milliseconds.
const RETRY_WINDOW_MS: u64 = 10_000;

/// So many are always allowed in that time, for backends with few requests.
const RETRIES_FREE: u64 = 100;

/// One of so many requests may be sent again besides.
const RETRY_ONE_IN: u64 = 5;

impl RetryBudget {
    /// Whether one more may be sent, which is then counted. `requests` are those of the backend since it appeared.
    pub fn may_retry(&self, requests: u64, now_ms: u64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(window.since_ms) >= RETRY_WINDOW_MS {
            *window = Window { since_ms: now_ms, requests, retries: 0 };
        }
        // Counters start anew where servers leave: what is missing is no credit. Nor is what was sent again.
        let served = requests.saturating_sub(window.requests).saturating_sub(window.retries);
        let may = window.retries < RETRIES_FREE + served / RETRY_ONE_IN;
        window.retries += u64::from(may);
        may
    }

    /// So many of them ended well after all: a server that answers was not the cause of a storm.
    pub fn refund(&self, retries: u64) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.retries = window.retries.saturating_sub(retries);
    }
}

impl BackendLive {
    /// The next turn; it wraps around.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Relaxed)
    }

    /// A request came to one of its frontends.
    pub fn begun(&self, kind: Kind) {
        self.traffic().begun(kind);
    }

    /// That request was answered.
    pub fn answered(&self, status: u16, kind: Kind, took: Took) {
        self.traffic().answered(status, kind, took);
    }

    /// Another of its servers was asked, for one that did not answer.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// How often another server was asked.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Its requests, told apart; none where none came.
    pub fn seen(&self) -> Option<&Traffic> {
        self.traffic.get().map(|traffic| &**traffic)
    }

    fn traffic(&self) -> &Traffic {
        self.traffic.get_or_init(|| Box::new(Traffic::new(BACKEND_KEYS_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_follow_the_requests() {
        let budget = RetryBudget::default();
        let allowed = |requests, now_ms, tries| {
            (0..tries).filter(|_| budget.may_retry(requests, now_ms)).count()
        };
        assert_eq!(allowed(0, 1, 200), 100);
        // A fifth of those that were not sent again: so many of them is a quarter of these.
        assert_eq!(allowed(1_000, 9_999, 500), 150);
        assert_eq!(allowed(1_000, 10_001, 200), 100);
        budget.refund(30);
        assert_eq!(allowed(1_000, 10_002, 200), 30);
    }
}
