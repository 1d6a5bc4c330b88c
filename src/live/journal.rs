//! The last changes of health, each with its reason.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Condition;
use crate::model::{BackendId, ServerName};

/// Events that are kept.
pub const EVENTS_MAX: usize = 1_000;

/// A server's health changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthEvent {
    /// Its number: the first since the start has 1.
    pub serial: u64,
    /// When.
    pub at: SystemTime,
    /// Whose server.
    pub backend: BackendId,
    /// Its name within the backend.
    pub server: ServerName,
    /// `http://10.42.0.7:8080`.
    pub url: String,
    /// How it was doing.
    pub from: Condition,
    /// How it is doing now.
    pub to: Condition,
    /// Why: `GET /health: 500, wanted 200-399 (3 of 3)`.
    pub reason: Arc<str>,
}

/// The last events, the oldest first; the older ones are forgotten.
#[derive(Debug, Default)]
pub struct Journal {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    serial: u64,
    events: VecDeque<HealthEvent>,
}

impl Journal {
    /// Writes an event down, and gives it its number.
    pub fn add(&self, mut event: HealthEvent) -> u64 {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.serial += 1;
        event.serial = pages.serial;
        if pages.events.len() == EVENTS_MAX {
            pages.events.pop_front();
        }
        pages.events.push_back(event);
        pages.serial
    }

    /// The last `max` events, the newest first.
    pub fn latest(&self, max: usize) -> Vec<HealthEvent> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.events.iter().rev().take(max).cloned().collect()
    }

    /// How many there were since the start.
    pub fn count(&self) -> u64 {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProviderName;

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let journal = Journal::default();
        for number in 0..EVENTS_MAX + 3 {
            journal.add(HealthEvent {
                serial: 0,
                at: SystemTime::UNIX_EPOCH,
                backend: BackendId::new(ProviderName::Docker, "web"),
                server: format!("server-{number}").as_str().into(),
                url: String::new(),
                from: Condition::Up,
                to: Condition::Down,
                reason: "refused".into(),
            });
        }
        let latest = journal.latest(usize::MAX);
        assert_eq!((latest.len(), journal.count()), (EVENTS_MAX, 1_003));
        assert_eq!((latest[0].serial, latest[EVENTS_MAX - 1].serial), (1_003, 4));
        assert_eq!(&*latest[0].server, "server-1002");
    }
}
