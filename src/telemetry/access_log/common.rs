//! The common log format, with the fields that Traefik 1.7 adds to it.
//!
//! `%s - %s [%s] "%s %s %s" %v %v %s %s %v %s %s %dms` there (middlewares/accesslog/logger_formatters.go): client, user,
//! time, method, path, protocol, status, size, referer, user agent, number, frontend, server, duration. What is not known or
//! not kept is `-`.
//!
//! What comes from strangers cannot end a line, close a quote, or move a field: it is escaped as nginx and Apache do.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::entry::Entry;
use crate::model::is_order;
use crate::settings::{Field, Fields, Mode};

/// In the place of what is not known.
const NONE: &[u8] = b"-";

/// Writes one line, with its end.
pub(super) fn write(entry: &Entry<'_>, fields: &Fields, out: &mut Vec<u8>) {
    let keeps = |field| fields.keep(field);
    plain(keeps(Field::ClientHost).then(|| entry.client_host()).as_deref(), out);
    out.extend_from_slice(b" - ");
    plain(entry.end.user.filter(|_| keeps(Field::ClientUsername)), out);
    out.extend_from_slice(b" [");
    if keeps(Field::StartUTC) || keeps(Field::StartLocal) {
        put_time(entry.record.began, out);
    } else {
        out.extend_from_slice(NONE);
    }
    out.extend_from_slice(b"] \"");
    let asked = entry.asked();
    plain(asked.map(|asked| asked.method).filter(|_| keeps(Field::RequestMethod)), out);
    out.push(b' ');
    plain(asked.map(|asked| asked.path).filter(|_| keeps(Field::RequestPath)), out);
    out.push(b' ');
    plain(asked.map(|asked| asked.protocol).filter(|_| keeps(Field::RequestProtocol)), out);
    out.extend_from_slice(b"\" ");
    // Traefik tells its own answers here as well.
    number(u64::from(entry.status()), keeps(Field::OriginStatus), out);
    out.push(b' ');
    let origin_bytes = entry.origin_status().and(entry.last_try()).map(|last| last.bytes);
    let bytes = origin_bytes.unwrap_or_else(|| entry.sent_bytes());
    number(bytes, keeps(Field::OriginContentSize), out);
    for name in ["referer", "user-agent"] {
        out.push(b' ');
        let line = asked.and_then(|asked| asked.head.header(name)).filter(|line| !line.is_empty());
        match (line, fields.line(name)) {
            (Some(line), Mode::Keep) => quoted(line, out),
            (Some(_), Mode::Redact) => quoted(b"REDACTED", out),
            (None, _) | (_, Mode::Drop) => quoted(NONE, out),
        }
    }
    out.push(b' ');
    number(entry.count, keeps(Field::RequestCount), out);
    out.push(b' ');
    match entry.frontend().filter(|_| keeps(Field::FrontendName)) {
        Some(name) => quoted(name.as_bytes(), out),
        None => out.extend_from_slice(NONE),
    }
    out.push(b' ');
    match entry.server_url().filter(|_| keeps(Field::BackendURL)) {
        Some(url) => quoted(url.as_bytes(), out),
        None => out.extend_from_slice(NONE),
    }
    let took_ms = if keeps(Field::Duration) { entry.took.as_millis() } else { 0 };
    put(out, format_args!(" {took_ms}ms\n"));
}

/// `13/Apr/2016:07:14:19 +0000`. Written once a second by each thread: it is the dearest part of a line.
fn put_time(time: SystemTime, out: &mut Vec<u8>) {
    thread_local! {
        static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let time = DateTime::<Utc>::from(time);
    LAST.with_borrow_mut(|(second, text)| {
        if *second != time.timestamp() {
            (*second, *text) =
                (time.timestamp(), time.format("%d/%b/%Y:%H:%M:%S +0000").to_string());
        }
        out.extend_from_slice(text.as_bytes());
    });
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes everything");
}

fn number(number: u64, is_kept: bool, out: &mut Vec<u8>) {
    match is_kept {
        true => put(out, format_args!("{number}")),
        false => out.extend_from_slice(NONE),
    }
}

/// A value without quotes: a space in it would make two of it.
fn plain(value: Option<&str>, out: &mut Vec<u8>) {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => escaped(value.as_bytes(), true, out),
        None => out.extend_from_slice(NONE),
    }
}

fn quoted(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(value, false, out);
    out.push(b'"');
}

/// Nothing of it ends a line or a quote, or is an order to a terminal.
fn escaped(value: &[u8], escapes_spaces: bool, out: &mut Vec<u8>) {
    // Nearly every value is one run of this, copied at once.
    let is_harmless = |byte: u8| {
        matches!(byte, b' '..=b'~')
            && !matches!(byte, b'"' | b'\\')
            && !(escapes_spaces && byte == b' ')
    };
    let run = value.iter().position(|&byte| !is_harmless(byte)).unwrap_or(value.len());
    let (harmless, rest) = value.split_at(run);
    out.extend_from_slice(harmless);
    for chunk in rest.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                ' ' if escapes_spaces => out.extend_from_slice(b"\\x20"),
                _ if character.is_control() => {
                    put(out, format_args!("\\x{:02x}", u32::from(character)))
                }
                _ if is_order(character) => {
                    put(out, format_args!("\\u{:04x}", u32::from(character)))
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            put(out, format_args!("\\x{byte:02x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Sample, line};
    use super::*;

    #[track_caller]
    fn check(sample: &Sample, fields: &Fields, expected: &str) {
        let mut out = Vec::new();
        sample.entry(&mut |entry| write(entry, fields, &mut out));
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected}\n"));
    }

    #[test]
    fn a_line_is_traefiks() {
        check(
            &Sample::usual(),
            &Fields::default(),
            "10.0.0.1 - joe [13/Apr/2016:07:14:19 +0000] \"GET /a?b=c HTTP/1.1\" 200 132 \"http://r.t/\" \"agent 1\" 7 \
             \"Host-web\" \"http://10.0.0.2:80\" 123ms",
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        check(
            &Sample::unreadable(),
            &Fields::default(),
            "10.0.0.1 - - [13/Apr/2016:07:14:19 +0000] \"- - -\" 400 12 \"-\" \"-\" 7 - - 123ms",
        );
        check(
            &Sample::unknown(),
            &Fields::default(),
            "10.0.0.1 - - [13/Apr/2016:07:14:19 +0000] \"GET /a?b=c HTTP/1.1\" 404 19 \"http://r.t/\" \"agent 1\" 7 \
             \"backend not found\" - 123ms",
        );
    }

    #[test]
    fn what_is_not_kept_is_a_dash() {
        let mut fields = Fields { keeps: false, lines: Mode::Redact, ..Fields::default() };
        fields.names.insert(Field::OriginStatus, true);
        check(
            &Sample::usual(),
            &fields,
            "- - - [-] \"- - -\" 200 - \"REDACTED\" \"REDACTED\" - - - 0ms",
        );
    }

    #[test]
    fn nobody_writes_lines_of_his_own() {
        let mut sample = Sample::usual();
        sample.user = Some("a b\n\"c");
        sample.lines = vec![line("User-Agent", b"x\" 200\\\x1b[31m\xff\r\n\xc2\x85")];
        check(
            &sample,
            &Fields::default(),
            "10.0.0.1 - a\\x20b\\x0a\\\"c [13/Apr/2016:07:14:19 +0000] \"GET /a?b=c HTTP/1.1\" 200 132 \"-\" \
             \"x\\\" 200\\\\\\x1b[31m\\xff\\x0d\\x0a\\x85\" 7 \"Host-web\" \"http://10.0.0.2:80\" 123ms",
        );
    }

    #[test]
    fn only_the_trusted_say_who_the_client_is() {
        let mut sample = Sample::usual();
        sample.lines = vec![line("X-Forwarded-For", b"192.0.2.9")];
        let host = |sample: &Sample| {
            let mut host = String::new();
            sample.entry(&mut |entry| host = entry.client_host().into_owned());
            host
        };
        assert_eq!(host(&sample), "10.0.0.1");
        sample.is_trusted = true;
        assert_eq!(host(&sample), "192.0.2.9");
    }
}
