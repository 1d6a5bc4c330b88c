//! JSON beside the page.

pub(super) mod v1;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::rates::lock;
use crate::explain::{self, Explanation, RouteTest};
use crate::live::{Failed, Told};
use crate::model::Problem;
use crate::settings::go_duration;

/// What `/api/explain` is asked for: a container, a URL, or everything.
#[derive(Deserialize)]
pub(super) struct Asked {
    name: Option<String>,
    url: Option<String>,
    method: Option<String>,
    /// One header line, `Name: value`; several with a line feed between them.
    header: Option<String>,
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({"Version": env!("CARGO_PKG_VERSION"), "Codename": "herder"}))
}

pub(super) async fn problems(State(app): State<App>) -> Json<Value> {
    Json(app.state.view().table.problems.iter().map(problem).collect())
}

pub(super) async fn explain(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    let view = app.state.view();
    match (asked.url, asked.name) {
        (Some(url), _) => {
            let lines: Vec<String> =
                asked.header.iter().flat_map(|lines| lines.lines()).map(str::to_owned).collect();
            match explain::Asked::parse(&url, asked.method.as_deref(), &lines) {
                Ok(asked) => {
                    let asked = asked.entering(&app.state.settings);
                    let entry = app.entry_steps(&asked.entrypoint);
                    Json(route_test(&view.explain_request(&asked, entry))).into_response()
                }
                Err(why) => {
                    (StatusCode::BAD_REQUEST, Json(json!({"message": why}))).into_response()
                }
            }
        }
        (None, Some(name)) => {
            let found: Vec<Value> =
                view.explain(&name, app.now_ms()).iter().map(explanation).collect();
            let status = if found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
            (status, Json(found)).into_response()
        }
        (None, None) => {
            let all = view.explain_all().map(|e| explanation(&e));
            Json(all.collect::<Vec<_>>()).into_response()
        }
    }
}

/// The shape of Traefik 1.7's `/health` (thoas/stats, with its `recent_errors`).
pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    let telling = &app.state.live.telling;
    let now = SystemTime::now();
    let uptime = now.duration_since(app.state.started).unwrap_or_default();
    let unixtime = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let by_status = app.state.live.totals.by_status();
    let total: u64 = by_status.values().map(Told::total).sum();
    let sum_us: u64 = by_status.values().map(|told| told.sum_us).sum();
    let (took, mean) = (Duration::from_micros(sum_us), mean(sum_us, total));
    let totals = by_status.iter().map(|(code, told)| (code.to_string(), told.total()));
    let totals: BTreeMap<String, u64> = totals.collect();
    let now_statuses: BTreeMap<String, u64> =
        lock(&app.rates).statuses().map(|(code, count)| (code.to_string(), count)).collect();
    let mut health = json!({
        "pid": std::process::id(),
        "uptime": go_duration(uptime),
        "uptime_sec": uptime.as_secs_f64(),
        "time": go_time(now),
        "unixtime": unixtime.as_secs(),
        "count": now_statuses.values().sum::<u64>(),
        "status_code_count": now_statuses,
        "total_status_code_count": totals,
        "total_count": total,
        "total_response_time": go_duration(took),
        "total_response_time_sec": took.as_secs_f64(),
        "average_response_time": go_duration(mean),
        "average_response_time_sec": mean.as_secs_f64(),
        // Ours beside theirs.
        "access_log": {
            "lines": telling.lines.count(),
            "dropped": telling.lines_dropped.count(),
            "failures": telling.log_failures.count(),
        },
        "traces": {"spans": telling.spans.count(), "dropped": telling.spans_dropped.count()},
    });
    let errors = app.state.live.failures.last(app.state.settings.metrics.recent_errors);
    if !errors.is_empty() {
        health["recent_errors"] = errors.iter().map(recent_error).collect();
    }
    Json(health)
}

fn mean(sum_us: u64, total: u64) -> Duration {
    Duration::from_micros(sum_us.checked_div(total).unwrap_or_default())
}

fn recent_error(failed: &Failed) -> Value {
    let status = StatusCode::from_u16(failed.status).ok().and_then(|s| s.canonical_reason());
    json!({
        "status_code": failed.status,
        "status": status.unwrap_or_default(),
        "method": failed.method,
        "host": failed.host,
        "path": failed.path,
        "time": rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(failed.at_ms)),
        // Ours beside theirs.
        "frontend": failed.frontend.as_ref().map(ToString::to_string),
        "server": failed.server.as_deref(),
        "cause": failed.cause.as_str(),
        "why": failed.why,
    })
}

/// The last errors, the newest first, with their causes.
pub(super) async fn errors(State(app): State<App>) -> Json<Value> {
    Json(app.state.live.failures.last(usize::MAX).iter().map(recent_error).collect())
}

/// A time as all of our JSON has it: `2015-10-07T16:32:24.362Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A time as Go prints it: `2015-10-07 18:32:24.362238909 +0200 CEST`.
fn go_time(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).format("%Y-%m-%d %H:%M:%S%.9f %z UTC").to_string()
}

fn explanation(explanation: &Explanation) -> Value {
    let steps = explanation
        .steps
        .iter()
        .map(|step| json!({"outcome": step.outcome.as_str(), "what": step.what, "why": step.why}));
    json!({
        "subject": explanation.subject,
        "verdict": explanation.verdict,
        "routed": explanation.is_routed,
        "steps": steps.collect::<Vec<_>>(),
        "problems": explanation.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn route_test(test: &RouteTest) -> Value {
    let servers = test.servers.iter().map(|(name, url)| json!({"name": name, "url": url}));
    let losers = test.losers.iter();
    json!({
        "host": test.host,
        "entrypoint": test.entrypoint,
        "path": test.target,
        "sent": test.sent,
        "frontend": test.winner.as_ref().map(ToString::to_string),
        "verdict": test.verdict,
        "servers": servers.collect::<Vec<_>>(),
        "problems": test.problems.iter().map(problem).collect::<Vec<_>>(),
        "losers": losers.map(|(id, why)| json!({"frontend": id.to_string(), "why": why})).collect::<Vec<_>>(),
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "severity": problem.severity.as_str(),
        "provider": problem.origin.provider.as_str(),
        "service": &*problem.origin.service,
        "label": problem.origin.label.as_deref(),
        "message": problem.message,
        "hint": problem.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_stays_one_however_many_there_are() {
        assert_eq!(mean(0, 0), Duration::ZERO);
        assert_eq!(mean(5_000 << 33, 1 << 33), Duration::from_millis(5));
    }

    #[test]
    fn times_are_printed_as_go_and_json_do() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_444_235_544_362);
        assert_eq!(go_time(time), "2015-10-07 16:32:24.362000000 +0000 UTC");
        assert_eq!(rfc3339(time), "2015-10-07T16:32:24.362Z");
    }
}
