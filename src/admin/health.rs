//! How the servers are doing: their marks and the last changes, for the page and as JSON.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::api::rfc3339;
use super::view::ago;
use crate::live::{Condition, EVENTS_MAX, HealthEvent, ServerLive};

/// How a server is doing, in a mark beside its name.
pub(super) struct HealthMark {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    /// Whether the word is shown, and not only told to who cannot see the colour.
    pub(super) is_loud: bool,
    /// Since when, why, and how long the last check took; empty where there is nothing to say.
    pub(super) why: String,
}

/// A change of health.
pub(super) struct EventRow {
    pub(super) class: &'static str,
    pub(super) provider: &'static str,
    pub(super) backend: String,
    pub(super) url: String,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) ago: String,
    pub(super) reason: String,
}

/// Events on the page; the JSON has all that are kept.
const ROWS_MAX: usize = 50;

impl Default for HealthMark {
    /// The mark of a server that no frontend leads to: nobody knows how it is doing.
    fn default() -> Self {
        let why = "no frontend leads here".to_owned();
        Self { class: "off", word: "not used", is_loud: false, why }
    }
}

impl HealthMark {
    pub(super) fn of(live: &ServerLive, now_ms: u64) -> Self {
        let condition = live.condition(now_ms);
        let is_resting = condition != Condition::Ejected && live.is_resting(now_ms);
        let word = match (condition, is_resting) {
            (Condition::Up | Condition::Unchecked, true) => "resting",
            (Condition::Unchecked, false) => "not checked",
            _ => condition.as_str(),
        };
        let mut parts = Vec::new();
        if let Some(since_ms) = live.health.since_ms() {
            let since = SystemTime::UNIX_EPOCH + Duration::from_millis(since_ms);
            parts.push(format!("{} for {}", live.health.condition().as_str(), lasted(since)));
        }
        if is_resting {
            parts.push("it refused a connection a moment ago".to_owned());
        }
        parts.extend(live.health.reason().map(|reason| reason.to_string()));
        if let Some(took) = live.health.latency() {
            parts.push(format!("the last check took {:.1} ms", took.as_secs_f64() * 1_000.0));
        }
        Self {
            class: if is_resting { "warning" } else { class(condition) },
            word,
            is_loud: is_resting || !matches!(condition, Condition::Up | Condition::Unchecked),
            why: parts.join("; "),
        }
    }
}

/// The colour of a condition, by the classes that the page has.
fn class(condition: Condition) -> &'static str {
    match condition {
        Condition::Up => "ok",
        // Nobody asks it: a green dot would say what nobody knows.
        Condition::Unchecked => "note",
        Condition::Unknown => "wait",
        Condition::Ejected => "warning",
        Condition::Down => "bad",
    }
}

fn lasted(since: SystemTime) -> String {
    let age = SystemTime::now().duration_since(since).unwrap_or_default();
    match age.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// The last changes, the newest first.
pub(super) fn events(app: &App) -> impl Iterator<Item = EventRow> {
    app.state.live.journal.latest(ROWS_MAX).into_iter().map(|event| {
        let HealthEvent { at, backend, url, from, to, reason, .. } = event;
        EventRow {
            class: class(to),
            provider: backend.provider.as_str(),
            backend: backend.name.to_string(),
            url,
            from: from.as_str(),
            to: to.as_str(),
            ago: ago(SystemTime::now().duration_since(at).unwrap_or_default()),
            reason: reason.to_string(),
        }
    })
}

/// `/api/health`: every server with its condition, and the events that are kept, the newest first.
pub(super) async fn all(State(app): State<App>) -> Json<Value> {
    let view = app.state.view();
    let now_ms = app.now_ms();
    let servers = view.table.reachable_backends().flat_map(|backend| {
        backend.servers().iter().map(move |server| {
            let health = &server.live.health;
            let (passes, failures) = health.in_a_row();
            json!({
                "backend": backend.id().to_string(),
                "server": &*server.name,
                "url": server.url(),
                "condition": server.live.condition(now_ms).as_str(),
                "since": health.since_ms().map(|ms| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))),
                "reason": health.reason().as_deref(),
                "check": backend.check().map(|check| check.name()),
                "latencyMs": health.latency().map(|took| took.as_secs_f64() * 1_000.0),
                "passes": passes,
                "failures": failures,
            })
        })
    });
    let servers: Vec<Value> = servers.collect();
    let events = app.state.live.journal.latest(EVENTS_MAX).into_iter().map(|event| {
        json!({
            "serial": event.serial,
            "at": rfc3339(event.at),
            "backend": event.backend.to_string(),
            "server": &*event.server,
            "url": event.url,
            "from": event.from.as_str(),
            "to": event.to.as_str(),
            "reason": &*event.reason,
        })
    });
    Json(json!({"servers": servers, "events": events.collect::<Vec<_>>()}))
}
