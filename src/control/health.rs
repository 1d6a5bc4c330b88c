//! Changes of health, from wherever they come: into the journal, onto the page, into the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use tracing::{debug, info, warn};

use super::State;
use crate::live::{Condition, HealthEvent};
use crate::model::{BackendId, ServerName, harmless};

/// Lines about health in one second; a network that breaks is thousands of events, and the page has them.
const LINES_MAX: u64 = 100;

impl State {
    /// Writes down that a server's health changed, and tells those who watch.
    pub fn note_health(
        &self,
        backend: &BackendId,
        (server, url): (&ServerName, String),
        (from, to): (Condition, Condition),
        reason: Arc<str>,
    ) {
        let at = SystemTime::now();
        let line = self.health_lines.next(at);
        if line == Line::TheyAreMany {
            warn!(
                "more changes of health in this second, without a line each: /api/health has the last ones"
            );
        }
        if line == Line::ItsOwn {
            let (was, is) = (from.as_str(), to.as_str());
            let shown = backend.to_string();
            let shown = harmless(&shown);
            match (from, to) {
                (_, Condition::Down | Condition::Ejected) => {
                    warn!(backend = %shown, %url, was, is, %reason, "a server gets no requests");
                }
                (Condition::Unknown, _) => {
                    debug!(backend = %shown, %url, is, %reason, "a server is new")
                }
                _ => {
                    info!(backend = %shown, %url, was, is, %reason, "a server gets requests again")
                }
            }
        }
        let (backend, server) = (backend.clone(), Arc::clone(server));
        let event = HealthEvent { serial: 0, at, backend, server, url, from, to, reason };
        self.live.journal.add(event);
        self.changed();
    }
}

/// Counts the lines of this second.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The second (of 2^48), and the lines in it (of 2^16).
    word: AtomicU64,
}

/// What a change has in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    ItsOwn,
    /// The first without one: that there are such is told.
    TheyAreMany,
    None,
}

impl Lines {
    fn next(&self, at: SystemTime) -> Line {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs() << 16;
        let next = |word: u64| match word & !0xffff == second {
            true => (word & 0xffff <= LINES_MAX).then_some(word + 1),
            false => Some(second + 1),
        };
        match self.word.fetch_update(Relaxed, Relaxed, next) {
            Ok(before) if before == second + LINES_MAX => Line::TheyAreMany,
            Ok(_) => Line::ItsOwn,
            Err(_) => Line::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let lines = Lines::default();
        for second in [5, 6] {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let told: Vec<_> = (0..500).map(|_| lines.next(at)).collect();
            assert!(told[..100].iter().all(|line| *line == Line::ItsOwn));
            assert_eq!(told[100], Line::TheyAreMany, "that there are more is said once");
            assert!(told[101..].iter().all(|line| *line == Line::None));
        }
    }
}
