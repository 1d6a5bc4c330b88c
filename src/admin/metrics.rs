//! `/metrics`: Prometheus text.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::App;
use crate::live::StatusClass;

/// Frontends and servers that have series of their own; with more, only the totals are told.
const SERIES_MAX: usize = 5_000;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry(&app)) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A registry made for one scrape: the counters live elsewhere.
fn registry(app: &App) -> Registry {
    let mut registry = Registry::with_prefix("herder");
    totals(app, &mut registry);
    telling(app, &mut registry);
    routes(app, &mut registry);
    providers(app, &mut registry);
    registry
}

fn totals(app: &App, registry: &mut Registry) {
    let totals = &app.state.live.totals;
    let requests = Counters::default();
    for class in StatusClass::ALL {
        let labels = vec![("class", class.as_str().to_owned())];
        requests.get_or_create(&labels).inc_by(totals.answers(class));
    }
    registry.register("requests", "Answers by status class", requests);
    gauge(registry, "open_connections", "Client connections open", totals.open_connections());
    let table = &app.state.view().table;
    gauge(registry, "table_revision", "Tables published", table.revision);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    gauge(registry, "frontends", "Frontends known", count(table.config.frontends.len()));
    gauge(registry, "backends", "Backends known", count(table.config.backends.len()));
    gauge(registry, "problems", "Problems shown", count(table.problems.len()));
}

/// What was told about requests, and what of it was lost; the names are there even where nothing is told.
fn telling(app: &App, registry: &mut Registry) {
    let telling = &app.state.live.telling;
    for (name, help, count) in [
        ("access_log_lines", "Lines of the access log that were written", &telling.lines),
        ("access_log_dropped", "Lines of the access log that were lost", &telling.lines_dropped),
        ("access_log_failures", "Failures to write the access log", &telling.log_failures),
        ("trace_spans", "Spans that a collector took", &telling.spans),
        ("trace_spans_dropped", "Spans that were lost", &telling.spans_dropped),
    ] {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(count.count());
        registry.register(name, help, counter);
    }
}

fn routes(app: &App, registry: &mut Registry) {
    let (requests, server_requests) = (Counters::default(), Counters::default());
    let (failures, active) = (Counters::default(), Gauges::default());
    let view = app.state.view();
    let mut seen = std::collections::BTreeSet::new();
    for route in view.table.routes().iter().take(SERIES_MAX) {
        for class in StatusClass::ALL.into_iter().filter(|&class| route.live.answers(class) > 0) {
            let labels =
                vec![("frontend", route.id.to_string()), ("class", class.as_str().to_owned())];
            requests.get_or_create(&labels).inc_by(route.live.answers(class));
        }
        if seen.len() > SERIES_MAX || !seen.insert(route.backend.id().clone()) {
            continue;
        }
        for server in route.backend.servers() {
            let labels = vec![
                ("backend", route.backend.id().to_string()),
                ("server", server.name.to_string()),
            ];
            server_requests.get_or_create(&labels).inc_by(server.live.requests());
            failures.get_or_create(&labels).inc_by(server.live.failures());
            active.get_or_create(&labels).set(as_float(server.live.active()));
        }
    }
    registry.register("frontend_requests", "Answers of a frontend by status class", requests);
    registry.register("server_requests", "Requests sent to a server", server_requests);
    registry.register("server_failures", "Broken exchanges and 5xx answers of a server", failures);
    registry.register("server_active", "Requests under way at a server", active);
}

fn providers(app: &App, registry: &mut Registry) {
    let (answers, failures) = (Counters::default(), Counters::default());
    let (age, stale) = (Gauges::default(), Gauges::default());
    for (provider, source) in &app.state.view().sources {
        let labels = vec![("provider", provider.to_string())];
        answers.get_or_create(&labels).inc_by(source.status.answers);
        failures.get_or_create(&labels).inc_by(source.status.failures);
        stale.get_or_create(&labels).set(if source.status.is_stale() { 1.0 } else { 0.0 });
        if let Some(since) = source.status.age(Instant::now()) {
            age.get_or_create(&labels).set(since.as_secs_f64());
        }
    }
    registry.register("provider_answers", "Answers of a provider", answers);
    registry.register("provider_failures", "Questions a provider did not answer", failures);
    registry.register("provider_age_seconds", "Since the last answer", age);
    registry.register("provider_stale", "1 while its routes may be out of date", stale);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(as_float(value));
    registry.register(name, help, gauge);
}

#[allow(clippy::cast_precision_loss)] // Prometheus counts in floats
fn as_float(value: u64) -> f64 {
    value as f64
}
