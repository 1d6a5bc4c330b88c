//! Whether a server is well, by what its checks found: one word that a request reads, and the story behind it.
//!
//! The word outlives every table, as all of `live` does: a change of the config, or of the check, forgets nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a server is doing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// Nobody checks it: it counts as well.
    #[default]
    Unchecked,
    /// It is checked, and has not passed yet: it gets nothing.
    Unknown,
    /// It passes.
    Up,
    /// It fails: it gets nothing.
    Down,
    /// Requests to it failed one after another: it is left alone for a while, as long as there are others.
    Ejected,
}

impl Condition {
    /// `up`, `down` …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
        }
    }
}

/// How many in a row it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Passes that bring a server back.
    pub rise: u8,
    /// Failures that take a server out.
    pub fall: u8,
}

/// What one check did to a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// How it was doing.
    pub from: Condition,
    /// How it is doing now.
    pub to: Condition,
    /// Passes, or failures, in a row by now.
    pub in_a_row: u8,
}

/// The health of one server. Checks write it, one at a time; requests read one word of it.
#[derive(Debug, Default)]
pub struct Health {
    /// A [`Word`]: the only part that requests read.
    word: AtomicU32,
    /// When the condition began, in milliseconds since 1970; 0: not known.
    since_ms: AtomicU64,
    /// How long the last check took, in microseconds; 0: none was made.
    latency_us: AtomicU32,
    /// What the last change, or the last failure, was about.
    reason: Mutex<Option<Arc<str>>>,
}

/// The condition and what counts towards the next one, in 32 bits: state, passes in a row, failures in a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Word {
    state: u8,
    passes: u8,
    fails: u8,
}

/// No table has held it yet.
const NEW: u8 = 0;
const UNCHECKED: u8 = 1;
const UNKNOWN: u8 = 2;
const UP: u8 = 3;
const DOWN: u8 = 4;

impl Word {
    fn unpack(bits: u32) -> Self {
        let [state, passes, fails, _] = bits.to_le_bytes();
        Self { state, passes, fails }
    }

    fn pack(self) -> u32 {
        u32::from_le_bytes([self.state, self.passes, self.fails, 0])
    }

    fn of(state: u8) -> Self {
        Self { state, passes: 0, fails: 0 }
    }

    fn condition(self) -> Condition {
        match self.state {
            UNKNOWN => Condition::Unknown,
            UP => Condition::Up,
            DOWN => Condition::Down,
            _ => Condition::Unchecked,
        }
    }

    /// The next word after a check; none where nobody checks any more, and the answer came too late.
    fn after(self, passed: bool, thresholds: Thresholds) -> Option<Self> {
        if !matches!(self.state, UNKNOWN | UP | DOWN) {
            return None;
        }
        let Self { state, passes, fails } = self;
        let (passes, fails) = match passed {
            true => (passes.saturating_add(1), 0),
            false => (0, fails.saturating_add(1)),
        };
        let state = match (state, passed) {
            // Whoever is new has nothing to make up for.
            (UNKNOWN, true) => UP,
            (DOWN, true) if passes >= thresholds.rise => UP,
            (UNKNOWN | UP, false) if fails >= thresholds.fall => DOWN,
            (state, _) => state,
        };
        Some(Self { state, passes, fails })
    }
}

impl Health {
    /// Whether it may get requests.
    pub fn may_serve(&self) -> bool {
        !matches!(Word::unpack(self.word.load(Relaxed)).state, UNKNOWN | DOWN)
    }

    /// How it is doing, by its checks.
    pub fn condition(&self) -> Condition {
        Word::unpack(self.word.load(Relaxed)).condition()
    }

    /// A table holds it, with a check or without one. A new server with a check has to pass first; one that served before
    /// it had a check goes on; where nobody checks, it counts as well.
    pub fn hold(&self, is_checked: bool) {
        let next = |bits| {
            let next = match (Word::unpack(bits).state, is_checked) {
                (NEW, true) => UNKNOWN,
                (UNCHECKED, true) => UP,
                (NEW | UNKNOWN | UP | DOWN, false) => UNCHECKED,
                _ => return None,
            };
            Some(Word::of(next).pack())
        };
        // Refused where nothing changes.
        if self.word.fetch_update(Relaxed, Relaxed, next).is_ok() {
            self.since_ms.store(0, Relaxed);
            self.say(None);
        }
    }

    /// A check ended at this time (in milliseconds since 1970). Tells of a change; none, too, where nobody checks any more.
    pub fn checked(
        &self,
        passed: bool,
        thresholds: Thresholds,
        unix_ms: u64,
        took: Duration,
    ) -> Option<Change> {
        let next = |bits| Some(Word::unpack(bits).after(passed, thresholds)?.pack());
        let before = Word::unpack(self.word.fetch_update(Relaxed, Relaxed, next).ok()?);
        let after = before.after(passed, thresholds)?;
        self.latency_us.store(u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1), Relaxed);
        let (from, to) = (before.condition(), after.condition());
        if self.since_ms.load(Relaxed) == 0 || from != to {
            self.since_ms.store(unix_ms, Relaxed);
        }
        let in_a_row = if passed { after.passes } else { after.fails };
        (from != to).then_some(Change { from, to, in_a_row })
    }

    /// Passes and failures in a row.
    pub fn in_a_row(&self) -> (u8, u8) {
        let word = Word::unpack(self.word.load(Relaxed));
        (word.passes, word.fails)
    }

    /// Notes what the last change, or the last failure, was about.
    pub fn say(&self, reason: Option<Arc<str>>) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// What the last change, or the last failure, was about.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the condition began, in milliseconds since 1970, where that is known.
    pub fn since_ms(&self) -> Option<u64> {
        Some(self.since_ms.load(Relaxed)).filter(|ms| *ms > 0)
    }

    /// How long the last check took, where there was one.
    pub fn latency(&self) -> Option<Duration> {
        let us = self.latency_us.load(Relaxed);
        (us > 0).then(|| Duration::from_micros(u64::from(us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Down, Unchecked, Unknown, Up};

    /// Runs checks (`+` passes, `-` fails) on a new server, and tells how it is doing after each.
    #[track_caller]
    fn check(rise: u8, fall: u8, checks: &str, expected: &[Condition]) {
        let health = Health::default();
        health.hold(true);
        let thresholds = Thresholds { rise, fall };
        let seen: Vec<Condition> = checks
            .bytes()
            .map(|mark| {
                let before = health.condition();
                let change = health.checked(mark == b'+', thresholds, 1, Duration::ZERO);
                assert_eq!(change.is_some(), before != health.condition());
                health.condition()
            })
            .collect();
        assert_eq!(seen, expected, "{checks}");
    }

    #[test]
    fn rise_and_fall_count_in_a_row() {
        check(1, 1, "+-+", &[Up, Down, Up]);
        check(2, 3, "+--+---", &[Up, Up, Up, Up, Up, Up, Down]);
        check(2, 1, "+-+-++", &[Up, Down, Down, Down, Down, Up]);
    }

    #[test]
    fn a_new_server_needs_one_pass_and_fall_failures() {
        check(3, 3, "+", &[Up]);
        check(3, 2, "--+++", &[Unknown, Down, Down, Down, Up]);
    }

    #[test]
    fn nobody_gets_a_request_before_the_first_pass() {
        let health = Health::default();
        assert!(health.may_serve());
        health.hold(true);
        assert!(!health.may_serve());
        health.checked(true, Thresholds { rise: 2, fall: 2 }, 7, Duration::from_millis(3));
        assert!(health.may_serve());
        assert_eq!(
            (health.since_ms(), health.latency()),
            (Some(7), Some(Duration::from_millis(3)))
        );
    }

    #[test]
    fn a_check_may_come_and_go() {
        let health = Health::default();
        let once = Thresholds { rise: 1, fall: 1 };
        health.hold(false);
        assert_eq!(
            (health.condition(), health.checked(false, once, 1, Duration::ZERO)),
            (Unchecked, None)
        );
        // It served before: it goes on until it fails.
        health.hold(true);
        assert_eq!(health.condition(), Up);
        health.checked(false, once, 1, Duration::ZERO);
        for _ in 0..1_000 {
            health.hold(true);
        }
        assert_eq!((health.condition(), health.in_a_row()), (Down, (0, 1)));
        health.hold(false);
        assert!(health.may_serve() && health.condition() == Unchecked);
    }
}
