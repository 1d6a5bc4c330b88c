//! Counters of one frontend, one entry point, and of the whole proxy. Atomics only: no request waits here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::failures::Cause;
use super::histogram::{Counts, Histogram};
use super::traffic::{Code, Key, Kind, Told, Took, Traffic};

/// Statuses, methods and protocols that an entry point tells apart: it sees what all backends answer.
const ENTRY_KEYS_MAX: usize = 256;

/// What one worker sees of an entry point: only that worker writes to it, so that no core waits for another one.
#[derive(Debug)]
pub struct EntryLive {
    traffic: Traffic,
    latencies: Histogram,
}

impl Default for EntryLive {
    fn default() -> Self {
        Self { traffic: Traffic::new(ENTRY_KEYS_MAX), latencies: Histogram::default() }
    }
}

impl EntryLive {
    /// A request came.
    pub fn begun(&self, kind: Kind) {
        self.traffic.begun(kind);
    }

    /// It was answered, by a server or by Herder itself.
    pub fn answered(&self, status: u16, kind: Kind, took: Took) {
        self.traffic.answered(status, kind, took);
        self.latencies.count(took.slot);
    }
}

/// Answers by the first digit of their status.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum StatusClass {
    /// 1xx (101 included).
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
}

impl StatusClass {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status code; what is out of range counts as a server error.
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// `2xx`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// One frontend's answers. Memory is taken with the first one: of thousands of frontends many are asked for nothing.
#[derive(Debug, Default)]
pub struct FrontendLive(OnceLock<Box<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    /// How long those of each class took; there from the first of it on.
    by_class: [OnceLock<Box<Histogram>>; StatusClass::ALL.len()],
    causes: [AtomicU64; Cause::ALL.len()],
}

impl FrontendLive {
    /// An answer went out.
    pub fn answered(&self, status: u16, took: Took) {
        let answers = self.0.get_or_init(Box::default);
        let latencies = &answers.by_class[StatusClass::of(status) as usize];
        latencies.get_or_init(Box::default).count(took.slot);
    }

    /// A request went wrong.
    pub fn failed(&self, cause: Cause) {
        self.0.get_or_init(Box::default).causes[cause as usize].fetch_add(1, Relaxed);
    }

    /// Answers of one class since the frontend appeared.
    pub fn answers(&self, class: StatusClass) -> u64 {
        self.latencies(class).map_or(0, |latencies| latencies.total())
    }

    /// All answers since the frontend appeared.
    pub fn requests(&self) -> u64 {
        StatusClass::ALL.iter().map(|&class| self.answers(class)).sum()
    }

    /// Adds how long its answers took.
    pub fn add_latencies_to(&self, counts: &mut Counts) {
        let latencies = StatusClass::ALL.iter().filter_map(|&class| self.latencies(class));
        latencies.for_each(|latencies| latencies.add_to(counts));
    }

    fn latencies(&self, class: StatusClass) -> Option<&Histogram> {
        self.0.get()?.by_class[class as usize].get().map(|latencies| &**latencies)
    }

    /// What went wrong, by cause; only causes that there were.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> {
        let counts = self.0.get().into_iter().flat_map(|answers| answers.causes.iter());
        let counts = Cause::ALL.into_iter().zip(counts.map(|count| count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// The whole proxy, requests without a frontend included.
#[derive(Debug, Default)]
pub struct Totals {
    /// What each worker sees of each entry point.
    entries: Mutex<BTreeMap<String, Vec<Arc<EntryLive>>>>,
    open_connections: AtomicI64,
    waited_connections: AtomicU64,
    /// When the log was last told that all places are taken; 0: never.
    full_told_ms: AtomicU64,
}

/// Between two lines of the log that say that all places are taken.
const FULL_PAUSE_MS: u64 = 60_000;

/// An entry point's requests, of all workers.
#[derive(Clone, Debug, Default)]
pub struct EntryTold {
    /// How many came.
    pub begun: BTreeMap<Kind, u64>,
    /// How many were answered, and how long that took.
    pub told: BTreeMap<Key, Told>,
}

impl Totals {
    /// A worker's part of an entry point.
    pub fn entry(&self, name: &str) -> Arc<EntryLive> {
        let fresh = Arc::<EntryLive>::default();
        self.lock().entry(name.to_owned()).or_default().push(Arc::clone(&fresh));
        fresh
    }

    /// The entry points with their requests.
    pub fn entries(&self) -> BTreeMap<String, EntryTold> {
        let sum = |parts: &Vec<Arc<EntryLive>>| {
            let mut sum = EntryTold::default();
            for part in parts {
                // Those that ended first: what ends meanwhile is not missed among those that came.
                part.traffic.add_to(&mut sum.told);
                part.traffic.add_begun_to(&mut sum.begun);
            }
            sum
        };
        self.lock().iter().map(|(name, parts)| (name.clone(), sum(parts))).collect()
    }

    /// Adds how long the answers of all entry points took.
    pub fn add_latencies_to(&self, counts: &mut Counts) {
        self.lock().values().flatten().for_each(|part| part.latencies.add_to(counts));
    }

    /// Answers since the start, by status.
    pub fn by_status(&self) -> BTreeMap<Code, Told> {
        let mut all = BTreeMap::new();
        self.lock().values().flatten().for_each(|part| part.traffic.add_to(&mut all));
        let mut by_status = BTreeMap::<Code, Told>::new();
        for (key, told) in all {
            by_status.entry(key.code).or_default().add(&told);
        }
        by_status
    }

    /// All answers since the start.
    pub fn requests(&self) -> u64 {
        self.by_status().values().map(Told::total).sum()
    }

    /// Answers of one class since the start.
    pub fn answers(&self, class: StatusClass) -> u64 {
        let by_status = self.by_status();
        let of_class = by_status.iter().filter(|(code, _)| code.class() == class);
        of_class.map(|(_, told)| told.total()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Arc<EntryLive>>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client connected.
    pub fn connection_opened(&self) {
        self.open_connections.fetch_add(1, Relaxed);
    }

    /// A client's connection ended.
    pub fn connection_closed(&self) {
        self.open_connections.fetch_sub(1, Relaxed);
    }

    /// A client waits for a place, for all are taken. Tells whether that is to be said in the log: once a minute.
    pub fn connection_waits(&self, now_ms: u64) -> bool {
        self.waited_connections.fetch_add(1, Relaxed);
        let next = |told| {
            let is_due = told == 0 || now_ms >= told + FULL_PAUSE_MS;
            is_due.then_some(now_ms.max(1))
        };
        self.full_told_ms.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Clients that had to wait for a place, since the start.
    pub fn waited_connections(&self) -> u64 {
        self.waited_connections.load(Relaxed)
    }

    /// Client connections open now.
    pub fn open_connections(&self) -> u64 {
        u64::try_from(self.open_connections.load(Relaxed)).unwrap_or(0)
    }
}

/// What is told about requests, and what of it was lost.
#[derive(Debug, Default)]
pub struct Telling {
    /// Lines of the access log that were written.
    pub lines: Count,
    /// Lines of the access log that were lost: more came than could be written.
    pub lines_dropped: Count,
    /// How often the access log could not be written or opened.
    pub log_failures: Count,
    /// Spans that a collector took.
    pub spans: Count,
    /// Spans that were lost.
    pub spans_dropped: Count,
}

impl Telling {
    /// What was lost of either.
    pub fn lost(&self) -> u64 {
        self.lines_dropped.count() + self.spans_dropped.count()
    }
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Verb;
    use crate::settings::Buckets;

    /// One client that thinks up codes and methods is no outage.
    #[test]
    fn what_finds_no_room_stays_in_its_class() {
        let (totals, took) = (Totals::default(), Took::new(5, &Buckets::default()));
        let entry = totals.entry("http");
        for verb in [Verb::Get, Verb::Put, Verb::Other] {
            let kind = Kind { verb, ..Kind::default() };
            (400..499).for_each(|status| entry.answered(status, kind, took));
        }
        entry.answered(500, Kind::default(), took);
        assert_eq!(totals.answers(StatusClass::ClientError), 297);
        assert_eq!(totals.answers(StatusClass::ServerError), 1);
        assert_eq!(totals.requests(), 298);
    }
}
