//! Servers that fail real requests one after another are left alone for a while. Lock-free: every worker writes here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Requests that must fail in a row.
pub const FAILURES_MAX: u32 = 5;

/// The first time; each further one without an answer in between is twice as long.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 30_000;

/// A failure of what was sent so long after the last one, or later, is none of its row.
const FORGOTTEN_MS: u64 = 60_000;

/// In `times`: that it was ejected is known, and that it is back is not yet.
const OUT: u32 = 1 << 31;

/// One server's failures in a row, and until when it is left alone.
#[derive(Debug, Default)]
pub struct Ejection {
    failures: AtomicU32,
    /// When the last one was.
    failed_ms: AtomicU64,
    /// How often it was ejected since it last answered, or failed a while ago; and [`OUT`].
    times: AtomicU32,
    until_ms: AtomicU64,
}

/// A server was ejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ejected {
    /// After so many failures in a row.
    pub failures: u32,
    /// For so long.
    pub for_ms: u64,
}

impl Ejection {
    /// A request failed that was sent at `asked_ms`: the connection was refused or broke, or no answer came in time. `may_spare` is
    /// asked last: it says whether enough others are left.
    pub fn failed(
        &self,
        asked_ms: u64,
        now_ms: u64,
        may_spare: impl FnOnce() -> bool,
    ) -> Option<Ejected> {
        let before_ms = self.failed_ms.swap(now_ms, Relaxed);
        // Counted from when it was sent: a server that hangs lets each request wait for as long as it may.
        if asked_ms.saturating_sub(before_ms) > FORGOTTEN_MS {
            self.failures.store(0, Relaxed);
            self.times.fetch_and(OUT, Relaxed);
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let until_ms = self.until_ms.load(Relaxed);
        // What was under way when it was ejected says nothing new.
        if failures < FAILURES_MAX || until_ms > now_ms || !may_spare() {
            return None;
        }
        let times = self.times.load(Relaxed) & !OUT;
        let for_ms = (FIRST_MS << times.min(16)).min(LONGEST_MS);
        // Of several workers one ejects it.
        self.until_ms.compare_exchange(until_ms, now_ms + for_ms, Relaxed, Relaxed).ok()?;
        self.times.store((times + 1) | OUT, Relaxed);
        Some(Ejected { failures, for_ms })
    }

    /// It answered. Tells whether it is back from an ejection.
    pub fn answered(&self) -> bool {
        // Reads only, where all is well: this is on every request's way.
        if self.failures.load(Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Relaxed);
        self.until_ms.store(0, Relaxed);
        self.times.swap(0, Relaxed) & OUT != 0
    }

    /// Whether it is left alone now.
    pub fn is_on(&self, now_ms: u64) -> bool {
        self.until_ms.load(Relaxed) > now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(ejection: &Ejection, now_ms: u64, times: u32) -> Option<Ejected> {
        (0..times).filter_map(|_| ejection.failed(now_ms, now_ms, || true)).last()
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time() {
        let ejection = Ejection::default();
        assert_eq!(fail(&ejection, 100, FAILURES_MAX - 1), None);
        assert_eq!(fail(&ejection, 100, 1), Some(Ejected { failures: 5, for_ms: 1_000 }));
        assert!(ejection.is_on(1_099) && !ejection.is_on(1_100));
        // A crowd that was under way does not make it longer.
        assert_eq!(fail(&ejection, 1_099, 100), None);
        let times: Vec<u64> = [2_000, 10_000, 20_000, 40_000, 80_000, 140_000]
            .into_iter()
            .filter_map(|now_ms| Some(fail(&ejection, now_ms, 1)?.for_ms))
            .collect();
        assert_eq!(times, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert!(ejection.answered() && !ejection.answered());
        assert_eq!(fail(&ejection, 300_000, FAILURES_MAX - 1), None);
    }

    #[test]
    fn that_it_is_back_is_told_however_long_it_took() {
        let ejection = Ejection::default();
        assert!(fail(&ejection, 1, FAILURES_MAX).is_some());
        // Nobody asked it for long; then it fails once, and answers.
        assert_eq!(fail(&ejection, 1 + 2 * FORGOTTEN_MS, 1), None);
        assert!(ejection.answered() && !ejection.answered());
    }

    #[test]
    fn an_answer_in_between_begins_anew() {
        let ejection = Ejection::default();
        for _ in 0..10 {
            assert_eq!(fail(&ejection, 1, FAILURES_MAX - 1), None);
            assert!(!ejection.answered());
        }
    }

    #[test]
    fn failures_that_are_far_apart_are_no_row() {
        let ejection = Ejection::default();
        let far_apart = (1..100).map(|n| n * (FORGOTTEN_MS + 1));
        assert_eq!(
            far_apart.filter_map(|now_ms| ejection.failed(now_ms, now_ms, || true)).count(),
            0
        );
        // How often it was ejected long ago does not count either.
        let ejected = Some(Ejected { failures: 5, for_ms: 1_000 });
        assert_eq!(fail(&ejection, 10_000_000, FAILURES_MAX), ejected);
        assert_eq!(fail(&ejection, 20_000_000, FAILURES_MAX), ejected);
    }

    #[test]
    fn a_server_that_hangs_is_ejected_however_long_it_is_waited_for() {
        let ejection = Ejection::default();
        // One client at a time, and each waits for two minutes.
        let mut waits = (1..=5_u64).map(|n| (n * 121_000, n * 121_000 + 120_000));
        let ejected = waits.find_map(|(asked, now)| ejection.failed(asked, now, || true));
        assert_eq!(ejected, Some(Ejected { failures: 5, for_ms: 1_000 }));
    }

    #[test]
    fn nobody_is_ejected_who_cannot_be_spared() {
        let ejection = Ejection::default();
        assert_eq!((0..20).find_map(|_| ejection.failed(1, 1, || false)), None);
        assert!(!ejection.is_on(1));
    }
}
