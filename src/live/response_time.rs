//! How long a server takes to answer: moving measures that no request waits for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How fast a measure loses its worth: after this time a third of it is left, as in Finagle's peak-EWMA.
const FADE_MS: f64 = 10_000.0;

/// One answer moves the mean by an eighth of the distance, as it does the failure ratio.
const MEAN_SHARE: f32 = 1.0 / 8.0;

/// Two measures of one server.
///
/// Two workers may overwrite one another here; a lost sample does not matter to a moving measure.
#[derive(Debug, Default)]
pub(super) struct ResponseTime {
    /// The peak-EWMA in microseconds (the bits of an f32), and in the lower half the millisecond of its last change: in
    /// one word, so that nobody sees the one without the other. 0: nothing was measured.
    peak: AtomicU64,
    /// The mean in microseconds: the bits of an f32. 0: nothing was measured.
    mean: AtomicU32,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The peak-EWMA: up at once, down slowly.
    pub peak_us: f64,
    /// How long ago that was, in milliseconds.
    pub age_ms: u32,
}

impl Measured {
    /// What it still says of now: 1 at first, then ever less.
    pub fn worth(&self) -> f64 {
        (-f64::from(self.age_ms) / FADE_MS).exp()
    }
}

impl ResponseTime {
    /// An answer took so long.
    pub(super) fn answered_after(&self, us: u64, now_ms: u64) {
        let us = us as f32;
        let peak_us = match self.peak(now_ms) {
            Some(old) if old.peak_us > f64::from(us) => {
                let above = old.peak_us - f64::from(us);
                us + (above * old.worth()) as f32
            }
            _ => us,
        };
        self.set_peak(peak_us, now_ms);
        let mean = self.mean().map_or(us, |old| old + (us - old) * MEAN_SHARE);
        self.mean.store(mean.to_bits(), Relaxed);
    }

    /// There was no answer, or none that counts, for so long: this can make it slower, never faster.
    pub(super) fn waited_for(&self, us: u64, now_ms: u64) {
        let old_us = self.peak(now_ms).map_or(0.0, |old| old.peak_us as f32);
        self.set_peak(old_us.max(us as f32), now_ms);
        if let Some(old) = self.mean().filter(|&old| old < us as f32) {
            self.mean.store((old + (us as f32 - old) * MEAN_SHARE).to_bits(), Relaxed);
        }
    }

    pub(super) fn peak(&self, now_ms: u64) -> Option<Measured> {
        let word = self.peak.load(Relaxed);
        let age_ms = (now_ms as u32).wrapping_sub(word as u32);
        // Another worker's clock may be a tick ahead of ours.
        let age_ms = if age_ms > u32::MAX / 2 { 0 } else { age_ms };
        let peak_us = f64::from(f32::from_bits((word >> 32) as u32));
        (word != 0).then_some(Measured { peak_us, age_ms })
    }

    fn set_peak(&self, us: f32, now_ms: u64) {
        // The milliseconds go round in 49 days; a measure of such an age counts as new once.
        let word = (u64::from(us.max(1.0).to_bits()) << 32) | u64::from(now_ms as u32);
        self.peak.store(word, Relaxed);
    }

    pub(super) fn mean(&self) -> Option<f32> {
        let mean = f32::from_bits(self.mean.load(Relaxed));
        (mean > 0.0).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peak, to the nearest hundred microseconds, after these answers: how long each took, and when.
    #[track_caller]
    fn check(answers: &[(u64, u64)], expected: u32) {
        let time = ResponseTime::default();
        answers.iter().for_each(|&(us, now_ms)| time.answered_after(us, now_ms));
        let last_ms = answers.last().expect("an answer").1;
        let peak_us = time.peak(last_ms).expect("it was measured").peak_us;
        assert_eq!((peak_us / 100.0).round() as u32 * 100, expected, "{answers:?}");
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        check(&[(5_000, 1)], 5_000);
        check(&[(5_000, 1), (50_000, 2)], 50_000);
        check(&[(50_000, 1), (5_000, 2)], 50_000);
        check(&[(50_000, 1), (5_000, 10_001)], 21_600);
        check(&[(50_000, 1), (5_000, 90_001)], 5_000);
    }

    #[test]
    fn the_mean_follows_the_answers() {
        let time = ResponseTime::default();
        assert_eq!(time.mean(), None);
        time.answered_after(8_000, 1);
        time.answered_after(16_000, 2);
        assert_eq!(time.mean(), Some(9_000.0));
        (0..100).for_each(|_| time.answered_after(100, 3));
        assert!(time.mean().expect("a mean") < 110.0);
    }

    #[test]
    fn waiting_in_vain_makes_nobody_faster() {
        let time = ResponseTime::default();
        time.answered_after(8_000, 1);
        time.waited_for(10, 20_001);
        let measured = time.peak(20_001).expect("it was measured");
        assert_eq!(
            (measured, time.mean()),
            (Measured { peak_us: 8_000.0, age_ms: 0 }, Some(8_000.0))
        );
        time.waited_for(16_000, 20_002);
        assert_eq!(time.peak(20_002).expect("it was measured").peak_us, 16_000.0);
        assert_eq!(time.mean(), Some(9_000.0));
    }

    #[test]
    fn what_is_old_is_worth_little() {
        let time = ResponseTime::default();
        assert_eq!(time.peak(7), None);
        time.answered_after(0, 1);
        let worth = |now_ms| time.peak(now_ms).expect("it was measured").worth();
        assert_eq!((worth(1), worth(0)), (1.0, 1.0));
        assert!((worth(10_001) - 0.368).abs() < 0.001);
        assert!(worth(100_001) < 0.001);
    }
}
