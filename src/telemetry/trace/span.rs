//! A span as it is told: one for the request, one for each try, with the names of OpenTelemetry's conventions for HTTP
//! (semantic conventions 1.23 and later).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{SpanId, TraceId, Tracked};
use crate::telemetry::access_log::Entry;
use crate::telemetry::record::{Asked, Try};

/// A value longer than this is cut: a path of 60 KiB helps nobody.
const TEXT_BYTES_MAX: usize = 2 * 1024;

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) above: Option<SpanId>,
    pub(super) state: Option<String>,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// In nanoseconds since 1970.
    pub(super) began: u128,
    pub(super) ended: u128,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed, where it did.
    pub(super) error: Option<String>,
}

/// Whose side of an exchange it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// We were asked.
    Server = 2,
    /// We asked.
    Client = 3,
}

/// What is said of a span.
#[derive(Debug)]
pub(super) enum Attribute {
    Text(String),
    Number(i64),
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        Self::Text(text.get(..end).unwrap_or_default().to_owned())
    }
}

/// The spans of a request that has ended.
pub(super) fn of(entry: &Entry<'_>, tracked: &Tracked) -> Vec<Span> {
    let mut spans = Vec::with_capacity(1 + entry.record.tries.len());
    spans.push(request(entry, tracked));
    for (place, one) in entry.record.tries.iter().enumerate() {
        spans.extend(at_server(entry, tracked, one, place));
    }
    spans
}

fn request(entry: &Entry<'_>, tracked: &Tracked) -> Span {
    let (record, end, status) = (entry.record, entry.end, entry.status());
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("http.response.status_code", u64::from(status).into()),
        ("client.address", entry.client_host().as_ref().into()),
        ("network.peer.address", end.peer.ip().to_string().as_str().into()),
        ("network.peer.port", u64::from(end.peer.port()).into()),
        ("http.request.body.size", record.request_bytes.into()),
        ("http.response.body.size", entry.sent_bytes().into()),
    ];
    let (method, original) = method_of(end.asked);
    attributes.push(("http.request.method", method.into()));
    if let Some(original) = original {
        attributes.push(("http.request.method_original", original.into()));
    }
    let mut state = None;
    if let Some(asked) = end.asked {
        let (path, query) = asked.path.split_once('?').unwrap_or((asked.path, ""));
        attributes.push(("url.scheme", "http".into()));
        attributes.push(("url.path", path.into()));
        if !query.is_empty() {
            attributes.push(("url.query", query.into()));
        }
        let version = asked.protocol.strip_prefix("HTTP/").unwrap_or(asked.protocol);
        attributes.push(("network.protocol.version", version.into()));
        place(asked.authority, 80, &mut attributes);
        let text = |name| asked.head.header(name).map(String::from_utf8_lossy);
        if let Some(agent) = text("user-agent") {
            attributes.push(("user_agent.original", agent.as_ref().into()));
        }
        state =
            text("tracestate").filter(|_| tracked.above.is_some()).map(|state| state.into_owned());
    }
    if let Some(frontend) = &record.frontend {
        attributes.push(("herder.frontend", frontend.to_string().as_str().into()));
    }
    if let Some(backend) = &record.backend {
        attributes.push(("herder.backend", backend.to_string().as_str().into()));
    }
    if let Some(id) = &record.id {
        attributes.push(("herder.request_id", id.as_str().into()));
    }
    // What the client did wrong is no failure of ours; an answer that was cut off is one, whatever its status.
    let is_cut = record.error.is_some() && status < 400;
    let error = (status >= 500 || is_cut).then(|| record.error.clone().unwrap_or_default());
    if let Some(error) = &error {
        let kind = if status >= 500 { status.to_string() } else { kind_of(error).to_owned() };
        attributes.push(("error.type", kind.as_str().into()));
    }
    let began = nanos(record.began);
    Span {
        trace: tracked.here.trace,
        id: tracked.here.span,
        above: tracked.above,
        state,
        kind: Kind::Server,
        name: if method == OTHER { "HTTP" } else { method },
        began,
        ended: began + entry.took.as_nanos(),
        attributes,
        error,
    }
}

fn at_server(entry: &Entry<'_>, tracked: &Tracked, one: &Try, place_in_row: usize) -> Option<Span> {
    let (method, _) = method_of(entry.end.asked);
    let (scheme, authority) = (one.scheme.as_str(), &one.authority);
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("http.request.method", method.into()),
        ("url.full", format!("{scheme}://{authority}{}", one.path).as_str().into()),
        ("herder.server", (&*one.server).into()),
    ];
    place(authority, one.scheme.default_port(), &mut attributes);
    let resent = entry.record.tries_left_out * usize::from(place_in_row > 0) + place_in_row;
    if resent > 0 && !one.is_for_page {
        attributes.push(("http.request.resend_count", (resent as u64).into()));
    }
    if let Some(status) = one.status {
        attributes.push(("http.response.status_code", u64::from(status).into()));
    }
    let is_last = place_in_row + 1 == entry.record.tries.len();
    let cut = entry.record.error.as_ref().filter(|_| is_last && one.status.is_some());
    let error = match (&one.error, one.status) {
        (Some(error), _) => Some((kind_of(error).to_owned(), error.clone())),
        (None, Some(status)) if status >= 400 => Some((status.to_string(), String::new())),
        (None, _) => cut.map(|error| (kind_of(error).to_owned(), error.clone())),
    };
    let error = error.map(|(kind, error)| {
        attributes.push(("error.type", kind.as_str().into()));
        error
    });
    let began = nanos(entry.record.began) + one.began.as_nanos();
    let took = one.took.unwrap_or(Duration::ZERO);
    Some(Span {
        trace: tracked.here.trace,
        id: one.span?,
        above: Some(tracked.here.span),
        state: None,
        kind: Kind::Client,
        name: if method == OTHER { "HTTP" } else { method },
        began,
        ended: began + took.as_nanos(),
        attributes,
        error,
    })
}

/// What stands for a method that few know: names of spans must be few.
const OTHER: &str = "_OTHER";

/// The method, and how it was written where it is none of the known ones.
fn method_of<'a>(asked: Option<&Asked<'a>>) -> (&'static str, Option<&'a str>) {
    const KNOWN: &[&str] =
        &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"];
    let Some(asked) = asked else { return (OTHER, None) };
    match KNOWN.iter().find(|known| **known == asked.method) {
        Some(known) => (known, None),
        None => (OTHER, Some(asked.method)),
    }
}

fn place(authority: &str, usual: u16, attributes: &mut Vec<(&'static str, Attribute)>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(usual)),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    attributes.push(("server.address", host.into()));
    attributes.push(("server.port", u64::from(port).into()));
}

/// The kind of a failure: what stands before its details.
fn kind_of(error: &str) -> &str {
    error.split(':').next().unwrap_or(error)
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}
