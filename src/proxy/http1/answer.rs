//! An answer, from what the server sent to what the client gets.

use std::io::Write as _;

use super::fields::{Field, Options, classify};
use super::framing::{self, Answered, Length, Repeats};
use super::lines::{Passing, copy, put_number};
use super::own;
use super::parse::{AnswerHead, Line, Version};
use super::relay::{Relay, Sink};
use super::request::{Facts, parts, protocols};
use crate::model::{Encoding, Follower, LineName, LineOwner, Response};
use crate::proxy::clock::Clock;
use crate::proxy::error::Error;
use crate::proxy::upstream::Reuse;

/// An answer whose head was read and means one thing.
#[derive(Debug)]
pub(super) struct Answer<'h, 's> {
    head: &'h [u8],
    pub(super) status: u16,
    reason: &'h [u8],
    pub(super) lines: &'s [Line<'h>],
    is_tidy: bool,
    passing: Passing,
    body: Answered,
    /// The protocol it changes to, or those that it wants to be asked by (426).
    upgrade: Option<&'h [u8]>,
    has_date: bool,
    /// Whether its length passes in the server's own words.
    has_length: bool,
    /// Whether the server keeps the connection open after it.
    is_kept_alive: bool,
    /// Whether `Connection` takes lines away, which may stand behind the body, too.
    takes_away: bool,
}

/// How an answer goes to its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// The client may send another request.
    KeepAlive,
    /// The connection ends with this answer.
    Close,
}

impl<'h, 's> Answer<'h, 's> {
    /// Reads what a head means, as an answer to this request.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] where two readers could understand it in two ways.
    pub(super) fn read(head: AnswerHead<'h, 's>, facts: &Facts) -> Result<Self, Error> {
        let AnswerHead { bytes, status, reason, version, lines, is_tidy } = head;
        let mut passing = Passing::all();
        let mut framed = framing::Lines::default();
        let mut options = Options::default();
        let (mut upgrade, mut has_date) = (None, false);
        let mut length = None;
        for (index, line) in lines.iter().enumerate() {
            let field = line.field;
            match field {
                Field::Plain
                | Field::Disguise
                | Field::Identity(_)
                | Field::ForwardedFor
                | Field::Host
                | Field::MaxForwards
                | Field::Expect => continue,
                Field::Date => {
                    has_date = true;
                    continue;
                }
                Field::Connection if !options.read(line.value) => {
                    return Err(Error::BadAnswer("its Connection names too many lines"));
                }
                Field::Upgrade => upgrade = Some(line.value),
                _ => {
                    if field == Field::ContentLength {
                        length = length.or(Some(index));
                    }
                    framed.read(field, line.value, Repeats::Same);
                }
            }
            passing.remove(index);
        }
        options.take_away(lines, &mut passing);
        let body = framing::of_answer(&framed, status, version, facts.is_head)?;
        // One plain number means the same wherever it stands.
        let is_told = matches!(body.length, Length::Known(_)) || body.told.is_some();
        let length = length.filter(|&index| is_told && !lines[index].value.starts_with(b"0"));
        if let Some(index) = length {
            passing.add(index);
        }
        let has_length = length.is_some();
        let is_kept_alive = match version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        let upgrade = upgrade.filter(|_| matches!(status, 101 | 426));
        let head = bytes;
        Ok(Self {
            head,
            status,
            reason,
            lines,
            is_tidy,
            passing,
            body,
            upgrade,
            has_date,
            has_length,
            is_kept_alive,
            takes_away: options.takes_away(),
        })
    }

    /// Has another status, where there is one: it is a page in the place of an error.
    pub(super) fn show_as(&mut self, status: Option<u16>) {
        if let Some(status) = status.filter(|&status| status != self.status) {
            (self.status, self.reason) = (status, own::reason(status).as_bytes());
        }
    }

    /// Whether it is one of those that come before the answer proper (RFC 9110, section 15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether the server's connection can be used again once the body has ended.
    pub(super) fn reuse(&self) -> Reuse {
        if self.is_kept_alive { self.body.reuse } else { Reuse::Never }
    }

    /// How long its body is.
    #[cfg(any(test, fuzzing))]
    pub(super) fn length(&self) -> Length {
        self.body.length
    }

    /// What becomes of the client's connection: a client of HTTP/1.0 knows the end of a body without a length by it.
    pub(super) fn then(&self, facts: &Facts, edits: Option<&Edits>) -> Then {
        let is_encoded = edits.is_some_and(|edits| edits.encoding.is_some());
        let has_end = match self.body.length {
            Length::None => true,
            Length::Known(_) if !is_encoded => true,
            Length::Known(_) => facts.version == Version::Http11,
            Length::Chunked | Length::ToClose => facts.version == Version::Http11,
        };
        if facts.is_kept_alive && has_end { Then::KeepAlive } else { Then::Close }
    }

    /// Writes the head for the client, and tells how its body goes on.
    pub(super) fn write(
        &self,
        facts: &Facts,
        then: Then,
        cookie: Option<&str>,
        edits: Option<&Edits>,
        clock: &Clock,
        out: &mut Vec<u8>,
    ) -> Relay {
        let mut passing = self.passing;
        let encoding = edits.and_then(|edits| edits.encoding);
        let (mut has_length, mut hides_length) = (self.has_length, false);
        if let Some(edits) = edits {
            // What frames a body is not a step's to take away.
            let is_framing = matches!(self.body.length, Length::Known(_));
            hides_length = encoding.is_some() || (!is_framing && edits.removes("content-length"));
            for (index, line) in self.lines.iter().enumerate() {
                let is_length = line.field == Field::ContentLength;
                if if is_length { hides_length } else { edits.removes(line.name_text()) } {
                    passing.remove(index);
                }
            }
            has_length &= !hides_length;
        }
        self.write_lines(&passing, out);
        for (name, value) in edits.iter().flat_map(|edits| &edits.added) {
            put_line(name, value, out);
        }
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        if !self.has_date {
            // RFC 9110, section 6.6.1: whoever passes an answer on adds what is missing.
            put(b"Date: ");
            clock.write_date(out);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(cookie) = cookie {
            write!(out, "Set-Cookie: {cookie}\r\n").expect("a Vec takes everything");
        }
        let is_new = facts.version == Version::Http11;
        let sink = match self.body.length {
            Length::Known(_) | Length::Chunked | Length::ToClose
                if is_new && encoding.is_some() =>
            {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                Sink::Chunked
            }
            Length::Known(_) if encoding.is_some() => Sink::Plain,
            Length::Known(length) => {
                if !has_length {
                    put_length(length, out);
                }
                Sink::Plain
            }
            Length::None => {
                // How long an encoded body would be is not known before it is encoded.
                if let Some(told) = self.body.told.filter(|_| !has_length && !hides_length) {
                    put_length(told, out);
                }
                Sink::Plain
            }
            Length::Chunked | Length::ToClose if is_new => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                Sink::Chunked
            }
            Length::Chunked | Length::ToClose => Sink::Plain,
        };
        if let Some(protocols) = self.upgrade {
            // RFC 9110, section 15.5.22.
            for part in [b"Upgrade: ", protocols, b"\r\nConnection: upgrade\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(match then {
            Then::Close => b"Connection: close\r\n\r\n",
            Then::KeepAlive if is_new => b"\r\n",
            Then::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        });
        let relay = Relay::new(self.body.length, sink).of_server().encoded(encoding);
        // What may not stand in the head may not come behind the body either.
        match edits {
            _ if self.takes_away => relay,
            Some(edits) => relay.with_trailers(&edits.removed),
            None => relay.with_trailers(&[]),
        }
    }

    /// Writes an interim answer. `hints_alone`: the steps of the chain, which see the head of the answer proper, might take lines
    /// away: only `Link` (RFC 8297) passes.
    pub(super) fn write_interim(&self, facts: &Facts, hints_alone: bool, out: &mut Vec<u8>) {
        if facts.version == Version::Http11 {
            let mut passing = self.passing;
            let others = self.lines.iter().enumerate().filter(|(_, line)| !line.is("link"));
            if hints_alone {
                others.for_each(|(index, _)| passing.remove(index));
            }
            self.write_lines(&passing, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// What the protocol changes to, if it is one of those that were offered.
    ///
    /// # Errors
    /// [`Error::BadAnswer`] for a change that nobody asked for.
    pub(super) fn switched_to(&self, offered: &[u8]) -> Result<&'h [u8], Error> {
        // It may be one above the other (RFC 9110, section 7.8).
        let is_offered =
            |told: &[u8]| protocols(offered).any(|offered| offered.eq_ignore_ascii_case(told));
        let is_asked_for = |told: &&[u8]| {
            let mut told = parts(told).filter(|name| !name.is_empty()).peekable();
            told.peek().is_some() && told.all(is_offered)
        };
        let unasked = Error::BadAnswer("it changed the protocol unasked");
        self.upgrade.filter(is_asked_for).ok_or(unasked)
    }

    /// Writes the answer that changes the protocol to this one. What follows it is no body, and never encoded.
    pub(super) fn write_switch(
        &self,
        protocol: &[u8],
        cookie: Option<&str>,
        edits: Option<&Edits>,
        out: &mut Vec<u8>,
    ) {
        let mut passing = self.passing;
        if let Some(edits) = edits {
            let lines = self.lines.iter().enumerate();
            let removed = lines.filter(|(_, line)| edits.removes(line.name_text()));
            removed.for_each(|(index, _)| passing.remove(index));
        }
        self.write_lines(&passing, out);
        let added = edits.iter().flat_map(|edits| &edits.added);
        added.for_each(|(name, value)| put_line(name, value, out));
        if let Some(cookie) = cookie {
            put_line("Set-Cookie", cookie, out);
        }
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// The first line, and those that pass as they are.
    fn write_lines(&self, passing: &Passing, out: &mut Vec<u8>) {
        if let Some(line) = self.line_as_it_was() {
            out.extend_from_slice(line);
        } else {
            let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
            put(b"HTTP/1.1 ");
            // A status has three digits.
            put(&[100, 10, 1].map(|place| b'0' + (self.status / place % 10) as u8));
            put(b" ");
            put(self.reason);
            put(b"\r\n");
        }
        copy(self.head, self.lines, self.is_tidy, passing, out);
    }
}

/// What the steps of a chain make of the head of an answer.
#[derive(Debug, Default)]
pub(super) struct Edits {
    added: Vec<(LineName, String)>,
    removed: Vec<LineName>,
    encoding: Option<Encoding>,
}

impl Edits {
    /// Shows a response to all who follow the exchange, the last one first, and takes what they made of it.
    pub(super) fn of(mut response: Response<'_>, followers: &mut [Box<dyn Follower>]) -> Self {
        for follower in followers.iter_mut().rev() {
            follower.on_response(&mut response);
        }
        let Response { added, removed, encoding, .. } = response;
        // What frames a message or belongs to one connection is ours alone.
        let is_ours = |(name, _): &(LineName, String)| {
            LineOwner::ends_here(name) || classify(name.as_bytes()) == Field::Disguise
        };
        let added = added.into_iter().filter(|line| !is_ours(line)).collect();
        Self { added, removed, encoding }
    }

    /// The lines that are added and those that are left out.
    pub(super) fn lines(&self) -> (&[(LineName, String)], &[LineName]) {
        (&self.added, &self.removed)
    }

    fn removes(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }

    /// Writes what is to be added to one of our own answers, and what that one has itself, where it is not removed.
    pub(super) fn write_own<'l>(
        &self,
        own: impl Iterator<Item = (&'l str, &'l str)>,
        out: &mut Vec<u8>,
    ) {
        own.filter(|(name, _)| !self.removes(name))
            .for_each(|(name, value)| put_line(name, value, out));
        self.added.iter().for_each(|(name, value)| put_line(name, value, out));
    }
}

/// Writes a line. What could end it early is left out: it may have come from a label.
fn put_line(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    out.extend_from_slice(b"\r\n");
}

impl<'h> Answer<'h, '_> {
    /// The first line, where we would write the very same: one copy instead of five.
    fn line_as_it_was(&self) -> Option<&'h [u8]> {
        const REASON: usize = "HTTP/1.1 200 ".len();
        let line = self.head.get(..REASON + self.reason.len() + 2)?;
        let is_same = line.starts_with(b"HTTP/1.1 ")
            && line[REASON - 1] == b' '
            && std::ptr::eq(self.reason.as_ptr(), line[REASON..].as_ptr())
            && line.ends_with(b"\r\n");
        is_same.then_some(line)
    }
}

fn put_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    put_number(length, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::parse::{Lines, answer};

    fn facts(version: Version, is_head: bool) -> Facts {
        Facts {
            version,
            length: Length::None,
            is_head,
            is_idempotent: true,
            is_kept_alive: true,
            upgrade: None,
            expects: false,
            is_last: false,
        }
    }

    /// The head a client gets, without the date.
    fn sent(head: &str, facts: &Facts) -> Result<String, Error> {
        let mut lines = Lines::new();
        let answer = Answer::read(answer(head.as_bytes(), &mut lines, 9)?.expect("whole"), facts)?;
        let mut out = Vec::new();
        answer.write(
            facts,
            answer.then(facts, None),
            None,
            None,
            &Clock::start(std::time::Instant::now()),
            &mut out,
        );
        let text = String::from_utf8(out).expect("plain text");
        let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
        Ok(lines.collect())
    }

    #[track_caller]
    fn check(head: &str, facts: &Facts, expected: &str) {
        assert_eq!(sent(head, facts).as_deref(), Ok(expected), "{head:?}");
    }

    #[test]
    fn the_client_learns_where_the_body_ends() {
        let (new, old) = (facts(Version::Http11, false), facts(Version::Http10, false));
        let known = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        check(known, &new, known);
        check(
            known,
            &old,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(chunked, &new, chunked);
        check(chunked, &old, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        check("HTTP/1.0 200 OK\r\n\r\n", &new, chunked);
        let head = facts(Version::Http11, true);
        check(known, &head, known);
        check(chunked, &head, "HTTP/1.1 200 OK\r\n\r\n");
        check("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", &new, "HTTP/1.1 204 No\r\n\r\n");
    }

    #[test]
    fn what_belongs_to_one_connection_ends_here() {
        check(
            "HTTP/1.1 200\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nA: b\r\n\
             Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
            &facts(Version::Http11, false),
            "HTTP/1.1 200 \r\nA: b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        );
    }

    #[test]
    fn a_protocol_is_not_changed_unasked() {
        let facts = facts(Version::Http11, false);
        let write = |offered: &str, told: &str| {
            let head = format!("HTTP/1.1 101 Go\r\n{told}Connection: upgrade\r\n\r\n");
            let mut lines = Lines::new();
            let head = answer(head.as_bytes(), &mut lines, 9)?.expect("whole");
            let mut out = Vec::new();
            let answer = Answer::read(head, &facts)?;
            let protocol = answer.switched_to(offered.as_bytes())?;
            answer.write_switch(protocol, None, None, &mut out);
            Ok::<_, Error>(String::from_utf8(out).expect("ASCII"))
        };
        let expected = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let websocket = "Upgrade: websocket\r\n";
        for offered in ["websocket", "WebSocket", "a, ,websocket"] {
            assert_eq!(write(offered, websocket).expect("offered"), expected);
        }
        let layers = write("IRC/6.9, RTA/x11", "Upgrade: irc/6.9,RTA/x11\r\n").expect("offered");
        assert!(layers.contains("\r\nUpgrade: irc/6.9,RTA/x11\r\n"), "{layers}");
        for (asked, told) in [
            ("h2c, websocket", "Upgrade: h2c, websocket\r\n"),
            ("websocket", "Upgrade: ,\r\n"),
            ("", websocket),
            ("websocket", "Upgrade: h2c\r\n"),
            ("websocket", "Upgrade: websocket, h2c\r\n"),
            ("websocket, a", "Upgrade: b\r\n"),
            ("websocket", ""),
            ("websocket", "Upgrade:\r\n"),
        ] {
            assert!(write(asked, told).is_err(), "{asked:?} {told:?}");
        }
    }
}
