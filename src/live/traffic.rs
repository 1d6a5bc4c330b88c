//! Answers counted by status, method and protocol, as Traefik 1.7 tells them apart, with how long they took.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::counters::StatusClass;
use super::histogram::slot_of;
use crate::settings::{BUCKETS_MAX, Buckets};

/// What a metric calls a request's method: those of RFC 9110 and PATCH, and one name for all others.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)] // they are what they are called
pub enum Verb {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Connect,
    Options,
    Trace,
    /// Whatever a client thought up: its name would be one more series.
    #[default]
    Other,
}

impl Verb {
    const ALL: [Self; 10] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Other,
    ];

    /// The verb of a method's name.
    pub fn of(method: &str) -> Self {
        Self::ALL.into_iter().find(|verb| verb.as_str() == method).unwrap_or_default()
    }

    /// `GET`; `EXTENSION_METHOD` for the others, as in Traefik 1.7.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Other => "EXTENSION_METHOD",
        }
    }
}

/// What a request is to become.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// An exchange.
    #[default]
    Http,
    /// Events, for as long as the client likes.
    Sse,
    /// A tunnel.
    WebSocket,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Http, Self::Sse, Self::WebSocket];

    /// `http`, `sse`, `websocket`, as in Traefik 1.7.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// What is known of a request before its answer.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    /// Its method.
    pub verb: Verb,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Kind {
    fn place(self) -> usize {
        self.verb as usize * Protocol::ALL.len() + self.protocol as usize
    }

    fn all() -> impl Iterator<Item = Self> {
        let verbs = Verb::ALL.into_iter();
        verbs
            .flat_map(|verb| Protocol::ALL.into_iter().map(move |protocol| Self { verb, protocol }))
    }
}

/// How long something took. Its places in histograms are looked up once for all who count it.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// In microseconds.
    pub us: u64,
    bucket: usize,
    pub(super) slot: usize,
}

impl Took {
    /// A time with its places: its bucket is the first that ends no sooner.
    pub fn new(us: u64, buckets: &Buckets) -> Self {
        let bounds = buckets.bounds_us();
        let bucket = bounds.iter().position(|&bound| us <= bound).unwrap_or(bounds.len());
        Self { us, bucket, slot: slot_of(us) }
    }
}

/// What is told of a cell.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The answer's status.
    pub code: Code,
    /// The request's kind; nothing in particular where answers of all kinds are told together.
    pub kind: Kind,
}

/// What is told of answers' statuses.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Code {
    /// All have this one.
    One(u16),
    /// They are of this class, and found no room of their own.
    Others(StatusClass),
}

impl Code {
    /// The class of all these answers.
    pub fn class(self) -> StatusClass {
        match self {
            Self::One(status) => StatusClass::of(status),
            Self::Others(class) => class,
        }
    }
}

/// `404`, or `4xx` for what found no room of its own.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Others(class) => f.write_str(class.as_str()),
        }
    }
}

/// The answers of one key.
#[derive(Debug)]
struct Cell {
    /// None of those told together has this one: it is 0 there.
    status: u16,
    kind: Kind,
    /// One for each bucket, and one for what is longer.
    buckets: [AtomicU64; BUCKETS_MAX + 1],
    sum_us: AtomicU64,
}

impl Cell {
    fn new(status: u16, kind: Kind) -> Box<Self> {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS_MAX + 1];
        Box::new(Self { status, kind, buckets, sum_us: AtomicU64::new(0) })
    }

    fn is_of(&self, status: u16, kind: Kind) -> bool {
        self.status == status && self.kind == kind
    }
}

/// Requests of one entry point or backend, told apart.
#[derive(Debug)]
pub struct Traffic {
    /// A hash table that only grows: who is not in its place is in one of the next.
    cells: Box<[OnceLock<Box<Cell>>]>,
    /// What found no room there, by class: whoever thinks up many a request hides no server's error among them.
    others: [OnceLock<Box<Cell>>; StatusClass::ALL.len()],
    /// Of each kind those that came, save those that ended without a cell of their own.
    begun: [AtomicU64; Verb::ALL.len() * Protocol::ALL.len()],
}

/// What was counted for one key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// How many fell in each bucket, and in none.
    pub buckets: Vec<u64>,
    /// How long all took together.
    pub sum_us: u64,
}

impl Told {
    /// How many answers there were.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, count)| *sum += count);
        self.sum_us += other.sum_us;
    }
}

impl Traffic {
    /// Room for so many keys; what is beyond is counted together, class by class.
    pub fn new(keys_max: usize) -> Self {
        Self {
            cells: (0..keys_max.max(1)).map(|_| OnceLock::new()).collect(),
            others: [const { OnceLock::new() }; StatusClass::ALL.len()],
            begun: [const { AtomicU64::new(0) }; Verb::ALL.len() * Protocol::ALL.len()],
        }
    }

    /// A request came.
    pub fn begun(&self, kind: Kind) {
        self.begun[kind.place()].fetch_add(1, Relaxed);
    }

    /// It was answered.
    pub fn answered(&self, status: u16, kind: Kind, took: Took) {
        // A status beyond those of RFC 9110 counts with the server's errors, as everywhere.
        let status = if (100..600).contains(&status) { status } else { 599 };
        let cell = self.cell(status, kind);
        if !cell.is_of(status, kind) {
            // Among those counted together nobody knows any more which kind has ended.
            self.begun[kind.place()].fetch_sub(1, Relaxed);
        }
        cell.buckets[took.bucket.min(BUCKETS_MAX)].fetch_add(1, Relaxed);
        cell.sum_us.fetch_add(took.us, Relaxed);
    }

    fn cell(&self, status: u16, kind: Kind) -> &Cell {
        let cells = &self.cells;
        let start = usize::from(status) * 7 + kind.place();
        for step in 0..cells.len().min(PROBES_MAX) {
            let cell = cells[(start + step) % cells.len()].get_or_init(|| Cell::new(status, kind));
            if cell.is_of(status, kind) {
                return cell;
            }
        }
        self.others[StatusClass::of(status) as usize].get_or_init(|| Cell::new(0, Kind::default()))
    }

    /// Adds what was counted, by key.
    pub fn add_to(&self, told: &mut BTreeMap<Key, Told>) {
        let cells = self.cells.iter().filter_map(OnceLock::get);
        let cells = cells.map(|cell| (Code::One(cell.status), cell));
        let others = StatusClass::ALL.into_iter().zip(&self.others);
        let others = others.filter_map(|(class, cell)| Some((Code::Others(class), cell.get()?)));
        for (code, cell) in cells.chain(others) {
            let sum = told.entry(Key { code, kind: cell.kind }).or_default();
            sum.buckets.resize(BUCKETS_MAX + 1, 0);
            let counts = cell.buckets.iter().map(|count| count.load(Relaxed));
            sum.buckets.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            sum.sum_us += cell.sum_us.load(Relaxed);
        }
    }

    /// Adds how many requests came that are under way or told, for each kind of which there are any.
    pub fn add_begun_to(&self, begun: &mut BTreeMap<Kind, u64>) {
        for kind in Kind::all() {
            let count = self.begun[kind.place()].load(Relaxed);
            if count > 0 {
                *begun.entry(kind).or_default() += count;
            }
        }
    }
}

/// How many cells are looked at for one key.
const PROBES_MAX: usize = 32;

/// Requests under way by kind: those that came, less those that were answered.
pub fn open(begun: &BTreeMap<Kind, u64>, told: &BTreeMap<Key, Told>) -> BTreeMap<Kind, u64> {
    let mut open = begun.clone();
    // Those told together are not among the begun ones any more.
    for (key, told) in told.iter().filter(|(key, _)| matches!(key.code, Code::One(_))) {
        if let Some(open) = open.get_mut(&key.kind) {
            *open = open.saturating_sub(told.total());
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Kind = Kind { verb: Verb::Get, protocol: Protocol::Http };

    #[test]
    fn answers_are_told_apart_and_open_ones_are_the_rest() {
        let (traffic, buckets) = (Traffic::new(32), Buckets::default());
        let post = Kind { verb: Verb::Post, protocol: Protocol::Http };
        for kind in [GET, GET, GET, post] {
            traffic.begun(kind);
        }
        traffic.answered(200, GET, Took::new(100_000, &buckets));
        traffic.answered(200, GET, Took::new(100_001, &buckets));
        traffic.answered(999, post, Took::new(60_000_000, &buckets));
        let (mut told, mut begun) = (BTreeMap::new(), BTreeMap::new());
        traffic.add_to(&mut told);
        traffic.add_begun_to(&mut begun);
        let get = &told[&Key { code: Code::One(200), kind: GET }];
        assert_eq!((&get.buckets[..3], get.sum_us), (&[1, 1, 0][..], 200_001));
        assert_eq!(told[&Key { code: Code::One(599), kind: post }].buckets[4], 1);
        assert_eq!(open(&begun, &told), BTreeMap::from([(GET, 1), (post, 0)]));
    }

    #[test]
    fn what_finds_no_room_is_counted_together() {
        let (traffic, took) = (Traffic::new(8), Took::new(5, &Buckets::default()));
        (0..103).for_each(|_| traffic.begun(GET));
        (400..490).chain(500..510).for_each(|code| traffic.answered(code, GET, took));
        let (mut told, mut begun) = (BTreeMap::new(), BTreeMap::new());
        traffic.add_to(&mut told);
        traffic.add_begun_to(&mut begun);
        assert_eq!(open(&begun, &told), BTreeMap::from([(GET, 3)]));
        assert_eq!(told.len(), 10);
        assert_eq!(told.values().map(Told::total).sum::<u64>(), 100);
        let others =
            |class| told[&Key { code: Code::Others(class), kind: Kind::default() }].total();
        // Who filled the table has not hidden what went wrong.
        assert_eq!(others(StatusClass::ClientError), 82);
        assert_eq!(others(StatusClass::ServerError), 10);
        assert_eq!(Code::Others(StatusClass::ServerError).to_string(), "5xx");
    }

    #[test]
    fn a_method_that_somebody_thought_up_has_no_name() {
        assert_eq!(Verb::of("PATCH"), Verb::Patch);
        assert_eq!(Verb::of("get").as_str(), "EXTENSION_METHOD");
    }
}
