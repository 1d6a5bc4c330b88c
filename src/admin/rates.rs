//! Requests per second, sampled once a second from the counters.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::control::State;
use crate::live::StatusClass;

/// Samples that are kept: the last minute.
const SAMPLES_MAX: usize = 60;

/// Series that are kept; what is beyond has no rate.
const SERIES_MAX: usize = 20_000;

/// How often counters are read.
const TICK: Duration = Duration::from_secs(1);

/// The rates of the last minute.
#[derive(Default)]
pub(super) struct Rates {
    series: HashMap<String, Series>,
    total: Series,
    errors: Series,
}

#[derive(Default)]
struct Series {
    last: Option<u64>,
    samples: VecDeque<u64>,
}

impl Series {
    fn push(&mut self, count: u64) {
        let rate = self.last.map_or(0, |last| count.saturating_sub(last));
        self.last = Some(count);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(rate);
    }

    fn rate(&self) -> u64 {
        self.samples.back().copied().unwrap_or(0)
    }
}

impl Rates {
    /// Requests in the last second, for a frontend or a server by its key.
    pub(super) fn of(&self, key: &str) -> u64 {
        self.series.get(key).map_or(0, Series::rate)
    }

    /// Requests in the last second, all together.
    pub(super) fn total(&self) -> u64 {
        self.total.rate()
    }

    /// 5xx answers in the last second, all together.
    pub(super) fn errors(&self) -> u64 {
        self.errors.rate()
    }

    /// The last minute, all together, oldest first.
    pub(super) fn history(&self) -> Vec<u64> {
        self.total.samples.iter().copied().collect()
    }

    /// Series whose rate is not 0, at most so many.
    pub(super) fn busy(&self, max: usize) -> HashMap<&str, u64> {
        let busy = self.series.iter().filter(|(_, series)| series.rate() > 0).take(max);
        busy.map(|(key, series)| (key.as_str(), series.rate())).collect()
    }
}

/// Nobody holds this for longer than it takes to read or write it.
pub(super) fn lock(rates: &Mutex<Rates>) -> MutexGuard<'_, Rates> {
    rates.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Samples for ever.
pub(super) async fn sample(state: Arc<State>, rates: Arc<Mutex<Rates>>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let counts = counts(&state);
        let mut rates = lock(&rates);
        let totals = &state.live.totals;
        rates.total.push(totals.requests());
        rates.errors.push(totals.answers(StatusClass::ServerError));
        rates.series.retain(|key, _| counts.contains_key(key));
        for (key, count) in counts {
            rates.series.entry(key).or_default().push(count);
        }
    }
}

fn counts(state: &State) -> HashMap<String, u64> {
    let table = state.view().table.clone();
    let mut counts = HashMap::new();
    for route in table.routes().iter().take(SERIES_MAX) {
        counts.insert(frontend_key(&route.id.to_string()), route.live.requests());
        for server in route.backend.servers() {
            let key = server_key(&route.backend.id().to_string(), &server.name);
            counts.insert(key, server.live.requests());
        }
    }
    counts
}

/// The key of a frontend's series.
pub(super) fn frontend_key(id: &str) -> String {
    format!("f:{id}")
}

/// The key of a server's series.
pub(super) fn server_key(backend: &str, server: &str) -> String {
    format!("s:{backend}:{server}")
}
