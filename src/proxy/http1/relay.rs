//! A body on its way from one side's framing to the other's. No I/O: bytes in, bytes out.

use std::io::Write as _;

use super::chunked::{BadChunk, Decoder, Piece};
use super::encode::Encoder;
use super::framing::Length;
use crate::model::{Encoding, LineName};

/// A body under way.
#[derive(Debug)]
pub(super) struct Relay {
    source: Source,
    sink: Sink,
    /// What the body is encoded with on its way.
    encoder: Option<Box<Encoder>>,
    /// Bytes of the body that came, without their framing.
    came: u64,
    /// The same after they were encoded, where they are.
    encoded: u64,
    is_encoded: bool,
}

#[derive(Debug)]
enum Source {
    /// So many bytes are left.
    Length(u64),
    Chunked(Box<Decoder>),
    /// Until the connection ends.
    ToClose,
    /// Everything has come.
    Done,
}

/// How a body is framed towards the other side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sink {
    /// As it is: the other side knows the length, or waits for the end of the connection.
    Plain,
    /// In chunks.
    Chunked,
}

/// A body ended before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the body ended early")]
pub(super) struct Truncated;

impl Relay {
    /// A body of this length.
    pub(super) fn new(length: Length, sink: Sink) -> Self {
        let source = match length {
            Length::None | Length::Known(0) => Source::Done,
            Length::Known(length) => Source::Length(length),
            Length::Chunked => Source::Chunked(Box::default()),
            Length::ToClose => Source::ToClose,
        };
        // What has no body has no chunks either.
        let sink = if length == Length::None { Sink::Plain } else { sink };
        Self { source, sink, encoder: None, came: 0, encoded: 0, is_encoded: false }
    }

    /// The same body, sent by a server: what means one thing only is taken from it.
    pub(super) fn of_server(mut self) -> Self {
        if let Source::Chunked(decoder) = &mut self.source {
            decoder.take_padding();
        }
        self
    }

    /// The same body, with the lines that may follow its chunks, but for those of these names.
    pub(super) fn with_trailers(mut self, without: &[LineName]) -> Self {
        if let Source::Chunked(decoder) = &mut self.source {
            decoder.pass_trailers(without);
        }
        self
    }

    /// The same body, encoded on its way. One that has no bytes stays as it is.
    pub(super) fn encoded(mut self, encoding: Option<Encoding>) -> Self {
        if let (Some(encoding), false) = (encoding, self.is_done()) {
            // Without memory for it the body is broken, which the other side can see.
            self.encoder = Encoder::new(encoding).ok().map(Box::new);
            self.is_encoded = true;
        }
        self
    }

    /// Bytes of the body that came, and that went to the other side, without their framing.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.came, if self.is_encoded { self.encoded } else { self.came })
    }

    /// Whether everything has come.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    /// How many of the next `there` bytes go to the other side as they are, and counts them as taken. None: they have
    /// to go through [`feed`](Self::feed).
    pub(super) fn pass(&mut self, there: usize) -> Option<usize> {
        if self.is_encoded {
            return None;
        }
        match (&mut self.source, self.sink) {
            (Source::Length(left), Sink::Plain) => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
                *left -= passed as u64;
                self.came += passed as u64;
                if *left == 0 {
                    self.source = Source::Done;
                }
                Some(passed)
            }
            (Source::ToClose, Sink::Plain) => {
                self.came += there as u64;
                Some(there)
            }
            _ => None,
        }
    }

    /// Takes what belongs to the body off the front of `input`, writes it to `out` as the other side wants it, and
    /// tells how much that was.
    ///
    /// # Errors
    /// Where the framing is broken. What was written to `out` before may be sent.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BadChunk> {
        if self.is_encoded && !self.is_done() {
            return self.feed_encoded(input, out);
        }
        let mut rest = input;
        match &mut self.source {
            Source::Done => {}
            Source::ToClose => {
                self.came += rest.len() as u64;
                self.sink.write(std::mem::take(&mut rest), out);
            }
            Source::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                let (data, after) = rest.split_at(taken);
                self.sink.write(data, out);
                *left -= taken as u64;
                self.came += taken as u64;
                if *left == 0 {
                    self.sink.end(&[], out);
                    self.source = Source::Done;
                }
                rest = after;
            }
            Source::Chunked(decoder) => loop {
                match decoder.next(&mut rest)? {
                    Piece::Data(data) => {
                        self.came += data.len() as u64;
                        self.sink.write(data, out);
                    }
                    Piece::More => break,
                    Piece::End => {
                        self.sink.end(decoder.trailers(), out);
                        self.source = Source::Done;
                        break;
                    }
                }
            },
        }
        Ok(input.len() - rest.len())
    }

    /// The same for a body that is encoded on its way: its bytes are taken out of their framing, encoded, and framed anew.
    fn feed_encoded(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BadChunk> {
        let Some(mut encoder) = self.encoder.take() else {
            return Err(BadChunk("there is no memory for its encoding"));
        };
        let sink = std::mem::replace(&mut self.sink, Sink::Plain);
        self.is_encoded = false;
        let mut plain = Vec::new();
        let used = self.feed(input, &mut plain);
        (self.sink, self.is_encoded) = (sink, true);
        let broken = |_| BadChunk("it cannot be encoded");
        encoder.write(&plain).map_err(broken)?;
        if self.is_done() {
            self.write_encoded(&encoder.finish().map_err(broken)?, out);
            self.sink.end(&[], out);
        } else {
            encoder.flush().map_err(broken)?;
            self.write_encoded(&encoder.take(), out);
            self.encoder = Some(encoder);
        }
        used
    }

    fn write_encoded(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.encoded += data.len() as u64;
        self.sink.write(data, out);
    }

    /// The connection that it came by has ended.
    ///
    /// # Errors
    /// Where the body had not: the other side must be able to see that.
    pub(super) fn end_of_input(&mut self, out: &mut Vec<u8>) -> Result<(), Truncated> {
        match self.source {
            Source::Done => Ok(()),
            Source::ToClose => {
                if self.is_encoded {
                    let encoder = self.encoder.take().ok_or(Truncated)?;
                    self.write_encoded(&encoder.finish().map_err(|_| Truncated)?, out);
                }
                self.sink.end(&[], out);
                self.source = Source::Done;
                Ok(())
            }
            Source::Length(_) | Source::Chunked(_) => Err(Truncated),
        }
    }
}

impl Sink {
    fn write(self, data: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(data),
            // An empty chunk would be the last one.
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => {
                write!(out, "{:x}\r\n", data.len()).expect("a Vec takes everything");
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn end(self, trailers: &[u8], out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_an_encoder_nothing_goes_out_that_is_called_encoded() {
        for length in [Length::Known(5), Length::ToClose, Length::Chunked] {
            let mut relay = Relay::new(length, Sink::Chunked).encoded(Some(Encoding::Gzip));
            relay.encoder = None;
            let mut out = Vec::new();
            assert_eq!(relay.pass(5), None);
            assert!(relay.feed(b"5\r\nhello\r\n", &mut out).is_err());
            assert!(relay.end_of_input(&mut out).is_err());
            assert!(out.is_empty());
        }
    }

    #[track_caller]
    fn check(length: Length, sink: Sink, input: &str, used: usize, expected: &str) {
        let (mut relay, mut out) = (Relay::new(length, sink), Vec::new());
        let taken = relay.feed(input.as_bytes(), &mut out).expect("whole");
        relay.end_of_input(&mut out).expect("whole");
        assert_eq!((taken, String::from_utf8_lossy(&out).as_ref()), (used, expected));
    }

    #[test]
    fn bytes_are_counted_without_their_framing() {
        let mut out = Vec::new();
        let mut chunked = Relay::new(Length::Chunked, Sink::Chunked);
        chunked.feed(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", &mut out).expect("chunks");
        assert_eq!(chunked.moved(), (5, 5));
        let mut known = Relay::new(Length::Known(10), Sink::Plain);
        assert_eq!((known.pass(4), known.feed(b"efgh", &mut out)), (Some(4), Ok(4)));
        assert_eq!(known.moved(), (8, 8));
        let mut open = Relay::new(Length::ToClose, Sink::Chunked);
        open.feed(b"abc", &mut out).expect("anything");
        assert_eq!(open.moved(), (3, 3));
        let mut encoded =
            Relay::new(Length::Known(4_000), Sink::Chunked).encoded(Some(Encoding::Gzip));
        encoded.feed(&[b'a'; 4_000], &mut out).expect("anything");
        let (came, went) = encoded.moved();
        assert!(came == 4_000 && 0 < went && went < 400, "{came} {went}");
    }

    #[test]
    fn each_framing_becomes_each_other() {
        check(Length::None, Sink::Chunked, "next", 0, "");
        check(Length::Known(3), Sink::Plain, "abcdef", 3, "abc");
        check(Length::Known(3), Sink::Chunked, "abcdef", 3, "3\r\nabc\r\n0\r\n\r\n");
        check(Length::Chunked, Sink::Plain, "3\r\nabc\r\n0\r\n\r\nnext", 13, "abc");
        check(
            Length::Chunked,
            Sink::Chunked,
            "3;x=y\r\nabc\r\n0\r\n\r\n",
            17,
            "3\r\nabc\r\n0\r\n\r\n",
        );
        check(Length::Chunked, Sink::Chunked, "0\r\nA: b\r\n\r\n", 11, "0\r\n\r\n");
        check(Length::ToClose, Sink::Plain, "abc", 3, "abc");
        check(Length::ToClose, Sink::Chunked, "abc", 3, "3\r\nabc\r\n0\r\n\r\n");
    }

    #[test]
    fn an_encoded_body_is_framed_anew() {
        use std::io::Read as _;
        for (length, input) in [
            (Length::Known(10), "words word"),
            (Length::Chunked, "6\r\nwords \r\n4\r\nword\r\n0\r\nT: 1\r\n\r\n"),
            (Length::ToClose, "words word"),
        ] {
            let mut relay = Relay::new(length, Sink::Chunked).encoded(Some(Encoding::Gzip));
            let mut out = Vec::new();
            for byte in input.as_bytes() {
                assert_eq!(relay.pass(1), None);
                assert_eq!(relay.feed(&[*byte], &mut out), Ok(1));
            }
            relay.end_of_input(&mut out).expect("whole");
            let (mut back, mut encoded) = (Relay::new(Length::Chunked, Sink::Plain), Vec::new());
            assert_eq!(back.feed(&out, &mut encoded), Ok(out.len()));
            assert!(back.is_done());
            let mut text = String::new();
            flate2::read::GzDecoder::new(&*encoded).read_to_string(&mut text).expect("gzip");
            assert_eq!(text, "words word", "{length:?}");
        }
    }

    #[test]
    fn a_body_that_ends_early_is_noticed() {
        for (length, input) in [(Length::Known(5), "abc"), (Length::Chunked, "5\r\nabc")] {
            let (mut relay, mut out) = (Relay::new(length, Sink::Plain), Vec::new());
            relay.feed(input.as_bytes(), &mut out).expect("so far");
            assert_eq!(relay.end_of_input(&mut out), Err(Truncated));
        }
    }

    proptest! {
        #[test]
        fn a_body_arrives_whole_whatever_the_cuts(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1_usize..20, 0..40),
        ) {
            let body: Vec<u8> = chunks.concat();
            let mut sent = Vec::new();
            for chunk in &chunks {
                Sink::Chunked.write(chunk, &mut sent);
            }
            Sink::Chunked.end(b"T: 1\r\n", &mut sent);
            let sent_length = sent.len();
            sent.extend_from_slice(b"GET /next");
            // There and back again: chunks to chunks, and those to plain bytes.
            let mut there = Relay::new(Length::Chunked, Sink::Chunked);
            let mut back = Relay::new(Length::Chunked, Sink::Plain);
            let (mut input, mut used, mut plain) = (&sent[..], 0, Vec::new());
            let mut cuts = cuts.into_iter();
            while !there.is_done() {
                let (piece, rest) = input.split_at(cuts.next().unwrap_or(input.len()).min(input.len()));
                let mut out = Vec::new();
                used += there.feed(piece, &mut out).expect("good chunks");
                back.feed(&out, &mut plain).expect("good chunks");
                input = rest;
            }
            prop_assert!(back.is_done());
            prop_assert_eq!(plain, body);
            prop_assert_eq!(used, sent_length);
        }
    }
}
