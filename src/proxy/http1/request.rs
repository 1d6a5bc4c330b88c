//! A request, from what the client sent to what the server gets.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;

use arrayvec::ArrayString;

use super::bytes::is_token_byte;
use super::fields::{Field, Identity, Options, classify, is_odd};
use super::framing::{self, Length};
use super::lines::{Passing, copy, place, put_number};
use super::parse::{Line, RequestHead, Version};
use super::target::Target;
use crate::model::{Changes, Exchange, Head, LineName};
use crate::proxy::error::Error;
use crate::proxy::forwarded::{Forwarder, port_of};

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

/// How a request goes on, and who sent it.
pub(super) struct Hop<'a> {
    pub(super) forwarder: &'a Forwarder,
    pub(super) client: &'a Address,
    /// What the server is to take for its host.
    pub(super) host: &'a str,
}

/// A client's address, written once for all its requests.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// What a server is told of a client that is not trusted to tell it itself: the address stands in its first line.
    lines: Box<str>,
    text_end: u8,
    is_trusted: bool,
}

/// The longest text of an address: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const ADDRESS_BYTES_MAX: usize = 45;

/// What stands before the address.
const BEFORE_ADDRESS: &str = "X-Forwarded-For: ";

impl Address {
    pub(super) fn new(ip: IpAddr, forwarder: &Forwarder) -> Self {
        let mut text = ArrayString::<ADDRESS_BYTES_MAX>::new();
        write!(text, "{ip}").expect("the longest address has room");
        // Joined by `concat`, which makes room once, and as much as is needed.
        let lines = [BEFORE_ADDRESS, &text, "\r\nX-Real-Ip: ", &text, &forwarder.lines].concat();
        let (lines, text_end) = (lines.into(), (BEFORE_ADDRESS.len() + text.len()) as u8);
        Self { lines, text_end, is_trusted: forwarder.trusts(ip) }
    }

    fn text(&self) -> &str {
        self.lines.get(BEFORE_ADDRESS.len()..self.text_end.into()).unwrap_or_default()
    }

    /// Whether what the client says of itself is believed.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted
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

    /// Writes the head for a server.
    pub(super) fn write(&self, exchange: &Exchange<'_>, hop: &Hop<'_>, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        if let Some(line) = self.line_as_it_was(exchange) {
            put(line);
        } else {
            put(self.method.as_bytes());
            put(b" ");
            put(exchange.path.as_bytes());
            match exchange.changes().and_then(|changes| changes.query.as_deref()) {
                None => put(self.target.query().as_bytes()),
                Some("") => {}
                Some(query) => {
                    put(b"?");
                    put(query.as_bytes());
                }
            }
            put(b" HTTP/1.1\r\n");
        }
        put(b"Host: ");
        put(hop.host.as_bytes());
        put(b"\r\n");
        let is_trusted = hop.client.is_trusted;
        let mut told = Told::default();
        let mut passing = self.passing;
        if is_trusted {
            for (index, line) in self.lines.iter().enumerate() {
                // It has not looked at what only some servers take for one of these: its own client wrote that.
                if let Field::Identity(identity) = line.field
                    && !is_odd(line.name())
                {
                    told.add(identity);
                    passing.add(index);
                }
            }
        }
        let changes = exchange.changes();
        let has_own_identity = changes.is_some_and(|changes| self.leave_out(changes, &mut passing));
        // A request's lines stand as they should, or it was refused.
        copy(self.head, self.lines, true, &passing, out);
        let identity_start = out.len();
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        if is_trusted {
            self.put_identity(&told, hop, &mut put);
        } else {
            put(hop.client.lines.as_bytes());
        }
        let authority = self.target.authority;
        if !told.has(Identity::Host) && !authority.is_empty() {
            put(b"\r\nX-Forwarded-Host: ");
            put(authority.as_bytes());
        }
        if !told.has(Identity::Port) {
            put(b"\r\nX-Forwarded-Port: ");
            put(port_of(authority, is_trusted && self.came_by_tls()).as_bytes());
        }
        if let Some(changes) = changes {
            if has_own_identity {
                without(changes, identity_start, out);
            }
            for (name, value) in &changes.added {
                put_line(name, value, out);
            }
        }
        if let Some(left) = self.forwards_left {
            out.extend_from_slice(b"\r\nMax-Forwards: ");
            put_number(left, out);
        }
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        match self.upgrade {
            Some(offered) => {
                // Where it does not change the protocol, it must not look for a request in the body. Others are asked as usual: some
                // compare the whole line.
                let has_body = !matches!(self.facts.length, Length::None | Length::Known(0));
                put(b"\r\nConnection: upgrade");
                put(if has_body { b", close" } else { b"" });
                put(b"\r\nUpgrade: ");
                for (index, protocol) in protocols(offered).enumerate() {
                    put(if index == 0 { b"" } else { b", " });
                    put(protocol);
                }
            }
            None => match (self.wants_trailers, self.facts.is_last) {
                (false, false) => {}
                (true, false) => put(b"\r\nConnection: te\r\nTE: trailers"),
                (false, true) => put(b"\r\nConnection: close"),
                (true, true) => put(b"\r\nConnection: close, te\r\nTE: trailers"),
            },
        }
        match self.facts.length {
            Length::Known(length) => {
                put(b"\r\nContent-Length: ");
                put_number(length, out);
                out.extend_from_slice(b"\r\n\r\n");
            }
            Length::Chunked => put(b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Length::None | Length::ToClose => put(b"\r\n\r\n"),
        }
    }
}

impl Request<'_, '_> {
    /// Takes out the lines that a step removed. Tells whether any of our own may be among them.
    fn leave_out(&self, changes: &Changes, passing: &mut Passing) -> bool {
        if changes.removed.is_empty() {
            return false;
        }
        for (index, line) in self.lines.iter().enumerate() {
            if changes.is_removed(line.name_text()) {
                passing.remove(index);
            }
        }
        let is_own = |name: &LineName| {
            matches!(classify(name.as_bytes()), Field::ForwardedFor | Field::Identity(_))
        };
        changes.removed.iter().any(is_own)
    }

    /// The first line, where we would write the very same: one copy instead of five.
    fn line_as_it_was(&self, exchange: &Exchange<'_>) -> Option<&[u8]> {
        const END: &[u8] = b" HTTP/1.1\r\n";
        let start = self.method.len() + 1;
        let line = self.head.get(..start + self.target.path_and_query.len() + END.len())?;
        // A path that lies where the target begins is the target's own.
        let has_query = exchange.changes().is_some_and(|changes| changes.query.is_some());
        let is_same = !has_query
            && matches!(&exchange.path, Cow::Borrowed(path)
            if std::ptr::eq(path.as_ptr(), line[start..].as_ptr()) && path.len() == self.target.path().len());
        (is_same && line[start - 1] == b' ' && line.ends_with(END)).then_some(line)
    }

    /// Whether its client, which is trusted, says that its own client came by TLS.
    fn came_by_tls(&self) -> bool {
        let proto = self.lines.header("x-forwarded-proto");
        proto.is_some_and(|proto| {
            [&b"https"[..], b"wss"].iter().any(|tls| proto.eq_ignore_ascii_case(tls))
        })
    }

    /// What a trusted client has not told itself.
    fn put_identity(&self, told: &Told, hop: &Hop<'_>, put: &mut impl FnMut(&[u8])) {
        let ip = hop.client.text();
        put(b"X-Forwarded-For: ");
        for line in self.lines {
            if line.field == Field::ForwardedFor && !is_odd(line.name()) {
                put(line.value);
                put(b", ");
            }
        }
        put(ip.as_bytes());
        if !told.has(Identity::RealIp) {
            put(b"\r\nX-Real-Ip: ");
            put(ip.as_bytes());
        }
        if !told.has(Identity::Proto) {
            put(b"\r\nX-Forwarded-Proto: http");
        }
        if !told.has(Identity::Server) {
            put(b"\r\nX-Forwarded-Server: ");
            put(hop.forwarder.server_name().as_bytes());
        }
    }
}

/// Takes out of our own lines, which begin at `start` of `out` and have no line end after the last one, those that a step
/// removed.
fn without(changes: &Changes, start: usize, out: &mut Vec<u8>) {
    let own = out.split_off(start);
    let text = String::from_utf8_lossy(&own);
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    let kept = lines
        .filter(|line| !line.split_once(':').is_some_and(|(name, _)| changes.is_removed(name)));
    // The lines before ours end with CR LF.
    out.truncate(out.strip_suffix(b"\r\n").map_or(out.len(), <[u8]>::len));
    for line in kept {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(line.as_bytes());
    }
}

/// Writes the end of the line before, and a line. What could end the line early is left out: it came from a label or an
/// answer of another server.
fn put_line(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
}

/// What a trusted client has told itself.
#[derive(Default)]
struct Told([bool; 6]);

impl Told {
    fn add(&mut self, identity: Identity) {
        self.0[identity as usize] = true;
    }

    fn has(&self, identity: Identity) -> bool {
        self.0[identity as usize]
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

    fn read<T>(head: &str, then: impl FnOnce(Result<Request<'_, '_>, Error>) -> T) -> T {
        let mut lines = Lines::new();
        then(request(head.as_bytes(), &mut lines, 99).and_then(Request::read))
    }

    /// The head a server gets for these lines.
    fn sent(lines: &str, trusted: &str) -> String {
        let head = format!("GET /api/x?q HTTP/1.1\r\nHost: a.test:81\r\n{lines}\r\n");
        let forwarder = Forwarder::new(vec![trusted.parse().expect("a network")], "herder-1");
        read(&head, |request| {
            let request = request.expect("a good head");
            let mut exchange = Exchange::new(
                "http",
                "GET",
                request.target.authority,
                request.target.path(),
                &request.lines,
            );
            exchange.change().added.push(("X-Forwarded-Prefix".into(), "/api".to_owned()));
            exchange.replace_path("/x".to_owned());
            let client = Address::new("10.0.0.9".parse().expect("an address"), &forwarder);
            let hop = Hop { forwarder: &forwarder, client: &client, host: "a.test:81" };
            let mut out = Vec::new();
            request.write(&exchange, &hop, &mut out);
            String::from_utf8(out).expect("plain text")
        })
    }

    /// Traefik and HAProxy pass such names on, and write their own ones beside them.
    #[test]
    fn what_only_some_servers_take_for_an_identity_is_no_word_of_a_trusted_proxy() {
        let odd = "X_Forwarded_For: 6.6.6.6\r\nX_Real_Ip: 6.6.6.6\r\nX-Forwarded_Proto: https\r\n";
        let told = "X-Forwarded-For: 1.1.1.1\r\nX-Real-Ip: 1.1.1.1\r\n";
        let head = sent(&format!("{odd}{told}"), "10.0.0.0/8");
        assert!(!head.contains("6.6.6.6") && !head.contains("https"), "{head}");
        assert!(head.contains("\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n"), "{head}");
        assert!(head.contains("\r\nX-Real-Ip: 1.1.1.1\r\n"), "{head}");
        assert!(head.contains("\r\nX-Forwarded-Proto: http\r\n"), "{head}");
    }

    #[test]
    fn a_step_may_take_away_and_put_lines_and_another_query() {
        let head =
            "GET /x?q HTTP/1.1\r\nHost: a.test\r\nCookie: a\r\nA: b\r\nauthorization: x\r\n\r\n";
        let forwarder = Forwarder::new(Vec::new(), "herder-1");
        read(head, |request| {
            let request = request.expect("a good head");
            let mut exchange = Exchange::new("http", "GET", "a.test", "/x?q", &request.lines);
            exchange.change().remove_line("Authorization");
            exchange.change().set_line("X-Forwarded-Proto", "https");
            exchange.change().set_line("cookie", "b\r\nEvil: 1");
            exchange.change().query = Some("r=1".to_owned());
            let client = Address::new("10.0.0.9".parse().expect("an address"), &forwarder);
            let hop = Hop { forwarder: &forwarder, client: &client, host: "a.test" };
            let mut out = Vec::new();
            request.write(&exchange, &hop, &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                "GET /x?r=1 HTTP/1.1\r\nHost: a.test\r\nA: b\r\nX-Forwarded-For: 10.0.0.9\r\n\
                 X-Real-Ip: 10.0.0.9\r\nX-Forwarded-Server: herder-1\r\nX-Forwarded-Host: a.test\r\n\
                 X-Forwarded-Port: 80\r\nX-Forwarded-Proto: https\r\ncookie: bEvil: 1\r\n\r\n"
            );
        });
    }

    const OURS: &str = "X-Forwarded-For: 10.0.0.9\r\nX-Real-Ip: 10.0.0.9\r\n\
        X-Forwarded-Proto: http\r\nX-Forwarded-Server: herder-1\r\n\
        X-Forwarded-Host: a.test:81\r\nX-Forwarded-Port: 81\r\nX-Forwarded-Prefix: /api\r\n";

    #[test]
    fn a_client_cannot_say_who_it_is() {
        let lines = "X-Forwarded-For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
                     X-Forwarded-Prefix: /evil\r\nX-Replaced-Path: /evil\r\nX_Replaced_Path: /evil\r\n\
                     A: b\r\n";
        let expected = format!("GET /x?q HTTP/1.1\r\nHost: a.test:81\r\nA: b\r\n{OURS}\r\n");
        assert_eq!(sent(lines, "192.168.0.0/16"), expected);
    }

    #[test]
    fn a_trusted_one_can() {
        let lines = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\
                     X-Forwarded-For: 2.2.2.2\r\nX-Real-Ip: 1.1.1.1\r\n";
        let sent = sent(lines, "10.0.0.0/8");
        for line in [
            "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9",
            "X-Forwarded-Proto: https",
            "X-Real-Ip: 1.1.1.1",
            "X-Forwarded-Host: a.test:81",
            "X-Forwarded-Port: 81",
        ] {
            assert_eq!(sent.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in\n{sent}");
        }
        assert_eq!(sent.matches("X-Forwarded-Proto").count(), 1);
    }

    #[test]
    fn the_port_is_that_of_what_a_trusted_client_was_asked_by() {
        for (host, proto, port) in [
            ("a.test", "https", "443"),
            ("a.test", "wss", "443"),
            ("a.test", "http", "80"),
            ("a.test:81", "https", "81"),
        ] {
            for (trusted, port) in [("10.0.0.0/8", port), ("192.168.0.0/16", port_of(host, false))]
            {
                let head =
                    format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
                let forwarder =
                    Forwarder::new(vec![trusted.parse().expect("a network")], "herder-1");
                read(&head, |request| {
                    let request = request.expect("a good head");
                    let exchange = Exchange::new("http", "GET", host, "/", &request.lines);
                    let client = Address::new("10.0.0.9".parse().expect("an address"), &forwarder);
                    let mut out = Vec::new();
                    request.write(
                        &exchange,
                        &Hop { forwarder: &forwarder, client: &client, host },
                        &mut out,
                    );
                    let line = format!("\r\nX-Forwarded-Port: {port}\r\n");
                    assert!(String::from_utf8_lossy(&out).contains(&line), "{head} {trusted}");
                });
            }
        }
    }

    #[test]
    fn who_speaks_http_1_0_expects_nothing() {
        for (version, is_there) in [("1.1", true), ("1.0", false)] {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
            let forwarder = Forwarder::new(Vec::new(), "herder-1");
            read(&head, |request| {
                let request = request.expect("a good head");
                assert_eq!(request.facts.expects, is_there);
                let exchange = Exchange::new("http", "GET", "a", "/", &request.lines);
                let client = Address::new("10.0.0.9".parse().expect("an address"), &forwarder);
                let hop = Hop { forwarder: &forwarder, client: &client, host: "a" };
                let mut out = Vec::new();
                request.write(&exchange, &hop, &mut out);
                assert_eq!(String::from_utf8_lossy(&out).contains("\r\nExpect: "), is_there);
            });
        }
    }

    #[test]
    fn what_belongs_to_one_connection_ends_here() {
        let lines = "Connection: close, X-Secret, Cookie\r\nX-Secret: 1\r\nCookie: a=b\r\n\
                     Keep-Alive: 5\r\nProxy-Authorization: x\r\nTE: trailers, gzip\r\n\
                     Upgrade: websocket\r\n";
        let expected = format!(
            "GET /x?q HTTP/1.1\r\nHost: a.test:81\r\nCookie: a=b\r\n{OURS}\
             Connection: te\r\nTE: trailers\r\n\r\n"
        );
        assert_eq!(sent(lines, "192.168.0.0/16"), expected);
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
        let sent = sent("Connection: upgrade\r\nUpgrade: h2c,websocket,, b\r\n", "192.168.0.0/16");
        assert!(sent.contains("\r\nConnection: upgrade\r\nUpgrade: websocket, b\r\n"), "{sent}");
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
