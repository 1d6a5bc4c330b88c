//! Bounds how many requests come in a time: token buckets, as in Traefik 1.7 (vulcand/oxy, ratelimit).
//!
//! A bucket holds `burst` tokens and gets `average` of them back in each `period`. A client has a bucket for each of
//! the rates, and a request passes when all of them have a token; it takes one of each, or none at all.
//!
//! Buckets belong to a frontend. They are shared by all workers and outlive every change of its configuration: a new
//! average or burst applies to the buckets there are, other periods and another extractor begin anew.
//!
//! **Floods.** A client is one entry of 8 bytes and 16 for each rate, whatever its name is. There is room for
//! [`RateLimit::CLIENTS_MAX`]; each has its place among the [`WAYS`] of one set, which a digest chooses that nobody outside can
//! work out. A newcomer takes the place of an entry whose buckets are full again: that one says nothing that its absence
//! would not say. Where there is none and the set has no room, it takes that of the one that is full again first. So a
//! flood of addresses with a request each only drives out its own: an offender whose bucket is empty goes last, and to
//! drive it out takes so many addresses in its set that are as busy.

use std::fmt::Write as _;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::window::{SECONDS, Window};
use crate::middleware::{Answer, Extractor, Flow, Handler, Keep, kept};
use crate::model::Exchange;
use crate::settings::go_duration;

/// `average` requests in each `period`, `burst` of them at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    period_ns: u64,
    average: u64,
    burst: u64,
}

/// How many requests of one client may come.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rates: Box<[Rate]>,
    by: Extractor,
    buckets: Arc<Buckets>,
}

const SHARDS: usize = 64;
/// Sets of one shard.
const SETS: usize = 64;
/// Entries of one set.
const WAYS: usize = 16;

impl Rate {
    /// A rate as it was written, its period in nanoseconds.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with it.
    pub fn new(period_ns: i64, average: i64, burst: i64) -> Result<Self, String> {
        let positive = |number: i64, name: &str| match u64::try_from(number) {
            Ok(number @ 1..) => Ok(number),
            _ => Err(format!("its {name} is missing, or not above 0")),
        };
        Ok(Self {
            period_ns: positive(period_ns, "period")?,
            average: positive(average, "average")?,
            burst: positive(burst, "burst")?,
        })
    }

    /// How long a token takes to come back: rather too long than too short.
    fn token_ns(&self) -> u64 {
        self.period_ns.div_ceil(self.average)
    }
}

impl RateLimit {
    /// The rates of one limit.
    pub const RATES_MAX: usize = 8;

    /// The clients of one limit whose buckets are known.
    pub const CLIENTS_MAX: usize = SHARDS * SETS * WAYS;

    /// A limit of a frontend, with the buckets that it has already.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with the rates.
    pub fn new(
        mut rates: Vec<Rate>,
        by: Extractor,
        frontend: &str,
        keep: &dyn Keep,
    ) -> Result<Self, String> {
        if rates.is_empty() {
            return Err("it has no rate".to_owned());
        }
        if rates.len() > Self::RATES_MAX {
            return Err(format!("it has more than {} rates", Self::RATES_MAX));
        }
        // A client's buckets are known by their order.
        rates.sort_by_key(|rate| (rate.period_ns, rate.average, rate.burst));
        let mut name = format!("{frontend} by {by}");
        for rate in &rates {
            let _ = write!(name, " {}", rate.period_ns);
        }
        let buckets = kept(keep, &name, Buckets::default);
        Ok(Self { rates: rates.into(), by, buckets })
    }
}

impl Handler for RateLimit {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let now_ms = exchange.sender.now_ms;
        let key = self.by.key(exchange, &self.buckets.secret);
        let Err(wait_ns) = self.buckets.take(key, &self.rates, now_ms.saturating_mul(1_000_000))
        else {
            return Flow::Continue;
        };
        self.buckets.refused.add(now_ms, 0);
        let wait = go_duration(Duration::from_nanos(wait_ns));
        let mut answer = Answer::new(429)
            .because("the rate limit is reached")
            .line("Content-Type", "text/plain; charset=utf-8")
            .line("Retry-After", wait_ns.div_ceil(1_000_000_000).max(1).to_string())
            .line("X-Retry-In", wait.clone());
        answer.body = Some(format!("max rate reached: retry-in {wait}\n").into_bytes());
        Flow::Answer(answer)
    }

    fn describe(&self) -> String {
        let rates = self.rates.iter().map(|rate| {
            let Rate { period_ns, average, burst } = rate;
            format!(
                "{average} in {} (at once {burst})",
                go_duration(Duration::from_nanos(*period_ns))
            )
        });
        format!("rate limit by {}: {}", self.by, rates.collect::<Vec<_>>().join(", "))
    }

    fn leaves_traces(&self) -> bool {
        true
    }

    fn acts(&self, now_ms: u64) -> Option<String> {
        let refused = self.buckets.refused.count(now_ms, 0);
        (refused > 0).then(|| format!("refused {refused} in the last {SECONDS} s"))
    }
}

/// The buckets of one limit's clients.
#[derive(Debug)]
struct Buckets {
    /// Several, so that workers seldom wait for one another. The lock is held for one look into a set.
    shards: Box<[Mutex<Box<[Set]>>]>,
    secret: RandomState,
    refused: Window,
}

/// Clients by their digests; the buckets of the first one, those of the second one, and so on.
#[derive(Debug, Default)]
struct Set {
    keys: Vec<u64>,
    buckets: Vec<Bucket>,
}

/// The tokens of one client for one rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Bucket {
    /// The last whole token came at this time.
    at_ns: u64,
    tokens: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, secret: RandomState::new(), refused: Window::new(1) }
    }
}

impl Buckets {
    /// Takes a token out of each bucket of a client; none where one is empty, and then says how long until none is.
    fn take(&self, key: u64, rates: &[Rate], now_ns: u64) -> Result<(), u64> {
        let (shard, set) = place(key);
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_empty() {
            *shard = (0..SETS).map(|_| Set::default()).collect();
        }
        take(shard[set].of(key, rates, now_ns), rates, now_ns)
    }
}

/// The shard of a client, and its set there.
fn place(key: u64) -> (usize, usize) {
    let sets = u64::try_from(SHARDS * SETS).expect("a few thousand");
    let set = usize::try_from(key % sets).expect("one of a few thousand");
    (set / SETS, set % SETS)
}

impl Set {
    /// The buckets of a client, which may be new.
    fn of(&mut self, key: u64, rates: &[Rate], now_ns: u64) -> &mut [Bucket] {
        let found = self.keys.iter().position(|other| *other == key);
        let at = found.unwrap_or_else(|| self.make_room(key, rates, now_ns));
        &mut self.buckets[at * rates.len()..(at + 1) * rates.len()]
    }

    fn make_room(&mut self, key: u64, rates: &[Rate], now_ns: u64) -> usize {
        let full = rates.iter().map(|rate| Bucket { at_ns: now_ns, tokens: rate.burst });
        let clients = self.buckets.chunks_exact(rates.len()).map(|all| full_at_ns(all, rates));
        let first = clients.enumerate().min_by_key(|(_, full_at_ns)| *full_at_ns);
        match first {
            Some((at, full_at_ns)) if full_at_ns <= now_ns || self.keys.len() >= WAYS => {
                self.keys[at] = key;
                self.buckets.splice(at * rates.len()..(at + 1) * rates.len(), full);
                at
            }
            _ => {
                self.keys.push(key);
                self.buckets.extend(full);
                self.keys.len() - 1
            }
        }
    }
}

/// When the last of a client's buckets is full again.
fn full_at_ns(buckets: &[Bucket], rates: &[Rate]) -> u64 {
    let full_at_ns = |(bucket, rate): (&Bucket, &Rate)| {
        let missing = rate.burst.saturating_sub(bucket.tokens);
        bucket.at_ns.saturating_add(missing.saturating_mul(rate.token_ns()))
    };
    buckets.iter().zip(rates).map(full_at_ns).max().unwrap_or_default()
}

/// Takes a token out of each bucket, or out of none and says how long until none is empty.
fn take(buckets: &mut [Bucket], rates: &[Rate], now_ns: u64) -> Result<(), u64> {
    let mut wait_ns = None;
    for (bucket, rate) in buckets.iter_mut().zip(rates) {
        bucket.refill(rate, now_ns);
        if bucket.tokens == 0 {
            let next_ns = bucket.at_ns.saturating_add(rate.token_ns());
            wait_ns = wait_ns.max(Some(next_ns.saturating_sub(now_ns)));
        }
    }
    match wait_ns {
        Some(wait_ns) => Err(wait_ns),
        None => {
            buckets.iter_mut().for_each(|bucket| bucket.tokens -= 1);
            Ok(())
        }
    }
}

impl Bucket {
    /// Puts in the whole tokens that have come since. What there is of the next one is not lost: it came at `at_ns`.
    fn refill(&mut self, rate: &Rate, now_ns: u64) {
        let come = now_ns.saturating_sub(self.at_ns) / rate.token_ns();
        self.at_ns += come * rate.token_ns();
        self.tokens = self.tokens.saturating_add(come);
        if self.tokens >= rate.burst {
            self.tokens = rate.burst;
            // A full bucket gathers nothing. Another worker's clock may be a little ahead.
            self.at_ns = self.at_ns.max(now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::middleware::shelf::Shelf;

    const SECOND_NS: i64 = 1_000_000_000;

    fn rate(period_s: i64, average: i64, burst: i64) -> Rate {
        Rate::new(period_s * SECOND_NS, average, burst).expect("a good one")
    }

    fn limit(rates: &[Rate], shelf: &Shelf) -> RateLimit {
        let by = Extractor::ClientIp;
        RateLimit::new(rates.to_vec(), by, "docker/web", shelf).expect("a good one")
    }

    /// A request of this client: how long it is to wait, where it does not pass.
    fn come(limit: &RateLimit, client: u32, now_ms: u64) -> Result<(), Box<Answer>> {
        let mut exchange = Exchange::new("http", "GET", "web.local", "/", &());
        exchange.sender.ip = IpAddr::V4(Ipv4Addr::from_bits(client));
        exchange.sender.now_ms = now_ms;
        match limit.on_request(&mut exchange) {
            Flow::Continue => Ok(()),
            Flow::Answer(answer) => Err(answer),
            other => panic!("{other:?}"),
        }
    }

    /// Requests at these times, by whether they pass.
    #[track_caller]
    fn check(rates: &[Rate], times_ms: &[u64], expected: &str) {
        let limit = limit(rates, &Shelf::default());
        let mark = |now_ms: &u64| if come(&limit, 1, *now_ms).is_ok() { 'y' } else { 'n' };
        assert_eq!(times_ms.iter().map(mark).collect::<String>(), expected, "{times_ms:?}");
    }

    #[test]
    fn a_burst_passes_then_what_comes_back() {
        check(&[rate(1, 1, 3)], &[1, 1, 1, 1, 1000, 1001, 1002, 2001, 2002, 9000], "yyynnynyny");
        check(&[rate(10, 100, 1)], &[5, 5, 104, 105, 106, 205], "ynnyny");
        // An hour of rest fills it, and no more.
        check(&[rate(1, 1, 2)], &[1, 3_600_000, 3_600_000, 3_600_000], "yyyn");
        // What there is of a token is not lost by asking often.
        check(&[rate(1, 1, 1)], &[1, 400, 800, 1000, 1001, 1999, 2001], "ynnnyny");
    }

    #[test]
    fn all_buckets_give_a_token_or_none_does() {
        let rates = [rate(1, 3, 3), rate(60, 5, 5)];
        // The sixth finds the large bucket empty; it takes nothing of the small one.
        let times_ms = [1, 1, 1, 1, 1001, 1001, 1001, 12_001, 12_001, 12_001];
        check(&rates, &times_ms, "yyynyynynn");
    }

    #[test]
    fn who_is_refused_is_told_when_to_come() {
        let limit = limit(&[rate(10, 4, 1), rate(1, 5, 9)], &Shelf::default());
        assert!(come(&limit, 1, 1).is_ok());
        let answer = come(&limit, 1, 501).expect_err("too many");
        assert_eq!(answer.status, 429);
        let line = |name: &str| {
            let line = answer.lines.iter().find(|(own, _)| own == name);
            line.map(|(_, value)| value.as_str())
        };
        assert_eq!((line("Retry-After"), line("X-Retry-In")), (Some("2"), Some("2s")));
        assert_eq!(answer.body.as_deref(), Some(&b"max rate reached: retry-in 2s\n"[..]));
        assert!(come(&limit, 2, 501).is_ok());
        assert_eq!(limit.acts(600).as_deref(), Some("refused 1 in the last 10 s"));
        assert_eq!(limit.acts(10_600), None);
        let described = "rate limit by client.ip: 5 in 1s (at once 9), 4 in 10s (at once 1)";
        assert_eq!(limit.describe(), described);
    }

    #[test]
    fn a_change_keeps_the_buckets_and_fills_them_at_the_new_rate() {
        let shelf = Shelf::default();
        let slow = limit(&[rate(60, 1, 4)], &shelf);
        assert!((0..4).all(|_| come(&slow, 1, 1).is_ok()));
        let same = limit(&[rate(60, 1, 4)], &shelf);
        drop(slow);
        assert!(come(&same, 1, 2).is_err());
        // Ten of them came back since, and one fits.
        let fast = limit(&[rate(60, 60, 1)], &shelf);
        assert!(come(&fast, 1, 10_001).is_ok());
        assert!(come(&fast, 1, 10_001).is_err());
        assert!(come(&limit(&[rate(1, 1, 1)], &shelf), 1, 10_002).is_ok(), "another period");
    }

    #[test]
    fn what_is_no_rate_is_none() {
        for (period, average, burst) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1), (1, -1, 1)] {
            assert!(Rate::new(period, average, burst).is_err());
        }
        let new = |rates: Vec<Rate>| {
            RateLimit::new(rates, Extractor::Host, "docker/web", &Shelf::default()).err()
        };
        assert!(new(Vec::new()).is_some());
        assert!(new(vec![rate(1, 1, 1); RateLimit::RATES_MAX + 1]).is_some());
        // The largest ones that can be written.
        let largest = Rate::new(i64::MAX, i64::MAX, i64::MAX).expect("a good one");
        let longest = Rate::new(i64::MAX, 1, i64::MAX).expect("a good one");
        let limit = limit(&[largest, longest], &Shelf::default());
        assert!((0..100).all(|n| come(&limit, 1, n * (u64::MAX / 100)).is_ok()));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_frees_no_offender() {
        let limit = limit(&[rate(60, 100, 100)], &Shelf::default());
        assert!((0..100).all(|_| come(&limit, 1, 1).is_ok()));
        assert!(come(&limit, 1, 1).is_err());
        for client in 2..100_002 {
            assert!(come(&limit, client, 2).is_ok());
        }
        assert!(come(&limit, 1, 3).is_err());
        let entries = entries(&limit);
        // Nearly every place is taken.
        let max = RateLimit::CLIENTS_MAX;
        assert!((max * 9 / 10..=max).contains(&entries), "{entries}");
    }

    #[test]
    fn clients_whose_buckets_are_full_again_take_no_room() {
        let limit = limit(&[rate(1, 10, 10)], &Shelf::default());
        for client in 0..100_000 {
            assert!(come(&limit, client, 10 * u64::from(client)).is_ok());
        }
        // At each time ten are not full: a set has the last one that was there, and seldom another.
        let entries = entries(&limit);
        assert!(entries <= 2 * SHARDS * SETS, "{entries}");
    }

    /// How many clients are known, of one rate.
    fn entries(limit: &RateLimit) -> usize {
        let mut entries = 0;
        for shard in &limit.buckets.shards {
            for set in &*shard.lock().expect("not poisoned") {
                assert_eq!(set.keys.len(), set.buckets.len());
                assert!(set.keys.capacity() <= WAYS && set.buckets.capacity() <= WAYS);
                entries += set.keys.len();
            }
        }
        entries
    }

    proptest! {
        /// However requests come, no stretch of time has more of them than a burst and what comes back in it; and one that
        /// is refused passes after the time that it is told, and not before.
        #[test]
        fn no_more_than_a_burst_and_what_comes_back(
            (period, average, burst) in (1_i64..100_000, 1_i64..50, 1_u64..20),
            pauses in prop::collection::vec(0_u64..5_000, 1..200),
        ) {
            let rate = Rate::new(period, average, i64::try_from(burst).expect("few")).expect("a good one");
            let rates = [rate];
            let mut buckets = [Bucket { at_ns: 0, tokens: burst }];
            let (mut now_ns, mut passed) = (0_u64, Vec::new());
            for pause in pauses {
                now_ns += pause;
                match take(&mut buckets, &rates, now_ns) {
                    Ok(()) => passed.push(now_ns),
                    Err(wait_ns) => {
                        let at = |time_ns| take(&mut buckets.clone(), &rates, time_ns);
                        prop_assert!(at(now_ns + wait_ns).is_ok());
                        prop_assert!(at(now_ns + wait_ns - 1).is_err());
                    }
                }
            }
            for (from, start_ns) in passed.iter().enumerate() {
                for (count, end_ns) in (1_u64..).zip(&passed[from..]) {
                    // In whole numbers: (count - burst) tokens took their time.
                    let took_ns = u128::from(end_ns - start_ns) * u128::from(rate.average);
                    prop_assert!(u128::from(count.saturating_sub(burst)) * u128::from(rate.period_ns) <= took_ns);
                }
            }
        }
    }
}
