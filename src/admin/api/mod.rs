//! JSON beside the page.

pub(super) mod v1;

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::explain::{self, Explanation, Outcome, RouteTest};
use crate::live::StatusClass;
use crate::model::Problem;

/// Explanations in one answer.
const EXPLANATIONS_MAX: usize = 1_000;

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
                    Json(route_test(&explain::request(&view.table, &asked))).into_response()
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
            let all = view.explain_all().take(EXPLANATIONS_MAX).map(|e| explanation(&e));
            Json(all.collect::<Vec<_>>()).into_response()
        }
    }
}

/// The shape of Traefik 1.7's `/health`, as far as it is measured: response times are not.
pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    let (totals, telling) = (&app.state.live.totals, &app.state.live.telling);
    let now = SystemTime::now();
    let uptime = now.duration_since(app.state.started).unwrap_or_default();
    let unixtime = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let by_class: BTreeMap<&str, u64> =
        StatusClass::ALL.iter().map(|&class| (class.as_str(), totals.answers(class))).collect();
    Json(json!({
        "pid": std::process::id(),
        "uptime": format!("{uptime:?}"),
        "uptime_sec": uptime.as_secs_f64(),
        "time": chrono::DateTime::<chrono::Utc>::from(now).to_rfc3339(),
        "unixtime": unixtime.as_secs(),
        "total_status_code_count": by_class,
        "total_count": totals.requests(),
        "count": totals.open_connections(),
        "access_log": {
            "lines": telling.lines.count(),
            "dropped": telling.lines_dropped.count(),
            "failures": telling.log_failures.count(),
        },
        "traces": {"spans": telling.spans.count(), "dropped": telling.spans_dropped.count()},
    }))
}

fn explanation(explanation: &Explanation) -> Value {
    let steps = explanation.steps.iter().map(|step| {
        let outcome = match step.outcome {
            Outcome::Pass => "pass",
            Outcome::Note => "note",
            Outcome::Stop => "stop",
        };
        json!({"outcome": outcome, "what": step.what, "why": step.why})
    });
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
