//! What the page shows: texts and numbers, ready for the templates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::App;
use super::chart::{self, Chart, What};
use super::health::{self, EventRow, HealthMark};
use super::rates::{Rates, Sample, Whose, lock};
use crate::config::{Backend, Config, Frontend, hide_password};
use crate::control::{Phase, ProviderStatus, Source, View};
use crate::live::{Failed, ServerLive};
use crate::model::{BackendId, FrontendId, Problem, ProviderName, ServerName};
use crate::table::{Route, RunningBackend, RunningServer};

/// Rows of one list; the filter finds the others.
pub(super) const ROWS_MAX: usize = 200;

/// Errors that are shown, alike ones in one row; `/api/errors` has all that are kept.
const FAILURES_MAX: usize = 8;

/// The whole page.
pub(super) struct Page {
    pub(super) filter: String,
    pub(super) revision: u64,
    pub(super) phase: &'static str,
    pub(super) summary: Summary,
    pub(super) now: Now,
    pub(super) problems: List<ProblemRow>,
    pub(super) providers: Vec<ProviderRow>,
    pub(super) frontends: List<FrontendRow>,
    pub(super) backends: List<BackendRow>,
    pub(super) unrouted: List<Unrouted>,
    pub(super) events: List<EventRow>,
}

impl Page {
    /// Whether anybody was asked who has labels.
    pub(super) fn reads_labels(&self) -> bool {
        self.providers.iter().any(|provider| provider.name != ProviderName::File.as_str())
    }
}

/// A list cut to what a page can bear.
pub(super) struct List<T> {
    pub(super) rows: Vec<T>,
    pub(super) total: usize,
    /// How many rows there are that something is wrong with.
    pub(super) ailing: usize,
}

pub(super) struct Summary {
    pub(super) frontends: usize,
    pub(super) backends: usize,
    pub(super) servers: usize,
    pub(super) connections: u64,
    /// So many there may be.
    pub(super) connections_max: u64,
    /// Lines of the access log, and spans of traces, that were lost.
    pub(super) lost: u64,
    pub(super) pace: Pace,
}

/// What may change with every request.
pub(super) struct Now {
    pub(super) acting: List<Acting>,
    pub(super) failures: Vec<FailureRow>,
    /// How many rows there are besides.
    pub(super) older: usize,
}

/// A step that holds requests back.
pub(super) struct Acting {
    /// The frontend or the entry point.
    pub(super) name: String,
    /// The frontend's; empty for an entry point.
    pub(super) provider: &'static str,
    pub(super) step: String,
    pub(super) what: String,
}

pub(super) struct FailureRow {
    pub(super) status: u16,
    /// How many were like this one, which is the last of them.
    pub(super) count: usize,
    pub(super) age: String,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) frontend: String,
    pub(super) provider: &'static str,
    pub(super) server: String,
}

/// Rates and times, and their charts.
pub(super) struct Pace {
    pub(super) key: String,
    pub(super) rate: u64,
    pub(super) errors: u64,
    pub(super) p50: String,
    pub(super) p99: String,
    pub(super) load: Chart,
    pub(super) time: Chart,
}

impl Pace {
    fn of_total(rates: &Rates) -> Self {
        let past = rates.total_past();
        let (load, time) = (What::Load, What::Time);
        let charts = [load, time].map(|what| Chart::of_total(what, &past));
        Self::new("total".to_owned(), rates.total(), charts)
    }

    fn of(rates: &Rates, whose: &Whose, name: &str) -> Self {
        let (past, key) = (rates.past(whose), whose.to_string());
        let charts = [What::Load, What::Time];
        let charts = charts.map(|what| Chart::of_row(what, key.clone(), name, &past));
        Self::new(key, rates.of(whose), charts)
    }

    fn new(key: String, sample: Sample, [load, time]: [Chart; 2]) -> Self {
        let Sample { rate, errors, p50_us, p99_us } = sample;
        Self { key, rate, errors, p50: chart::time(p50_us), p99: chart::time(p99_us), load, time }
    }
}

pub(super) struct ProblemRow {
    pub(super) severity: &'static str,
    pub(super) service: String,
    pub(super) provider: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

pub(super) struct ProviderRow {
    pub(super) name: &'static str,
    pub(super) endpoint: String,
    pub(super) state: &'static str,
    pub(super) word: &'static str,
    pub(super) age: String,
    pub(super) error: String,
    /// What it told of: `3 services`.
    pub(super) told: String,
    pub(super) change: String,
}

pub(super) struct FrontendRow {
    pub(super) name: String,
    pub(super) provider: &'static str,
    pub(super) rule: String,
    pub(super) entrypoints: String,
    pub(super) backend: String,
    pub(super) priority: i64,
    pub(super) chain: String,
    /// What it asks for besides, and nobody acts on yet.
    pub(super) wishes: String,
    pub(super) shadowed_by: String,
    pub(super) service: String,
    pub(super) servers: usize,
    pub(super) pace: Pace,
    /// What its steps do to requests just now.
    pub(super) acting: Vec<String>,
}

pub(super) struct BackendRow {
    pub(super) name: String,
    pub(super) provider: &'static str,
    pub(super) method: String,
    pub(super) sticky: bool,
    pub(super) service: String,
    pub(super) servers: Vec<ServerRow>,
    pub(super) pace: Pace,
}

pub(super) struct ServerRow {
    pub(super) container: String,
    pub(super) url: String,
    pub(super) weight: u32,
    pub(super) health: HealthMark,
    pub(super) pace: Pace,
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) active: u64,
}

/// A container that gets no request.
#[derive(Clone)]
pub(super) struct Unrouted {
    pub(super) subject: String,
    pub(super) verdict: String,
}

impl<T> List<T> {
    /// The first rows of those that fit. The others are only counted: none is made that nobody sees.
    fn pick<I>(
        all: impl Iterator<Item = I>,
        fits: impl Fn(&I) -> bool,
        row: impl Fn(I) -> T,
    ) -> Self {
        Self::pick_ailing(all, fits, |_| false, row)
    }

    /// The same; where not all have room, those come first that something is wrong with.
    fn pick_ailing<I>(
        all: impl Iterator<Item = I>,
        fits: impl Fn(&I) -> bool,
        is_ailing: impl Fn(&I) -> bool,
        row: impl Fn(I) -> T,
    ) -> Self {
        let mut fitting: Vec<(bool, I)> =
            all.filter(fits).map(|one| (is_ailing(&one), one)).collect();
        let total = fitting.len();
        let ailing = fitting.iter().filter(|(is_ailing, _)| *is_ailing).count();
        if total > ROWS_MAX {
            // Stable: within both parts the order stays.
            fitting.sort_by_key(|(is_ailing, _)| !is_ailing);
        }
        let rows = fitting.into_iter().take(ROWS_MAX).map(|(_, one)| row(one)).collect();
        Self { rows, total, ailing }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.rows.len() < self.total
    }
}

/// The page for this filter: every list holds what contains it.
pub(super) fn page(app: &App, filter: &str) -> Page {
    let view = app.state.view();
    let wanted = Filter(filter.trim().to_lowercase());
    let config = &view.table.config;
    let running = Running::new(&view, app.now_ms());
    let (now, unrouted) = (now(app, &view), unrouted(app, &view));
    let pace = Pace::of_total(&lock(&app.rates));
    Page {
        filter: filter.to_owned(),
        revision: view.table.revision,
        phase: match app.state.phase() {
            Phase::Starting => "starting",
            Phase::Ready => "serving",
            Phase::Draining => "draining",
        },
        summary: Summary {
            frontends: config.frontends.len(),
            backends: config.backends.len(),
            servers: config.backends.values().map(|backend| backend.servers.len()).sum(),
            connections: app.state.live.totals.open_connections(),
            connections_max: app.state.settings.limits.connections_max as u64,
            lost: app.state.live.telling.lost(),
            pace,
        },
        now,
        problems: List::pick(
            view.table.problems.iter(),
            |p| wanted.takes(&[&p.origin.service, &p.message]),
            problem,
        ),
        providers: view
            .sources
            .iter()
            .map(|(&name, source)| provider(name, source, config))
            .collect(),
        frontends: List::pick_ailing(
            config.frontends.iter(),
            |(id, f)| wanted.takes(&[&id.name, f.rule.text(), &f.backend.name, &f.origin.service]),
            |(id, _)| running.is_frontend_ailing(id),
            // Not for longer than one row: the sampler, and `/health`, wait for whoever holds them.
            |(id, f)| frontend(id, f, &running, &lock(&app.rates)),
        ),
        backends: List::pick_ailing(
            config.backends.iter(),
            |(id, backend)| wanted.takes_backend(id, backend),
            |(id, _)| running.is_backend_ailing(id),
            |(id, backend)| running.backend(id, backend, &lock(&app.rates)),
        ),
        events: List::pick(
            health::events(app),
            |e| wanted.takes(&[&e.backend, &e.url, &e.reason]),
            |event| event,
        ),
        unrouted: List::pick(
            unrouted.iter(),
            |u| wanted.takes(&[&u.subject, &u.verdict]),
            Unrouted::clone,
        ),
    }
}

/// What may change with every request, for the page and between two pages.
pub(super) fn now_of(app: &App) -> Now {
    now(app, &app.state.view())
}

fn now(app: &App, view: &View) -> Now {
    let now_ms = app.now_ms();
    let entrypoints = app.entry_chains.iter().map(|(name, chain)| (name.as_str(), "", chain));
    let frontends = view.table.routes().iter();
    let frontends =
        frontends.map(|route| (&*route.id.name, route.id.provider.as_str(), &route.chain));
    let acting = entrypoints.chain(frontends).flat_map(|(name, provider, chain)| {
        let acts = chain.iter().filter_map(move |step| Some((step, step.acts(now_ms)?)));
        acts.map(move |(step, what)| (name, provider, step, what))
    });
    let acting = List::pick(
        acting,
        |_| true,
        |(name, provider, step, what)| Acting {
            name: name.to_owned(),
            provider,
            step: step.describe(),
            what,
        },
    );
    let now = SystemTime::now();
    let last = app.state.live.failures.last(usize::MAX).into_iter();
    let mut failures = alike(last.map(|failed| failure(failed, now)));
    let older = failures.len().saturating_sub(FAILURES_MAX);
    failures.truncate(FAILURES_MAX);
    Now { acting, failures, older }
}

/// One row for those that differ in their age only, so that a storm of one sort leaves room for others.
fn alike(rows: impl Iterator<Item = FailureRow>) -> Vec<FailureRow> {
    let mut kept: Vec<FailureRow> = Vec::new();
    for row in rows {
        let is_like = |other: &&mut FailureRow| {
            (other.status, &other.what, &other.why) == (row.status, &row.what, &row.why)
                && (&other.frontend, other.provider, &other.server)
                    == (&row.frontend, row.provider, &row.server)
        };
        match kept.iter_mut().find(is_like) {
            Some(first) => first.count += 1,
            None => kept.push(row),
        }
    }
    kept
}

fn failure(failed: Failed, now: SystemTime) -> FailureRow {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(failed.at_ms);
    FailureRow {
        status: failed.status,
        count: 1,
        age: ago(now.duration_since(at).unwrap_or_default()),
        what: format!("{} {}{}", failed.method, failed.host, failed.path),
        why: failed.why,
        provider: failed.frontend.as_ref().map_or("", |id| id.provider.as_str()),
        frontend: failed.frontend.map(|id| id.name.to_string()).unwrap_or_default(),
        server: failed.server.map(|name| name.to_string()).unwrap_or_default(),
    }
}

/// What must be in a row for it to be shown; nothing wants everything.
struct Filter(String);

impl Filter {
    fn takes(&self, texts: &[&str]) -> bool {
        self.0.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&self.0))
    }
}

impl Filter {
    fn takes_backend(&self, id: &BackendId, backend: &Backend) -> bool {
        self.takes(&[&id.name, &backend.origin.service])
            || backend.servers.values().any(|s| self.takes(&[&s.origin.service, &s.url()]))
    }
}

/// What runs, by name.
struct Running<'a> {
    routes: HashMap<&'a FrontendId, &'a Route>,
    backends: HashMap<&'a BackendId, &'a RunningBackend>,
    now_ms: u64,
}

impl<'a> Running<'a> {
    fn new(view: &'a View, now_ms: u64) -> Self {
        let routes = view.table.routes().iter();
        let backends = view.table.reachable_backends().map(|backend| (backend.id(), &**backend));
        let backends = backends.collect();
        Self { routes: routes.map(|route| (&route.id, &**route)).collect(), backends, now_ms }
    }

    /// Whether somebody should look at it: another has its rule, nobody serves it, or a step holds its requests back.
    fn is_frontend_ailing(&self, id: &FrontendId) -> bool {
        self.routes.get(id).is_none_or(|route| {
            !route.backend.servers().iter().any(RunningServer::may_serve)
                || route.chain.iter().any(|step| step.acts(self.now_ms).is_some())
        })
    }

    /// Whether somebody should look at it: it has no server, or one that gets no requests.
    fn is_backend_ailing(&self, id: &BackendId) -> bool {
        self.backends.get(id).is_some_and(|running| {
            let is_well = |s: &RunningServer| s.may_serve() && !s.live.is_resting(self.now_ms);
            running.servers().is_empty() || !running.servers().iter().all(is_well)
        })
    }

    fn backend(&self, id: &BackendId, backend: &Backend, rates: &Rates) -> BackendRow {
        let servers = self.backends.get(id).into_iter().flat_map(|running| running.servers());
        let live: HashMap<&ServerName, &ServerLive> =
            servers.map(|server| (&server.name, &*server.live)).collect();
        let row = |(name, server): (&ServerName, &crate::config::Server)| {
            let live = live.get(name);
            // In a file it has a name, which says more than its place.
            let container = match id.provider {
                ProviderName::File => name.to_string(),
                ProviderName::Docker | ProviderName::Rancher => server.origin.service.to_string(),
            };
            let whose = Whose::Server(id.clone(), Arc::clone(name));
            ServerRow {
                pace: Pace::of(rates, &whose, &container),
                container,
                url: server.url(),
                weight: server.weight,
                health: live
                    .map_or_else(HealthMark::default, |live| HealthMark::of(live, self.now_ms)),
                requests: live.map_or(0, |live| live.requests()),
                failures: live.map_or(0, |live| live.failures()),
                active: live.map_or(0, |live| live.active()),
            }
        };
        BackendRow {
            name: id.name.to_string(),
            provider: id.provider.as_str(),
            method: backend.method.to_string(),
            sticky: backend.sticky.is_some(),
            service: backend.origin.service.to_string(),
            servers: backend.servers.iter().map(row).collect(),
            pace: Pace::of(rates, &Whose::Backend(id.clone()), &id.name),
        }
    }
}

fn frontend(id: &FrontendId, f: &Frontend, running: &Running<'_>, rates: &Rates) -> FrontendRow {
    let route = running.routes.get(id);
    let chain: Vec<String> = match route {
        Some(route) => route.chain.iter().map(|step| step.describe()).collect(),
        None => f.chain.iter().map(|step| step.describe()).collect(),
    };
    let steps = route.iter().flat_map(|route| &route.chain);
    FrontendRow {
        pace: Pace::of(rates, &Whose::Frontend(id.clone()), &id.name),
        acting: steps.filter_map(|step| step.acts(running.now_ms)).collect(),
        name: id.name.to_string(),
        provider: id.provider.as_str(),
        rule: f.rule.text().to_owned(),
        entrypoints: match f.entrypoints.is_empty() {
            true => "default".to_owned(),
            false => f.entrypoints.join(", "),
        },
        backend: f.backend.name.to_string(),
        priority: f.effective_priority(),
        chain: chain.join(", "),
        wishes: f
            .wishes
            .as_ref()
            .map(|wishes| wishes.not_acted_on().join(", "))
            .unwrap_or_default(),
        shadowed_by: f.shadowed_by.as_ref().map(|id| id.name.to_string()).unwrap_or_default(),
        service: f.origin.service.to_string(),
        servers: route.map_or(0, |route| route.backend.servers().len()),
    }
}

fn problem(problem: &Problem) -> ProblemRow {
    ProblemRow {
        severity: problem.severity.as_str(),
        service: problem.origin.service.to_string(),
        provider: problem.origin.provider.as_str(),
        message: problem.message.clone(),
        hint: problem.hint.clone().unwrap_or_default(),
    }
}

fn provider(name: ProviderName, source: &Source, config: &Config) -> ProviderRow {
    let status = &source.status;
    let (count, noun) = match name {
        // Files know no services.
        ProviderName::File => {
            (config.frontends.keys().filter(|id| id.provider == name).count(), "frontend")
        }
        ProviderName::Docker | ProviderName::Rancher => {
            (source.snapshot.as_ref().map_or(0, |snapshot| snapshot.services.len()), "service")
        }
    };
    let plural = if count == 1 { "" } else { "s" };
    let (state, word) = match (status.last_answer.is_some(), status.is_stale()) {
        (true, false) if status.deaf.is_some() => ("wait", "without news"),
        (true, false) => ("ok", "current"),
        (true, true) => ("bad", "stale"),
        (false, true) => ("bad", "unreachable"),
        (false, false) => ("wait", "connecting"),
    };
    ProviderRow {
        name: name.as_str(),
        endpoint: hide_password(&status.endpoint).into_owned(),
        state,
        word,
        age: status.age(Instant::now()).map_or_else(|| "never".to_owned(), ago),
        error: error_text(status),
        told: format!("{count} {noun}{plural}"),
        change: status
            .last_change
            .map(|took| format!("{} ms", took.as_millis()))
            .unwrap_or_default(),
    }
}

/// What is wrong with a provider, and what that means: sentences.
fn error_text(status: &ProviderStatus) -> String {
    let (what, then) = match (&status.error, &status.deaf) {
        (Some(error), _) => (error, "The last good routes stay in force."),
        (None, Some(error)) => (
            error,
            "It answers, but does not tell of changes: it is asked every ten seconds or so.",
        ),
        (None, None) => return String::new(),
    };
    let end = if what.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{what}{end} {then}")
}

pub(super) fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..=1 => "just now".to_owned(),
        seconds @ 2..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7_199 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3_600),
    }
}

/// Who gets no request, worked out once for each view.
fn unrouted(app: &App, view: &View) -> Arc<[Unrouted]> {
    let mut known = app.unrouted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if known.0 != view.serial {
        let left_out = view.explain_all().filter(|explanation| !explanation.is_routed);
        let rows = left_out.map(|e| Unrouted { subject: e.subject, verdict: e.verdict });
        *known = (view.serial, rows.collect());
    }
    Arc::clone(&known.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_one_sort_is_one_row() {
        let row = |what: &str, age: &str| FailureRow {
            status: 502,
            count: 1,
            age: age.to_owned(),
            what: what.to_owned(),
            why: "server unreachable".to_owned(),
            frontend: "web".to_owned(),
            provider: "docker",
            server: "a".to_owned(),
        };
        let rows = alike([row("GET a/", "1"), row("GET b/", "2"), row("GET a/", "3")].into_iter());
        let shown: Vec<_> = rows.iter().map(|r| (&*r.what, r.count, &*r.age)).collect();
        assert_eq!(shown, [("GET a/", 2, "1"), ("GET b/", 1, "2")]);
    }

    #[test]
    fn of_a_long_list_those_come_first_that_something_is_wrong_with() {
        let pick =
            |count: u32| List::pick_ailing(0..count, |n| n % 2 == 0, |n| n % 222 == 2, |n| n);
        let long = pick(500);
        assert_eq!((long.rows.len(), long.total, long.ailing), (ROWS_MAX, 250, 3));
        assert_eq!(long.rows[..5], [2, 224, 446, 0, 4]);
        let short = pick(300);
        assert_eq!((short.rows[..3].to_vec(), short.total, short.ailing), (vec![0, 2, 4], 150, 2));
    }
}
