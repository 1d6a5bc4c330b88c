//! Where a head ends. Looks at each byte once, however slowly they come.

use super::bytes::is_token_byte;
use crate::proxy::error::Error;

/// No registered method is half as long.
pub(super) const METHOD_BYTES_MAX: usize = 64;

/// Which side sent a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// A client: lines end in CR LF, or two readers may see two heads.
    Client,
    /// A server: old ones end their lines with LF alone (RFC 9112, section 2.2), and what we write is clean.
    Server,
}

/// How far the search for a head's end has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// Where the current line begins.
    line: usize,
    /// Where the head begins: one empty line before a request is passed over (RFC 9112, section 2.2).
    start: usize,
    /// What came may be taken for one head, unseen, up to this size.
    unseen_max: usize,
}

/// RFC 9112, section 2.2.
const LONE_RETURN: Error = Error::BadRequest("a carriage return stands alone");

/// A whole head is in `bytes[start..end]`; it may end earlier.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Scan {
    /// For heads of this size at most.
    pub(super) fn with_max(head_bytes: usize) -> Self {
        Self { unseen_max: head_bytes, ..Self::default() }
    }

    /// Looks at what has come since the last time. None: the head has not ended yet.
    ///
    /// # Errors
    /// What cannot become a head, as soon as that is certain.
    pub(super) fn advance(&mut self, bytes: &[u8], from: Side) -> Result<Option<Span>, Error> {
        // Nearly every head comes alone and in one piece: its lines are looked at when it is read. Whether it ends
        // earlier shows then, too.
        let is_fresh = self.seen == 0 && bytes.len() <= self.unseen_max && from == Side::Client;
        let begins = bytes.first().is_some_and(|&byte| is_token_byte(byte));
        if is_fresh && begins && bytes.ends_with(b"\r\n\r\n") {
            return Ok(Some(Span { start: 0, end: bytes.len() }));
        }
        for found in memchr::memchr_iter(b'\n', &bytes[self.seen..]) {
            let at = self.seen + found;
            let has_return = at > self.line && bytes[at - 1] == b'\r';
            if !has_return && from == Side::Client {
                return Err(Error::BadRequest("a line ends without a carriage return"));
            }
            let end_of_line = if has_return { at - 1 } else { at };
            let line = &bytes[self.line..end_of_line];
            if from == Side::Client && memchr::memchr(b'\r', line).is_some() {
                return Err(LONE_RETURN);
            }
            match (line.is_empty(), self.line == self.start) {
                (true, true) if from == Side::Client && self.start == 0 => self.start = at + 1,
                (true, true) => return Err(from.bad("an empty line stands where a head begins")),
                (true, false) => return Ok(Some(Span { start: self.start, end: at + 1 })),
                (false, true) if from == Side::Client => {
                    check_beginning(line)?;
                    check_version(line)?;
                }
                (false, _) => {}
            }
            self.line = at + 1;
        }
        // The last byte of the piece before may have been a carriage return.
        let unseen = self.line.max(self.seen.saturating_sub(1));
        self.seen = bytes.len();
        if from == Side::Client {
            if self.line == self.start {
                check_beginning(&bytes[self.start..])?;
            }
            // Who ends lines so would wait for an answer until the time for a head is over.
            let [rest @ .., _] = &bytes[unseen..] else { return Ok(None) };
            if memchr::memchr(b'\r', rest).is_some() {
                return Err(LONE_RETURN);
            }
        }
        Ok(None)
    }

    /// Whether nothing but what may be passed over has come.
    pub(super) fn is_blank(self, bytes: &[u8]) -> bool {
        bytes.len() <= self.start
    }
}

impl Side {
    fn bad(self, what: &'static str) -> Error {
        match self {
            Self::Client => Error::BadRequest(what),
            Self::Server => Error::BadAnswer(what),
        }
    }
}

/// What is no HTTP/1 is told so after its first line, not after a time-out.
pub(super) fn check_version(line: &[u8]) -> Result<(), Error> {
    match line.split_last_chunk::<9>() {
        Some((_, [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])) => Ok(()),
        Some((_, [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])) => {
            Err(Error::VersionNotServed)
        }
        _ => Err(Error::BadRequest("the first line does not end with an HTTP version")),
    }
}

/// The beginning of a first line: a method, or something that speaks another protocol.
fn check_beginning(bytes: &[u8]) -> Result<(), Error> {
    let beginning = &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)];
    let method = beginning.split(|&byte| byte == b' ').next().unwrap_or_default();
    // The carriage return of an empty line may be waiting for its line feed.
    let is_name = method.iter().all(|&byte| is_token_byte(byte));
    let is_name = is_name && (bytes.is_empty() || !method.is_empty()) || bytes == b"\r";
    if !is_name {
        return Err(Error::BadRequest("the first line does not begin with a method"));
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Error::MethodNotServed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::parse::{Lines, answer, request};
    use proptest::prelude::*;

    fn scan(bytes: &[u8], from: Side) -> Result<Option<Span>, Error> {
        Scan::with_max(1_000).advance(bytes, from)
    }

    #[test]
    fn finds_the_end_and_passes_over_one_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(scan(head, Side::Client), Ok(Some(Span { start: 0, end: head.len() })));
        let late = b"\r\nGET / HTTP/1.1\r\n\r\nrest";
        assert_eq!(scan(late, Side::Client), Ok(Some(Span { start: 2, end: 20 })));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost", Side::Client), Ok(None));
        assert!(scan(b"\r\n\r\n", Side::Client).is_err());
    }

    #[test]
    fn says_early_what_can_be_no_request() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"\0",
            b" GET",
            b"GET /\r\n",
            b"GET / HTTP/2.0\r\n",
            b"GET / HTTP/1.1\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\r\n",
            b"{\"json\"",
            b"GET / HTTP/1.1\rHost: a\r\r",
            b"GET / HTTP/1.1\r\n\rH",
            b"GET / HTTP/1.1\r\nA: \rb\r\nC",
        ] {
            assert!(scan(bytes, Side::Client).is_err(), "{bytes:?}");
        }
        assert_eq!(scan(&[b'A'; 200], Side::Client), Err(Error::MethodNotServed));
    }

    #[test]
    fn a_lone_carriage_return_is_found_between_two_pieces() {
        let mut scan = Scan::with_max(1_000);
        assert_eq!(scan.advance(b"GET / HTTP/1.1\r\nA: b\r", Side::Client), Ok(None));
        assert_eq!(scan.advance(b"GET / HTTP/1.1\r\nA: b\rc", Side::Client), Err(LONE_RETURN));
    }

    #[test]
    fn a_server_may_end_lines_with_a_line_feed_alone() {
        let head = b"HTTP/1.1 200 OK\nA: b\n\nbody";
        assert_eq!(scan(head, Side::Server), Ok(Some(Span { start: 0, end: 22 })));
        let mut lines = Lines::new();
        let answer = answer(head, &mut lines, 9).expect("an answer").expect("a whole one");
        assert_eq!((answer.status, answer.lines.len()), (200, 1));
    }

    /// Where the head that was found lies, where it is a good one; none where it is not whole yet.
    fn head(bytes: &[u8], found: Result<Option<Span>, Error>, from: Side) -> Option<Option<Span>> {
        let Some(span) = found.ok()? else { return Some(None) };
        let (found, mut lines) = (&bytes[span.start..span.end], Lines::new());
        // What comes in one piece is taken for one head unseen; reading it tells where it ends.
        let head = match from {
            Side::Client => request(found, &mut lines, 9).ok()?.bytes,
            Side::Server => answer(found, &mut lines, 9).ok()??.bytes,
        };
        Some(Some(Span { start: span.start, end: span.start + head.len() }))
    }

    proptest! {
        #[test]
        fn the_cuts_do_not_matter(
            bytes in "(\r\n)?[A-Z]{1,4} /[a-z]{0,3} HTTP/1[.][01]\r?\n([A-Z]: [a-z]{0,3}\r?\n){0,3}\r?\n?[a-z\r\n]{0,4}",
            cut in 0_usize..64,
            server in any::<bool>(),
        ) {
            let (bytes, from) = (bytes.as_bytes(), if server { Side::Server } else { Side::Client });
            let mut scan = Scan::with_max(1_000);
            let first = scan.advance(&bytes[..cut.min(bytes.len())], from);
            let both = match first {
                Ok(None) => scan.advance(bytes, from),
                done => done,
            };
            prop_assert_eq!(head(bytes, both, from), head(bytes, self::scan(bytes, from), from));
        }
    }
}
