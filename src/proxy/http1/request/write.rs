//! The head that a server gets for a request.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use arrayvec::ArrayString;

use super::super::fields::{Field, Identity, classify, is_odd};
use super::super::framing::Length;
use super::super::lines::{Passing, copy, put_number};
use super::{Request, protocols};
use crate::model::{Changes, Exchange, Head, LineName};
use crate::proxy::forwarded::{Forwarder, port_of};

/// How a request goes on, and who sent it.
pub(in crate::proxy::http1) struct Hop<'a> {
    pub(in crate::proxy::http1) forwarder: &'a Forwarder,
    pub(in crate::proxy::http1) client: &'a Address,
    /// What the server is to take for its host.
    pub(in crate::proxy::http1) host: &'a str,
}

/// A client's address, written once for all its requests.
#[derive(Clone, Debug)]
pub(in crate::proxy::http1) struct Address {
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
    pub(in crate::proxy::http1) fn new(ip: IpAddr, forwarder: &Forwarder) -> Self {
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
    pub(in crate::proxy::http1) fn is_trusted(&self) -> bool {
        self.is_trusted
    }
}

impl Request<'_, '_> {
    /// Writes the head for a server.
    pub(in crate::proxy::http1) fn write(
        &self,
        exchange: &Exchange<'_>,
        hop: &Hop<'_>,
        out: &mut Vec<u8>,
    ) {
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
                // Where it does not change the protocol, it must not look for a request in the body.
                let has_body = !matches!(self.facts.length, Length::None | Length::Known(0));
                put(if has_body { CLOSE } else { b"" });
                put(b"\r\nConnection: upgrade\r\nUpgrade: ");
                for (index, protocol) in protocols(offered).enumerate() {
                    put(if index == 0 { b"" } else { b", " });
                    put(protocol);
                }
            }
            None => {
                put(if self.facts.is_last { CLOSE } else { b"" });
                put(if self.wants_trailers { b"\r\nConnection: te\r\nTE: trailers" } else { b"" });
            }
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

/// Says that no request follows. A line of its own, before any other of its name: Python's `http.server` reads the first one, and
/// compares it whole.
const CLOSE: &[u8] = b"\r\nConnection: close";

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

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

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

    /// Some servers read the first `Connection` line alone, and compare it whole.
    #[test]
    fn that_no_request_follows_is_a_line_of_its_own_and_the_first() {
        for (lines, others) in [
            ("", ""),
            ("Connection: te\r\nTE: trailers\r\n", "Connection: te\r\nTE: trailers\r\n"),
            ("Connection: upgrade\r\nUpgrade: tcp\r\n", "Connection: upgrade\r\nUpgrade: tcp\r\n"),
        ] {
            let sent = sent(&format!("{lines}Content-Length: 5\r\n"), "192.168.0.0/16");
            let expected = format!("\r\nConnection: close\r\n{others}Content-Length: 5\r\n");
            assert!(sent.contains(&expected), "{sent}");
        }
    }

    #[test]
    fn what_would_be_http_again_is_not_offered() {
        let sent = sent("Connection: upgrade\r\nUpgrade: h2c,websocket,, b\r\n", "192.168.0.0/16");
        assert!(sent.contains("\r\nConnection: upgrade\r\nUpgrade: websocket, b\r\n"), "{sent}");
    }
}
