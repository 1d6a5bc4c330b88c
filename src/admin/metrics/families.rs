//! All metrics there are: their names, labels and meanings, one row each. `docs/metrics.md` has the same table.

/// How a metric's values go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Up.
    Counter,
    /// Up and down.
    Gauge,
    /// Counted by size.
    Histogram,
}

impl Kind {
    /// `counter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// How its values go.
    pub kind: Kind,
    /// Its labels, in the order in which they are written; a histogram has `le` besides.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

use Kind::{Counter, Gauge, Histogram};

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: Family =
            Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*

        /// Every metric, in the order in which they are written.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    RELOADS: Counter "traefik_config_reloads_total" []
        "Tables of routes put into force";
    RELOAD_FAILURES: Counter "traefik_config_reloads_failure_total" []
        "Questions that a provider did not answer, or not so that it could be read";
    LAST_RELOAD: Gauge "traefik_config_last_reload_success" []
        "When the table in force came, in seconds since 1970";
    LAST_RELOAD_FAILURE: Gauge "traefik_config_last_reload_failure" []
        "When a provider last did not answer, in seconds since 1970; 0: never";
    ENTRY_REQUESTS: Counter "traefik_entrypoint_requests_total" ["code", "method", "protocol", "entrypoint"]
        "Answers of an entry point";
    ENTRY_DURATION: Histogram "traefik_entrypoint_request_duration_seconds" ["code", "method", "protocol", "entrypoint"]
        "From a request's head to the end of its answer, at an entry point";
    ENTRY_OPEN: Gauge "traefik_entrypoint_open_connections" ["method", "protocol", "entrypoint"]
        "Requests under way at an entry point";
    BACKEND_REQUESTS: Counter "traefik_backend_requests_total" ["code", "method", "protocol", "backend"]
        "Answers to the requests of a backend's frontends, those of their steps included";
    BACKEND_DURATION: Histogram "traefik_backend_request_duration_seconds" ["code", "method", "protocol", "backend"]
        "From a request's head to the end of its answer, at a backend";
    BACKEND_OPEN: Gauge "traefik_backend_open_connections" ["method", "protocol", "backend"]
        "Requests under way at a backend";
    BACKEND_RETRIES: Counter "traefik_backend_retries_total" ["backend"]
        "Requests given to another server after one did not answer";
    SERVER_UP: Gauge "traefik_backend_server_up" ["backend", "url"]
        "1 while a server gets requests; 0 while it is passed over";

    REQUESTS: Counter "herder_requests_total" ["class"]
        "Answers by status class";
    OPEN_CONNECTIONS: Gauge "herder_open_connections" []
        "Client connections open";
    CONNECTIONS_MAX: Gauge "herder_connections_max" []
        "Client connections that may be open; further ones wait";
    CONNECTIONS_WAITED: Counter "herder_connections_waited_total" []
        "Client connections that waited because all places were taken";
    TABLE_REVISION: Gauge "herder_table_revision" []
        "Tables published";
    FRONTENDS: Gauge "herder_frontends" []
        "Frontends known";
    BACKENDS: Gauge "herder_backends" []
        "Backends known";
    PROBLEMS: Gauge "herder_problems" ["severity"]
        "Problems shown: each an `error`, a `warning` or a `note`";
    FRONTEND_REQUESTS: Counter "herder_frontend_requests_total" ["frontend", "class"]
        "Answers of a frontend by status class";
    FRONTEND_DURATION: Histogram "herder_frontend_request_duration_seconds" ["frontend"]
        "From a request's head to the end of its answer, to within an eighth";
    FRONTEND_FAILURES: Counter "herder_frontend_failures_total" ["frontend", "cause"]
        "Requests of a frontend that went wrong, by cause";
    FRONTEND_ACTING: Gauge "herder_frontend_steps_acting" ["frontend"]
        "Breakers, limits and other steps that hold requests back just now";
    SERVER_REQUESTS: Counter "herder_server_requests_total" ["backend", "server"]
        "Requests sent to a server";
    SERVER_FAILURES: Counter "herder_server_failures_total" ["backend", "server"]
        "Broken exchanges and 5xx answers of a server";
    SERVER_ACTIVE: Gauge "herder_server_active" ["backend", "server"]
        "Requests under way at a server";
    SERVER_DURATION: Histogram "herder_server_request_duration_seconds" ["backend", "server"]
        "From the moment a server is asked to the end of its answer, to within an eighth";
    PROPAGATION: Histogram "herder_propagation_seconds" []
        "From the news of a change to the routes in force, to within an eighth";
    PROVIDER_ANSWERS: Counter "herder_provider_answers_total" ["provider"]
        "Answers of a provider";
    PROVIDER_FAILURES: Counter "herder_provider_failures_total" ["provider"]
        "Questions a provider did not answer";
    PROVIDER_AGE: Gauge "herder_provider_age_seconds" ["provider"]
        "Since the last answer";
    PROVIDER_STALE: Gauge "herder_provider_stale" ["provider"]
        "1 while its routes may be out of date";
    PROVIDER_DEAF: Gauge "herder_provider_deaf" ["provider"]
        "1 while it answers and does not tell of changes: it is asked every ten seconds or so";
    FAILURES_PASSED_OVER: Counter "herder_failures_passed_over_total" []
        "Errors beyond 10 of one cause a second, which are counted and not kept for the page";
    SERIES_LEFT_OUT: Gauge "herder_series_left_out" ["of"]
        "Frontends, backends and servers beyond the busiest ones, whose series are summed up or left out";
    LOG_LINES: Counter "herder_access_log_lines_total" []
        "Lines of the access log that were written";
    LOG_DROPPED: Counter "herder_access_log_dropped_total" []
        "Lines of the access log that were lost";
    LOG_FAILURES: Counter "herder_access_log_failures_total" []
        "Failures to write the access log";
    TRACE_SPANS: Counter "herder_trace_spans_total" []
        "Spans that a collector took";
    TRACE_DROPPED: Counter "herder_trace_spans_dropped_total" []
        "Spans that were lost";
    BUILD_INFO: Gauge "herder_build_info" ["version", "commit"]
        "1, for what it is labelled with";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
}
