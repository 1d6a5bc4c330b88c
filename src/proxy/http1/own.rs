//! Herder's own answers: the one place where a failure becomes a status.

use std::io::Write as _;

use super::answer::Then;
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
    )
}

/// Writes the answer. Unknown hosts and empty backends are answered in Traefik 1.7's words.
pub(super) fn write(error: &Error, then: Then, is_head: bool, clock: &Clock, out: &mut Vec<u8>) {
    let (reason, text) = match error {
        Error::BadRequest(_) => ("Bad Request", ""),
        Error::AnsweredHere(answer) => match answer.status {
            301 => ("Moved Permanently", "Moved Permanently\n"),
            414 => ("URI Too Long", "URI Too Long\n"),
            503 => ("Service Unavailable", "Service Unavailable"),
            _ => ("", ""),
        },
        Error::Unknown => ("Not Found", "404 page not found\n"),
        Error::SlowClient => ("Request Timeout", "Request Timeout\n"),
        Error::HeadTooLarge => {
            ("Request Header Fields Too Large", "Request Header Fields Too Large\n")
        }
        Error::MethodNotServed | Error::CodingNotServed => ("Not Implemented", "Not Implemented\n"),
        Error::Unreachable(_) | Error::BadAnswer(_) => ("Bad Gateway", "Bad Gateway"),
        Error::NoServer => ("Service Unavailable", "Service Unavailable"),
        Error::SlowServer(_) => ("Gateway Timeout", "Gateway Timeout"),
        Error::VersionNotServed => ("HTTP Version Not Supported", "HTTP Version Not Supported\n"),
    };
    let why = match error {
        Error::BadRequest(why) => format!("Bad Request: {why}\n"),
        _ => String::new(),
    };
    let length = text.len() + why.len();
    write!(
        out,
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {length}\r\nDate: ",
        status(error)
    )
    .expect("a Vec takes everything");
    clock.write_date(out);
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    put(b"\r\n");
    match error {
        Error::AnsweredHere(answer) => {
            for (name, value) in &answer.lines {
                put(name.as_bytes());
                put(b": ");
                put(value.as_bytes());
                put(b"\r\n");
            }
        }
        Error::NoServer => {
            put(b"Retry-After: ");
            put(RETRY_AFTER_SECONDS.as_bytes());
            put(b"\r\n");
        }
        Error::MethodNotServed => {
            put(b"Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE\r\n");
        }
        _ => {}
    }
    if then == Then::Close {
        put(b"Connection: close\r\n");
    }
    put(b"\r\n");
    if !is_head {
        put(text.as_bytes());
        put(why.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole() {
        let mut out = Vec::new();
        write(&Error::NoServer, Then::Close, false, &Clock::start(), &mut out);
        let text = String::from_utf8(out).expect("plain text");
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 19\r\n") || text.ends_with("Service Unavailable"));
    }
}
