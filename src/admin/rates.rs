//! Rates, errors and response times of the last two minutes, sampled once a second from the counters.
//!
//! Who was never asked costs nothing here. A past is kept of the busiest only: it is what a chart is drawn from.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Add;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::App;
use crate::live::{Code, Counts, SLOTS, StatusClass, Told, quantile};
use crate::middleware::Handler;
use crate::model::{BackendId, FrontendId, ServerName};

/// Samples that are kept: two minutes.
pub(super) const SAMPLES_MAX: usize = 120;

/// Frontends that are looked at, with their backends and servers; what is beyond has no rate.
const ROUTES_MAX: usize = 20_000;

/// Series with a past, and in one piece of news: the busiest.
const BUSIEST_MAX: usize = 1_000;

/// How often counters are read.
const TICK: Duration = Duration::from_secs(1);

/// What of a response time's weight is left after a second: half of it fades in about seven.
const FADE: f32 = 0.9;

/// Whose series it is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Whose {
    Frontend(FrontendId),
    Backend(BackendId),
    Server(BackendId, ServerName),
}

/// As the page's elements name it.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frontend(id) => write!(f, "f:{id}"),
            Self::Backend(id) => write!(f, "b:{id}"),
            Self::Server(id, name) => write!(f, "s:{id}:{name}"),
        }
    }
}

/// One second.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sample {
    /// Requests.
    pub(super) rate: u64,
    /// Those of them that went wrong.
    pub(super) errors: u64,
    /// The median of the last seconds' response times, in microseconds.
    pub(super) p50_us: Option<u64>,
    /// The time that 99 of 100 stayed below.
    pub(super) p99_us: Option<u64>,
}

/// The last two minutes.
#[derive(Default)]
pub(super) struct Rates {
    tick: u64,
    /// The table that was looked at last, and whether it was another one than before.
    revision: u64,
    is_new_table: bool,
    total: Series,
    series: HashMap<Whose, Series>,
    /// How many answers of each status there were, and how many in the last second.
    statuses: BTreeMap<Code, (u64, u64)>,
    /// How many entry points and frontends hold requests back just now.
    acting: usize,
}

#[derive(Default)]
struct Series {
    /// The last count of requests and of errors.
    last: (u64, u64),
    sample: Sample,
    /// A mean that follows: who is busy.
    mean: f32,
    past: Option<Box<Past>>,
    /// The tick in which it was asked for the first time; none where it came with its counts, from another table.
    born: Option<u64>,
    /// The tick at which it was seen last.
    seen: u64,
}

/// What one second brought.
#[derive(Clone, Copy, Default)]
struct More {
    requests: u64,
    errors: u64,
}

impl Add for More {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, errors: self.errors + other.errors }
    }
}

struct Past {
    samples: VecDeque<Sample>,
    last: Counts,
    /// Response times, the older the lighter.
    weights: [f32; SLOTS],
    quiet: usize,
}

impl Series {
    /// How many requests and errors there are more than a second ago.
    fn more(&mut self, (requests, errors): (u64, u64)) -> More {
        let (requests_then, errors_then) = std::mem::replace(&mut self.last, (requests, errors));
        More {
            requests: requests.saturating_sub(requests_then),
            errors: errors.saturating_sub(errors_then),
        }
    }

    /// Takes in this second; `latencies` are read where there is a past.
    fn push(&mut self, more: More, latencies: impl FnOnce(&mut Counts)) {
        #[allow(clippy::cast_precision_loss)] // a mean
        let rate_now = more.requests as f32;
        self.mean = self.mean * FADE + rate_now * (1.0 - FADE);
        self.sample = Sample { rate: more.requests, errors: more.errors, ..Sample::default() };
        if let Some(past) = &mut self.past {
            let mut counts = Counts::default();
            latencies(&mut counts);
            past.push(&mut self.sample, counts);
        }
    }
}

impl Past {
    fn new(last: Counts) -> Box<Self> {
        let samples = VecDeque::with_capacity(SAMPLES_MAX);
        Box::new(Self { samples, last, weights: [0.0; SLOTS], quiet: 0 })
    }

    fn push(&mut self, sample: &mut Sample, counts: Counts) {
        let fresh = counts.0.iter().zip(&self.last.0).map(|(now, last)| now.saturating_sub(*last));
        for (weight, fresh) in self.weights.iter_mut().zip(fresh) {
            #[allow(clippy::cast_precision_loss)] // a weight
            let fresh = fresh as f32;
            *weight = *weight * FADE + fresh;
        }
        self.last = counts;
        sample.p50_us = quantile(&self.weights, 0.5);
        sample.p99_us = quantile(&self.weights, 0.99);
        self.quiet = if sample.rate == 0 { self.quiet + 1 } else { 0 };
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(*sample);
    }
}

impl Rates {
    /// The last second of one of them.
    pub(super) fn of(&self, whose: &Whose) -> Sample {
        self.series.get(whose).map(|series| series.sample).unwrap_or_default()
    }

    /// Its last seconds, oldest first; none where it has no past.
    pub(super) fn past(&self, whose: &Whose) -> Vec<Sample> {
        self.series.get(whose).map(past).unwrap_or_default()
    }

    /// The last second, all together.
    pub(super) fn total(&self) -> Sample {
        self.total.sample
    }

    /// The last seconds, all together, oldest first.
    pub(super) fn total_past(&self) -> Vec<Sample> {
        past(&self.total)
    }

    /// Answers of the last second by status; only statuses that there were.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (Code, u64)> {
        let now = self.statuses.iter().map(|(status, (_, now))| (*status, *now));
        now.filter(|(_, now)| *now > 0)
    }

    /// What is told to those who look.
    fn news(&self, app: &App) -> Arc<str> {
        let (series, is_cut) = self.busiest(BUSIEST_MAX);
        let news = json!({
            "total": values(&self.total.sample),
            "connections": app.state.live.totals.open_connections(),
            "lost": app.state.live.telling.lost(),
            "failures": app.state.live.failures.serial(),
            "acting": self.acting,
            "series": series,
            // Without this, who is not among the series had nothing to do in this second.
            "cut": is_cut,
        });
        news.to_string().into()
    }

    /// The last second of so many that had something to do, the busiest, by the names that the page's elements have; and
    /// whether there were more.
    fn busiest(&self, max: usize) -> (serde_json::Map<String, Value>, bool) {
        let mut busy: Vec<_> = self.series.iter().filter(|(_, s)| s.has_news()).collect();
        busy.sort_unstable_by(|a, b| b.1.mean.total_cmp(&a.1.mean).then_with(|| a.0.cmp(b.0)));
        let is_cut = busy.len() > max;
        let told = busy.into_iter().take(max);
        (told.map(|(whose, series)| (whose.to_string(), values(&series.sample))).collect(), is_cut)
    }

    fn sample(&mut self, app: &App) {
        self.tick += 1;
        self.sample_total(app);
        let table = Arc::clone(&app.state.view().table);
        self.is_new_table = self.revision != table.revision;
        self.revision = table.revision;
        let mut backends = HashSet::new();
        let now_ms = app.now_ms();
        let acts = |chain: &[Arc<dyn Handler>]| {
            usize::from(chain.iter().any(|step| step.acts(now_ms).is_some()))
        };
        self.acting = app.entry_chains.iter().map(|(_, chain)| acts(chain)).sum();
        for route in table.routes().iter().take(ROUTES_MAX) {
            self.acting += acts(&route.chain);
            let (live, errors) = (&route.live, StatusClass::ServerError);
            self.push(
                || Whose::Frontend(route.id.clone()),
                live.requests(),
                || live.answers(errors),
                |counts| live.add_latencies_to(counts),
            );
            let backend = &route.backend;
            if !backends.insert(Arc::as_ptr(backend)) {
                continue;
            }
            // A backend is the sum of what its servers had this second, not of their counts: one that leaves takes its own along.
            let mut sum: Option<More> = None;
            for server in backend.servers() {
                let live = &server.live;
                let more = self.push(
                    || Whose::Server(backend.id().clone(), Arc::clone(&server.name)),
                    live.requests(),
                    || live.failures(),
                    |counts| live.add_latencies_to(counts),
                );
                // Of two names for one place each shows what there is, and one counts.
                if let Some(more) = more.filter(|_| !server.is_alias) {
                    sum = Some(sum.unwrap_or_default() + more);
                }
            }
            if let Some(more) = sum {
                let whose = Whose::Backend(backend.id().clone());
                self.series_of(whose, (0, 0)).push(more, |counts| {
                    backend.each_server().for_each(|one| one.live.add_latencies_to(counts));
                });
            }
        }
        let tick = self.tick;
        self.series.retain(|_, series| series.seen == tick);
        self.choose(BUSIEST_MAX);
    }

    fn sample_total(&mut self, app: &App) {
        let totals = &app.state.live.totals;
        let by_status = totals.by_status();
        let (mut requests, mut errors) = (0, 0);
        for (code, told) in by_status {
            let count = Told::total(&told);
            let (last, now) = self.statuses.entry(code).or_default();
            (*last, *now) = (count, count - *last);
            requests += count;
            errors += if code.class() == StatusClass::ServerError { count } else { 0 };
        }
        self.total.past.get_or_insert_with(|| Past::new(Counts::default()));
        let more = self.total.more((requests, errors));
        self.total.push(more, |counts| totals.add_latencies_to(counts));
    }

    /// Takes in the counts of one of them, and says what is new in them; none where it was never asked.
    fn push(
        &mut self,
        whose: impl FnOnce() -> Whose,
        requests: u64,
        errors: impl FnOnce() -> u64,
        latencies: impl FnOnce(&mut Counts),
    ) -> Option<More> {
        if requests == 0 {
            return None;
        }
        let counts = (requests, errors());
        let series = self.series_of(whose(), counts);
        let more = series.more(counts);
        series.push(more, latencies);
        Some(more)
    }

    /// The series of one that is there. Counts belong to a place, and so are older than the series of one that was renamed, or
    /// that is back in the list: a series that comes with another table begins where they stand.
    fn series_of(&mut self, whose: Whose, counts: (u64, u64)) -> &mut Series {
        let (tick, is_new_table) = (self.tick, self.is_new_table);
        let series = self.series.entry(whose).or_insert_with(|| match is_new_table {
            true => Series { last: counts, ..Series::default() },
            false => Series { born: Some(tick), ..Series::default() },
        });
        series.seen = tick;
        series
    }

    /// Leaves a past to so many: to those who are busy. Who has one is not robbed of it by somebody as busy.
    fn choose(&mut self, max: usize) {
        for series in self.series.values_mut() {
            if series.past.as_deref().is_some_and(|past| past.quiet >= SAMPLES_MAX) {
                series.past = None;
            }
        }
        let weights = self.series.values().filter_map(Series::claim);
        let mut weights: Vec<f32> = weights.collect();
        let least = match weights.len().checked_sub(max) {
            None | Some(0) => 0.0,
            Some(surplus) => *weights.select_nth_unstable_by(surplus, f32::total_cmp).1,
        };
        let mut room = max;
        for series in self.series.values_mut() {
            match series.claim() {
                Some(claim) if claim < least => series.past = None,
                Some(_) if series.past.is_some() => room = room.saturating_sub(1),
                _ => {}
            }
        }
        let tick = self.tick;
        for series in self.series.values_mut() {
            if room > 0 && series.past.is_none() && series.claim().is_some_and(|c| c >= least) {
                series.begin_past(tick);
                room -= 1;
            }
        }
    }
}

/// How much busier somebody must be to take another's past.
const LEAD: f32 = 1.25;

impl Series {
    /// How strong its claim to a past is; none where it has none and makes none.
    fn claim(&self) -> Option<f32> {
        match (&self.past, self.sample.rate) {
            (Some(_), _) => Some(self.mean * LEAD),
            (None, 1..) => Some(self.mean),
            (None, 0) => None,
        }
    }

    /// Its past begins with this second. What was counted before it appeared is not of its last seconds.
    fn begin_past(&mut self, tick: u64) {
        let before = match self.born == Some(tick) {
            true => Counts::default(),
            // More than any count: the next one only says where it stands.
            false => Counts([u64::MAX; SLOTS]),
        };
        let mut past = Past::new(before);
        past.samples.push_back(self.sample);
        self.past = Some(past);
    }

    /// Whether its last second says anything.
    fn has_news(&self) -> bool {
        self.sample != Sample::default()
    }
}

/// As the page's script reads it.
fn values(sample: &Sample) -> Value {
    json!([sample.rate, sample.errors, sample.p50_us, sample.p99_us])
}

fn past(series: &Series) -> Vec<Sample> {
    series.past.iter().flat_map(|past| past.samples.iter().copied()).collect()
}

/// Nobody holds this for longer than it takes to read or write it.
pub(super) fn lock(rates: &Mutex<Rates>) -> MutexGuard<'_, Rates> {
    rates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples for ever, and tells each sample once, in the same words to all who look.
pub(super) async fn sample(app: App) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let mut rates = lock(&app.rates);
        rates.sample(&app);
        if app.news.receiver_count() > 0 {
            app.news.send_replace(rates.news(&app));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::slot_of;
    use crate::model::ProviderName;

    fn whose(name: &str) -> Whose {
        Whose::Frontend(FrontendId::new(ProviderName::Docker, name))
    }

    /// A second in which each of these had so many requests more, of a millisecond each.
    fn second(rates: &mut Rates, counts: &[(&str, u64)], max: usize) {
        rates.tick += 1;
        for &(name, requests) in counts {
            let add = |counts: &mut Counts| counts.0[slot_of(1_000)] += requests;
            rates.push(|| whose(name), requests, || requests / 2, add);
        }
        let tick = rates.tick;
        rates.series.retain(|_, series| series.seen == tick);
        rates.choose(max);
    }

    #[test]
    fn a_series_has_rates_errors_and_times() {
        let mut rates = Rates::default();
        second(&mut rates, &[("a", 10), ("idle", 0)], 9);
        second(&mut rates, &[("a", 30)], 9);
        let sample = rates.of(&whose("a"));
        assert_eq!((sample.rate, sample.errors), (20, 10));
        assert!(sample.p50_us.is_some_and(|us| (896..=1_024).contains(&us)), "{sample:?}");
        assert_eq!(rates.past(&whose("a")).len(), 2);
        assert_eq!(rates.series.len(), 1, "who was never asked costs nothing");
        assert!(rates.past(&whose("a"))[1].p99_us.is_some());
        second(&mut rates, &[("b", 1)], 9);
        assert_eq!(rates.of(&whose("a")), Sample::default(), "who left is forgotten");
    }

    #[test]
    fn a_count_that_begins_anew_is_no_rate() {
        let mut series = Series::default();
        for (count, rate) in [(10, 10), (25, 15), (3, 0), (8, 5)] {
            assert_eq!(series.more((count, 0)).requests, rate, "{count}");
        }
    }

    #[test]
    fn the_past_belongs_to_the_busiest_and_has_a_bound() {
        let mut rates = Rates::default();
        for round in 1..=300_u64 {
            let counts = [("a", round), ("b", 100 * round), ("c", 50 * round), ("d", 1)];
            second(&mut rates, &counts, 2);
        }
        let length = |name: &str| rates.past(&whose(name)).len();
        assert_eq!([length("a"), length("b"), length("c")], [0, SAMPLES_MAX, SAMPLES_MAX]);
        assert_eq!(rates.of(&whose("a")).rate, 1, "its rate is known all the same");
    }

    #[test]
    fn what_comes_with_another_table_brings_its_counts_along_and_they_are_no_rate() {
        let mut rates = Rates::default();
        second(&mut rates, &[("web", 1_000_000)], 9);
        rates.is_new_table = true;
        second(&mut rates, &[("web-old", 1_000_000)], 9);
        assert_eq!(rates.of(&whose("web-old")), Sample::default());
        rates.is_new_table = false;
        second(&mut rates, &[("web-old", 1_000_003), ("new", 2)], 9);
        let sample = rates.of(&whose("web-old"));
        assert_eq!((sample.rate, sample.errors), (3, 1));
        assert_eq!(sample.p50_us, None, "nor are their times those of the last seconds");
        assert_eq!(rates.of(&whose("new")).rate, 2);
    }

    #[test]
    fn news_of_more_than_there_is_room_for_say_so() {
        let mut rates = Rates::default();
        second(&mut rates, &[("a", 3), ("b", 9), ("idle", 0)], 9);
        let keys = |max| {
            let (series, is_cut) = rates.busiest(max);
            (series.keys().cloned().collect::<Vec<_>>(), is_cut)
        };
        assert_eq!(keys(1), (vec!["f:docker/b".to_owned()], true));
        assert_eq!(keys(2), (vec!["f:docker/a".to_owned(), "f:docker/b".to_owned()], false));
    }
}
