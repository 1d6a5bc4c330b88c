//! How long a message is: what hyper lets through, and two readers could read in two ways, ends here.
//!
//! hyper refuses most of it (a length that is no number, two that differ, codings without `chunked` at the end) and
//! writes every message anew, so that no server sees a client's framing. These are the rest.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::error::Error;

/// Servers that hand headers on as variables (CGI, WSGI) take these for the real ones.
const DISGUISES: [&str; 2] = ["transfer_encoding", "content_length"];

/// Refuses a request whose body we could not pass on as it was meant.
pub(super) fn check_request(headers: &HeaderMap) -> Result<(), Error> {
    if headers.keys().any(|name| DISGUISES.contains(&name.as_str())) {
        return Err(Error::BadRequest("a header is named almost like one that frames the body"));
    }
    match is_coded(headers) {
        // RFC 9112, section 6.1: who does not know a coding says so, rather than pass it on without its name.
        true => Err(Error::CodingNotServed),
        false => Ok(()),
    }
}

/// Refuses an answer that says two things about its length (RFC 9112, section 6.3), and tidies the others.
pub(super) fn check_answer(status: StatusCode, headers: &mut HeaderMap) -> Result<(), Error> {
    let bad = |what: &str| Err(Error::BadAnswer(what.to_owned()));
    if is_coded(headers) {
        return bad("its transfer coding is not chunked");
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return bad("it has both Transfer-Encoding and Content-Length");
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    if lengths.any(|length| length != first) || !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return bad("it has several lengths");
    }
    match status {
        StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS => headers.remove(CONTENT_LENGTH),
        _ => headers.insert(CONTENT_LENGTH, first),
    };
    Ok(())
}

/// Whether there is a transfer coding besides one `chunked`.
fn is_coded(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |line: &http::HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"chunked");
    lines.next().is_some_and(|first| !is_chunked(first)) || lines.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        lines.iter().map(line).fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    #[track_caller]
    fn check(status: u16, lines: &[(&'static str, &'static str)], expected: Option<&[&str]>) {
        let mut headers = headers(lines);
        let status = StatusCode::from_u16(status).expect("a status");
        let checked = check_answer(status, &mut headers);
        let lengths = headers.get_all(CONTENT_LENGTH).iter();
        let lengths: Vec<_> = lengths.map(|length| length.to_str().expect("text")).collect();
        assert_eq!(checked.ok().map(|()| &*lengths), expected, "{lines:?}");
    }

    #[test]
    fn an_answer_has_one_length() {
        check(200, &[], Some(&[]));
        check(200, &[("content-length", "5")], Some(&["5"]));
        check(200, &[("content-length", "5"), ("content-length", "5")], Some(&["5"]));
        check(204, &[("content-length", "0")], Some(&[]));
        check(200, &[("content-length", "5"), ("content-length", "6")], None);
        check(200, &[("content-length", "5, 5")], None);
        check(200, &[("content-length", "5"), ("transfer-encoding", "chunked")], None);
        check(200, &[("transfer-encoding", "gzip, chunked")], None);
    }

    #[test]
    fn a_request_is_chunked_or_nothing() {
        let check = |lines, ok| assert_eq!(check_request(&headers(lines)).is_ok(), ok, "{lines:?}");
        check(&[], true);
        check(&[("transfer-encoding", "Chunked")], true);
        check(&[("transfer-encoding", "gzip, chunked")], false);
        check(&[("transfer_encoding", "chunked")], false);
        check(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false);
    }
}
