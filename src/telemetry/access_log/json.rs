//! One JSON object a line, with Traefik 1.7's names (middlewares/accesslog/logdata.go) and some of our own. Durations are
//! nanoseconds, as there.

use std::borrow::Cow;
use std::io::Write as _;

use chrono::{DateTime, Local, SecondsFormat, Utc};
use http::StatusCode;
use serde::Serialize;

use super::entry::Entry;
use crate::model::{canonical, is_order};
use crate::settings::{Field, Fields, Mode};

/// Writes one line, with its end.
pub(super) fn write(entry: &Entry<'_>, fields: &Fields, out: &mut Vec<u8>) {
    out.push(b'{');
    for &field in Field::ALL.iter().filter(|field| fields.keep(**field)) {
        put_field(entry, field, out);
    }
    if let Some(asked) = entry.asked() {
        let mut lines = Lines::new("request_", fields);
        asked.head.each_line(&mut |name, value| lines.put(name, value, out));
    }
    if let Some(answer) = &entry.record.answer {
        for (prefix, all) in [("origin_", &answer.came), ("downstream_", &answer.went)] {
            let mut lines = Lines::new(prefix, fields);
            all.iter().for_each(|(name, value)| lines.put(name, value, out));
        }
    }
    // What logrus adds to each line.
    put(out, "level", "info");
    put(out, "msg", "");
    put(out, "time", Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true));
    out.extend_from_slice(b"}\n");
}

fn put_field(entry: &Entry<'_>, field: Field, out: &mut Vec<u8>) {
    let (record, asked, name) = (entry.record, entry.asked(), field.as_str());
    let utc = || DateTime::<Utc>::from(record.began);
    match field {
        Field::StartUTC => put(out, name, utc().to_rfc3339_opts(SecondsFormat::Nanos, true)),
        Field::StartLocal => {
            let local = utc().with_timezone(&Local);
            put(out, name, local.to_rfc3339_opts(SecondsFormat::Nanos, true));
        }
        Field::Duration => put(out, name, entry.took.as_nanos()),
        Field::FrontendName => put_some(out, name, entry.frontend()),
        Field::BackendName => put_some(out, name, record.backend.as_ref().map(|id| &*id.name)),
        Field::BackendURL => put_some(out, name, entry.server_url()),
        Field::BackendAddr => put_some(out, name, entry.last_try().map(|last| &last.authority)),
        Field::ClientAddr => put(out, name, entry.peer()),
        Field::ClientHost => put(out, name, entry.client_host()),
        Field::ClientPort => put(out, name, entry.peer().port().to_string()),
        Field::ClientUsername => put(out, name, entry.end.user.unwrap_or("-")),
        Field::RequestAddr => put_some(out, name, asked.map(|asked| asked.authority)),
        Field::RequestHost => {
            put_some(out, name, asked.map(|asked| host_and_port(asked.authority).0))
        }
        Field::RequestPort => {
            put_some(out, name, asked.map(|asked| host_and_port(asked.authority).1))
        }
        Field::RequestMethod => put_some(out, name, asked.map(|asked| asked.method)),
        Field::RequestPath => put_some(out, name, asked.map(|asked| asked.path)),
        Field::RequestProtocol => put_some(out, name, asked.map(|asked| asked.protocol)),
        Field::RequestLine => {
            let line = |asked: &crate::telemetry::Asked<'_>| {
                format!("{} {} {}", asked.method, asked.path, asked.protocol)
            };
            put_some(out, name, asked.map(line));
        }
        Field::RequestContentSize => put(out, name, record.request_bytes),
        Field::OriginDuration => put(out, name, entry.origin_took().as_nanos()),
        Field::OriginContentSize => put(out, name, entry.last_try().map_or(0, |last| last.bytes)),
        Field::OriginStatus => put(out, name, entry.origin_status().unwrap_or(0)),
        Field::OriginStatusLine => put_some(out, name, entry.origin_status().map(in_words)),
        Field::DownstreamStatus => put(out, name, entry.status()),
        Field::DownstreamStatusLine => put(out, name, in_words(entry.status())),
        Field::DownstreamContentSize => put(out, name, entry.sent_bytes()),
        Field::RequestCount => put(out, name, entry.count),
        Field::GzipRatio => put_some(out, name, ratio(entry)),
        Field::Overhead => {
            put(out, name, entry.took.saturating_sub(entry.origin_took()).as_nanos());
        }
        Field::RetryAttempts => put(out, name, entry.retries()),
        Field::RequestId => put_some(out, name, record.id.as_ref()),
        Field::TraceId => {
            let trace = record.tracked.as_ref().map(|tracked| tracked.here.trace.to_string());
            put_some(out, name, trace);
        }
        Field::Error => put_some(out, name, record.error.as_ref()),
    }
}

/// How much smaller the body became on its way, where it did.
#[allow(clippy::cast_precision_loss)] // of bodies past 8 PiB the last byte
fn ratio(entry: &Entry<'_>) -> Option<f64> {
    let came = entry.origin_status().and(entry.last_try())?.bytes;
    let went = entry.sent_bytes();
    (came != went && went > 0).then(|| came as f64 / went as f64)
}

fn in_words(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status:03} {}", reason.unwrap_or_default())
}

/// As Go's `net.SplitHostPort`; without a port `-`.
fn host_and_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host.trim_start_matches('[').trim_end_matches(']'), port)
        }
        _ => (authority, "-"),
    }
}

/// The header lines of one head that are kept: of several of one name the first.
struct Lines<'a> {
    prefix: &'static str,
    fields: &'a Fields,
    seen: Vec<String>,
}

impl<'a> Lines<'a> {
    fn new(prefix: &'static str, fields: &'a Fields) -> Self {
        Self { prefix, fields, seen: Vec::new() }
    }

    fn put(&mut self, name: &str, value: &[u8], out: &mut Vec<u8>) {
        let mode = self.fields.line(name);
        let name = canonical(name);
        if mode == Mode::Drop || self.seen.contains(&name) {
            return;
        }
        let value = match mode {
            Mode::Keep => String::from_utf8_lossy(value),
            Mode::Drop | Mode::Redact => Cow::Borrowed("REDACTED"),
        };
        put(out, &format!("{}{name}", self.prefix), value);
        self.seen.push(name);
    }
}

fn put_some(out: &mut Vec<u8>, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        put(out, name, value);
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: impl Serialize) {
    if !out.ends_with(b"{") {
        out.push(b',');
    }
    // Neither text nor numbers can fail to be written to memory.
    let _ = serde_json::to_writer(&mut *out, name);
    let _ = out.write_all(b":");
    let start = out.len();
    if serde_json::to_writer(&mut *out, &value).is_err() {
        out.extend_from_slice(b"null");
    }
    // JSON leaves alone what is an order to terminals alone.
    if let Some(text) = out.get(start..).and_then(|value| std::str::from_utf8(value).ok())
        && !text.is_ascii()
        && text.contains(is_order)
    {
        let text = text.to_owned();
        out.truncate(start);
        for character in text.chars() {
            match is_order(character) {
                true => _ = write!(out, "\\u{:04x}", u32::from(character)),
                false => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{Sample, line};
    use super::*;

    fn written(sample: &Sample, fields: &Fields) -> Value {
        let mut out = Vec::new();
        sample.entry(&mut |entry| write(entry, fields, &mut out));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn the_names_are_traefiks() {
        let value = written(&Sample::usual(), &Fields::default());
        for (name, expected) in [
            ("StartUTC", json!("2016-04-13T07:14:19.000000000Z")),
            ("Duration", json!(123_000_000)),
            ("FrontendName", json!("Host-web")),
            ("BackendName", json!("backend-web")),
            ("BackendURL", json!("http://10.0.0.2:80")),
            ("BackendAddr", json!("10.0.0.2:80")),
            ("ClientAddr", json!("10.0.0.1:4711")),
            ("ClientHost", json!("10.0.0.1")),
            ("ClientPort", json!("4711")),
            ("ClientUsername", json!("joe")),
            ("RequestAddr", json!("web.t:8080")),
            ("RequestHost", json!("web.t")),
            ("RequestPort", json!("8080")),
            ("RequestMethod", json!("GET")),
            ("RequestPath", json!("/a?b=c")),
            ("RequestProtocol", json!("HTTP/1.1")),
            ("RequestLine", json!("GET /a?b=c HTTP/1.1")),
            ("RequestContentSize", json!(5)),
            ("OriginDuration", json!(100_000_000)),
            ("Overhead", json!(23_000_000)),
            ("OriginContentSize", json!(132)),
            ("OriginStatus", json!(200)),
            ("OriginStatusLine", json!("200 OK")),
            ("DownstreamStatus", json!(200)),
            ("DownstreamStatusLine", json!("200 OK")),
            ("DownstreamContentSize", json!(66)),
            ("GzipRatio", json!(2.0)),
            ("RequestCount", json!(7)),
            ("RetryAttempts", json!(0)),
            ("RequestId", json!("id-1")),
            ("request_User-Agent", json!("agent 1")),
            ("request_Authorization", json!("REDACTED")),
            ("origin_Server", json!("s")),
            ("downstream_Vary", json!("Accept")),
            ("downstream_Set-Cookie", json!("REDACTED")),
            ("level", json!("info")),
        ] {
            assert_eq!(value[name], expected, "{name} in {value:#}");
        }
        assert!(value.get("Error").is_none() && value.get("TraceId").is_none());
    }

    #[test]
    fn our_own_answer_has_no_origin() {
        let value = written(&Sample::unknown(), &Fields::default());
        assert_eq!((&value["OriginStatus"], &value["DownstreamStatus"]), (&json!(0), &json!(404)));
        assert_eq!(value["Error"], json!("no frontend takes it"));
        assert!(value.get("BackendURL").is_none() && value.get("OriginStatusLine").is_none());
        let value = written(&Sample::unreadable(), &Fields::default());
        assert_eq!(value["DownstreamStatusLine"], json!("400 Bad Request"));
    }

    #[test]
    fn fields_and_lines_are_kept_dropped_or_redacted() {
        let mut fields = Fields { keeps: false, lines: Mode::Drop, ..Fields::default() };
        fields.names.insert(Field::RequestPath, true);
        fields.line_names.insert("user-agent".to_owned(), Mode::Redact);
        fields.line_names.insert("authorization".to_owned(), Mode::Keep);
        let value = written(&Sample::usual(), &fields);
        let mut names: Vec<_> = value.as_object().expect("an object").keys().collect();
        names.sort();
        let expected =
            ["RequestPath", "level", "msg", "request_Authorization", "request_User-Agent", "time"];
        assert_eq!(names, expected);
        assert_eq!(value["request_Authorization"], json!("Basic c2VjcmV0"));
        assert_eq!(value["request_User-Agent"], json!("REDACTED"));
    }

    #[test]
    fn one_line_stays_one() {
        let mut sample = Sample::usual();
        sample.lines = vec![line("X-A", b"\n\"}\x00\xff"), line("x-a", b"second")];
        let value = written(&sample, &Fields::default());
        assert_eq!(value["request_X-A"], json!("\n\"}\0\u{fffd}"));
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (authority, parts) in [
            ("a.t", ("a.t", "-")),
            ("a.t:80", ("a.t", "80")),
            ("[::1]:80", ("::1", "80")),
            ("[::1]", ("[::1]", "-")),
        ] {
            assert_eq!(host_and_port(authority), parts);
        }
    }
}
