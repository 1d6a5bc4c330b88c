//! Leaves the servers of a backend alone for a while when they are ill.
//!
//! As in Traefik 1.7 (vulcand/oxy, cbreaker/cbreaker.go): while an expression about the last ten seconds does not hold,
//! everything passes. Once it holds, nothing does for ten seconds; and in the ten seconds after that a share that grows
//! from nothing to all. Should it hold again meanwhile, that begins anew.
//!
//! A backend has one breaker, whichever frontend and worker a request comes by, and keeps it when its configuration
//! changes. What was under way when it opened does not count later: it says nothing of how the servers are now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::window::{Window, times};
use crate::middleware::{Answer, Flow, Handler, Keep, kept};
use crate::model::{Ended, Exchange, Follower};
use crate::rules::{BreakerExpression, CodeRange, Measured};

/// How long nothing passes.
const OPEN_MS: u64 = 10_000;

/// How long it takes after that until everything does.
const RECOVERY_MS: u64 = 10_000;

/// The expression is worked out this often at most.
const CHECK_MS: u64 = 100;

/// `NetworkErrorRatio() > 0.5`.
#[derive(Clone, Debug)]
pub struct CircuitBreaker(Arc<Running>);

#[derive(Debug)]
struct Running {
    expression: BreakerExpression,
    backend: String,
    breaker: Arc<Breaker>,
}

/// The state of one backend's breaker, and what it is worked out from.
#[derive(Debug)]
struct Breaker {
    state: Mutex<State>,
    /// Whether its state is another one than closed, so that nobody takes the lock while all is well.
    is_disturbed: AtomicBool,
    /// How often it has opened.
    era: AtomicU64,
    next_check_ms: AtomicU64,
    totals: Window,
    /// By status. Made when an expression first asks for it, like the next.
    codes: OnceLock<Window>,
    times: OnceLock<Window>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Everything passes.
    Closed,
    /// Nothing does until then; after that, a growing share.
    Open {
        until_ms: u64,
        /// Whether somebody came in the time after.
        is_recovering: bool,
        /// What the share has come to since the last one that passed: at [`RECOVERY_MS`] the next one does.
        credit: u64,
    },
}

/// The counters of `totals`.
const ALL: usize = 0;
const NETWORK_ERRORS: usize = 1;

/// Statuses have three digits.
const CODES: usize = 600;

/// Nginx's status for a client that left; 1.7 counts it so too (vulcand/oxy, utils/handler.go).
const CLIENT_LEFT: u16 = 499;

impl CircuitBreaker {
    /// The breaker of a backend, in the state in which it was.
    pub fn new(expression: BreakerExpression, backend: &str, keep: &dyn Keep) -> Self {
        let breaker = kept(keep, backend, Breaker::default);
        Self(Arc::new(Running { expression, backend: backend.to_owned(), breaker }))
    }
}

impl Running {
    /// Counts a request that ended, and looks whether the servers are ill.
    fn count(&self, ended: &Ended, era: u64) {
        let breaker = &self.breaker;
        if breaker.era.load(Ordering::Acquire) != era {
            return;
        }
        breaker.count(ended, &self.expression);
        if breaker.is_due(ended.now_ms)
            && self.expression.holds(&Seen { breaker, now_ms: ended.now_ms })
            && breaker.open(ended.now_ms, era)
        {
            tracing::warn!(
                backend = %self.backend, expression = %self.expression, open_ms = OPEN_MS,
                "circuit breaker opened"
            );
        }
    }
}

impl Handler for CircuitBreaker {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Self(running) = self;
        let (verdict, news) = running.breaker.judge(exchange.sender.now_ms);
        if let Some(news) = news {
            tracing::info!(backend = %running.backend, "circuit breaker {news}");
        }
        match verdict {
            Verdict::Pass { era } => {
                exchange.follow(Counting { running: Arc::clone(running), era });
                Flow::Continue
            }
            Verdict::Refuse { retry_ms } => {
                let seconds = retry_ms.div_ceil(1_000).max(1);
                let answer = Answer::new(503).line("Retry-After", seconds.to_string());
                Flow::Answer(answer.because("the circuit breaker is open"))
            }
        }
    }

    fn describe(&self) -> String {
        format!("circuit breaker {}", self.0.expression)
    }

    fn leaves_traces(&self) -> bool {
        true
    }

    fn acts(&self, now_ms: u64) -> Option<String> {
        let State::Open { until_ms, .. } = *self.0.breaker.state() else { return None };
        match until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0) {
            Some(left_ms) => Some(format!("open for {} s more", left_ms.div_ceil(1_000))),
            None => {
                let share = 100 * (now_ms - until_ms) / RECOVERY_MS;
                (share < 100).then(|| format!("recovering: {share} % pass"))
            }
        }
    }
}

/// Sees how a request ends that was let in.
struct Counting {
    running: Arc<Running>,
    era: u64,
}

impl Follower for Counting {
    fn on_end(&mut self, ended: &Ended) {
        self.running.count(ended, self.era);
    }
}

/// What becomes of a request.
#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Pass { era: u64 },
    Refuse { retry_ms: u64 },
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Closed),
            is_disturbed: AtomicBool::new(false),
            era: AtomicU64::new(0),
            next_check_ms: AtomicU64::new(0),
            totals: Window::new(2),
            codes: OnceLock::new(),
            times: OnceLock::new(),
        }
    }
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request passes that comes now, and what has changed.
    fn judge(&self, now_ms: u64) -> (Verdict, Option<&'static str>) {
        let pass = || Verdict::Pass { era: self.era.load(Ordering::Acquire) };
        if !self.is_disturbed.load(Ordering::Acquire) {
            return (pass(), None);
        }
        let mut state = self.state();
        let State::Open { until_ms, is_recovering, credit } = &mut *state else {
            return (pass(), None);
        };
        if now_ms < *until_ms {
            return (Verdict::Refuse { retry_ms: *until_ms - now_ms }, None);
        }
        // The share that passes, of RECOVERY_MS.
        let share = now_ms - *until_ms;
        if share >= RECOVERY_MS {
            *state = State::Closed;
            self.is_disturbed.store(false, Ordering::Release);
            return (pass(), Some("closed"));
        }
        let news = (!*is_recovering).then_some("recovers");
        *is_recovering = true;
        *credit += share;
        let verdict = match credit.checked_sub(RECOVERY_MS) {
            Some(rest) => {
                *credit = rest;
                pass()
            }
            None => Verdict::Refuse { retry_ms: 1_000 },
        };
        (verdict, news)
    }

    fn count(&self, ended: &Ended, expression: &BreakerExpression) {
        let Ended { status, now_ms, took_us, is_timed, .. } = *ended;
        self.totals.add(now_ms, ALL);
        // A request that a client cut short blames nobody, whatever was answered to it.
        if ended.is_network_error || (is_timed && matches!(status, Some(502 | 504))) {
            self.totals.add(now_ms, NETWORK_ERRORS);
        }
        if expression.asks_for_codes() {
            let codes = self.codes.get_or_init(|| Window::new(CODES));
            codes.add(now_ms, status.unwrap_or(CLIENT_LEFT).into());
        }
        // How long a WebSocket was open, or a client took to send, says nothing of the server.
        if expression.asks_for_latency() && is_timed {
            self.times
                .get_or_init(|| Window::new(times::WIDTH))
                .add(now_ms, times::counter(took_us));
        }
    }

    /// Whether it is time to look, for one of those who ask.
    fn is_due(&self, now_ms: u64) -> bool {
        let due_ms = self.next_check_ms.load(Ordering::Relaxed);
        let next_ms = now_ms + CHECK_MS;
        let took_turn = || {
            let (relaxed, due) = (Ordering::Relaxed, &self.next_check_ms);
            due.compare_exchange(due_ms, next_ms, relaxed, relaxed).is_ok()
        };
        now_ms >= due_ms && took_turn()
    }

    /// Lets nobody pass for a while, unless somebody else of this era has seen to that.
    fn open(&self, now_ms: u64, era: u64) -> bool {
        let mut state = self.state();
        if self.era.load(Ordering::Acquire) != era {
            return false;
        }
        *state = State::Open { until_ms: now_ms + OPEN_MS, is_recovering: false, credit: 0 };
        self.is_disturbed.store(true, Ordering::Release);
        self.era.store(era + 1, Ordering::Release);
        let measured = [Some(&self.totals), self.codes.get(), self.times.get()];
        measured.into_iter().flatten().for_each(Window::clear);
        true
    }
}

/// What a breaker has seen up to now.
struct Seen<'b> {
    breaker: &'b Breaker,
    now_ms: u64,
}

#[expect(clippy::cast_precision_loss, reason = "ratios of counts")]
impl Measured for Seen<'_> {
    fn network_error_ratio(&self) -> f64 {
        let count = |counter| self.breaker.totals.count(self.now_ms, counter);
        count(NETWORK_ERRORS) as f64 / count(ALL).max(1) as f64
    }

    fn response_code_ratio(&self, of: CodeRange, among: CodeRange) -> f64 {
        let Some(codes) = self.breaker.codes.get() else { return 0.0 };
        let sum = |codes_of: CodeRange| {
            codes.sum(self.now_ms, codes_of.start.into()..codes_of.end.into())
        };
        match sum(among) {
            0 => 0.0,
            all => sum(of) as f64 / all as f64,
        }
    }

    fn latency_at_quantile_ms(&self, quantile: f64) -> i64 {
        let window = self.breaker.times.get();
        let counter = window.and_then(|window| window.quantile(self.now_ms, quantile / 100.0));
        counter.map_or(0, |counter| i64::try_from(times::us(counter) / 1_000).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::middleware::shelf::Shelf;

    fn breaker(expression: &str) -> CircuitBreaker {
        let expression = BreakerExpression::parse(expression).expect("a good one");
        CircuitBreaker::new(expression, "docker/web", &Shelf::default())
    }

    /// A request that comes now: what follows it, or the seconds after which it may come again.
    fn come(breaker: &CircuitBreaker, now_ms: u64) -> Result<Box<dyn Follower>, String> {
        let mut exchange = Exchange::new("http", "GET", "web.local", "/", &());
        exchange.sender.now_ms = now_ms;
        match breaker.on_request(&mut exchange) {
            Flow::Continue => Ok(exchange.change().followers.pop().expect("somebody who counts")),
            Flow::Answer(answer) => {
                assert_eq!(answer.status, 503);
                let [(name, seconds)] = &*answer.lines else { panic!("one line") };
                assert_eq!(name, "Retry-After");
                Err(seconds.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    /// How a request ends that got this status, after so many milliseconds.
    fn ended(status: u16, took_ms: u64, now_ms: u64) -> Ended {
        Ended {
            status: Some(status),
            is_network_error: false,
            is_timed: status != 101,
            took_us: took_ms * 1_000,
            now_ms,
        }
    }

    /// A request that gets this status at once.
    fn serve(breaker: &CircuitBreaker, status: u16, now_ms: u64) {
        let mut follower = come(breaker, now_ms).expect("it passes");
        follower.on_end(&ended(status, 0, now_ms));
    }

    /// One that is open since this time.
    fn opened(now_ms: u64) -> CircuitBreaker {
        let breaker = breaker("NetworkErrorRatio() > 0.5");
        serve(&breaker, 502, now_ms);
        breaker
    }

    #[track_caller]
    fn check(expression: &str, ends: &[(u16, u64)], expected: bool) {
        let breaker = breaker(expression);
        for (at, (status, took_ms)) in ends.iter().enumerate() {
            let now_ms = 1_000 + u64::try_from(at).expect("few") * CHECK_MS;
            match come(&breaker, now_ms) {
                Ok(mut follower) => follower.on_end(&ended(*status, *took_ms, now_ms)),
                Err(_) => break,
            }
        }
        assert_eq!(breaker.acts(5_000).is_some(), expected, "{expression}: {ends:?}");
    }

    #[test]
    fn it_opens_when_its_expression_holds() {
        check("NetworkErrorRatio() > 0.5", &[(200, 0), (502, 0)], false);
        check("NetworkErrorRatio() > 0.5", &[(200, 0), (502, 0), (504, 0)], true);
        check("NetworkErrorRatio() > 0.5", &[(500, 0), (503, 0)], false);
        check("ResponseCodeRatio(500, 600, 0, 600) > 0.5", &[(200, 0), (500, 0)], false);
        check("ResponseCodeRatio(500, 600, 0, 600) >= 0.5", &[(200, 0), (500, 0)], true);
        check("LatencyAtQuantileMS(50.0) > 50", &[(200, 20), (200, 49), (200, 500)], false);
        check("LatencyAtQuantileMS(50.0) > 50", &[(200, 20), (200, 55), (200, 500)], true);
        // A WebSocket that was open for long.
        check("LatencyAtQuantileMS(100.0) > 50", &[(101, 5_000)], false);
    }

    #[test]
    fn nothing_passes_then_more_and_more_then_everything() {
        let breaker = opened(1_000);
        assert_eq!(breaker.acts(1_000).as_deref(), Some("open for 10 s more"));
        assert_eq!(come(&breaker, 1_001).err().as_deref(), Some("10"));
        assert_eq!(come(&breaker, 10_999).err().as_deref(), Some("1"));
        assert_eq!(breaker.acts(15_000).as_deref(), Some("recovering: 40 % pass"));
        let passing = |from: u64| (from..from + 1_000).filter(|now| come(&breaker, *now).is_ok());
        let shares: Vec<usize> = (11..21).map(|second| passing(second * 1_000).count()).collect();
        for (share, expected) in
            shares.iter().zip([50, 150, 250, 350, 450, 550, 650, 750, 850, 950])
        {
            assert!(share.abs_diff(expected) <= 2, "{shares:?}");
        }
        assert!(come(&breaker, 21_000).is_ok());
        assert_eq!(breaker.acts(21_000), None);
    }

    #[test]
    fn a_relapse_opens_it_again() {
        let breaker = opened(1_000);
        let (now_ms, mut follower) = (11_000..21_000)
            .find_map(|now_ms| Some((now_ms, come(&breaker, now_ms).ok()?)))
            .expect("one of them passes");
        follower.on_end(&ended(502, 0, now_ms));
        assert!(come(&breaker, now_ms + OPEN_MS - 1).is_err());
        assert_eq!(breaker.acts(now_ms + 1).as_deref(), Some("open for 10 s more"));
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_count() {
        let breaker = breaker("NetworkErrorRatio() > 0.5");
        let mut late: Vec<_> = (0..3).map(|_| come(&breaker, 1_000).expect("it passes")).collect();
        serve(&breaker, 502, 1_000);
        late.iter_mut().for_each(|late| late.on_end(&ended(504, 15_000, 16_000)));
        assert_eq!(breaker.acts(16_000).as_deref(), Some("recovering: 50 % pass"));
        // Nor does it when the next one ends, well.
        let (now_ms, mut good) = (16_200..21_000)
            .find_map(|now_ms| Some((now_ms, come(&breaker, now_ms).ok()?)))
            .expect("one of them passes");
        good.on_end(&ended(200, 0, now_ms));
        assert_eq!(breaker.acts(18_000).as_deref(), Some("recovering: 70 % pass"));
        // Quiet for long enough, it needs nobody to close.
        assert_eq!(breaker.acts(21_000), None);
        assert!(come(&breaker, 21_000).is_ok());
    }

    #[test]
    fn what_is_long_gone_is_forgotten() {
        let breaker = breaker("NetworkErrorRatio() > 0.5");
        // Too soon after a check to be looked at.
        serve(&breaker, 200, 1_000);
        serve(&breaker, 502, 1_001);
        serve(&breaker, 502, 1_002);
        serve(&breaker, 200, 12_000);
        assert_eq!(breaker.acts(12_000), None);
    }

    #[test]
    fn frontends_of_a_backend_share_a_breaker_and_changes_keep_it() {
        let shelf = Shelf::default();
        let make = |expression: &str| {
            let expression = BreakerExpression::parse(expression).expect("a good one");
            CircuitBreaker::new(expression, "docker/web", &shelf)
        };
        let (one, other) = (make("NetworkErrorRatio() > 0.5"), make("NetworkErrorRatio() > 0.4"));
        serve(&one, 502, 1_000);
        assert!(come(&other, 1_001).is_err());
    }

    proptest! {
        /// Whatever happens: it refuses only in the twenty seconds after its expression held, and everything in the
        /// first ten of them.
        #[test]
        fn it_is_open_for_as_long_as_it_says(steps in prop::collection::vec((0_u64..3_000, 0_u8..4), 1..200)) {
            let breaker = breaker("NetworkErrorRatio() > 0.5");
            let (mut now_ms, mut opened_ms) = (1_000, None::<u64>);
            for (pause_ms, kind) in steps {
                now_ms += pause_ms;
                let since = opened_ms.map(|opened_ms| now_ms - opened_ms);
                match come(&breaker, now_ms) {
                    Ok(mut follower) => {
                        prop_assert!(since.is_none_or(|since| since >= OPEN_MS));
                        follower.on_end(&ended(if kind == 0 { 200 } else { 502 }, 0, now_ms));
                        let until_ms = now_ms + OPEN_MS;
                        let is_new = matches!(*breaker.0.breaker.state(), State::Open { until_ms: u, .. } if u == until_ms);
                        if is_new {
                            opened_ms = Some(now_ms);
                        }
                    }
                    Err(_) => prop_assert!(since.is_some_and(|since| since < OPEN_MS + RECOVERY_MS)),
                }
            }
        }
    }
}
