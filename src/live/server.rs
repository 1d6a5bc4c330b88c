//! One server's load and luck. Atomics only: no request waits here.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::ejection::Ejection;
use super::health::{Condition, Health};
use super::histogram::{Counts, Histogram};
use super::response_time::{Measured, ResponseTime};
use super::traffic::Took;

/// How long a server that refused a connection is passed over while others are there, in milliseconds.
const REST_AFTER_REFUSAL_MS: u64 = 1_000;

/// One answer moves the failure ratio by an eighth of the distance: about twenty answers to forget an outage.
const FAILURE_SHIFT: u32 = 3;

/// What a server gets of its share when its slow start begins.
const START_SHARE_MIN: f64 = 0.1;

/// One server's load and luck.
#[derive(Debug, Default)]
pub struct ServerLive {
    requests: AtomicU64,
    failures: AtomicU64,
    active: AtomicI32,
    resting_until_ms: AtomicU64,
    /// Moving failure ratio, in 1/65536.
    failure_ratio: AtomicU32,
    /// How long its answers took; there from its first one on.
    latencies: OnceLock<Box<Histogram>>,
    response_time: ResponseTime,
    /// When it began to serve, for its slow start; 0: it has not been looked at since it came.
    serving_since_ms: AtomicU64,
    /// The revision of the first table without it; 0: it has not left.
    left_at: AtomicU64,
    /// What its checks found.
    pub health: Health,
    /// What requests to it found.
    pub ejection: Ejection,
}

impl ServerLive {
    /// It leaves with the table of this revision, or is made anew for it.
    pub fn left(&self, revision: u64) {
        self.left_at.store(revision, Relaxed);
    }

    /// It is in the table of this revision, which is made now. One that was not in the table before has come anew, even where
    /// an old request has kept its state.
    pub fn listed(&self, revision: u64) {
        let left_at = self.left_at.swap(0, Relaxed);
        if left_at != 0 && left_at != revision {
            self.starts_anew();
        }
    }

    /// It has just become able to serve: its slow start begins when it is next looked at.
    pub fn starts_anew(&self) {
        self.serving_since_ms.store(0, Relaxed);
    }

    /// What it gets of its share now, from a tenth to 1.0, where its slow start takes so long.
    ///
    /// The time counts from the first request that it could have had: nobody warms up without requests.
    pub fn start_share(&self, now_ms: u64, slow_start_ms: u64) -> f64 {
        if slow_start_ms == 0 {
            return 1.0;
        }
        let since_ms = match self.serving_since_ms.load(Relaxed) {
            0 => {
                self.serving_since_ms.store(now_ms.max(1), Relaxed);
                now_ms
            }
            since_ms => since_ms,
        };
        let grown = now_ms.saturating_sub(since_ms) as f64 / slow_start_ms as f64;
        grown.clamp(START_SHARE_MIN, 1.0)
    }

    /// The head of an answer came after so long.
    pub fn answered_after(&self, us: u64, now_ms: u64) {
        self.response_time.answered_after(us, now_ms);
    }

    /// No answer came for so long, or one that does not count: this can make it slower, never faster.
    pub fn waited_for(&self, us: u64, now_ms: u64) {
        self.response_time.waited_for(us, now_ms);
    }

    /// How long its answers took lately; none where nobody measured it.
    pub fn response(&self, now_ms: u64) -> Option<Measured> {
        self.response_time.peak(now_ms)
    }

    /// How long its answers take in the mean, in microseconds; none where nobody measured it.
    pub fn mean_us(&self) -> Option<f64> {
        self.response_time.mean().map(f64::from)
    }

    /// A request was sent to it.
    pub fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
    }

    /// A request ended, well or not. A failure is a connection that broke or a 5xx answer.
    pub fn end(&self, failed: bool) {
        self.active.fetch_sub(1, Relaxed);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
        let target: u32 = if failed { 65_536 } else { 0 };
        // Two workers may overwrite one another here; a lost sample does not matter to a moving mean.
        let old = self.failure_ratio.load(Relaxed);
        let new = (old - (old >> FAILURE_SHIFT)).saturating_add(target >> FAILURE_SHIFT);
        self.failure_ratio.store(new.min(65_536), Relaxed);
    }

    /// It answered, well or not.
    pub fn answered(&self, took: Took) {
        self.latencies.get_or_init(Box::default).count(took.slot);
    }

    /// Adds how long its answers took.
    pub fn add_latencies_to(&self, counts: &mut Counts) {
        self.latencies.get().into_iter().for_each(|latencies| latencies.add_to(counts));
    }

    /// It refused a connection: leave it alone for a moment. `now_ms` is the proxy's monotonic clock.
    pub fn refused(&self, now_ms: u64) {
        self.resting_until_ms.store(now_ms + REST_AFTER_REFUSAL_MS, Relaxed);
        // Most likely it is being started again.
        self.starts_anew();
    }

    /// Whether it refused a connection a moment ago, or is ejected.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        self.resting_until_ms.load(Relaxed) > now_ms || self.ejection.is_on(now_ms)
    }

    /// How it is doing, all in all.
    pub fn condition(&self, now_ms: u64) -> Condition {
        match self.health.condition() {
            Condition::Up | Condition::Unchecked if self.ejection.is_on(now_ms) => {
                Condition::Ejected
            }
            condition => condition,
        }
    }

    /// Requests sent since it appeared.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Connections that broke and 5xx answers since it appeared.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Requests under way.
    pub fn active(&self) -> u64 {
        u64::try_from(self.active.load(Relaxed)).unwrap_or(0)
    }

    /// The moving failure ratio, 0.0 to 1.0.
    pub fn failure_ratio(&self) -> f64 {
        f64::from(self.failure_ratio.load(Relaxed)) / 65_536.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_ratio_follows_the_answers() {
        let server = ServerLive::default();
        for _ in 0..40 {
            server.begin();
            server.end(true);
        }
        assert!(server.failure_ratio() > 0.9);
        for _ in 0..40 {
            server.begin();
            server.end(false);
        }
        assert!(server.failure_ratio() < 0.1);
        assert_eq!((server.requests(), server.failures(), server.active()), (80, 40, 0));
    }

    #[test]
    fn a_share_grows_from_the_first_look() {
        let server = ServerLive::default();
        assert_eq!(server.start_share(5_000, 0), 1.0);
        for (now_ms, share) in
            [(7_000, 0.1), (7_500, 0.1), (12_000, 0.5), (17_000, 1.0), (99_000, 1.0)]
        {
            assert_eq!(server.start_share(now_ms, 10_000), share, "{now_ms}");
        }
        // The clock of another worker is a tick behind.
        assert_eq!(server.start_share(6_900, 10_000), 0.1);
        server.starts_anew();
        assert_eq!(server.start_share(99_000, 10_000), 0.1);
    }

    #[test]
    fn who_was_gone_or_refused_starts_anew() {
        let server = ServerLive::default();
        server.listed(1);
        let share = |now_ms| server.start_share(now_ms, 10_000);
        assert_eq!((share(1), share(20_000)), (0.1, 1.0));
        // Made anew for the third table.
        server.left(3);
        server.listed(3);
        assert_eq!(share(20_000), 1.0);
        // Not in the fourth.
        server.left(4);
        server.listed(5);
        assert_eq!((share(20_000), share(40_000)), (0.1, 1.0));
        server.refused(40_000);
        assert_eq!(share(41_000), 0.1);
    }

    #[test]
    fn a_refusal_is_forgotten_after_a_moment() {
        let server = ServerLive::default();
        assert!(!server.is_resting(0));
        server.refused(5_000);
        assert!(server.is_resting(5_999));
        assert!(!server.is_resting(6_000));
    }
}
