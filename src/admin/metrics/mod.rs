//! `/metrics`: Prometheus text, with the names of Traefik 1.7 and our own.
//!
//! The counters live elsewhere; a scrape adds them up. How many series there are has a bound: the busiest frontends,
//! backends and servers have series of their own, the others are summed up.

mod families;
mod text;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

pub use families::{FAMILIES, Family, Kind};

use self::families::*;
use super::App;
use crate::control::View;
use crate::live::{self, Code, Counts, Key, StatusClass, Told, as_float};
use crate::model::Severity;
use crate::settings::Buckets;
use crate::table::{Route, RunningBackend, RunningServer};
use text::{Sizes, Text};

/// Frontends with series of their own, and backends.
const NAMES_MAX: usize = 1_000;

/// Servers with series of their own.
const SERVERS_MAX: usize = 2_000;

/// What the series of all others are called.
const OTHERS: &str = "_others";

/// Who has series of its own, from scrape to scrape.
#[derive(Default)]
pub(super) struct Named {
    frontends: Mutex<HashSet<String>>,
    backends: Mutex<HashSet<String>>,
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], scrape(&app)).into_response()
}

fn scrape(app: &App) -> String {
    let view = app.state.view();
    let scrape = Scrape { app, view: &view, buckets: app.state.live.buckets() };
    let (mut text, mut left_out) = (Text::default(), LeftOut::new());
    let backends = scrape.backends();
    scrape.reloads(&mut text);
    scrape.entrypoints(&mut text);
    scrape.traefik_backends(&backends, &mut text, &mut left_out);
    scrape.totals(&mut text);
    scrape.frontends(&mut text, &mut left_out);
    if app.state.settings.metrics.has_servers {
        scrape.servers(&backends, &mut text, &mut left_out);
    }
    scrape.propagation(&mut text);
    scrape.providers(&mut text);
    scrape.own(&mut text, &left_out);
    text.into_string()
}

/// One scrape.
struct Scrape<'a> {
    app: &'a App,
    view: &'a View,
    buckets: &'a Buckets,
}

/// How many have no series of their own, by what they are.
type LeftOut = BTreeMap<&'static str, usize>;

impl Scrape<'_> {
    /// Every backend that requests can reach, once.
    fn backends(&self) -> Vec<&Arc<RunningBackend>> {
        self.view.table.reachable_backends().collect()
    }

    fn reloads(&self, text: &mut Text) {
        let statuses = self.view.sources.values().map(|source| &source.status);
        let failures = statuses.clone().map(|status| status.failures).sum();
        let last_failure = statuses.filter_map(|status| status.last_failure).max();
        text.single(&RELOADS, as_float(self.view.table.revision));
        text.single(&RELOAD_FAILURES, as_float(failures));
        text.single(&LAST_RELOAD, self.view.table_since.map_or(0.0, since_1970));
        text.single(&LAST_RELOAD_FAILURE, last_failure.map_or(0.0, since_1970));
    }

    fn entrypoints(&self, text: &mut Text) {
        let entries = self.app.state.live.totals.entries();
        let told = |name: &str, told: &BTreeMap<Key, Told>| {
            let labelled = told.iter().map(|(key, told)| (labels(*key, name), told.clone()));
            labelled.collect::<Vec<_>>()
        };
        let all: Vec<_> =
            entries.iter().flat_map(|(name, entry)| told(name, &entry.told)).collect();
        self.told(text, [&ENTRY_REQUESTS, &ENTRY_DURATION], &all);
        let open = entries.iter().flat_map(|(name, entry)| {
            let open = live::open(&entry.begun, &entry.told).into_iter();
            open.map(move |(kind, count)| (kind_labels(kind, name), as_float(count)))
        });
        text.family(&ENTRY_OPEN, open);
    }

    /// Requests and times of entry points or backends, which have the same labels.
    fn told(
        &self,
        text: &mut Text,
        [requests, duration]: [&Family; 2],
        all: &[([String; 4], Told)],
    ) {
        let counts = all.iter().map(|(labels, told)| (labels.clone(), as_float(told.total())));
        text.family(requests, counts);
        let sizes = all.iter().map(|(labels, told)| (labels.clone(), self.sizes(told)));
        text.histogram(duration, sizes);
    }

    fn sizes(&self, told: &Told) -> Sizes {
        let mut sum = 0;
        let mut up_to = |count: &u64| {
            sum += count;
            sum
        };
        let at_most = self.buckets.bounds().zip(told.buckets.iter().map(&mut up_to)).collect();
        Sizes { at_most, total: told.total(), sum: as_float(told.sum_us) / 1e6 }
    }

    fn sizes_of(&self, counts: &Counts) -> Sizes {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of a count
        let at_most = |(bound, &us): (f64, &u64)| (bound, counts.at_most(us).round() as u64);
        let bounds = self.buckets.bounds().zip(self.buckets.bounds_us());
        let sum = as_float(counts.sum_us()) / 1e6;
        Sizes { at_most: bounds.map(at_most).collect(), total: counts.total(), sum }
    }

    /// Backends as Traefik 1.7 names them, without their provider: those of one name are one.
    fn traefik_backends(
        &self,
        backends: &[&Arc<RunningBackend>],
        text: &mut Text,
        left_out: &mut LeftOut,
    ) {
        #[derive(Default)]
        struct Sum {
            told: BTreeMap<Key, Told>,
            begun: BTreeMap<live::Kind, u64>,
            retries: u64,
        }
        impl Sum {
            fn total(&self) -> u64 {
                self.told.values().map(Told::total).sum()
            }
        }
        let mut sums = BTreeMap::<&str, Sum>::new();
        for backend in backends {
            let Some(traffic) = backend.live().seen() else { continue };
            let sum = sums.entry(&backend.id().name).or_default();
            traffic.add_to(&mut sum.told);
            traffic.add_begun_to(&mut sum.begun);
            sum.retries += backend.live().retries();
        }
        let mut sums: Vec<(&str, Sum)> = sums.into_iter().collect();
        let names = &self.app.named.backends;
        let name = |(name, _): &(&str, Sum)| (*name).to_owned();
        let others = named(&mut sums, NAMES_MAX, names, name, |(_, sum)| sum.total());
        if !others.is_empty() {
            left_out.insert("backends", others.len());
            let mut rest = Sum::default();
            for (_, sum) in others {
                let Sum { told, begun, retries } = sum;
                told.iter().for_each(|(key, told)| rest.told.entry(*key).or_default().add(told));
                begun.into_iter().for_each(|(kind, n)| *rest.begun.entry(kind).or_default() += n);
                rest.retries += retries;
            }
            sums.push((OTHERS, rest));
        }
        let told = sums.iter().flat_map(|(name, sum)| {
            sum.told.iter().map(|(key, told)| (labels(*key, name), told.clone()))
        });
        self.told(text, [&BACKEND_REQUESTS, &BACKEND_DURATION], &told.collect::<Vec<_>>());
        let open = sums.iter().flat_map(|(name, sum)| {
            let open = live::open(&sum.begun, &sum.told).into_iter();
            open.map(|(kind, count)| (kind_labels(kind, name), as_float(count)))
        });
        text.family(&BACKEND_OPEN, open);
        let retries = sums.iter().map(|(name, sum)| ([(*name).to_owned()], as_float(sum.retries)));
        text.family(&BACKEND_RETRIES, retries);
        if self.app.state.settings.metrics.has_servers {
            self.server_up(backends, text, left_out);
        }
    }

    fn server_up(
        &self,
        backends: &[&Arc<RunningBackend>],
        text: &mut Text,
        left_out: &mut LeftOut,
    ) {
        let now_ms = self.app.now_ms();
        let is_up = |s: &RunningServer| s.may_serve() && !s.live.is_resting(now_ms);
        let servers = backends.iter().flat_map(|backend| {
            let name = &backend.id().name;
            backend.servers().iter().map(move |s| ([name.to_string(), s.url()], is_up(s)))
        });
        let all: BTreeMap<[String; 2], bool> = servers.collect();
        let mut all: Vec<_> = all.into_iter().collect();
        // Stable. Alarms are about those that are down: none of them is left out for one that is up.
        all.sort_by_key(|(_, is_up)| *is_up);
        leave_out(left_out, "servers", all.len().saturating_sub(SERVERS_MAX));
        all.truncate(SERVERS_MAX);
        text.family(
            &SERVER_UP,
            all.into_iter().map(|(labels, is_up)| (labels, f64::from(u8::from(is_up)))),
        );
    }

    fn totals(&self, text: &mut Text) {
        let totals = &self.app.state.live.totals;
        let classes = StatusClass::ALL.into_iter();
        text.family(
            &REQUESTS,
            classes.map(|class| ([class.as_str().to_owned()], as_float(totals.answers(class)))),
        );
        let table = &self.view.table;
        text.single(&OPEN_CONNECTIONS, as_float(totals.open_connections()));
        text.single(&CONNECTIONS_MAX, count(self.app.state.settings.limits.connections_max));
        text.single(&CONNECTIONS_WAITED, as_float(totals.waited_connections()));
        text.single(&TABLE_REVISION, as_float(table.revision));
        text.single(&FRONTENDS, count(table.config.frontends.len()));
        text.single(&BACKENDS, count(table.config.backends.len()));
        let problems = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
            let all = table.problems.iter().filter(|problem| problem.severity == severity);
            ([severity.as_str().to_owned()], count(all.count()))
        });
        text.family(&PROBLEMS, problems);
    }

    fn frontends(&self, text: &mut Text, left_out: &mut LeftOut) {
        let routes = self.view.table.routes().iter();
        let mut asked: Vec<(&Arc<Route>, u64)> =
            routes.map(|route| (route, route.live.requests())).filter(|(_, n)| *n > 0).collect();
        let name = |route: &Route| route.id.to_string();
        let (names, name_of) =
            (&self.app.named.frontends, |(route, _): &(&Arc<Route>, _)| name(route));
        let others = named(&mut asked, NAMES_MAX, names, name_of, |(_, requests)| *requests);
        let answers = |route: &Arc<Route>| {
            let of = |class| (class, route.live.answers(class));
            StatusClass::ALL.map(of).into_iter().filter(|(_, answers)| *answers > 0)
        };
        let mut classes: Vec<([String; 2], f64)> = Vec::new();
        for (route, _) in &asked {
            let row = |(class, n): (StatusClass, u64)| {
                ([name(route), class.as_str().to_owned()], as_float(n))
            };
            classes.extend(answers(route).map(row));
        }
        let mut sizes: Vec<([String; 1], Sizes)> = Vec::new();
        for (route, _) in &asked {
            let mut counts = Counts::default();
            route.live.add_latencies_to(&mut counts);
            sizes.push(([name(route)], self.sizes_of(&counts)));
        }
        let causes = |route: &Arc<Route>| route.live.causes().collect::<Vec<_>>();
        let mut failures: Vec<([String; 2], f64)> = Vec::new();
        for (route, _) in &asked {
            let row = |(cause, n): (live::Cause, u64)| {
                ([name(route), cause.as_str().to_owned()], as_float(n))
            };
            failures.extend(causes(route).into_iter().map(row));
        }
        if !others.is_empty() {
            left_out.insert("frontends", others.len());
            let mut counts = Counts::default();
            let (mut by_class, mut by_cause) = (BTreeMap::new(), BTreeMap::new());
            for (route, _) in &others {
                route.live.add_latencies_to(&mut counts);
                answers(route)
                    .for_each(|(class, n)| *by_class.entry(class.as_str()).or_default() += n);
                for (cause, n) in causes(route) {
                    *by_cause.entry(cause.as_str()).or_default() += n;
                }
            }
            let row = |(word, n): (&str, u64)| ([OTHERS.to_owned(), word.to_owned()], as_float(n));
            classes.extend(by_class.into_iter().map(row));
            failures.extend(by_cause.into_iter().map(row));
            sizes.push(([OTHERS.to_owned()], self.sizes_of(&counts)));
        }
        text.family(&FRONTEND_REQUESTS, classes);
        text.histogram(&FRONTEND_DURATION, sizes);
        text.family(&FRONTEND_FAILURES, failures);
        let now_ms = self.app.now_ms();
        let acting = self.view.table.routes().iter().filter_map(|route| {
            let acting = route.chain.iter().filter(|step| step.acts(now_ms).is_some()).count();
            (acting > 0).then(|| ([name(route)], count(acting)))
        });
        text.family(&FRONTEND_ACTING, acting.take(NAMES_MAX));
    }

    fn servers(&self, backends: &[&Arc<RunningBackend>], text: &mut Text, left_out: &mut LeftOut) {
        let servers = backends
            .iter()
            .flat_map(|backend| backend.each_server().map(|server| (backend.id(), server)));
        let mut asked: Vec<_> = servers.filter(|(_, server)| server.live.requests() > 0).collect();
        let others = busiest(&mut asked, SERVERS_MAX, |(_, server)| server.live.requests());
        leave_out(left_out, "servers", others.len());
        let each = |value: fn(&RunningServer) -> u64| {
            asked.iter().map(move |(backend, server)| {
                ([backend.to_string(), server.name.to_string()], as_float(value(server)))
            })
        };
        text.family(&SERVER_REQUESTS, each(|server| server.live.requests()));
        text.family(&SERVER_FAILURES, each(|server| server.live.failures()));
        text.family(&SERVER_ACTIVE, each(|server| server.live.active()));
        let sizes = asked.iter().map(|(backend, server)| {
            let mut counts = Counts::default();
            server.live.add_latencies_to(&mut counts);
            ([backend.to_string(), server.name.to_string()], self.sizes_of(&counts))
        });
        text.histogram(&SERVER_DURATION, sizes);
    }

    fn propagation(&self, text: &mut Text) {
        let mut counts = Counts::default();
        self.app.state.live.propagation.add_to(&mut counts);
        text.histogram(&PROPAGATION, [([], self.sizes_of(&counts))]);
    }

    fn providers(&self, text: &mut Text) {
        let now = Instant::now();
        let each = |value: &dyn Fn(&crate::control::ProviderStatus) -> Option<f64>| {
            let sources = self.view.sources.iter();
            let values = sources.filter_map(|(provider, source)| {
                Some(([provider.to_string()], value(&source.status)?))
            });
            values.collect::<Vec<_>>()
        };
        text.family(&PROVIDER_ANSWERS, each(&|status| Some(as_float(status.answers))));
        text.family(&PROVIDER_FAILURES, each(&|status| Some(as_float(status.failures))));
        text.family(&PROVIDER_AGE, each(&|status| status.age(now).map(|age| age.as_secs_f64())));
        let is = |yes: bool| Some(f64::from(u8::from(yes)));
        text.family(&PROVIDER_STALE, each(&|status| is(status.is_stale())));
        text.family(&PROVIDER_DEAF, each(&|status| is(status.deaf.is_some())));
    }

    fn own(&self, text: &mut Text, left_out: &LeftOut) {
        let failures = &self.app.state.live.failures;
        text.single(&FAILURES_PASSED_OVER, as_float(failures.passed_over()));
        let of = ["backends", "frontends", "servers"].into_iter();
        let left = |of: &str| count(left_out.get(of).copied().unwrap_or_default());
        text.family(&SERIES_LEFT_OUT, of.map(|of| ([of.to_owned()], left(of))));
        let telling = &self.app.state.live.telling;
        for (family, count) in [
            (&LOG_LINES, &telling.lines),
            (&LOG_DROPPED, &telling.lines_dropped),
            (&LOG_FAILURES, &telling.log_failures),
            (&TRACE_SPANS, &telling.spans),
            (&TRACE_DROPPED, &telling.spans_dropped),
        ] {
            text.single(family, as_float(count.count()));
        }
        let build = [env!("CARGO_PKG_VERSION"), option_env!("HERDER_COMMIT").unwrap_or("unknown")];
        text.family(&BUILD_INFO, [(build.map(str::to_owned), 1.0)]);
        text.single(&START_TIME, since_1970(self.app.state.started));
        if !left_out.is_empty() && !self.app.has_told_of_bound.swap(true, Relaxed) {
            tracing::warn!(
                ?left_out,
                names_max = NAMES_MAX,
                servers_max = SERVERS_MAX,
                "metrics: only the busiest have series of their own"
            );
        }
    }
}

/// Notes that so many have no series of their own, of one metric or another.
fn leave_out(left_out: &mut LeftOut, of: &'static str, count: usize) {
    if count > 0 {
        let most = left_out.entry(of).or_default();
        *most = count.max(*most);
    }
}

/// Leaves those in the list that have series of their own, and gives the others back. Who has some keeps them: the sum of the
/// others is a counter, which would fall where one left it for being busier today, and a counter that falls counts as one that
/// began anew. Free places go to the busiest.
fn named<T>(
    all: &mut Vec<T>,
    max: usize,
    names: &Mutex<HashSet<String>>,
    name: impl Fn(&T) -> String,
    requests: impl Fn(&T) -> u64,
) -> Vec<T> {
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    let others = match all.len() <= max {
        true => Vec::new(),
        false => {
            all.sort_by_cached_key(|one| (!names.contains(&name(one)), Reverse(requests(one))));
            all.split_off(max)
        }
    };
    *names = all.iter().map(name).collect();
    others
}

/// Leaves the busiest in the list, in their order, and gives the others back.
fn busiest<T>(all: &mut Vec<T>, max: usize, requests: impl Fn(&T) -> u64) -> Vec<T> {
    if all.len() <= max {
        return Vec::new();
    }
    // Stable: of two alike the first stays, scrape for scrape.
    all.sort_by_key(|one| Reverse(requests(one)));
    all.split_off(max)
}

fn labels(key: Key, name: &str) -> [String; 4] {
    let code = key.code.to_string();
    let [method, protocol, name] = match key.code {
        Code::One(_) => kind_labels(key.kind, name),
        // Alerts that ask for `5..` find these, too; what they were asked for is of all sorts.
        Code::Others(_) => [OTHERS, OTHERS, name].map(str::to_owned),
    };
    [code, method, protocol, name]
}

fn kind_labels(kind: live::Kind, name: &str) -> [String; 3] {
    [kind.verb.as_str(), kind.protocol.as_str(), name].map(str::to_owned)
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn count(count: usize) -> f64 {
    as_float(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stay() {
        let mut all = vec![("a", 1), ("b", 5), ("c", 3), ("d", 5)];
        let others = busiest(&mut all, 2, |(_, requests)| *requests);
        assert_eq!((all, others), (vec![("b", 5), ("d", 5)], vec![("c", 3), ("a", 1)]));
    }

    #[test]
    fn who_has_series_keeps_them_until_it_leaves() {
        let names = Mutex::default();
        let look = |all: &[(&str, u64)]| {
            let mut all = all.to_vec();
            let others =
                named(&mut all, 2, &names, |(name, _)| (*name).to_owned(), |(_, count)| *count);
            let names = |all: &[(&str, u64)]| all.iter().map(|one| one.0).collect::<String>();
            (names(&all), names(&others))
        };
        let is = |ours: &str, others: &str| (ours.to_owned(), others.to_owned());
        assert_eq!(look(&[("a", 1), ("b", 5), ("c", 3)]), is("bc", "a"));
        assert_eq!(look(&[("a", 9), ("b", 5), ("c", 3)]), is("bc", "a"), "their sum does not fall");
        assert_eq!(look(&[("a", 9), ("c", 3), ("d", 4)]), is("ca", "d"), "a place is free");
        assert_eq!(look(&[("a", 9), ("c", 3)]), is("ac", ""));
        assert_eq!(look(&[("c", 3), ("d", 99), ("a", 9)]), is("ac", "d"));
    }

    #[test]
    fn what_has_no_room_has_its_class_for_a_code() {
        let labels = |code| labels(Key { code, kind: live::Kind::default() }, "web");
        assert_eq!(labels(Code::Others(StatusClass::ServerError)), ["5xx", OTHERS, OTHERS, "web"]);
        assert_eq!(labels(Code::One(500)), ["500", "EXTENSION_METHOD", "http", "web"]);
    }

    #[test]
    fn names_are_said_once() {
        let names: std::collections::HashSet<&str> =
            FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
    }
}
