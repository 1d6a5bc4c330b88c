//! How long a body is: one reading, or a refusal (RFC 9112, section 6).

use super::fields::Field;
use super::parse::Version;
use crate::proxy::error::Error;
use crate::proxy::upstream::Reuse;

/// The length of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// There is none.
    None,
    /// So many bytes.
    Known(u64),
    /// As its chunks tell.
    Chunked,
    /// Until the connection ends; answers only.
    ToClose,
}

/// The lines that frame a body, gathered while a head is read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    length: Option<u64>,
    is_chunked: bool,
    has_other_coding: bool,
    /// Why no length can be read from them.
    bad: Option<&'static str>,
}

impl Lines {
    /// Reads one line more, where it is one of them.
    pub(super) fn read(&mut self, field: Field, value: &[u8], repeats: Repeats) {
        match field {
            Field::ContentLength => {
                match number(value).filter(|&length| length <= BODY_BYTES_MAX) {
                    Some(length) if self.length.is_none() => self.length = Some(length),
                    Some(length) if repeats == Repeats::Same && self.length == Some(length) => {}
                    _ => self.bad = Some("Content-Length is not one plain number below 2^63"),
                }
            }
            Field::TransferEncoding => {
                let is_chunked = value.eq_ignore_ascii_case(b"chunked");
                // A second line makes a list of two codings, whatever they are.
                self.has_other_coding |= !is_chunked || self.is_chunked;
                self.is_chunked = true;
            }
            Field::Disguise => {
                self.bad = Some("a name that others take for Content-Length or Transfer-Encoding");
            }
            _ => {}
        }
    }
}

/// Whether lengths may be told twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeats {
    /// Not at all: who sends that means harm.
    No,
    /// Where they are the same (RFC 9112, section 6.3, rule 5).
    Same,
}

/// The longest body, in bytes: servers that count in signed numbers would take a longer one for a negative one (RFC 9110,
/// section 8.6).
pub(super) const BODY_BYTES_MAX: u64 = i64::MAX as u64;

/// A number without sign, blanks or list; 19 digits never overflow.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// The length of a request's body.
///
/// # Errors
/// [`Error::BadRequest`] where two readers could disagree, [`Error::CodingNotServed`] for codings besides `chunked`.
pub(super) fn of_request(lines: &Lines, version: Version) -> Result<Length, Error> {
    if let Some(why) = lines.bad {
        return Err(Error::BadRequest(why));
    }
    match (lines.is_chunked, lines.length) {
        // RFC 9112, section 6.1: who does not know a coding says so.
        _ if lines.has_other_coding => Err(Error::CodingNotServed),
        (true, Some(_)) => {
            Err(Error::BadRequest("there are both Content-Length and Transfer-Encoding"))
        }
        (true, None) if version == Version::Http10 => {
            Err(Error::BadRequest("HTTP/1.0 has no Transfer-Encoding"))
        }
        (true, None) => Ok(Length::Chunked),
        (false, Some(length)) => Ok(Length::Known(length)),
        (false, None) => Ok(Length::None),
    }
}

/// What an answer's lines say about its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answered {
    /// What comes after its head.
    pub(super) length: Length,
    /// The length it tells without having a body (HEAD, 304), to be passed on.
    pub(super) told: Option<u64>,
    /// Whether, and when, another one can follow on the same connection.
    pub(super) reuse: Reuse,
}

/// The length of an answer's body (RFC 9112, section 6.3).
///
/// # Errors
/// [`Error::BadAnswer`] where two readers could disagree.
pub(super) fn of_answer(
    lines: &Lines,
    status: u16,
    version: Version,
    is_head: bool,
) -> Result<Answered, Error> {
    if let Some(why) = lines.bad {
        return Err(Error::BadAnswer(why));
    }
    let has_none = is_head || status < 200 || status == 204 || status == 304;
    if has_none {
        // RFC 9110, section 8.6: interim answers and 204 tell none, whatever was asked.
        let may_tell = status >= 200 && status != 204 && (is_head || status == 304);
        let told = lines.length.filter(|_| may_tell && !lines.is_chunked);
        // A body where none may be is what poisons the next answer.
        let tells_none = !lines.is_chunked && lines.length.unwrap_or(0) == 0;
        let is_told_empty = !lines.is_chunked && lines.length == Some(0);
        let reuse = match (is_head && !is_told_empty, tells_none) {
            (false, true) if is_head => Reuse::Now,
            (false, true) => Reuse::AfterLook,
            (false, false) if status != 304 => Reuse::Never,
            _ => Reuse::Later,
        };
        return Ok(Answered { length: Length::None, told, reuse });
    }
    let length = match (lines.is_chunked, lines.length) {
        _ if lines.has_other_coding => {
            return Err(Error::BadAnswer("its transfer coding is not chunked"));
        }
        (true, Some(_)) => {
            return Err(Error::BadAnswer("it has both Content-Length and Transfer-Encoding"));
        }
        (true, None) if version == Version::Http10 => {
            return Err(Error::BadAnswer("HTTP/1.0 has no Transfer-Encoding"));
        }
        (true, None) => Length::Chunked,
        (false, Some(length)) => Length::Known(length),
        (false, None) => Length::ToClose,
    };
    let reuse = if length == Length::ToClose { Reuse::Never } else { Reuse::Now };
    Ok(Answered { length, told: None, reuse })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::fields::classify;

    fn gathered(all: &[(&'static str, &'static str)], repeats: Repeats) -> Lines {
        let mut lines = Lines::default();
        for (name, value) in all {
            lines.read(classify(name.as_bytes()), value.as_bytes(), repeats);
        }
        lines
    }

    #[track_caller]
    fn request(all: &[(&'static str, &'static str)], expected: Option<Length>) {
        let found = of_request(&gathered(all, Repeats::No), Version::Http11);
        assert_eq!(found.ok(), expected, "{all:?}");
    }

    #[track_caller]
    fn answer(status: u16, all: &[(&'static str, &'static str)], expected: Option<Length>) {
        let lines = gathered(all, Repeats::Same);
        let found = of_answer(&lines, status, Version::Http11, false);
        assert_eq!(found.ok().map(|answered| answered.length), expected, "{all:?}");
    }

    const CHUNKED: (&str, &str) = ("Transfer-Encoding", "Chunked");

    #[test]
    fn a_request_has_one_length() {
        request(&[], Some(Length::None));
        request(&[("Content-Length", "5")], Some(Length::Known(5)));
        request(&[("Content-Length", "010")], Some(Length::Known(10)));
        request(&[CHUNKED], Some(Length::Chunked));
        for bad in ["", "+5", "-1", "5 5", "5,5", "0x5", "5.", "99999999999999999999"] {
            request(&[("Content-Length", bad)], None);
        }
        request(&[("Content-Length", "5"), ("Content-Length", "5")], None);
        request(&[("Content-Length", "5"), CHUNKED], None);
        request(&[CHUNKED, ("content-length", "5")], None);
        request(&[CHUNKED, CHUNKED], None);
        request(&[("Transfer-Encoding", "gzip, chunked")], None);
        request(&[("Content-Length", "9223372036854775807")], Some(Length::Known(BODY_BYTES_MAX)));
        request(&[("Content-Length", "9223372036854775808")], None);
        request(&[("Transfer-Encoding", "identity")], None);
        request(&[("Transfer_Encoding", "chunked")], None);
        let old = of_request(&gathered(&[CHUNKED], Repeats::No), Version::Http10);
        assert!(old.is_err());
    }

    #[test]
    fn an_answer_has_one_length() {
        answer(200, &[], Some(Length::ToClose));
        answer(200, &[("Content-Length", "5")], Some(Length::Known(5)));
        answer(200, &[("Content-Length", "5"), ("Content-Length", "5")], Some(Length::Known(5)));
        answer(200, &[CHUNKED], Some(Length::Chunked));
        answer(204, &[("Content-Length", "5")], Some(Length::None));
        answer(304, &[("Content-Length", "5")], Some(Length::None));
        answer(200, &[("Content-Length", "5"), ("Content-Length", "6")], None);
        answer(200, &[("Content-Length", "5"), CHUNKED], None);
        answer(200, &[("Transfer-Encoding", "gzip")], None);
    }

    #[test]
    fn a_length_without_a_body_is_told_where_it_may_be() {
        for (status, told) in [(103, None), (200, Some(5)), (204, None), (304, Some(5))] {
            let lines = gathered(&[("Content-Length", "5")], Repeats::Same);
            let answered = of_answer(&lines, status, Version::Http11, true).expect("an answer");
            assert_eq!((answered.length, answered.told), (Length::None, told), "{status}");
        }
    }

    #[test]
    fn what_tells_a_body_where_none_may_be_is_not_trusted() {
        let check = |status, lines: &[_], is_head, expected| {
            let lines = gathered(lines, Repeats::Same);
            let answered = of_answer(&lines, status, Version::Http11, is_head).expect("an answer");
            assert_eq!(answered.reuse, expected, "{status} {is_head}");
        };
        let length = [("Content-Length", "5")];
        check(204, &[], false, Reuse::AfterLook);
        check(304, &[], false, Reuse::AfterLook);
        check(304, &length, false, Reuse::Later);
        check(304, &[CHUNKED], false, Reuse::Later);
        check(200, &[], true, Reuse::Later);
        check(200, &[("Content-Length", "0")], true, Reuse::Now);
        check(204, &length, true, Reuse::Later);
        check(204, &length, false, Reuse::Never);
        check(204, &[CHUNKED], false, Reuse::Never);
        check(200, &[], false, Reuse::Never);
    }
}
