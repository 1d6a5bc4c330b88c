//! How soon news is followed: at once where it is rare, and ever later where servers behind one name disagree.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two looks after news; doubled at each further news that is none.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// So many versions are remembered: as many servers may disagree, and be found out.
const VERSIONS_MAX: usize = 8;

/// Whoever was quiet for so long agrees again.
const QUIET: Duration = Duration::from_secs(30);

/// What is remembered of the last news.
///
/// A version does not come back: one that does is that of another server, which has not heard of the news yet, or never will.
/// Each such change would mean that everything is read, twenty times a second, for as long as they disagree.
#[derive(Debug, Default)]
pub(super) struct Pace {
    versions: VecDeque<String>,
    /// After the last news; none: there was none yet.
    pause: Option<Duration>,
    /// When the last news was to be followed.
    last: Option<Instant>,
}

impl Pace {
    /// When to follow news that this is the version, which is known since `now`; none: at once.
    pub(super) fn due(&mut self, version: &str, now: Instant) -> Option<Instant> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > QUIET) {
            *self = Self::default();
        }
        let is_back = self.versions.iter().any(|earlier| earlier == version);
        let pause = match self.pause {
            Some(pause) if is_back => (pause * 2).min(PAUSE_MAX),
            _ => PAUSE_MIN,
        };
        if !is_back {
            self.versions.truncate(VERSIONS_MAX - 1);
            self.versions.push_front(version.to_owned());
        }
        self.pause = Some(pause);
        let due = self.last.map(|last| last + pause).filter(|due| *due > now);
        self.last = Some(due.unwrap_or(now));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses before news that comes right after what was done about the one before.
    fn pauses(pace: &mut Pace, now: &mut Instant, versions: &[&str]) -> Vec<u128> {
        let pause = |version: &&str| {
            let due = pace.due(version, *now).unwrap_or(*now);
            let pause = due - std::mem::replace(now, due);
            pause.as_millis()
        };
        versions.iter().map(pause).collect()
    }

    #[test]
    fn servers_that_disagree_are_asked_ever_less_often() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut check = |versions: &[&str], expected: &[u128]| {
            assert_eq!(pauses(&mut pace, &mut now, versions), expected, "{versions:?}");
        };
        check(&["1", "2", "3"], &[0, 50, 50]);
        check(&["2", "3", "1", "2"], &[100, 200, 400, 800]);
        check(&["3", "2", "3", "2"], &[1_600, 3_200, 5_000, 5_000]);
        // Something new, in which they agree.
        check(&["4", "5"], &[50, 50]);
    }

    #[test]
    fn after_a_quiet_time_news_is_followed_at_once() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pauses(&mut pace, &mut now, &["1", "2", "1", "2"]);
        now += Duration::from_secs(31);
        assert_eq!(pauses(&mut pace, &mut now, &["1", "2"]), [0, 50]);
    }

    #[test]
    fn few_versions_are_remembered() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for version in 0..100 {
            pace.due(&version.to_string(), now);
        }
        assert_eq!(pace.versions.len(), VERSIONS_MAX);
    }
}
