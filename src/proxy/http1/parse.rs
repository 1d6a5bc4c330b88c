//! What stands in a head: its first line, and each other line with what it is to a proxy. One pass, no I/O.
//!
//! Nearly all heads are letters, hyphens and plain text: those are looked at sixteen bytes at a time, and a byte that is
//! something else alone. The tests hold it against httparse, which lets more pass.

use arrayvec::ArrayVec;
use wide::u8x16;

use super::bytes::{CHUNK, is_token_byte, not_letters, not_of_target, not_text, padded};
use super::fields::{Field, classify};
use super::head::{METHOD_BYTES_MAX, Side, check_version};
use crate::proxy::error::Error;

/// Lines that a head may have at most, whatever the settings say: they lie on the stack while a head is read.
pub(in crate::proxy) const LINES_MAX: usize = 256;

/// The lines of a head.
pub(super) type Lines<'h> = ArrayVec<Line<'h>, LINES_MAX>;

/// One line of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'h> {
    /// Bytes of a token alone.
    name: &'h [u8],
    /// Without the blanks around it.
    pub(super) value: &'h [u8],
    /// What its name makes of it.
    pub(super) field: Field,
}

/// The versions of HTTP/1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    /// No keep-alive unless asked for, no chunks, no interim answers.
    Http10,
    /// The usual one, and what any later one is taken for (RFC 9110, section 2.5).
    Http11,
}

/// A request's head, as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestHead<'h, 's> {
    /// The whole of it.
    pub(super) bytes: &'h [u8],
    pub(super) method: &'h str,
    pub(super) target: &'h str,
    pub(super) version: Version,
    pub(super) lines: &'s [Line<'h>],
}

/// An answer's head, as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerHead<'h, 's> {
    /// The whole of it.
    pub(super) bytes: &'h [u8],
    pub(super) status: u16,
    /// Empty where it is not plain ASCII: nobody knows what it says.
    pub(super) reason: &'h [u8],
    pub(super) version: Version,
    pub(super) lines: &'s [Line<'h>],
    /// Whether its lines can be copied as they are: no blank before a colon, and CR LF at each end.
    pub(super) is_tidy: bool,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    /// It goes on beyond what is there.
    Short,
    FirstLine,
    Version,
    Name,
    Value,
    /// A line feed without a carriage return before it.
    LineFeed,
    /// There is no end where it has to be.
    LineEnd,
    TooManyLines,
}

impl<'h> Line<'h> {
    pub(super) fn name(&self) -> &'h [u8] {
        self.name
    }

    /// Its name as text.
    pub(super) fn name_text(&self) -> &'h str {
        // A token is ASCII.
        str::from_utf8(self.name).unwrap_or_default()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Reads the request head that `bytes` begin with; a whole one is there. It may have so many lines.
///
/// # Errors
/// [`Error::BadRequest`] where it breaks the grammar (RFC 9112, sections 2 to 5), [`Error::HeadTooLarge`] where it has too
/// many lines, [`Error::MethodNotServed`] for a method that is longer than any.
pub(super) fn request<'h, 's>(
    bytes: &'h [u8],
    lines: &'s mut Lines<'h>,
    lines_max: usize,
) -> Result<RequestHead<'h, 's>, Error> {
    let read = |lines: &mut Lines<'h>| {
        let mut reader = Reader::new(bytes, Side::Client);
        let (method, target, version) = reader.request_line()?;
        let reader = reader.lines(lines, lines_max)?;
        Ok((reader.read(), method, target, version))
    };
    let (bytes, method, target, version) =
        read(lines).map_err(|flaw: Flaw| flaw.of_request(bytes))?;
    if method.len() > METHOD_BYTES_MAX {
        return Err(Error::MethodNotServed);
    }
    Ok(RequestHead { bytes, method, target, version, lines })
}

/// Reads the answer head that `bytes` begin with. None: it has not come whole. It may have so many lines.
///
/// # Errors
/// [`Error::BadAnswer`] where it breaks the grammar or has too many lines.
pub(super) fn answer<'h, 's>(
    bytes: &'h [u8],
    lines: &'s mut Lines<'h>,
    lines_max: usize,
) -> Result<Option<AnswerHead<'h, 's>>, Error> {
    let read = |lines: &mut Lines<'h>| {
        let mut reader = Reader::new(bytes, Side::Server);
        let (version, status, reason) = reader.status_line()?;
        Ok((reader.lines(lines, lines_max)?, version, status, reason))
    };
    match read(lines) {
        Ok((_, _, ..100, _)) => Err(Error::BadAnswer("its status is none")),
        Ok((reader, version, status, reason)) => {
            let (bytes, is_tidy) = (reader.read(), reader.is_tidy);
            Ok(Some(AnswerHead { bytes, status, reason, version, lines, is_tidy }))
        }
        Err(Flaw::Short) => Ok(None),
        Err(flaw) => Err(flaw.of_answer()),
    }
}

impl Flaw {
    #[cold]
    fn of_answer(self) -> Error {
        Error::BadAnswer(match self {
            Self::TooManyLines => "its head has too many lines",
            Self::Name => "a header name of it holds what no name can hold",
            Self::Value => "a header value of it holds what no value can hold",
            _ => "its head is no HTTP/1",
        })
    }

    #[cold]
    fn of_request(self, bytes: &[u8]) -> Error {
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Error::BadRequest(match self {
            Self::Short => "the head does not end where it should",
            Self::Name => "a header name holds what no name can hold",
            Self::Value => "a header value holds what no value can hold",
            Self::LineFeed => "a line ends without a carriage return",
            Self::LineEnd => "a line does not end where it should",
            Self::Version
                if check_version(first.trim_ascii_end()) == Err(Error::VersionNotServed) =>
            {
                return Error::VersionNotServed;
            }
            Self::FirstLine | Self::Version => "the first line holds what it cannot hold",
            Self::TooManyLines => return Error::HeadTooLarge,
        })
    }
}

/// Goes through a head.
#[derive(Clone, Copy)]
struct Reader<'h> {
    /// All of it.
    bytes: &'h [u8],
    /// What is still to be read.
    rest: &'h [u8],
    from: Side,
    is_tidy: bool,
}

impl<'h> Reader<'h> {
    fn new(bytes: &'h [u8], from: Side) -> Self {
        Self { bytes, rest: bytes, from, is_tidy: true }
    }

    /// What was read.
    fn read(&self) -> &'h [u8] {
        &self.bytes[..self.bytes.len() - self.rest.len()]
    }

    /// RFC 9112, section 3.
    fn request_line(&mut self) -> Result<(&'h str, &'h str, Version), Flaw> {
        let method = match self.rest.strip_prefix(b"GET ") {
            Some(after) => {
                self.rest = after;
                "GET"
            }
            None => self.method()?,
        };
        let target = self.run(not_of_target);
        if target.is_empty() && !self.rest.is_empty() {
            return Err(Flaw::FirstLine);
        }
        self.expect(b' ', Flaw::FirstLine)?;
        let target = str::from_utf8(target).map_err(|_| Flaw::FirstLine)?;
        let version = self.version()?;
        self.line_end(Flaw::LineEnd)?;
        Ok((method, target, version))
    }

    /// The method, and the blank after it.
    fn method(&mut self) -> Result<&'h str, Flaw> {
        let method = self.token();
        if method.is_empty() && !self.rest.is_empty() {
            return Err(Flaw::FirstLine);
        }
        self.expect(b' ', Flaw::FirstLine)?;
        str::from_utf8(method).map_err(|_| Flaw::FirstLine)
    }

    /// RFC 9112, section 4. Some servers leave the reason out, and the blank before it.
    fn status_line(&mut self) -> Result<(Version, u16, &'h [u8]), Flaw> {
        if let Some(after) = self.rest.strip_prefix(b"HTTP/1.1 200 OK\r\n") {
            // It stays a part of the head, which may be copied as it is.
            let reason = self.rest.get(13..15).unwrap_or_default();
            self.rest = after;
            return Ok((Version::Http11, 200, reason));
        }
        let version = self.version()?;
        self.expect(b' ', Flaw::Version)?;
        let (digits, after) = self.rest.split_first_chunk::<3>().ok_or(Flaw::Short)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Flaw::FirstLine);
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        self.rest = after;
        let mut reason: &[u8] = &[];
        if let [b' ', after @ ..] = after {
            self.rest = after;
            reason = self.text();
        }
        self.line_end(Flaw::FirstLine)?;
        Ok((version, status, if reason.is_ascii() { reason } else { &[] }))
    }

    fn version(&mut self) -> Result<Version, Flaw> {
        // Compared in one piece, which patterns are not.
        let (version, after) = match self.rest.strip_prefix(b"HTTP/1.1") {
            Some(after) => (Version::Http11, after),
            None => match self.rest.split_first_chunk() {
                Some((b"HTTP/1.0", after)) => (Version::Http10, after),
                Some(([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'], after)) => {
                    (Version::Http11, after)
                }
                None if b"HTTP/1.".starts_with(self.rest) => return Err(Flaw::Short),
                _ => return Err(Flaw::Version),
            },
        };
        self.rest = after;
        Ok(version)
    }

    /// The lines up to the empty one (RFC 9112, section 5).
    fn lines(self, lines: &mut Lines<'h>, lines_max: usize) -> Result<Self, Flaw> {
        lines.clear();
        // A copy that nobody has a pointer to stays in registers.
        let mut reader = self;
        loop {
            let start = reader.rest;
            let mut name = reader.run(not_letters);
            match reader.rest {
                // So nearly all are written.
                [b':', b' ', after @ ..]
                    if after.first().is_some_and(|first| *first > b' ') && !name.is_empty() =>
                {
                    reader.rest = after;
                }
                _ => {
                    name = reader.rest_of_token(start);
                    if name.is_empty() {
                        break;
                    }
                    reader = reader.colon()?;
                }
            }
            let value = without_blanks_after(reader.text());
            reader.line_end(Flaw::Value)?;
            if lines.len() >= lines_max.min(LINES_MAX) {
                return Err(Flaw::TooManyLines);
            }
            lines.push(Line { name, value, field: Field::Plain });
        }
        match reader.rest {
            [] | [b'\r' | b'\n', ..] => reader.line_end(Flaw::LineEnd)?,
            _ => return Err(Flaw::Name),
        }
        // By itself, for what is called in the loop above takes the registers that it needs.
        lines.iter_mut().for_each(|line| line.field = classify(line.name));
        Ok(reader)
    }

    /// The colon, with what blanks there are.
    #[inline(never)]
    fn colon(mut self) -> Result<Self, Flaw> {
        // RFC 9112, section 5.1: a proxy removes those before it from an answer, and refuses them in a request.
        if self.from == Side::Server && self.blanks() {
            self.is_tidy = false;
        }
        self.expect(b':', Flaw::Name)?;
        self.blanks();
        Ok(self)
    }

    /// The token that begins here; it may be empty.
    #[inline(always)]
    fn token(&mut self) -> &'h [u8] {
        let start = self.rest;
        self.run(not_letters);
        self.rest_of_token(start)
    }

    /// The token that begins at `start`, of which letters were read.
    #[inline(always)]
    fn rest_of_token(&mut self, start: &'h [u8]) -> &'h [u8] {
        while let [byte, after @ ..] = self.rest
            && is_token_byte(*byte)
        {
            self.rest = after;
            self.run(not_letters);
        }
        &start[..start.len() - self.rest.len()]
    }

    /// What a value or a reason can hold; it may be empty.
    #[inline(always)]
    fn text(&mut self) -> &'h [u8] {
        let start = self.rest;
        loop {
            self.run(not_text);
            match self.rest {
                [b'\t', after @ ..] => self.rest = after,
                _ => break,
            }
        }
        &start[..start.len() - self.rest.len()]
    }

    /// Goes on for as long as `stops` marks no byte.
    #[inline(always)]
    fn run(&mut self, stops: impl Fn(u8x16) -> u8x16) -> &'h [u8] {
        let start = self.rest;
        let (mut at, mut rest) = (0, start);
        loop {
            let marks = match rest.split_first_chunk::<CHUNK>() {
                Some((chunk, after)) => {
                    rest = after;
                    stops(u8x16::new(*chunk)).to_bitmask()
                }
                None => {
                    // What is left is the end of all: the last sixteen bytes, without those that stand before. The bit behind
                    // them, the seventeenth of a `u32` at most, stops the run.
                    debug_assert!(self.bytes.ends_with(rest), "a reader reads to the end");
                    let last = self.bytes.last_chunk().copied().unwrap_or_else(|| padded(rest));
                    let marks = stops(u8x16::new(last)).to_bitmask();
                    marks >> (CHUNK - rest.len()) | 1 << rest.len()
                }
            };
            if marks != 0 {
                at += marks.trailing_zeros() as usize;
                let (run, after) = start.split_at(at);
                self.rest = after;
                return run;
            }
            at += CHUNK;
        }
    }

    /// Passes over blanks, and tells whether there were any.
    fn blanks(&mut self) -> bool {
        let mut has_blank = false;
        while let [b' ' | b'\t', after @ ..] = self.rest {
            self.rest = after;
            has_blank = true;
        }
        has_blank
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, otherwise: Flaw) -> Result<(), Flaw> {
        match self.rest {
            [found, after @ ..] if *found == byte => {
                self.rest = after;
                Ok(())
            }
            [_, ..] => Err(otherwise),
            [] => Err(Flaw::Short),
        }
    }

    /// The end of a line. Old servers leave the carriage return out (RFC 9112, section 2.2); a client that does might
    /// have two readers see two heads.
    #[inline(always)]
    fn line_end(&mut self, otherwise: Flaw) -> Result<(), Flaw> {
        if let Some((b"\r\n", after)) = self.rest.split_first_chunk() {
            self.rest = after;
            return Ok(());
        }
        self.rest = match self.rest {
            [b'\n', after @ ..] if self.from == Side::Server => {
                self.is_tidy = false;
                after
            }
            [b'\n', ..] => return Err(Flaw::LineFeed),
            [] | [b'\r'] => return Err(Flaw::Short),
            _ => return Err(otherwise),
        };
        Ok(())
    }
}

#[inline(always)]
fn without_blanks_after(mut value: &[u8]) -> &[u8] {
    while let [before @ .., b' ' | b'\t'] = value {
        value = before;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_line_can_hold_is_refused() {
        for line in
            ["A : b", "A\0: b", "A: b\0", " A: b", "A: b\rc", "A", ": b", "A: b\r\n c", "(a): b"]
        {
            let head = format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
            assert!(request(head.as_bytes(), &mut Lines::new(), 9).is_err(), "{line:?}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n";
        assert!(request(head, &mut Lines::new(), 2).is_ok());
        let refused = request(head, &mut Lines::new(), 1).map(|_| ());
        assert_eq!(refused, Err(Error::HeadTooLarge));
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "A: 1\r\n".repeat(LINES_MAX + 1));
        let refused = request(head.as_bytes(), &mut Lines::new(), usize::MAX).map(|_| ());
        assert_eq!(refused, Err(Error::HeadTooLarge));
    }

    #[test]
    fn each_byte_is_known_wherever_it_stands() {
        let places = (0..40).flat_map(|len| (0..len).map(move |at| (len, at)));
        for (byte, (len, at)) in places.flat_map(|place| (0..=255).map(move |byte| (byte, place))) {
            let mut bytes = vec![b'a'; len];
            bytes[at] = byte;
            let end = |is_stop: bool| if is_stop { at } else { bytes.len() };
            let is_letter = byte.is_ascii_alphabetic() || byte == b'-';
            let run =
                |stops: fn(u8x16) -> u8x16| Reader::new(&bytes, Side::Client).run(stops).len();
            assert_eq!(run(not_letters), end(!is_letter), "{byte}");
            assert_eq!(run(not_text), end(byte.is_ascii_control()), "{byte}");
            let is_target = !byte.is_ascii_control() && byte != b' ';
            assert_eq!(run(not_of_target), end(!is_target), "{byte}");
        }
    }

    /// What httparse reads: its first line, its lines, and where they end; none where they are not whole or wrong.
    type Read = Option<(String, Vec<(String, Vec<u8>)>, usize)>;

    fn read_by_httparse(bytes: &[u8], from: Side) -> Read {
        let mut lines = [httparse::EMPTY_HEADER; 16];
        let (end, first, lines) = match from {
            Side::Client => {
                let mut head = httparse::Request::new(&mut lines);
                let httparse::Status::Complete(end) = head.parse(bytes).ok()? else { return None };
                let first = format!("{:?} {:?} {:?}", head.method, head.path, head.version);
                (end, first, head.headers)
            }
            Side::Server => {
                let mut head = httparse::Response::new(&mut lines);
                let mut config = httparse::ParserConfig::default();
                config.allow_spaces_after_header_name_in_responses(true);
                let parsed = config.parse_response(&mut head, bytes).ok()?;
                let httparse::Status::Complete(end) = parsed else { return None };
                let first = format!("{:?} {:?} {:?}", head.version, head.code, head.reason);
                (end, first, head.headers)
            }
        };
        let lines = lines.iter().map(|line| (line.name.to_owned(), line.value.to_vec()));
        Some((first, lines.collect(), end))
    }

    fn read_by_us(bytes: &[u8], from: Side) -> Read {
        let mut lines = Lines::new();
        let minor = |version| Some(u8::from(version == Version::Http11));
        let (first, end) = match from {
            Side::Client => {
                let head = request(bytes, &mut lines, 16).ok()?;
                let RequestHead { method, target, version, .. } = head;
                let (method, target) = (Some(method), Some(target));
                (format!("{method:?} {target:?} {:?}", minor(version)), head.bytes.len())
            }
            Side::Server => {
                let head = answer(bytes, &mut lines, 16).ok()??;
                let reason = Some(str::from_utf8(head.reason).expect("ASCII"));
                let (version, status) = (minor(head.version), Some(head.status));
                (format!("{version:?} {status:?} {reason:?}"), head.bytes.len())
            }
        };
        let lines = lines.iter().map(|line| (line.name_text().to_owned(), line.value.to_vec()));
        Some((first, lines.collect(), end))
    }

    /// With 1.1 in the place of a later version, which httparse does not know.
    fn with_known_version(bytes: &[u8], from: Side) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let end = match from {
            Side::Client => bytes.iter().position(|&byte| byte == b'\r').unwrap_or(0),
            Side::Server => bytes.len().min(8),
        };
        if let Some([start @ .., minor @ b'2'..=b'9']) = bytes.get_mut(..end)
            && start.ends_with(b"HTTP/1.")
        {
            *minor = b'1';
        }
        bytes
    }

    #[track_caller]
    fn check_against_httparse(bytes: &[u8], from: Side) {
        let theirs = read_by_httparse(&with_known_version(bytes, from), from);
        let ours = read_by_us(bytes, from);
        let is_stricter =
            || theirs.as_ref().is_some_and(|read| is_refused_by_us(&bytes[..read.2], from));
        if ours.is_some() || !is_stricter() {
            assert_eq!(ours, theirs, "{from:?}: {:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// Where we are stricter: lines of a client that end in a line feed alone, an empty line before the first one, a status
    /// below 100.
    fn is_refused_by_us(bytes: &[u8], from: Side) -> bool {
        let has_bare_feed = bytes
            .iter()
            .enumerate()
            .any(|(at, byte)| *byte == b'\n' && bytes[..at].last() != Some(&b'\r'));
        match from {
            Side::Client => has_bare_feed || bytes.starts_with(b"\r"),
            Side::Server => {
                let status = bytes.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                bytes.starts_with(b"\r") || bytes.starts_with(b"\n") || status.starts_with(b"0")
            }
        }
    }

    /// Half of them are bytes that matter.
    fn noise_byte() -> impl Strategy<Value = u8> {
        prop_oneof![prop::sample::select(&b"\r\n\t :\0\x7f\x80"[..]), any::<u8>()]
    }

    #[test]
    fn it_reads_as_httparse_does_with_any_byte_at_any_place() {
        for head in [
            "GET /a HTTP/1.1\r\nHost: a.test\r\nX-Long-Name-Of-A-Line: and its value\r\n\r\nb\ny",
            "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 3\r\nE:\r\n\r\nb\ny",
            "HTTP/1.0 404\nServer: of-old\n\n",
        ] {
            for (at, byte) in (0..head.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut bytes = head.as_bytes().to_vec();
                bytes[at] = byte;
                for from in [Side::Client, Side::Server] {
                    check_against_httparse(&bytes, from);
                }
            }
        }
    }

    #[test]
    fn an_answer_is_whole_or_not_yet() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA : b\r\nE:\r\n\r\n",
            "HTTP/1.0 404\r\nServer: of-old\n\n",
            "HTTP/1.1 100 \r\n\r\n",
        ] {
            for cut in 0..head.len() {
                let mut lines = Lines::new();
                let answer = answer(&head.as_bytes()[..cut], &mut lines, 9);
                assert!(matches!(answer, Ok(None)), "{:?}: {answer:?}", head.split_at(cut));
            }
            let whole =
                answer(head.as_bytes(), &mut Lines::new(), 9).map(|answer| answer.is_some());
            assert_eq!(whole, Ok(true), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_as_httparse_does(
            first in "(GET|P[A-Z-]{0,9}|[ -~]{0,3}) (/|\\*|http://)[!-~é]{0,20} HTTP/1[.][0-2]|HTTP/1[.][0-2] [0-5][0-9]{2}( [ -~é\t]{0,12})?",
            lines in prop::collection::vec("([A-Za-z0-9_-]{1,20}|[ -~]{1,9})[ \t]?:[ \t]{0,2}[ -~\té]{0,30}", 0..6),
            end in "\r\n|\n|\r|",
            noise in prop::collection::vec((any::<prop::sample::Index>(), noise_byte()), 0..3),
            rest in "[a-z\r\n]{0,9}",
        ) {
            let text = format!("{first}{end}{}{end}{rest}", lines.iter().map(|line| format!("{line}{end}")).collect::<String>());
            let mut bytes = text.into_bytes();
            for (at, byte) in noise {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for from in [Side::Client, Side::Server] {
                check_against_httparse(&bytes, from);
            }
        }
    }
}
