//! Counters of one server, backend, frontend, and of the whole proxy. Atomics only: no request waits here.

use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::failures::Cause;
use super::histogram::{Counts, Histogram};
use super::traffic::{Code, Key, Kind, Told, Took, Traffic};

use super::response_time::{Measured, ResponseTime};

use super::ejection::Ejection;
use super::health::{Condition, Health};

/// How long a server that refused a connection is passed over while others are there, in milliseconds.
const REST_AFTER_REFUSAL_MS: u64 = 1_000;

/// One answer moves the failure ratio by an eighth of the distance: about twenty answers to forget an outage.
const FAILURE_SHIFT: u32 = 3;

/// What a server gets of its share when its slow start begins.
const START_SHARE_MIN: f64 = 0.1;

/// One server's load and luck.
#[derive(Debug, Default)]
pub struct ServerLive {
    requests: AtomicU64,
    failures: AtomicU64,
    active: AtomicI32,
    resting_until_ms: AtomicU64,
    /// Moving failure ratio, in 1/65536.
    failure_ratio: AtomicU32,
    /// How long its answers took; there from its first one on.
    latencies: OnceLock<Box<Histogram>>,
    response_time: ResponseTime,
    /// When it began to serve, for its slow start; 0: it has not been looked at since it came.
    serving_since_ms: AtomicU64,
    /// The revision of the first table without it; 0: it has not left.
    left_at: AtomicU64,
    /// What its checks found.
    pub health: Health,
    /// What requests to it found.
    pub ejection: Ejection,
}

impl ServerLive {
    /// It leaves with the table of this revision, or is made anew for it.
    pub fn left(&self, revision: u64) {
        self.left_at.store(revision, Relaxed);
    }

    /// It is in the table of this revision, which is made now. One that was not in the table before has come anew, even where
    /// an old request has kept its state.
    pub fn listed(&self, revision: u64) {
        let left_at = self.left_at.swap(0, Relaxed);
        if left_at != 0 && left_at != revision {
            self.starts_anew();
        }
    }

    /// It has just become able to serve: its slow start begins when it is next looked at.
    pub fn starts_anew(&self) {
        self.serving_since_ms.store(0, Relaxed);
    }

    /// What it gets of its share now, from a tenth to 1.0, where its slow start takes so long.
    ///
    /// The time counts from the first request that it could have had: nobody warms up without requests.
    pub fn start_share(&self, now_ms: u64, slow_start_ms: u64) -> f64 {
        if slow_start_ms == 0 {
            return 1.0;
        }
        let since_ms = match self.serving_since_ms.load(Relaxed) {
            0 => {
                self.serving_since_ms.store(now_ms.max(1), Relaxed);
                now_ms
            }
            since_ms => since_ms,
        };
        let grown = now_ms.saturating_sub(since_ms) as f64 / slow_start_ms as f64;
        grown.clamp(START_SHARE_MIN, 1.0)
    }

    /// The head of an answer came after so long.
    pub fn answered_after(&self, us: u64, now_ms: u64) {
        self.response_time.answered_after(us, now_ms);
    }

    /// No answer came for so long, or one that does not count: this can make it slower, never faster.
    pub fn waited_for(&self, us: u64, now_ms: u64) {
        self.response_time.waited_for(us, now_ms);
    }

    /// How long its answers took lately; none where nobody measured it.
    pub fn response(&self, now_ms: u64) -> Option<Measured> {
        self.response_time.peak(now_ms)
    }

    /// How long its answers take in the mean, in microseconds; none where nobody measured it.
    pub fn mean_us(&self) -> Option<f64> {
        self.response_time.mean().map(f64::from)
    }

    /// A request was sent to it.
    pub fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
    }

    /// A request ended, well or not. A failure is a connection that broke or a 5xx answer.
    pub fn end(&self, failed: bool) {
        self.active.fetch_sub(1, Relaxed);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
        let target: u32 = if failed { 65_536 } else { 0 };
        // Two workers may overwrite one another here; a lost sample does not matter to a moving mean.
        let old = self.failure_ratio.load(Relaxed);
        let new = (old - (old >> FAILURE_SHIFT)).saturating_add(target >> FAILURE_SHIFT);
        self.failure_ratio.store(new.min(65_536), Relaxed);
    }

    /// It answered, well or not.
    pub fn answered(&self, took: Took) {
        self.latencies.get_or_init(Box::default).count(took.slot);
    }

    /// Adds how long its answers took.
    pub fn add_latencies_to(&self, counts: &mut Counts) {
        self.latencies.get().into_iter().for_each(|latencies| latencies.add_to(counts));
    }

    /// It refused a connection: leave it alone for a moment. `now_ms` is the proxy's monotonic clock.
    pub fn refused(&self, now_ms: u64) {
        self.resting_until_ms.store(now_ms + REST_AFTER_REFUSAL_MS, Relaxed);
        // Most likely it is being started again.
        self.starts_anew();
    }

    /// Whether it refused a connection a moment ago, or is ejected.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        self.resting_until_ms.load(Relaxed) > now_ms || self.ejection.is_on(now_ms)
    }

    /// How it is doing, all in all.
    pub fn condition(&self, now_ms: u64) -> Condition {
        match self.health.condition() {
            Condition::Up | Condition::Unchecked if self.ejection.is_on(now_ms) => {
                Condition::Ejected
            }
            condition => condition,
        }
    }

    /// Requests sent since it appeared.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Connections that broke and 5xx answers since it appeared.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Requests under way.
    pub fn active(&self) -> u64 {
        u64::try_from(self.active.load(Relaxed)).unwrap_or(0)
    }

    /// The moving failure ratio, 0.0 to 1.0.
    pub fn failure_ratio(&self) -> f64 {
        f64::from(self.failure_ratio.load(Relaxed)) / 65_536.0
    }
}

/// Statuses, methods and protocols that one backend tells apart.
const BACKEND_KEYS_MAX: usize = 32;

/// Those of an entry point: it sees what all backends answer.
const ENTRY_KEYS_MAX: usize = 256;

/// A backend's place in its round, and its requests.
#[derive(Debug, Default)]
pub struct BackendLive {
    turn: AtomicUsize,
    retries: AtomicU64,
    /// How many requests may be sent again.
    pub budget: RetryBudget,
    /// There from its first request on.
    traffic: OnceLock<Box<Traffic>>,
}

/// Keeps retries from becoming a storm: a server that fails under load must not get several times that load.
#[derive(Debug, Default)]
pub struct RetryBudget {
    window: Mutex<Window>,
}

/// A while in which retries are counted.
#[derive(Debug, Default)]
struct Window {
    since_ms: u64,
    /// The backend's requests when it began.
    requests: u64,
    retries: u64,
}

/// How long retries are counted together, in milliseconds.
const RETRY_WINDOW_MS: u64 = 10_000;

/// So many are always allowed in that time, for backends with few requests.
const RETRIES_FREE: u64 = 100;

/// One of so many requests may be sent again besides.
const RETRY_ONE_IN: u64 = 5;

impl RetryBudget {
    /// Whether one more may be sent, which is then counted. `requests` are those of the backend since it appeared.
    pub fn may_retry(&self, requests: u64, now_ms: u64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(window.since_ms) >= RETRY_WINDOW_MS {
            *window = Window { since_ms: now_ms, requests, retries: 0 };
        }
        // Counters start anew where servers leave: what is missing is no credit.
        let served = requests.saturating_sub(window.requests);
        let may = window.retries < RETRIES_FREE + served / RETRY_ONE_IN;
        window.retries += u64::from(may);
        may
    }

    /// So many of them ended well after all: a server that answers was not the cause of a storm.
    pub fn refund(&self, retries: u64) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.retries = window.retries.saturating_sub(retries);
    }
}

impl BackendLive {
    /// The next turn; it wraps around.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Relaxed)
    }

    /// A request came to one of its frontends.
    pub fn begun(&self, kind: Kind) {
        self.traffic().begun(kind);
    }

    /// That request was answered.
    pub fn answered(&self, status: u16, kind: Kind, took: Took) {
        self.traffic().answered(status, kind, took);
    }

    /// Another of its servers was asked, for one that did not answer.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// How often another server was asked.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Its requests, told apart; none where none came.
    pub fn seen(&self) -> Option<&Traffic> {
        self.traffic.get().map(|traffic| &**traffic)
    }

    fn traffic(&self) -> &Traffic {
        self.traffic.get_or_init(|| Box::new(Traffic::new(BACKEND_KEYS_MAX)))
    }
}

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
}

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

    #[test]
    fn the_failure_ratio_follows_the_answers() {
        let server = ServerLive::default();
        for _ in 0..40 {
            server.begin();
            server.end(true);
        }
        assert!(server.failure_ratio() > 0.9);
        for _ in 0..40 {
            server.begin();
            server.end(false);
        }
        assert!(server.failure_ratio() < 0.1);
        assert_eq!((server.requests(), server.failures(), server.active()), (80, 40, 0));
    }

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

    #[test]
    fn retries_follow_the_requests() {
        let budget = RetryBudget::default();
        let allowed = |requests, now_ms, tries| {
            (0..tries).filter(|_| budget.may_retry(requests, now_ms)).count()
        };
        assert_eq!(allowed(0, 1, 200), 100);
        assert_eq!(allowed(1_000, 9_999, 500), 200);
        assert_eq!(allowed(1_000, 10_001, 200), 100);
        budget.refund(30);
        assert_eq!(allowed(1_000, 10_002, 200), 30);
    }

    #[test]
    fn a_share_grows_from_the_first_look() {
        let server = ServerLive::default();
        assert_eq!(server.start_share(5_000, 0), 1.0);
        for (now_ms, share) in
            [(7_000, 0.1), (7_500, 0.1), (12_000, 0.5), (17_000, 1.0), (99_000, 1.0)]
        {
            assert_eq!(server.start_share(now_ms, 10_000), share, "{now_ms}");
        }
        // The clock of another worker is a tick behind.
        assert_eq!(server.start_share(6_900, 10_000), 0.1);
        server.starts_anew();
        assert_eq!(server.start_share(99_000, 10_000), 0.1);
    }

    #[test]
    fn who_was_gone_or_refused_starts_anew() {
        let server = ServerLive::default();
        server.listed(1);
        let share = |now_ms| server.start_share(now_ms, 10_000);
        assert_eq!((share(1), share(20_000)), (0.1, 1.0));
        // Made anew for the third table.
        server.left(3);
        server.listed(3);
        assert_eq!(share(20_000), 1.0);
        // Not in the fourth.
        server.left(4);
        server.listed(5);
        assert_eq!((share(20_000), share(40_000)), (0.1, 1.0));
        server.refused(40_000);
        assert_eq!(share(41_000), 0.1);
    }

    #[test]
    fn a_refusal_is_forgotten_after_a_moment() {
        let server = ServerLive::default();
        assert!(!server.is_resting(0));
        server.refused(5_000);
        assert!(server.is_resting(5_999));
        assert!(!server.is_resting(6_000));
    }
}
