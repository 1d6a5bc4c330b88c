//! A request, from what the client sent to what the server gets: what its head means. [`write`] makes the server's head of it.

mod write;

use std::num::NonZeroU32;

use super::bytes::is_token_byte;
use super::fields::{Field, Options};
use super::framing::{self, Length};
use super::lines::{Passing, place};
use super::parse::{Line, RequestHead, Version};
use super::target::Target;
use crate::model::Head;
use crate::proxy::error::Error;

pub(super) use write::{Address, Hop};

/// A request whose head was read and means one thing.
#[derive(Debug)]
pub(super) struct Request<'h, 's> {
    head: &'h [u8],
    pub(super) method: &'h str,
    pub(super) lines: &'s [Line<'h>],
    passing: Passing,
    pub(super) target: Target<'h>,
    wants_trailers: bool,
    /// The protocol it asks to change to.
    upgrade: Option<&'h [u8]>,
    /// How many more may forward it.
    forwards_left: Option<u64>,
    pub(super) facts: Facts,
}

/// What is left to know of a request once its head was sent on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) version: Version,
    pub(super) length: Length,
    /// Its answer has no body.
    pub(super) is_head: bool,
    /// It may be sent again (RFC 9110, section 9.2.2).
    pub(super) is_idempotent: bool,
    /// The client may send another one on this connection.
    pub(super) is_kept_alive: bool,
    /// Whether it asks to change the protocol: where in its head the names of others are.
    pub(super) upgrade: Option<Names>,
    /// The client waits for a word before it sends the body (RFC 9110, section 10.1.1).
    pub(super) expects: bool,
    /// Servers may take its body, or what follows, for another request: it is the last one of its connection to a server, which is
    /// told so (RFC 9112, section 9.6).
    pub(super) is_last: bool,
}

/// A value of a head: where it is, kept small, for each exchange holds one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Names {
    start: u32,
    len: NonZeroU32,
}

impl Names {
    /// None where there is nothing, or the head is longer than any.
    fn of(head: &[u8], value: &[u8]) -> Option<Self> {
        let start = place(head, value).try_into().ok()?;
        let len = u32::try_from(value.len()).ok()?;
        Some(Self { start, len: NonZeroU32::new(len)? })
    }

    /// What stands there in a head.
    pub(super) fn in_head(self, head: &[u8]) -> &[u8] {
        let value = head.get(self.start as usize..).unwrap_or_default();
        value.get(..self.len.get() as usize).unwrap_or_default()
    }
}

impl<'h, 's> Request<'h, 's> {
    /// Reads what a head means.
    ///
    /// # Errors
    /// What two readers could understand in two ways, and what is not served.
    pub(super) fn read(head: RequestHead<'h, 's>) -> Result<Self, Error> {
        let RequestHead { bytes, method, target, version, lines } = head;
        let mut passing = Passing::all();
        let mut framing = framing::Lines::default();
        let mut options = Options::default();
        let (mut host, mut hosts) = (None, 0);
        let (mut upgrade, mut upgrades) = (None, 0);
        let (mut wants_trailers, mut expects) = (false, false);
        let mut forwards = None;
        for (index, line) in lines.iter().enumerate() {
            let field = line.field;
            match field {
                Field::Plain | Field::Date => continue,
                Field::MaxForwards if !matches!(method, "OPTIONS" | "TRACE") => continue,
                Field::MaxForwards => {
                    let number = framing::number(line.value).filter(|_| forwards.is_none());
                    forwards = Some(
                        number.ok_or(Error::BadRequest("Max-Forwards is not one plain number")),
                    );
                }
                // HTTP/1.0 knows no interim answers.
                Field::Expect if version == Version::Http11 => {
                    expects = line.value.eq_ignore_ascii_case(b"100-continue");
                    if !expects {
                        return Err(Error::ExpectationNotServed);
                    }
                    continue;
                }
                Field::Expect => {}
                Field::Host => (host, hosts) = (Some(line.value), hosts + 1),
                Field::Connection if !options.read(line.value) => {
                    return Err(Error::BadRequest("Connection names too many lines"));
                }
                Field::Te => wants_trailers |= names_trailers(line.value),
                Field::Upgrade => (upgrade, upgrades) = (Some(line.value), upgrades + 1),
                _ => framing.read(field, line.value, framing::Repeats::No),
            }
            passing.remove(index);
        }
        options.take_away(lines, &mut passing);
        let host = match (hosts, version) {
            (0, Version::Http10) => None,
            (0, Version::Http11) => return Err(Error::BadRequest("there is no Host line")),
            (1, _) => host,
            _ => return Err(Error::BadRequest("there are several Host lines")),
        };
        let host = host.map(str::from_utf8).transpose();
        let host = host.map_err(|_| Error::BadRequest("the Host line is not plain text"))?;
        let target = Target::read(method, target, host)?;
        let length = framing::of_request(&framing, version)?;
        let is_upgrade = |value: &&[u8]| {
            version == Version::Http11 && options.upgrade && upgrades == 1 && names_protocols(value)
        };
        let upgrade = upgrade.filter(is_upgrade);
        let is_kept_alive = match version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        let facts = Facts {
            version,
            length,
            is_head: method == "HEAD",
            is_idempotent: is_idempotent(method),
            is_kept_alive,
            upgrade: upgrade.and_then(|value| Names::of(bytes, value)),
            expects,
            is_last: upgrade.is_some() || expects || is_last(method, length),
        };
        let head = bytes;
        // RFC 9110, section 7.6.2: who may forward it no further answers it, and we know nothing of such methods.
        let forwards_left = match forwards.transpose()? {
            Some(0) => return Err(Error::MethodNotServed),
            forwards => forwards.map(|forwards| forwards - 1),
        };
        Ok(Self {
            head,
            method,
            lines,
            passing,
            target,
            wants_trailers,
            upgrade,
            forwards_left,
            facts,
        })
    }

    /// Its body is there already, and has this length.
    pub(super) fn have_collected(&mut self, length: u64) {
        if self.facts.length != Length::None {
            self.facts.length = Length::Known(length);
        }
        self.facts.expects = false;
        self.facts.is_last = self.upgrade.is_some() || is_last(self.method, self.facts.length);
        self.leave_out_field(Field::Expect);
    }

    /// Asks for a page in the place of what came of this request: the same client asks, without a body and without
    /// conditions. `is_complete`: what comes next from the client is another request.
    pub(super) fn ask_for_page(&mut self, is_complete: bool) {
        self.method = if self.facts.is_head { "HEAD" } else { "GET" };
        let of_body = |name: &str| {
            const CONDITIONS: [&str; 8] = [
                "content-type",
                "content-encoding",
                "if-match",
                "if-none-match",
                "if-modified-since",
                "if-unmodified-since",
                "if-range",
                "range",
            ];
            CONDITIONS.iter().any(|condition| condition.eq_ignore_ascii_case(name))
        };
        for (index, line) in self.lines.iter().enumerate() {
            if of_body(line.name_text()) {
                self.passing.remove(index);
            }
        }
        (self.upgrade, self.forwards_left) = (None, None);
        let facts = &mut self.facts;
        (facts.length, facts.is_idempotent, facts.upgrade) = (Length::None, true, None);
        (facts.is_kept_alive, facts.is_last) = (facts.is_kept_alive && is_complete, false);
        self.leave_out_field(Field::Expect);
    }

    fn leave_out_field(&mut self, field: Field) {
        for (index, line) in self.lines.iter().enumerate() {
            if line.field == field {
                self.passing.remove(index);
            }
        }
    }

    /// Whether its first `Accept` asks for events (`text/event-stream` of the HTML standard).
    pub(super) fn accepts_events(&self) -> bool {
        const EVENTS: &[u8] = b"text/event-stream";
        // Most are shorter: then no name is compared.
        let is_long = |line: &Line<'_>| line.value.len() >= EVENTS.len() && line.is("accept");
        self.lines.iter().any(is_long)
            && self.lines.header("accept").is_some_and(|value| names(value, EVENTS))
    }

    /// How long its head is.
    pub(super) fn head_len(&self) -> usize {
        self.head.len()
    }
}

/// Whether such a request may be sent again (RFC 9110, section 9.2.2).
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

/// Whether servers may leave the body unread, and take it for their next request: those of requests that have none in their eyes
/// (RFC 9110, sections 9.3.1, 9.3.2, 9.3.5, 9.3.7 and 9.3.8), and chunks, which some read only where the application asks for them.
fn is_last(method: &str, length: Length) -> bool {
    match length {
        Length::None | Length::Known(0) | Length::ToClose => false,
        Length::Known(_) => matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE"),
        Length::Chunked => true,
    }
}

fn names_trailers(te: &[u8]) -> bool {
    names(te, b"trailers")
}

/// Whether a list names this word, in whatever case.
pub(super) fn names(list: &[u8], word: &[u8]) -> bool {
    parts(list).any(|part| part.eq_ignore_ascii_case(word))
}

/// The protocols of a list that may be changed to (RFC 9110, sections 5.6.1 and 7.8).
pub(super) fn protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(value).filter(|name| !name.is_empty() && !is_http(name))
}

/// Whether it is a list of protocols, with one that may be changed to.
fn names_protocols(value: &[u8]) -> bool {
    let is_name = |name: &[u8]| name.iter().all(|&byte| byte == b'/' || is_token_byte(byte));
    parts(value).all(is_name) && protocols(value).next().is_some()
}

/// The members of a list, those between two commas included that are none.
pub(super) fn parts(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// A server that changes to another HTTP (`h2c`, `HTTP/2.0`), or to HTTP inside TLS (RFC 2817), would take requests that no route
/// was looked up for.
fn is_http(protocol: &[u8]) -> bool {
    let protocol = protocol.to_ascii_lowercase();
    [&b"h2"[..], b"h3", b"http", b"tls"]
        .iter()
        .any(|name| protocol.windows(name.len()).any(|part| part == *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::parse::{Lines, request};

    pub(super) fn read<T>(head: &str, then: impl FnOnce(Result<Request<'_, '_>, Error>) -> T) -> T {
        let mut lines = Lines::new();
        then(request(head.as_bytes(), &mut lines, 99).and_then(Request::read))
    }

    #[test]
    fn a_protocol_is_changed_where_both_lines_ask_for_it() {
        let is_upgrade = |lines: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
            read(&head, |request| request.expect("a good head").facts.upgrade.is_some())
        };
        assert!(is_upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket"));
        assert!(is_upgrade("Connection: Upgrade\r\nUpgrade: websocket, ,b/1"));
        assert!(is_upgrade("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0"));
        assert!(!is_upgrade("Upgrade: websocket"));
        assert!(is_upgrade("Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 1"));
        for http in ["h2c", "h2", "HTTP/2.0", "H2C, h3", "TLS/1.0"] {
            assert!(!is_upgrade(&format!("Connection: upgrade\r\nUpgrade: {http}")), "{http}");
        }
        for none in ["", ",", "web socket", "a;b"] {
            assert!(!is_upgrade(&format!("Connection: upgrade\r\nUpgrade: {none}")), "{none}");
        }
        assert!(!is_upgrade("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b"));
    }

    #[test]
    fn who_may_forward_it_is_counted() {
        let check = |method: &str, value: &str, expected: Result<Option<u64>, u16>| {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
            let left = read(&head, |request| request.map(|request| request.forwards_left));
            let left = left.map_err(|error| crate::proxy::http1::own::status(&error));
            assert_eq!(left, expected, "{method} {value}");
        };
        check("OPTIONS", "5", Ok(Some(4)));
        check("TRACE", "1", Ok(Some(0)));
        check("TRACE", "0", Err(501));
        check("OPTIONS", "-1", Err(400));
        check("OPTIONS", "5\r\nMax-Forwards: 5", Err(400));
        check("GET", "0", Ok(None));
    }

    #[test]
    fn there_is_one_host() {
        let is_good = |head: &str| read(head, |request| request.is_ok());
        assert!(is_good("GET / HTTP/1.0\r\n\r\n"));
        assert!(!is_good("GET / HTTP/1.1\r\n\r\n"));
        assert!(!is_good("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"));
        assert!(!is_good("GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n"));
    }
}
