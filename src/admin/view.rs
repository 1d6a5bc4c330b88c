//! What the page shows: texts and numbers, ready for the templates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::App;
use super::health::{self, EventRow, HealthMark};
use super::rates::{Rates, frontend_key, lock, server_key};
use crate::config::Frontend;
use crate::control::{Phase, Source, View};
use crate::model::{FrontendId, Problem, ProviderName, Severity};
use crate::table::{Route, RunningServer};

/// Rows of one list; the filter finds the others.
pub(super) const ROWS_MAX: usize = 200;

/// The whole page.
pub(super) struct Page {
    pub(super) filter: String,
    pub(super) revision: u64,
    pub(super) phase: &'static str,
    pub(super) summary: Summary,
    pub(super) problems: List<ProblemRow>,
    pub(super) providers: Vec<ProviderRow>,
    pub(super) frontends: List<FrontendRow>,
    pub(super) backends: List<BackendRow>,
    pub(super) unrouted: List<Unrouted>,
    pub(super) events: List<EventRow>,
}

/// A list cut to what a page can bear.
pub(super) struct List<T> {
    pub(super) rows: Vec<T>,
    pub(super) total: usize,
}

pub(super) struct Summary {
    pub(super) frontends: usize,
    pub(super) backends: usize,
    pub(super) servers: usize,
    pub(super) rate: u64,
    pub(super) errors: u64,
    pub(super) connections: u64,
    /// Lines of the access log, and spans of traces, that were lost.
    pub(super) lost: u64,
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
    pub(super) services: usize,
    pub(super) change: String,
}

pub(super) struct FrontendRow {
    pub(super) key: String,
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
    pub(super) rate: u64,
}

pub(super) struct BackendRow {
    pub(super) name: String,
    pub(super) provider: &'static str,
    pub(super) method: String,
    pub(super) sticky: bool,
    pub(super) service: String,
    pub(super) servers: Vec<ServerRow>,
}

pub(super) struct ServerRow {
    pub(super) key: String,
    pub(super) container: String,
    pub(super) url: String,
    pub(super) weight: u32,
    pub(super) health: HealthMark,
    pub(super) rate: u64,
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
    pub(super) fn new(rows: impl Iterator<Item = T>) -> Self {
        let mut kept = Vec::new();
        let mut total = 0;
        for row in rows {
            total += 1;
            if kept.len() < ROWS_MAX {
                kept.push(row);
            }
        }
        Self { rows: kept, total }
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
    let rates = lock(&app.rates);
    let wanted = Filter(filter.trim().to_lowercase());
    let config = &view.table.config;
    let running: BTreeMap<&FrontendId, &Arc<Route>> =
        view.table.routes().iter().map(|route| (&route.id, route)).collect();
    let servers_of = Running::new(&view, app.now_ms());
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
            rate: rates.total(),
            errors: rates.errors(),
            connections: app.state.live.totals.open_connections(),
            lost: app.state.live.telling.lost(),
        },
        problems: List::new(
            view.table
                .problems
                .iter()
                .map(problem)
                .filter(|p| wanted.takes(&[&p.service, &p.message])),
        ),
        providers: view.sources.iter().map(|(&name, source)| provider(name, source)).collect(),
        frontends: List::new(config.frontends.iter().filter_map(|(id, f)| {
            let row = frontend(id, f, running.get(id).map(|route| &***route), &rates);
            wanted.takes(&[&row.name, &row.rule, &row.backend, &row.service]).then_some(row)
        })),
        backends: List::new(config.backends.iter().filter_map(|(id, backend)| {
            let servers = servers_of.rows(&id.to_string(), backend, &rates);
            let row = BackendRow {
                name: id.name.to_string(),
                provider: id.provider.as_str(),
                method: backend.method.to_string(),
                sticky: backend.sticky.is_some(),
                service: backend.origin.service.to_string(),
                servers,
            };
            let mut texts = vec![&*row.name, &*row.service];
            texts.extend(row.servers.iter().flat_map(|s| [&*s.container, &*s.url]));
            wanted.takes(&texts).then_some(row)
        })),
        events: List::new(
            health::events(app).filter(|e| wanted.takes(&[&e.backend, &e.url, &e.reason])),
        ),
        unrouted: List::new(
            unrouted(app, &view)
                .iter()
                .filter(|u| wanted.takes(&[&u.subject, &u.verdict]))
                .cloned(),
        ),
    }
}

impl App {
    /// A clock for resting servers: only whether they rest at all is shown.
    pub(super) fn now_ms(&self) -> u64 {
        let uptime = self.state.started.elapsed().unwrap_or_default();
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What must be in a row for it to be shown; nothing wants everything.
struct Filter(String);

impl Filter {
    fn takes(&self, texts: &[&str]) -> bool {
        self.0.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&self.0))
    }
}

/// Running servers by backend and name.
struct Running<'a> {
    servers: BTreeMap<(String, &'a str), &'a RunningServer>,
    now_ms: u64,
}

impl<'a> Running<'a> {
    fn new(view: &'a View, now_ms: u64) -> Self {
        let backends = view.table.routes().iter().map(|route| &route.backend);
        let servers = backends.flat_map(|backend| {
            let id = backend.id().to_string();
            backend.servers().iter().map(move |server| ((id.clone(), &*server.name), server))
        });
        Self { servers: servers.collect(), now_ms }
    }

    fn rows(
        &self,
        backend_id: &str,
        backend: &crate::config::Backend,
        rates: &Rates,
    ) -> Vec<ServerRow> {
        let row = |(name, server): (&crate::model::ServerName, &crate::config::Server)| {
            let key = server_key(backend_id, name);
            let live = self.servers.get(&(backend_id.to_owned(), &**name)).map(|s| &s.live);
            ServerRow {
                rate: rates.of(&key),
                key,
                container: server.origin.service.to_string(),
                url: server.url(),
                weight: server.weight,
                health: live
                    .map_or_else(HealthMark::default, |live| HealthMark::of(live, self.now_ms)),
                requests: live.map_or(0, |live| live.requests()),
                failures: live.map_or(0, |live| live.failures()),
                active: live.map_or(0, |live| live.active()),
            }
        };
        backend.servers.iter().map(row).collect()
    }
}

fn frontend(id: &FrontendId, f: &Frontend, route: Option<&Route>, rates: &Rates) -> FrontendRow {
    let key = frontend_key(&id.to_string());
    let chain: Vec<String> = match route {
        Some(route) => route.chain.iter().map(|step| step.describe()).collect(),
        None => f.chain.iter().map(|step| step.describe()).collect(),
    };
    FrontendRow {
        rate: rates.of(&key),
        key,
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
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        service: problem.origin.service.to_string(),
        provider: problem.origin.provider.as_str(),
        message: problem.message.clone(),
        hint: problem.hint.clone().unwrap_or_default(),
    }
}

fn provider(name: ProviderName, source: &Source) -> ProviderRow {
    let status = &source.status;
    let (state, word) = match (status.last_answer.is_some(), status.is_stale()) {
        (true, false) => ("ok", "current"),
        (true, true) => ("bad", "stale"),
        (false, true) => ("bad", "unreachable"),
        (false, false) => ("wait", "connecting"),
    };
    ProviderRow {
        name: name.as_str(),
        endpoint: without_password(&status.endpoint),
        state,
        word,
        age: status.age(Instant::now()).map_or_else(|| "never".to_owned(), ago),
        error: status.error.clone().unwrap_or_default(),
        services: source.snapshot.as_ref().map_or(0, |snapshot| snapshot.services.len()),
        change: status
            .last_change
            .map(|took| format!("{} ms", took.as_millis()))
            .unwrap_or_default(),
    }
}

/// `tcp://user:secret@host` without what is before the `@`.
fn without_password(endpoint: &str) -> String {
    match (endpoint.split_once("://"), endpoint.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => endpoint.to_owned(),
    }
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
    fn an_endpoint_keeps_its_password_to_itself() {
        assert_eq!(without_password("tcp://me:secret@host:2375"), "tcp://host:2375");
        assert_eq!(without_password("unix:///var/run/docker.sock"), "unix:///var/run/docker.sock");
    }
}
