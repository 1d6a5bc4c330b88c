//! Passwords that were checked a moment ago, so that bcrypt does not cost every request: seals of them, never themselves.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A seal on a user, a password and the hash it was checked against.
pub(super) type Seal = [u8; 32];

/// Right passwords that are remembered.
const RIGHT_MAX: usize = 4_096;

/// Wrong ones. They have room of their own, so that a flood of guesses drives no user out.
const WRONG_MAX: usize = 1_024;

/// How long a right password is remembered after it was used last: whoever is there never waits with those who guess.
const RIGHT_MS: u64 = 5 * 60 * 1_000;

/// How long a wrong one is: a program that asks again and again with an old password costs one check in this time.
const WRONG_MS: u64 = 10 * 1_000;

/// What is remembered, by all steps and workers together. An entry whose user got another hash is never found again.
#[derive(Debug, Default)]
pub struct Verified {
    right: Mutex<HashMap<Seal, u64>>,
    wrong: Mutex<HashMap<Seal, u64>>,
}

impl Verified {
    /// What came of a check of the same a moment ago.
    pub(super) fn get(&self, seal: &Seal, now_ms: u64) -> Option<bool> {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = right.get_mut(seal).filter(|until| **until > now_ms) {
            *until = (*until).max(now_ms + RIGHT_MS);
            return Some(true);
        }
        drop(right);
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get(seal).is_some_and(|until| *until > now_ms).then_some(false)
    }

    /// Remembers what came of a check.
    pub(super) fn put(&self, seal: Seal, is_right: bool, now_ms: u64) {
        let (known, max, ms) = match is_right {
            true => (&self.right, RIGHT_MAX, RIGHT_MS),
            false => (&self.wrong, WRONG_MAX, WRONG_MS),
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= max {
            known.retain(|_, until| *until > now_ms);
        }
        if known.len() >= max {
            // Rather check some again than look for the oldest one each time.
            known.clear();
        }
        known.insert(seal, now_ms + ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(number: usize) -> Seal {
        let mut seal = [0; 32];
        seal[..8].copy_from_slice(&(number as u64).to_be_bytes());
        seal
    }

    #[test]
    fn it_is_remembered_for_its_time() {
        let verified = Verified::default();
        verified.put(seal(1), true, 1_000);
        verified.put(seal(2), false, 1_000);
        assert_eq!(verified.get(&seal(1), 1_001), Some(true));
        assert_eq!(verified.get(&seal(2), 1_001), Some(false));
        assert_eq!(verified.get(&seal(3), 1_001), None);
        assert_eq!(verified.get(&seal(2), 1_000 + WRONG_MS), None);
        // A right one is remembered anew with each use.
        assert_eq!(verified.get(&seal(1), 1_000 + RIGHT_MS), Some(true));
        assert_eq!(verified.get(&seal(1), 1_000 + 2 * RIGHT_MS), None);
    }

    #[test]
    fn a_flood_of_guesses_stays_bounded_and_drives_no_user_out() {
        let verified = Verified::default();
        verified.put(seal(0), true, 1);
        (1..10 * WRONG_MAX).for_each(|number| verified.put(seal(number), false, 1));
        assert!(verified.wrong.lock().expect("not poisoned").len() <= WRONG_MAX);
        assert_eq!(verified.get(&seal(0), 2), Some(true));
    }
}
