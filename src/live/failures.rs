//! The last requests that went wrong, and why. Written on failures only, and bounded in size and in pace.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{FrontendId, ServerName};

/// How many are kept.
const KEPT_MAX: usize = 100;

/// How many of one second and cause are kept: a storm is counted, costs no more than that, and hides no other cause.
const KEPT_PER_SECOND_MAX: u64 = 10;

/// A host, a path and a cause are kept up to this length.
const TEXT_BYTES_MAX: usize = 200;

/// Why a request went wrong, in the words of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The client's request cannot be understood, or is not served.
    BadRequest,
    /// The client was too slow.
    SlowClient,
    /// The client left before its answer.
    ClientLeft,
    /// A step of the frontend said no: 401, 403, 429.
    Denied,
    /// A step of the frontend answered with a server error: it is closed, or its breaker is open.
    Closed,
    /// No server is there, or none is healthy.
    NoServer,
    /// The server refused, or broke the connection.
    Network,
    /// The server was too slow.
    Timeout,
    /// The server's answer cannot be understood, or ended early.
    BadAnswer,
    /// The server answered with an error of its own.
    ServerError,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::BadRequest,
        Self::SlowClient,
        Self::ClientLeft,
        Self::Denied,
        Self::Closed,
        Self::NoServer,
        Self::Network,
        Self::Timeout,
        Self::BadAnswer,
        Self::ServerError,
    ];

    /// `bad_answer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::SlowClient => "slow_client",
            Self::ClientLeft => "client_left",
            Self::Denied => "denied",
            Self::Closed => "closed",
            Self::NoServer => "no_server",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::BadAnswer => "bad_answer",
            Self::ServerError => "server_error",
        }
    }

    /// Whether it is worth a line among the last errors: what clients do all day is not.
    pub fn is_news(self) -> bool {
        !matches!(self, Self::ClientLeft | Self::Denied)
    }
}

/// A request that went wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose it was; none where no frontend was found.
    pub frontend: Option<FrontendId>,
    /// Who failed; none where no server was asked.
    pub server: Option<ServerName>,
    /// Its method, as sent.
    pub method: String,
    /// Its host, as sent.
    pub host: String,
    /// Its path, without the query, which may hold secrets.
    pub path: String,
    /// What the client got, or was on its way to get.
    pub status: u16,
    /// Why.
    pub cause: Cause,
    /// The same in words.
    pub why: String,
}

/// The last failures.
#[derive(Debug, Default)]
pub struct Failures {
    kept: Mutex<VecDeque<Failed>>,
    /// For each cause the second, and how many of it were kept: `second << 8 | count`.
    paces: [AtomicU64; Cause::ALL.len()],
    passed_over: AtomicU64,
    serial: AtomicU64,
}

impl Failures {
    /// Whether one more of this second and cause may be kept. One that may not is counted as passed over. Asked before it is put
    /// in words.
    pub fn admits(&self, cause: Cause, now_s: u64) -> bool {
        let next = |pace: u64| match pace >> 8 == now_s {
            true if pace & 0xff >= KEPT_PER_SECOND_MAX => None,
            true => Some(pace + 1),
            false => Some(now_s << 8 | 1),
        };
        let pace = &self.paces[cause as usize];
        let is_admitted = pace.fetch_update(Relaxed, Relaxed, next).is_ok();
        if !is_admitted {
            self.passed_over.fetch_add(1, Relaxed);
        }
        is_admitted
    }

    /// Keeps one. Where there is no room, the oldest of the cause that has most goes: whoever sends many a bad request drives out no
    /// server's error.
    pub fn keep(&self, mut failed: Failed) {
        for text in [&mut failed.host, &mut failed.path, &mut failed.why, &mut failed.method] {
            cut(text);
        }
        let mut kept = self.lock();
        if kept.len() == KEPT_MAX {
            let count = |cause: &Cause| kept.iter().filter(|failed| failed.cause == *cause).count();
            let most = Cause::ALL.into_iter().max_by_key(count);
            let oldest = kept.iter().position(|failed| Some(failed.cause) == most);
            kept.remove(oldest.unwrap_or(0));
        }
        kept.push_back(failed);
        self.serial.fetch_add(1, Relaxed);
    }

    /// The last ones, the newest first.
    pub fn last(&self, max: usize) -> Vec<Failed> {
        self.lock().iter().rev().take(max).cloned().collect()
    }

    /// Grows with each one that is kept.
    pub fn serial(&self) -> u64 {
        self.serial.load(Relaxed)
    }

    /// How many were counted and not kept.
    pub fn passed_over(&self) -> u64 {
        self.passed_over.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Failed>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts what is too long, between two characters.
fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: u16, path: &str) -> Failed {
        Failed {
            at_ms: 0,
            frontend: None,
            server: None,
            method: "GET".to_owned(),
            host: "web.local".to_owned(),
            path: path.to_owned(),
            status,
            cause: Cause::Network,
            why: String::new(),
        }
    }

    #[test]
    fn the_newest_are_kept_and_long_ones_cut() {
        let failures = Failures::default();
        (0..150).for_each(|status| failures.keep(failed(status, "/")));
        failures.keep(failed(999, &"é".repeat(500)));
        let last = failures.last(usize::MAX);
        assert_eq!(
            (last.len(), last[0].status, last[1].status, last[99].status),
            (100, 999, 149, 51)
        );
        assert_eq!((last[0].path.chars().count(), failures.serial()), (101, 151));
    }

    #[test]
    fn a_storm_is_counted() {
        let failures = Failures::default();
        let admitted = |cause| (0..1_000).filter(|_| failures.admits(cause, 7)).count();
        assert_eq!((admitted(Cause::BadRequest), failures.passed_over()), (10, 990));
        assert_eq!((admitted(Cause::Network), failures.passed_over()), (10, 1_980));
        assert!(failures.admits(Cause::Network, 8), "the next second is a new one");
    }

    #[test]
    fn many_of_one_cause_drive_out_none_of_another() {
        let failures = Failures::default();
        failures.keep(failed(502, "/"));
        let bad = Failed { cause: Cause::BadRequest, ..failed(400, "/") };
        (0..500).for_each(|_| failures.keep(bad.clone()));
        let last = failures.last(usize::MAX);
        assert_eq!((last.len(), last[99].status), (100, 502));
    }
}
