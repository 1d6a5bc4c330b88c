//! How long things took, counted by size: a few hundred bytes tell a median and a hundredth, however many were counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Below this all times are alike, in microseconds: 2⁶.
const FIRST_BITS: u32 = 6;

/// Each doubling of a time is cut in so many slots, a power of two: a slot is a quarter as wide as what it begins with.
const STEP_BITS: u32 = 2;

/// Times from 64 µs to 67 s have slots of their own; what is longer shares the last.
const LAST_BITS: u32 = 26;

/// The slots of a histogram.
pub const SLOTS: usize = (((LAST_BITS - FIRST_BITS) << STEP_BITS) + 2) as usize;

/// The slot of a time.
pub fn slot_of(took_us: u64) -> usize {
    if took_us < 1 << FIRST_BITS {
        return 0;
    }
    let bits = took_us.ilog2();
    if bits >= LAST_BITS {
        return SLOTS - 1;
    }
    let within = (took_us >> (bits - STEP_BITS)) & ((1 << STEP_BITS) - 1);
    // At most SLOTS: it fits wherever a pointer does.
    (((bits - FIRST_BITS) << STEP_BITS) as usize) + within as usize + 1
}

/// Where a slot begins, in microseconds. The one after the last begins nowhere: at twice the last's beginning.
fn begin_of(slot: usize) -> u64 {
    let Some(place) = slot.checked_sub(1) else { return 0 };
    let (bits, within) = (place >> STEP_BITS, (place & ((1 << STEP_BITS) - 1)) as u64);
    match slot < SLOTS {
        true => ((1 << STEP_BITS) + within) << (bits as u32 + FIRST_BITS - STEP_BITS),
        false => 1 << (LAST_BITS + 1),
    }
}

/// Counters, one for each slot.
#[derive(Debug)]
pub struct Histogram {
    slots: [AtomicU64; SLOTS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; SLOTS] }
    }
}

impl Histogram {
    /// Counts one that fell in this slot.
    pub fn count(&self, slot: usize) {
        self.slots[slot.min(SLOTS - 1)].fetch_add(1, Relaxed);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.slots.iter().map(|slot| slot.load(Relaxed)).sum()
    }

    /// Adds what was counted, slot by slot.
    pub fn add_to(&self, counts: &mut Counts) {
        counts.0.iter_mut().zip(&self.slots).for_each(|(sum, slot)| *sum += slot.load(Relaxed));
    }
}

/// What was counted at one moment, slot by slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counts(pub [u64; SLOTS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; SLOTS])
    }
}

impl Counts {
    /// How many there are.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The sum of all times in microseconds, from the middle of each slot: within an eighth of the truth.
    pub fn sum_us(&self) -> u64 {
        let middle = |slot: usize| (begin_of(slot) + begin_of(slot + 1)) / 2;
        self.0.iter().enumerate().map(|(slot, count)| count.saturating_mul(middle(slot))).sum()
    }

    /// How many took at most so long, where that is the end of a slot: else the slot it falls in counts in part.
    pub fn at_most(&self, limit_us: u64) -> f64 {
        let part = |(slot, &count): (usize, &u64)| {
            let (begin, end) = (begin_of(slot), begin_of(slot + 1));
            let share = as_float(limit_us.saturating_sub(begin)) / as_float(end - begin);
            as_float(count) * share.min(1.0)
        };
        self.0.iter().enumerate().map(part).sum()
    }
}

/// The time that a share of all stayed below, in microseconds: `share` is 0.5 for the median. `weights` tell how much fell
/// in each slot. None where nothing was counted.
pub fn quantile(weights: &[f32; SLOTS], share: f32) -> Option<u64> {
    let total: f32 = weights.iter().sum();
    // What is left of one request by the time it has faded tells nothing any more.
    if total < FADED {
        return None;
    }
    let mut left = total * share.clamp(0.0, 1.0);
    let last = weights.iter().rposition(|&weight| weight > 0.0)?;
    for (slot, &weight) in weights.iter().enumerate().take(last + 1) {
        if weight >= left || slot == last {
            let (begin, end) = (begin_of(slot), begin_of(slot + 1));
            let part = if weight > 0.0 { f64::from((left / weight).clamp(0.0, 1.0)) } else { 0.0 };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within one slot
            return Some(begin + (as_float(end - begin) * part) as u64);
        }
        left -= weight;
    }
    None
}

/// Less than this is nothing.
const FADED: f32 = 0.05;

/// A count for arithmetic with shares.
#[allow(clippy::cast_precision_loss)] // a count of 2⁵³ is years away
pub fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(times_us: &[u64], share: f32, expected: std::ops::RangeInclusive<u64>) {
        let mut weights = [0.0; SLOTS];
        times_us.iter().for_each(|&us| weights[slot_of(us)] += 1.0);
        let found = quantile(&weights, share).expect("something was counted");
        assert!(expected.contains(&found), "{found} µs at {share}");
    }

    #[test]
    fn quantiles_are_near_the_truth() {
        let even: Vec<u64> = (1..=1_000).map(|ms| ms * 1_000).collect();
        check(&even, 0.5, 440_000..=560_000);
        check(&even, 0.99, 900_000..=1_050_000);
        check(&[500; 100], 0.5, 448..=512);
        check(&[1], 0.5, 0..=64);
        let mut mostly_fast = vec![1_000; 98];
        mostly_fast.extend([2_000_000, 2_000_000]);
        check(&mostly_fast, 0.5, 896..=1_024);
        check(&mostly_fast, 0.99, 1_800_000..=2_400_000);
        assert_eq!(quantile(&[0.0; SLOTS], 0.5), None);
        let faded = &mut [0.0; SLOTS];
        faded[3] = 0.01;
        assert_eq!(quantile(faded, 0.5), None);
    }

    #[test]
    fn sums_and_shares() {
        let histogram = Histogram::default();
        for us in [100_000, 100_000, 1_000_000] {
            histogram.count(slot_of(us));
        }
        let mut counts = Counts::default();
        histogram.add_to(&mut counts);
        assert_eq!((histogram.total(), counts.total()), (3, 3));
        assert!((1_050_000..1_350_000).contains(&counts.sum_us()), "{}", counts.sum_us());
        assert_eq!(counts.at_most(600_000), 2.0);
        assert_eq!(counts.at_most(u64::MAX), 3.0);
    }

    proptest! {
        #[test]
        fn every_time_is_in_its_slot(us in 0_u64..200_000_000) {
            let slot = slot_of(us);
            prop_assert!(slot < SLOTS && begin_of(slot) <= us);
            prop_assert!(slot == SLOTS - 1 || us < begin_of(slot + 1));
        }
    }
}
