//! Chunks, read strictly (RFC 9112, section 7.1): a size that two readers could read in two ways ends the connection.

use super::bytes::is_token_byte;
use super::fields::{Field, classify};
use super::framing::BODY_BYTES_MAX;
use crate::model::{LineName, is_spelling_of};

/// Extension bytes of one chunk. They are thrown away, and nobody sends more.
const EXTENSION_BYTES_MAX: usize = 1_024;

/// Extension bytes of all chunks so far that there may be beyond those of data: who sends little else wants to keep us busy.
const EXCESS_BYTES_MAX: usize = 16 * 1024;

/// Trailer lines, in bytes.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Why chunks cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadChunk(pub(super) &'static str);

/// Reads chunks as their bytes come.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoder {
    state: State,
    /// Trailer lines that may be passed on, each with its CR LF.
    trailers: Vec<u8>,
    passing: Passing,
    /// The trailer line under way.
    line: Vec<u8>,
    trailer_bytes: usize,
    /// Extension bytes beyond those of data.
    excess_bytes: usize,
    /// Whether blanks may follow a size: some servers fill it up to a fixed length.
    takes_padding: bool,
}

/// Trailer lines that go further, of those that are not for heads.
#[derive(Clone, Debug, Default)]
enum Passing {
    #[default]
    None,
    /// All but those of these names.
    AllBut(Box<[LineName]>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A size, of which so many digits have come.
    Size { digits: u8, size: u64 },
    /// Blanks after a size: an extension must follow, but see `takes_padding`.
    Blank { size: u64, bytes: usize },
    /// After a semicolon, before the extension's name.
    Extension { size: u64, bytes: usize },
    /// In an extension.
    Extended { size: u64, bytes: usize },
    /// The line feed after a size.
    SizeEnd { size: u64 },
    /// Data, of which so much is left.
    Data { left: u64 },
    /// The carriage return after data.
    DataReturn,
    /// The line feed after data.
    DataEnd,
    /// The beginning of a trailer line, or of the empty one.
    Trailer,
    /// In a trailer line.
    TrailerLine,
    /// The line feed after a trailer line.
    TrailerEnd,
    /// The line feed of the empty line.
    LastEnd,
    /// All is read.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// What came next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece<'i> {
    /// Data of the body.
    Data(&'i [u8]),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
}

impl Decoder {
    /// Reads what a server sent. RFC 9112 has no blanks between a size and its end; what we write is clean.
    pub(super) fn take_padding(&mut self) {
        self.takes_padding = true;
    }

    /// Trailer lines are passed on, but for those of these names, however they are spelled. They are not unless this is said.
    pub(super) fn pass_trailers(&mut self, without: &[LineName]) {
        self.passing = Passing::AllBut(without.into());
    }

    /// Takes the next piece off `input`.
    ///
    /// # Errors
    /// What breaks the grammar: nothing that follows can be trusted.
    pub(super) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Piece<'i>, BadChunk> {
        loop {
            if self.state == State::Done {
                return Ok(Piece::End);
            }
            if let State::Data { left } = &mut self.state {
                let there = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if there == 0 {
                    return Ok(Piece::More);
                }
                let (data, rest) = input.split_at(there);
                self.excess_bytes = self.excess_bytes.saturating_sub(there);
                *left -= there as u64;
                if *left == 0 {
                    self.state = State::DataReturn;
                }
                *input = rest;
                return Ok(Piece::Data(data));
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(Piece::More) };
            *input = rest;
            self.state = self.after(byte)?;
        }
    }

    /// The trailer lines that may be passed on.
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn after(&mut self, byte: u8) -> Result<State, BadChunk> {
        let bad = |what| Err(BadChunk(what));
        Ok(match self.state {
            State::Size { digits, size } => match (byte, hex(byte)) {
                (_, Some(_)) if digits == 16 => return bad("a chunk size has too many digits"),
                (_, Some(digit)) => {
                    let size = size << 4 | u64::from(digit);
                    if size > BODY_BYTES_MAX {
                        return bad("a chunk is too large");
                    }
                    State::Size { digits: digits + 1, size }
                }
                _ if digits == 0 => return bad("a chunk has no size"),
                (b'\r', _) => State::SizeEnd { size },
                (b';', _) => State::Extension { size, bytes: 0 },
                (b' ' | b'\t', _) => State::Blank { size, bytes: 1 },
                _ => return bad("a chunk size is no hexadecimal number"),
            },
            State::Blank { size, bytes } | State::Extension { size, bytes }
                if byte == b' ' || byte == b'\t' =>
            {
                self.extended(size, bytes)?
            }
            State::Blank { size, bytes } if byte == b';' => State::Extension { size, bytes },
            State::Blank { size, .. } if byte == b'\r' && self.takes_padding => {
                State::SizeEnd { size }
            }
            State::Blank { .. } => return bad("a chunk size is followed by blanks"),
            State::Extension { size, bytes } if is_token_byte(byte) => {
                self.extended(size, bytes)?;
                State::Extended { size, bytes: bytes + 1 }
            }
            State::Extension { .. } => return bad("a chunk extension has no name"),
            State::Extended { size, .. } if byte == b'\r' => State::SizeEnd { size },
            State::Extended { size, bytes } if is_text(byte) => self.extended(size, bytes)?,
            State::Extended { .. } => return bad("a chunk extension holds what none can hold"),
            State::SizeEnd { .. } if byte != b'\n' => return bad("a chunk size does not end"),
            State::SizeEnd { size: 0 } => State::Trailer,
            State::SizeEnd { size } => State::Data { left: size },
            State::DataReturn if byte == b'\r' => State::DataEnd,
            State::DataEnd if byte == b'\n' => State::default(),
            State::DataReturn | State::DataEnd => return bad("a chunk is longer than its size"),
            State::Trailer if byte == b'\r' => State::LastEnd,
            State::Trailer | State::TrailerLine => match byte {
                b'\r' => State::TrailerEnd,
                _ if is_text(byte) => {
                    self.trailer_bytes += 1;
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return bad("the trailers are too long");
                    }
                    self.line.push(byte);
                    State::TrailerLine
                }
                _ => return bad("a trailer holds what none can hold"),
            },
            State::TrailerEnd if byte == b'\n' => {
                self.end_trailer()?;
                State::Trailer
            }
            State::LastEnd if byte == b'\n' => State::Done,
            State::TrailerEnd | State::LastEnd => return bad("a trailer does not end"),
            // Neither reads single bytes: see `next`.
            State::Data { .. } | State::Done => return bad("nothing may follow"),
        })
    }

    /// The same place, one byte further.
    fn extended(&mut self, size: u64, bytes: usize) -> Result<State, BadChunk> {
        let is_padding = self.takes_padding && matches!(self.state, State::Blank { .. });
        self.excess_bytes += usize::from(!is_padding);
        if bytes >= EXTENSION_BYTES_MAX || self.excess_bytes > EXCESS_BYTES_MAX {
            return Err(BadChunk("too much stands beside the chunks"));
        }
        let bytes = bytes + 1;
        Ok(match self.state {
            State::Blank { .. } => State::Blank { size, bytes },
            State::Extension { .. } => State::Extension { size, bytes },
            _ => State::Extended { size, bytes },
        })
    }

    /// Keeps a trailer line, unless it is one that may only stand in a head (RFC 9110, section 6.5.1).
    fn end_trailer(&mut self) -> Result<(), BadChunk> {
        let colon = self.line.iter().position(|&byte| byte == b':');
        let Some(name) = colon.map(|at| &self.line[..at]) else {
            return Err(BadChunk("a trailer has no colon"));
        };
        if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
            return Err(BadChunk("a trailer's name holds what no name can hold"));
        }
        let is_for_heads = classify(name) != Field::Plain
            || HEAD_ONLY.iter().any(|other| name.eq_ignore_ascii_case(other));
        if !is_for_heads && self.passing.has(name) {
            self.trailers.extend_from_slice(&self.line);
            self.trailers.extend_from_slice(b"\r\n");
        }
        self.line.clear();
        Ok(())
    }
}

impl Passing {
    fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            // Those that a head has are known by then; a trailer may come in any spelling.
            Self::AllBut(names) => {
                !names.iter().any(|other| is_spelling_of(name, other.as_bytes()))
            }
        }
    }
}

/// What decides about a message before its body is read means nothing after it, except to somebody who is misled.
const HEAD_ONLY: [&[u8]; 11] = [
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"content-type",
    b"content-encoding",
    b"content-range",
    b"cache-control",
    b"location",
    b"range",
    b"trailer",
    b"www-authenticate",
];

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// What a header value may hold.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The body, the trailers and the bytes used; none where more are needed.
    type Read = Option<(String, String, usize)>;

    fn read(bytes: &[u8], cut: usize) -> Result<Read, BadChunk> {
        let (mut decoder, mut body, mut used) = (Decoder::default(), Vec::new(), 0);
        decoder.pass_trailers(&[]);
        for part in [&bytes[..cut], &bytes[cut..]] {
            let mut input = part;
            loop {
                match decoder.next(&mut input)? {
                    Piece::Data(data) => body.extend_from_slice(data),
                    Piece::More => break,
                    Piece::End => {
                        let used = used + part.len() - input.len();
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        return Ok(Some((text(&body), text(decoder.trailers()), used)));
                    }
                }
            }
            used += part.len();
        }
        Ok(None)
    }

    #[track_caller]
    fn good(bytes: &str, body: &str, trailers: &str) {
        let expected = Ok(Some((body.to_owned(), trailers.to_owned(), bytes.len())));
        for cut in 0..=bytes.len() {
            assert_eq!(read(bytes.as_bytes(), cut), expected, "cut at {cut}");
        }
    }

    #[test]
    fn chunks_are_put_together_wherever_they_are_cut() {
        good("0\r\n\r\n", "", "");
        good("5\r\nhello\r\n0\r\n\r\n", "hello", "");
        good("5\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n", "hello0123456789", "");
        good("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", "");
        good("5 ; a=\"x;y\"\r\nhello\r\n0\r\n\r\n", "hello", "");
        good("0\r\nA: b\r\nC: d\r\n\r\n", "", "A: b\r\nC: d\r\n");
        good("0\r\nContent-Length: 5\r\nHost: a\r\nX: y\r\n\r\n", "", "X: y\r\n");
    }

    #[test]
    fn what_is_left_out_of_a_head_is_left_out_behind_the_body() {
        let sent = b"0\r\nX-Sum: 1\r\nx-user: 2\r\nX_User: 3\r\nX-Users: 4\r\n\r\n";
        let trailers = |mut decoder: Decoder| {
            assert_eq!(decoder.next(&mut &sent[..]), Ok(Piece::End));
            String::from_utf8(decoder.trailers().to_vec()).expect("plain text")
        };
        let mut named = Decoder::default();
        named.pass_trailers(&["X-User".into()]);
        assert_eq!(trailers(named), "X-Sum: 1\r\nX-Users: 4\r\n");
        assert_eq!(trailers(Decoder::default()), "");
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let read = read(b"0\r\n\r\nGET / HTTP/1.1", 0);
        assert_eq!(read, Ok(Some((String::new(), String::new(), 5))));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "-5\r\n",
            "+5\r\n",
            " 5\r\n",
            "0x5\r\n",
            "5 \r\n",
            "5\n",
            "5\r5",
            "5;\r\n",
            "5; \r\n",
            "5;a\n",
            "5;a\0\r\n",
            "5,5\r\n",
            "11111111111111111\r\n",
            "8000000000000000\r\n",
            "5\r\nhellox",
            "5\r\nhello\n",
            "0\r\n\n",
            "0\r\nA\r\n",
            "0\r\nA : b\r\n",
            "0\r\n: b\r\n",
            "0\r\n a: b\r\n",
            "0\r\nA: b\n",
            "0\r\nA: b\r\n c\r\n",
            "0\r\nA: \0\r\n",
            "0\r\n\rx",
        ] {
            assert!(read(bad.as_bytes(), 0).is_err(), "{bad:?}");
        }
        let long = format!("5;{}\r\n", "a".repeat(2_000));
        assert!(read(long.as_bytes(), 0).is_err());
        let long = format!("0\r\n{}", "A: b\r\n".repeat(10_000));
        assert!(read(long.as_bytes(), 0).is_err());
    }

    #[test]
    fn extensions_are_bounded_by_the_data_beside_them() {
        let chunks = |data: usize| {
            let chunk = format!("{data:x};{}\r\n{}\r\n", "a".repeat(100), "b".repeat(data));
            read(chunk.repeat(1_000).as_bytes(), 0).map(|read| read.is_none())
        };
        assert!(chunks(1).is_err());
        assert_eq!(chunks(90), Ok(true));
        let mut decoder = Decoder::default();
        decoder.take_padding();
        for _ in 0..10_000 {
            let mut padded = &b"1       \r\na\r\n"[..];
            while decoder.next(&mut padded).expect("a server may fill it up") != Piece::More {}
        }
    }

    #[test]
    fn a_server_may_fill_a_size_up_with_blanks() {
        let mut decoder = Decoder::default();
        decoder.take_padding();
        let mut input = &b"5  \r\nhello\r\n0 \r\n\r\n"[..];
        assert_eq!(decoder.next(&mut input), Ok(Piece::Data(b"hello")));
        assert_eq!(decoder.next(&mut input), Ok(Piece::End));
        let mut decoder = Decoder::default();
        decoder.take_padding();
        assert!(decoder.next(&mut &b"5 5\r\n"[..]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_read_the_same_wherever_they_are_cut(
            bytes in "[0-9a-f]{0,2}(;[a-z])?\r?\n[a-z\r\n]{0,8}0?\r?\n?\r?\n?[A-Z: ]{0,3}",
            cut in 0_usize..32,
        ) {
            let bytes = bytes.as_bytes();
            prop_assert_eq!(read(bytes, cut.min(bytes.len())), read(bytes, 0));
        }
    }
}
