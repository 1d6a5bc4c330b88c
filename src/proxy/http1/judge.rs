//! What the engine makes of any bytes, without sockets, held against laws that no input may break. The properties beside
//! it and the fuzzer (`fuzz/`) call it.
//!
//! The laws: where the bytes are cut does not matter; what goes to the other side means the same when it is read again,
//! by the engine and by a simple reader of another make; nothing panics.

use std::net::IpAddr;

use super::answer::{Answer, Edits};
use super::framing::Length;
use super::head::{Scan, Side};
use super::own;
use super::parse::{self, LINES_MAX, Lines, Version};
use super::relay::{Relay, Sink};
use super::request::{Address, Facts, Hop, Request};
use crate::model::{Encoding, Exchange, Follower, Response};
use crate::proxy::clock::Clock;
use crate::proxy::error::Error;
use crate::proxy::forwarded::Forwarder;
use crate::proxy::upstream::Reuse;

/// One message on its way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Message {
    /// Its head, as the other side gets it.
    head: Vec<u8>,
    /// Its body, as the other side gets it.
    framed: Vec<u8>,
    /// Its body alone.
    body: Vec<u8>,
    is_whole: bool,
}

/// What was made of some bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    /// The status of the refusal that ended the connection.
    refused: Option<u16>,
}

impl Outcome {
    /// Without what depends on the cuts: the sizes of the chunks.
    fn meaning(&self) -> Vec<(&[u8], &[u8], bool)> {
        self.messages.iter().map(|m| (&*m.head, &*m.body, m.is_whole)).collect()
    }

    fn sent(&self) -> Vec<u8> {
        self.messages.iter().flat_map(|m| [&*m.head, &*m.framed].concat()).collect()
    }
}

/// How one side's bytes are read.
trait Reads {
    const FROM: Side;

    /// Writes a head for the other side, and tells how long it was, how its body goes on and whether another message may follow.
    fn head(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Length, Relay, bool), Error>;
}

#[derive(Clone, Copy)]
struct FromClient {
    /// Whether steps of a chain put lines and take them away.
    is_changed: bool,
    /// Whether the client is believed who it says it is.
    is_trusted: bool,
    /// Whether it is read on behind a request that is to be the last one: a server may.
    reads_on: bool,
}

/// The clock is one for all reads of a case: an answer without `Date` gets the time of day.
struct FromServer {
    facts: Facts,
    clock: Clock,
    /// What the steps of a chain make of the heads of answers.
    edits: Option<Edits>,
}

impl Reads for FromClient {
    const FROM: Side = Side::Client;

    fn head(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Length, Relay, bool), Error> {
        let mut lines = Lines::new();
        let request = Request::read(parse::request(bytes, &mut lines, LINES_MAX)?)?;
        let target = &request.target;
        let mut exchange = Exchange::new(
            "http",
            request.method,
            target.authority,
            &target.path_and_query,
            &request.lines,
        );
        if self.is_changed {
            let changes = exchange.change();
            changes.remove_line("X-A");
            changes.set_line("X-Forwarded-Proto", "https");
            changes.set_line("X-User", "me\r\nX-Forwarded-For: 6.6.6.6");
        }
        let trusted = self.is_trusted.then(|| IpAddr::from([127, 0, 0, 1]).into());
        let forwarder = Forwarder::new(trusted.into_iter().collect(), "judge");
        let client = Address::new([127, 0, 0, 1].into(), &forwarder);
        let hop = Hop { forwarder: &forwarder, client: &client, host: target.authority };
        request.write(&exchange, &hop, out);
        let length = request.facts.length;
        let sink = if length == Length::Chunked { Sink::Chunked } else { Sink::Plain };
        let is_kept_alive = self.reads_on || request.facts.is_kept_alive;
        Ok((request.head_len(), length, Relay::new(length, sink), is_kept_alive))
    }
}

impl Reads for FromServer {
    const FROM: Side = Side::Server;

    fn head(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Length, Relay, bool), Error> {
        let mut lines = Lines::new();
        let answer =
            parse::answer(bytes, &mut lines, LINES_MAX)?.ok_or(Error::BadAnswer("not whole"))?;
        assert_eq!(answer.bytes.len(), bytes.len(), "both find the same end");
        let answer = Answer::read(answer, &self.facts)?;
        if answer.is_interim() {
            match answer.status {
                101 => answer.write_switch(answer.switched_to(b"")?, None, None, out),
                _ => answer.write_interim(&self.facts, false, out),
            }
            let none = Relay::new(Length::None, Sink::Plain);
            return Ok((bytes.len(), Length::None, none, true));
        }
        let edits = self.edits.as_ref();
        let then = answer.then(&self.facts, edits);
        let relay = answer.write(&self.facts, then, None, edits, &self.clock, out);
        Ok((bytes.len(), answer.length(), relay, answer.reuse() != Reuse::Never))
    }
}

/// Reads a connection whose bytes come in these pieces.
fn read<'b, S: Reads>(side: &S, pieces: impl Iterator<Item = &'b [u8]>) -> Outcome {
    let (mut inbox, mut scan) = (Vec::new(), Scan::with_max(1_000));
    let mut outcome = Outcome::default();
    let mut under_way: Option<(Relay, Relay, bool)> = None;
    for piece in pieces {
        inbox.extend_from_slice(piece);
        loop {
            if let Some((relay, plain, goes_on)) = &mut under_way {
                let Some(message) = outcome.messages.last_mut() else { return outcome };
                let fed = relay.feed(&inbox, &mut message.framed);
                let read = plain.feed(&inbox, &mut message.body);
                assert_eq!(fed, read, "both read the same framing");
                let Ok(used) = fed else {
                    outcome.refused = Some(400);
                    return outcome;
                };
                inbox.drain(..used);
                if !relay.is_done() {
                    break;
                }
                message.is_whole = true;
                if !*goes_on {
                    return outcome;
                }
                under_way = None;
            }
            let span = match scan.advance(&inbox, S::FROM) {
                Ok(Some(span)) => span,
                Ok(None) => break,
                Err(error) => {
                    outcome.refused = Some(own::status(&error));
                    return outcome;
                }
            };
            let mut head = Vec::new();
            match side.head(&inbox[span.start..span.end], &mut head) {
                Ok((len, length, relay, goes_on)) => {
                    outcome.messages.push(Message { head, ..Message::default() });
                    let plain = Relay::new(length, Sink::Plain);
                    let plain = if S::FROM == Side::Server { plain.of_server() } else { plain };
                    under_way = Some((relay, plain, goes_on));
                    inbox.drain(..span.start + len);
                }
                Err(error) => {
                    outcome.refused = Some(own::status(&error));
                    return outcome;
                }
            }
            scan = Scan::with_max(1_000);
        }
    }
    outcome
}

/// Pieces that end at these places.
fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Holds a client's bytes against the laws.
///
/// # Panics
/// Where one is broken.
pub fn requests(bytes: &[u8], cuts: &[usize]) {
    for (is_changed, is_trusted) in [(false, false), (true, false), (false, true)] {
        requests_of(FromClient { is_changed, is_trusted, reads_on: false }, bytes, cuts);
    }
}

fn requests_of(side: FromClient, bytes: &[u8], cuts: &[usize]) {
    let whole = read(&side, std::iter::once(bytes));
    let pieces = read(&side, cut(bytes, cuts).into_iter());
    // What is refused depends on how much of a broken head has come; that it is refused does not.
    assert_eq!(whole.meaning(), pieces.meaning(), "the cuts matter");
    assert_eq!(whole.refused.is_some(), pieces.refused.is_some(), "the cuts matter");
    let sent = whole.sent();
    // As by a server that believes nobody: who believes us adds us to the way.
    let server = FromClient { is_trusted: false, reads_on: true, ..side };
    let again = read(&server, std::iter::once(&*sent));
    let bodies = |outcome: &Outcome| {
        outcome.messages.iter().map(|m| (m.framed.clone(), m.is_whole)).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&again), bodies(&whole), "what was sent means another thing");
    assert!(side.is_trusted || again.messages == whole.messages, "its head means another thing");
    assert_eq!(again.refused, None, "what was sent is refused");
    read_simply(&whole, side);
}

/// Holds a server's bytes against the laws, as answers to the same request again and again.
///
/// # Panics
/// Where one is broken.
pub fn answers(bytes: &[u8], cuts: &[usize], is_head: bool, is_old: bool) {
    let facts = Facts {
        version: if is_old { Version::Http10 } else { Version::Http11 },
        length: Length::None,
        is_head,
        is_idempotent: true,
        is_kept_alive: true,
        upgrade: None,
        expects: false,
        is_last: false,
    };
    let clock = Clock::start(std::time::Instant::now());
    let mut side = FromServer { facts, clock, edits: None };
    let whole = read(&side, std::iter::once(bytes));
    let pieces = read(&side, cut(bytes, cuts).into_iter());
    assert_eq!(whole.meaning(), pieces.meaning(), "the cuts matter");
    assert_eq!(whole.refused.is_some(), pieces.refused.is_some(), "the cuts matter");
    for message in &whole.messages {
        check_head(&message.head);
    }
    side.edits = Some(Edits::of(Response::new(200, true, &()), &mut [Box::new(Encoded)]));
    let encoded = read(&side, std::iter::once(bytes));
    assert_eq!(encoded.messages.len(), whole.messages.len(), "the encoding matters");
    for (message, plain) in encoded.messages.iter().zip(&whole.messages) {
        assert_eq!(message.body, plain.body, "both read the same framing");
        check_encoded(message);
    }
}

/// A step that encodes and changes every answer.
struct Encoded;

impl Follower for Encoded {
    fn on_response(&mut self, response: &mut Response<'_>) {
        response.encode(Encoding::Gzip);
        response.set_line("Content-Encoding", "gzip");
        response.set_line("X-A", "one\r\nContent-Length: 7");
        response.add_line("Content-Length", "7");
    }
}

/// An encoded body is what it was, whatever frames it now.
fn check_encoded(message: &Message) {
    let lines = check_head(&message.head);
    let is = |name: &str| lines.iter().any(|(n, _)| n == name);
    if !message.is_whole || message.body.is_empty() || !is("x-a") {
        return;
    }
    assert!(!is("content-length"), "how long it is encoded is not known");
    let mut gzip = Vec::new();
    let framing = if is("transfer-encoding") { Length::Chunked } else { Length::ToClose };
    let mut relay = Relay::new(framing, Sink::Plain);
    assert_eq!(relay.feed(&message.framed, &mut gzip), Ok(message.framed.len()));
    let mut body = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&*gzip);
    std::io::Read::read_to_end(&mut decoder, &mut body).expect("it can be decoded");
    assert_eq!(body, message.body, "the encoded body is another one");
}

/// What tells a server who the client is.
const IDENTITY: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-real-ip",
];

/// A reader of another make: splits lines, adds up lengths, and knows nothing of this engine's types.
fn read_simply(outcome: &Outcome, side: FromClient) {
    for message in &outcome.messages {
        let lines = check_head(&message.head);
        let value = |name: &str| {
            let mut found = lines.iter().filter(|(n, _)| n.replace('_', "-") == name);
            let value = found.next().map(|(_, value)| value.clone());
            assert!(found.next().is_none(), "{name} stands twice");
            value
        };
        assert!(value("host").is_some());
        let way = value("x-forwarded-for").unwrap_or_default();
        assert!(way == "127.0.0.1" || (side.is_trusted && way.ends_with(", 127.0.0.1")), "{way}");
        if !side.is_trusted {
            assert_eq!(value("x-real-ip").as_deref(), Some("127.0.0.1"));
            let proto = if side.is_changed { "https" } else { "http" };
            assert_eq!(value("x-forwarded-proto").as_deref(), Some(proto));
            assert_eq!(value("x-forwarded-server").as_deref(), Some("judge"));
            assert_eq!(value("x-forwarded-prefix"), None);
        }
        let is_odd = |(name, _): &(String, String)| {
            name.contains('_') && IDENTITY.contains(&name.replace('_', "-").as_str())
        };
        assert!(!lines.iter().any(is_odd), "who the client is is told in another spelling");
        match (value("content-length"), value("transfer-encoding")) {
            (Some(length), None) if message.is_whole => {
                assert_eq!(length.parse(), Ok(message.framed.len()));
            }
            (Some(_), None) => {}
            (None, Some(coding)) => {
                assert_eq!(coding, "chunked");
                if message.is_whole {
                    assert!(message.framed.ends_with(b"\r\n\r\n"));
                }
            }
            (None, None) => assert!(message.framed.is_empty()),
            (Some(_), Some(_)) => panic!("two lengths"),
        }
    }
}

/// Each line of a head, its name in lower case.
fn check_head(head: &[u8]) -> Vec<(String, String)> {
    let Some(head) = head.strip_suffix(b"\r\n\r\n") else {
        // An interim answer is not sent to a client of HTTP/1.0.
        assert!(head.is_empty(), "a head does not end");
        return Vec::new();
    };
    let text: String = head.iter().copied().map(char::from).collect();
    let lines = text.split("\r\n").skip(1).map(|line| {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        let (name, value) = line.split_once(':').expect("a line has a name");
        assert!(!name.is_empty() && !name.contains([' ', '\t', ':']), "{line:?}");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    lines.collect()
}

/// Takes any bytes apart into a case: the fuzzer's way in. The first says what they are, the next ones where to cut.
pub fn anything(data: &[u8]) {
    let [kind, first, second, bytes @ ..] = data else { return };
    let cuts = [usize::from(*first), usize::from(*second) * 3];
    match kind % 5 {
        0 | 1 => requests(bytes, &cuts),
        2 => answers(bytes, &cuts, false, false),
        3 => answers(bytes, &cuts, true, false),
        _ => answers(bytes, &cuts, false, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that are often messages, or nearly: with these first lines.
    fn stream(first_lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        const LINES: &[&str] = &[
            "Host: a.test\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "content_length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding:\tchunked,\r\n",
            "Transfer_Encoding: chunked\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, X-A\r\n",
            "Connection: host, content-length, x-forwarded-for, te\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            "Connection: upgrade\r\nUpgrade: h2c, x\r\n",
            "Expect: 100-continue\r\n",
            "X-A: b\r\n",
            "X-A: b\r\n c\r\n",
            "X-User: you\r\n",
            "X-Forwarded-For: 6.6.6.6\r\n",
            "X_Forwarded_For: 6.6.6.6\r\n",
            "x-real-ip: 6.6.6.6\r\n",
            "X-Forwarded-Proto: https\r\n",
            "X-Forwarded_Prefix: /x\r\n",
            "TE: trailers\r\n",
            "Date: x\r\n",
        ];
        const ENDS: &[&str] = &[
            "\r\n",
            "\r\n",
            "Content-Length: 5\r\n\r\nhello",
            "Content-Length: 0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3 \r\nllo\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
            "",
        ];
        const ODD: &[&str] = &["\r\n", "\n", "\r", " ", "\0", ":", "hello", "0\r\n\r\n"];
        let words = |words: &'static [&'static str]| prop::sample::select(words);
        let host = prop::option::weighted(0.9, Just("Host: a.test\r\n"));
        let message =
            (words(first_lines), host, prop::collection::vec(words(LINES), 0..4), words(ENDS));
        let message = message.prop_map(|(first, host, lines, end)| {
            let parts = [first, host.unwrap_or_default()].into_iter().chain(lines).chain([end]);
            parts.collect::<String>().into_bytes()
        });
        let odd = prop_oneof![
            3 => words(ODD).prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..4),
        ];
        let odd = prop::option::weighted(0.4, (any::<prop::sample::Index>(), odd));
        (prop::collection::vec(message, 1..4), odd).prop_map(|(messages, odd)| {
            let mut bytes = messages.concat();
            if let Some((at, odd)) = odd {
                let at = at.index(bytes.len());
                bytes.splice(at..at, odd);
            }
            bytes
        })
    }

    const REQUESTS: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "HEAD /a/../b HTTP/1.1\r\n",
        "POST /p?q HTTP/1.1\r\n",
        "PUT //%61?a?b HTTP/1.1\r\n",
        "GET http://b.test/x HTTP/1.0\r\n",
        "GET http://b.test?x HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "OPTIONS http://b.test HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
    ];

    const ANSWERS: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 No\r\n",
        "HTTP/1.1 304\r\n",
        "HTTP/1.1 100 Go\r\n",
        "HTTP/1.1 101 Go\r\n",
        "HTTP/1.1 103 Go\r\n",
        "HTTP/1.0 200 OK\n",
        "GET / HTTP/1.1\r\n",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_laws_hold_for_what_clients_send(
            bytes in stream(REQUESTS),
            cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            requests(&bytes, &cuts);
        }

        #[test]
        fn the_laws_hold_for_what_servers_send(
            bytes in stream(ANSWERS),
            cuts in prop::collection::vec(0_usize..200, 0..8),
            is_head in any::<bool>(),
            is_old in any::<bool>(),
        ) {
            answers(&bytes, &cuts, is_head, is_old);
        }
    }

    #[test]
    fn a_pipeline_is_told_apart() {
        let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\n\r\n\
                      \r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\nGET /3";
        let outcome = read(
            &FromClient { is_changed: false, is_trusted: false, reads_on: false },
            std::iter::once(&bytes[..]),
        );
        let bodies: Vec<_> = outcome.messages.iter().map(|message| &*message.body).collect();
        assert_eq!(bodies, [&b"hi"[..], b""]);
        assert!(outcome.messages.iter().all(|message| message.is_whole));
        assert_eq!(outcome.refused, None);
    }
}
