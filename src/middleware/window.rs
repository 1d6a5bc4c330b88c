//! Counts of the last ten seconds, cheap to add to from every worker.
//!
//! A ring of ten seconds, each with a row of counters. Adding is one atomic addition; whoever comes first in a new second
//! clears its row, which is ten seconds old.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many seconds are kept.
pub(super) const SECONDS: u64 = 10;

/// Counters of these last seconds. Its memory is asked for when it is made, and is never more.
#[derive(Debug)]
pub(super) struct Window {
    /// Which second each row is of, plus one; 0: of none.
    seconds: Box<[AtomicU64]>,
    /// Row after row.
    counts: Box<[AtomicU32]>,
    width: usize,
    clearing: Mutex<()>,
}

impl Window {
    /// A window with so many counters.
    pub(super) fn new(width: usize) -> Self {
        let rows = usize::try_from(SECONDS).expect("a few seconds");
        let counts = (0..rows * width).map(|_| AtomicU32::new(0)).collect();
        let seconds = (0..rows).map(|_| AtomicU64::new(0)).collect();
        Self { seconds, counts, width, clearing: Mutex::default() }
    }

    /// Counts one more. One that the window does not have is not counted.
    pub(super) fn add(&self, now_ms: u64, counter: usize) {
        let second = now_ms / 1_000 + 1;
        let row = usize::try_from(second % SECONDS).expect("one of a few rows");
        // Another worker's clock may be a little ahead: what comes late counts for its second.
        if self.seconds[row].load(Ordering::Acquire) < second {
            self.begin(row, second);
        }
        if counter < self.width {
            self.counts[row * self.width + counter].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn begin(&self, row: usize, second: u64) {
        let _only_one = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.seconds[row].load(Ordering::Acquire) < second {
            let counts = &self.counts[row * self.width..(row + 1) * self.width];
            counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            self.seconds[row].store(second, Ordering::Release);
        }
    }

    /// What a counter has come to.
    pub(super) fn count(&self, now_ms: u64, counter: usize) -> u64 {
        self.sum(now_ms, counter..counter + 1)
    }

    /// What several counters have come to, together.
    pub(super) fn sum(&self, now_ms: u64, counters: std::ops::Range<usize>) -> u64 {
        let (start, end) = (counters.start.min(self.width), counters.end.min(self.width));
        let rows = self.rows(now_ms);
        rows.flat_map(|row| row.get(start..end).unwrap_or_default())
            .map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }

    /// The counter in which this share of all counts (0 to 1) is reached, from the first one on; none where all are 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count"
    )]
    pub(super) fn quantile(&self, now_ms: u64, share: f64) -> Option<usize> {
        let total = self.sum(now_ms, 0..self.width);
        let wanted = ((share * total as f64 + 0.5) as u64).max(1);
        let mut reached = 0;
        (0..self.width).find(|&counter| {
            reached += self.count(now_ms, counter);
            reached >= wanted
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.seconds.iter().for_each(|second| second.store(0, Ordering::Release));
    }

    fn rows(&self, now_ms: u64) -> impl Iterator<Item = &[AtomicU32]> {
        let second = now_ms / 1_000 + 1;
        let is_recent = move |of: &AtomicU64| {
            let of = of.load(Ordering::Acquire);
            of > 0 && of + SECONDS > second
        };
        let rows = self.seconds.iter().zip(self.counts.chunks_exact(self.width.max(1)));
        rows.filter(move |(of, _)| is_recent(of)).map(|(_, row)| row)
    }
}

/// Times in a window: a counter for each length, whose width grows with it, so that any is known to within 2 %.
pub(super) mod times {
    /// The shortest that is told from none: 64 µs.
    const UNIT_BITS: u32 = 6;
    /// Lengths up to 128 units have a counter each, and so has each 64th part of an octave above.
    const PART_BITS: u32 = 6;
    /// Longer ones count as this: 71 minutes.
    const UNITS_MAX: u64 = (1 << 26) - 1;

    /// How many counters there are.
    pub(in crate::middleware) const WIDTH: usize = 1_344;

    /// The counter of a time.
    pub(in crate::middleware) fn counter(us: u64) -> usize {
        let units = (us >> UNIT_BITS).min(UNITS_MAX);
        let octave = (units | 1).ilog2().saturating_sub(PART_BITS);
        let counter = (u64::from(octave) << PART_BITS) + (units >> octave);
        usize::try_from(counter).unwrap_or(WIDTH)
    }

    /// The middle of the times of a counter.
    pub(in crate::middleware) fn us(counter: usize) -> u64 {
        let counter = u64::try_from(counter).unwrap_or(u64::MAX);
        let octave = (counter >> PART_BITS).saturating_sub(1);
        let units = counter - (octave << PART_BITS);
        ((units << octave) << UNIT_BITS) + ((1 << octave) << UNIT_BITS) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_are_kept() {
        let window = Window::new(2);
        for (now_ms, counter) in [(500, 0), (1_500, 0), (1_999, 1), (9_999, 0), (0, 7)] {
            window.add(now_ms, counter);
        }
        let counts = |now_ms| (window.count(now_ms, 0), window.count(now_ms, 1));
        assert_eq!(counts(9_999), (3, 1));
        assert_eq!(counts(10_000), (2, 1));
        assert_eq!(counts(11_000), (1, 0));
        assert_eq!(counts(19_000), (0, 0));
        // The row of a second that is long gone.
        window.add(30_500, 1);
        assert_eq!(counts(30_500), (0, 1));
        window.clear();
        assert_eq!(counts(30_500), (0, 0));
        window.add(30_600, 1);
        assert_eq!(counts(30_600), (0, 1));
    }

    #[test]
    fn a_share_is_reached_somewhere() {
        let window = Window::new(100);
        assert_eq!(window.quantile(0, 0.5), None);
        (0..100).for_each(|counter| window.add(counter * 90, counter.try_into().expect("few")));
        for (share, expected) in [(0.0, 0), (0.5, 49), (0.99, 98), (1.0, 99)] {
            assert_eq!(window.quantile(9_000, share), Some(expected), "{share}");
        }
    }

    #[test]
    fn a_time_is_known_to_within_two_in_a_hundred() {
        assert_eq!(times::counter(u64::MAX), times::WIDTH - 1);
        for us in (0..36).flat_map(|octave| [1_u64 << octave, 3 << octave, (1 << octave) * 7 / 5]) {
            let us = us.min(4_000_000_000);
            let known = times::us(times::counter(us));
            assert!(known.abs_diff(us) <= us / 50 + 64, "{us} is taken for {known}");
        }
        for counter in 0..times::WIDTH {
            assert_eq!(times::counter(times::us(counter)), counter);
        }
    }

    #[test]
    fn nothing_is_lost_between_workers() {
        let window = Window::new(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|n| window.add(n / 2, 0)));
            }
        });
        assert_eq!(window.count(5_000, 0), 40_000);
    }
}
