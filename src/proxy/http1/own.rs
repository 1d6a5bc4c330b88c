//! Herder's own answers: the one place where a failure becomes a status.

use std::borrow::Cow;
use std::io::Write as _;

use super::answer::{Edits, Then};
use crate::model::Head;
use crate::proxy::clock::Clock;
use crate::proxy::error::Error;

/// When to ask again for a host that is known and has nobody healthy, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// The status a client sees.
pub(super) fn status(error: &Error) -> u16 {
    match error {
        Error::BadRequest(_) => 400,
        Error::AnsweredHere(answer) => answer.status,
        Error::Unknown => 404,
        Error::SlowClient => 408,
        Error::BodyTooLarge => 413,
        Error::ExpectationNotServed => 417,
        Error::NotKept(_) => 500,
        Error::TooLong | Error::Interrupted | Error::Early => 502,
        Error::NoMeans(_) | Error::Stopping | Error::Starting => 503,
        Error::Replaced(status) | Error::Again(status) => *status,
        Error::HeadTooLarge => 431,
        Error::MethodNotServed | Error::CodingNotServed => 501,
        Error::Unreachable(_) | Error::BadAnswer(_) => 502,
        Error::NoServer => 503,
        Error::SlowServer(_) => 504,
        Error::VersionNotServed => 505,
    }
}

/// Whether what follows such a request can be trusted to be the next one.
pub(super) fn ends_connection(error: &Error) -> bool {
    matches!(
        error,
        Error::BadRequest(_)
            | Error::SlowClient
            | Error::HeadTooLarge
            | Error::MethodNotServed
            | Error::CodingNotServed
            | Error::VersionNotServed
            | Error::ExpectationNotServed
            | Error::BodyTooLarge
    )
}

/// One of our own answers, from what failed to what the client reads.
pub(super) struct Own<'a> {
    pub(super) error: &'a Error,
    pub(super) then: Then,
    /// It answers HEAD: there is no body.
    pub(super) is_head: bool,
    /// What the steps of the chain make of it.
    pub(super) edits: Option<&'a Edits>,
}

impl Own<'_> {
    /// How long its body is.
    pub(super) fn body_bytes(&self) -> u64 {
        if self.is_head { 0 } else { self.text().len() as u64 }
    }

    fn text(&self) -> Cow<'_, [u8]> {
        match self.error {
            error if has_no_content(status(error)) => Cow::Borrowed(&[]),
            Error::BadRequest(why) => Cow::Owned(format!("Bad Request: {why}\n").into_bytes()),
            Error::AnsweredHere(answer) => match &answer.body {
                Some(body) => Cow::Borrowed(&**body),
                None => Cow::Borrowed(words(answer.status).as_bytes()),
            },
            error => Cow::Borrowed(words(status(error)).as_bytes()),
        }
    }

    /// Writes the answer. Unknown hosts and empty backends are answered in Traefik 1.7's words.
    pub(super) fn write(&self, clock: &Clock, out: &mut Vec<u8>) {
        let status = status(self.error);
        let text = self.text();
        let reason = reason(status);
        write!(out, "HTTP/1.1 {status} {reason}\r\n").expect("a Vec takes everything");
        if !has_no_content(status) {
            write!(out, "Content-Length: {}\r\n", text.len()).expect("a Vec takes everything");
        }
        out.extend_from_slice(b"Date: ");
        clock.write_date(out);
        out.extend_from_slice(b"\r\n");
        let retry_after = match self.error {
            Error::NoServer | Error::Starting => Some(("Retry-After", RETRY_AFTER_SECONDS)),
            Error::MethodNotServed => {
                Some(("Allow", "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE"))
            }
            _ => None,
        };
        let answered = match self.error {
            Error::AnsweredHere(answer) => Some(answer),
            _ => None,
        };
        let has_body = answered.is_some_and(|answer| answer.body.is_some());
        let is_plain = !has_body && !has_no_content(status);
        let plain =
            [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")];
        let lines = plain.into_iter().filter(|_| is_plain).chain(retry_after);
        let own = answered.into_iter().flat_map(|answer| &answer.lines);
        let lines = lines.chain(own.map(|(name, value)| (&**name, value.as_str())));
        match self.edits {
            Some(edits) => edits.write_own(lines, out),
            None => Edits::default().write_own(lines, out),
        }
        if self.then == Then::Close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !self.is_head {
            out.extend_from_slice(&text);
        }
    }
}

/// Whether answers of this status end with their head. Of 204 no length may stand there either; of 304 it would be that of
/// what the client has (RFC 9110, section 8.6).
fn has_no_content(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// What stands beside a status: for people, and may be empty (RFC 9112, section 4).
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        _ => words(status).trim_end().trim_start_matches("401 "),
    }
}

/// The lines that one of our own answers has besides those of every answer, for the steps that look at it.
pub(super) struct OwnLines<'a>(pub(super) &'a Error);

impl Head for OwnLines<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let Error::AnsweredHere(answer) = self.0 else { return None };
        let line = answer.lines.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_bytes())
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.header(name).is_some_and(test)
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        if let Error::AnsweredHere(answer) = self.0 {
            answer.lines.iter().for_each(|(name, value)| see(name, value.as_bytes()));
        }
    }
}

/// What a client reads of a status: Traefik 1.7's words, where it has any.
fn words(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently\n",
        302 => "Found\n",
        307 => "Temporary Redirect\n",
        308 => "Permanent Redirect\n",
        400 => "Bad Request\n",
        401 => "401 Unauthorized\n",
        403 => "Forbidden\n",
        404 => "404 page not found\n",
        408 => "Request Timeout\n",
        413 => "Request Entity Too Large\n",
        414 => "URI Too Long\n",
        417 => "Expectation Failed\n",
        429 => "Too Many Requests\n",
        431 => "Request Header Fields Too Large\n",
        500 => "Internal Server Error\n",
        501 => "Not Implemented\n",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported\n",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::Answer;

    #[test]
    fn what_has_no_content_has_no_length() {
        for status in [204, 304] {
            let answer = Answer { body: Some(b"x".to_vec()), ..*Answer::new(status) };
            for answer in [Box::new(answer), Answer::new(status)] {
                let (mut out, then) = (Vec::new(), Then::Close);
                let error = &Error::AnsweredHere(answer.line("ETag", "\"a\""));
                let own = Own { error, then, is_head: false, edits: None };
                own.write(&Clock::start(std::time::Instant::now()), &mut out);
                let text = String::from_utf8(out).expect("plain text");
                assert!(
                    text.contains("\r\nETag: \"a\"\r\n") && !text.contains("Content-"),
                    "{text}"
                );
                assert!(text.ends_with("\r\n\r\n") && own.body_bytes() == 0, "{text}");
            }
        }
    }

    #[test]
    fn an_answer_is_whole() {
        let mut out = Vec::new();
        let (error, then) = (&Error::NoServer, Then::Close);
        Own { error, then, is_head: false, edits: None }
            .write(&Clock::start(std::time::Instant::now()), &mut out);
        let text = String::from_utf8(out).expect("plain text");
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 19\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nService Unavailable"), "{text}");
    }
}
