//! What a request is for: one authority and one path, or a refusal (RFC 9112, section 3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use wide::u8x16;

use super::bytes::letters_digits_and;
use crate::model::{comparable_host, has_doubtful_dots};
use crate::proxy::error::Error;

/// The authority and the path of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target<'h> {
    /// As the client sent it, port included; empty where an HTTP/1.0 client named none.
    pub(super) authority: &'h str,
    /// Its host, made comparable.
    pub(super) host: Cow<'h, str>,
    /// Path and query, in origin form.
    pub(super) path_and_query: Cow<'h, str>,
    /// Where the query begins with its question mark; the end where there is none.
    query: usize,
}

impl<'h> Target<'h> {
    /// `host`: the value of the Host line; none where there is none, which only HTTP/1.0 may do.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with what is wrong, [`Error::MethodNotServed`] for CONNECT.
    pub(super) fn read(
        method: &str,
        target: &'h str,
        host: Option<&'h str>,
    ) -> Result<Self, Error> {
        let bad = |what| Err(Error::BadRequest(what));
        if method == "CONNECT" {
            return Err(Error::MethodNotServed);
        }
        let (mut query, mut has_special) = (target.len(), false);
        for (at, byte) in target.bytes().enumerate() {
            match byte {
                b'?' if query == target.len() => query = at,
                b'%' | b'\\' | b';' => has_special = true,
                b'#' => return bad("the path holds a fragment, which no client sends"),
                // Browsers send more than RFC 3986 allows, and it means one thing only.
                _ if byte.is_ascii_graphic() => {}
                _ => return bad("the path holds bytes that have to be percent-encoded"),
            }
        }
        let (authority, path_and_query) = match absolute(target) {
            _ if target.starts_with('/') || (target == "*" && method == "OPTIONS") => {
                (host.unwrap_or_default(), Cow::Borrowed(target))
            }
            // The target's authority goes before Host (RFC 9112, section 3.2.2).
            Some((authority, rest)) if !authority.is_empty() => {
                let path = match rest {
                    // Of the server itself (RFC 9112, section 3.2.4).
                    "" if method == "OPTIONS" => Cow::Borrowed("*"),
                    _ if rest.starts_with('/') => Cow::Borrowed(rest),
                    _ => Cow::Owned(format!("/{rest}")),
                };
                (authority, path)
            }
            _ => return bad("the target is neither a path nor an http URL"),
        };
        // Where the target names no authority, they are one and the same.
        let is_one = host.is_some_and(|host| std::ptr::eq(host, authority));
        // Nearly all are names in lower case, which one look tells.
        let is_name = is_lower_name(authority);
        let is_good = is_name || is_authority(authority);
        if !is_good || (!is_one && !host.is_none_or(is_authority)) {
            return bad("the host holds what no host can hold");
        }
        let is_comparable = is_name && !authority.ends_with('.');
        let host = match is_comparable {
            true => Cow::Borrowed(authority),
            false => comparable_host(authority),
        };
        // Of an absolute form a part was taken off, or a slash or an asterisk was put in.
        let query = (query + path_and_query.len()).saturating_sub(target.len());
        if has_special && has_doubtful_dots(path_and_query.split_at(query).0) {
            return bad("the path holds dots that servers read in different ways");
        }
        Ok(Self { authority, host, path_and_query, query })
    }

    /// The path without the query.
    pub(super) fn path(&self) -> &str {
        self.path_and_query.split_at(self.query).0
    }

    /// The query with its question mark; empty where there is none.
    pub(super) fn query(&self) -> &str {
        self.path_and_query.split_at(self.query).1
    }
}

/// The authority of an `http` URL, and what follows it.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_at_checked("http://".len())?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case("http://").then(|| rest.split_at(end))
}

/// Whether it is a name as nearly all are: of lower-case letters, digits, hyphens, dots and underscores alone.
fn is_lower_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if let Some(last) = bytes.last_chunk::<CHUNK>() {
        let (chunks, _) = bytes.as_chunks::<CHUNK>();
        // The last ones are looked at twice where there is no whole chunk of them.
        return chunks.iter().chain([last]).all(|chunk| is_lower_chunk(*chunk));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let mut both = [0; CHUNK];
        both[..8].copy_from_slice(first);
        both[8..].copy_from_slice(last);
        return is_lower_chunk(both);
    }
    bytes.iter().all(|&byte| is_lower_chunk([byte; CHUNK]))
}

/// Bytes that are looked at together.
const CHUNK: usize = 16;

#[inline(always)]
fn is_lower_chunk(bytes: [u8; CHUNK]) -> bool {
    let bytes = u8x16::new(bytes);
    let is_within =
        |first: u8, last: u8| (bytes - u8x16::splat(first)).simd_le(u8x16::splat(last - first));
    let is_one = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
    let is_good =
        is_within(b'a', b'z') | is_within(b'0', b'9') | is_within(b'-', b'.') | is_one(b'_');
    is_good.to_bitmask() == 0xffff
}

/// A host with or without a port, and without user information (RFC 3986, section 3.2).
fn is_authority(text: &str) -> bool {
    let (is_name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        // Names are short: looking at each byte is faster than a search that begins by getting ready.
        None => match text.bytes().position(|byte| byte == b':').map(|at| text.split_at(at)) {
            Some((name, port)) => (!name.is_empty() && name.bytes().all(is_name_byte), port),
            None => (text.bytes().all(is_name_byte), ""),
        },
    };
    let is_port = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.is_empty() || digits.parse::<u16>().is_ok())
    };
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_name_byte(byte: u8) -> bool {
    const NAME_BYTES: [bool; 256] = letters_digits_and(b"-._~%!$&'()*+;=");
    NAME_BYTES[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, host: Option<&str>, expected: Option<(&str, &str)>) {
        let found = Target::read("GET", target, host).ok();
        let found = found.as_ref().map(|found| (found.authority, &*found.path_and_query));
        assert_eq!(found, expected, "{target} {host:?}");
    }

    #[test]
    fn a_name_in_lower_case_is_known_by_any_length() {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        assert!(is_lower_name(""));
        for length in 1..50 {
            let letters = "a-0.z_9-b.example.local".chars().cycle();
            let name = &letters.take(length).collect::<String>();
            assert!(is_lower_name(name), "{name}");
            for at in 0..length {
                for byte in 0..128 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte;
                    let other = str::from_utf8(&other).expect("ASCII");
                    assert_eq!(is_lower_name(other), is_plain(byte), "{other:?}");
                }
            }
        }
        assert!(!is_lower_name("\u{fc}"));
    }

    #[test]
    fn the_target_goes_before_host() {
        check("/a?b=c", Some("a.local:81"), Some(("a.local:81", "/a?b=c")));
        check("http://a.local/x", Some("b.local"), Some(("a.local", "/x")));
        check("HTTP://a.local", Some("b.local"), Some(("a.local", "/")));
        check("http://a.local?q", Some("b.local"), Some(("a.local", "/?q")));
        check("//a.local/x", Some("b.local"), Some(("b.local", "//a.local/x")));
        check("/", Some("[::1]:80"), Some(("[::1]:80", "/")));
        check("/", None, Some(("", "/")));
        for bad in ["https://a/", "http://me@a/", "a.local:80", "*", "http:///x", "/a#b", "/ä", ""]
        {
            check(bad, Some("a.local"), None);
        }
    }

    #[test]
    fn a_host_is_one() {
        for bad in [
            "a b", "a,b", "a/b", "u@a", "a:b", "a:1:2", "a:99999", "a:+1", ":80", "[::1", "[x]",
            "a\\b",
        ] {
            check("/", Some(bad), None);
            check("http://a.local/", Some(bad), None);
        }
    }

    #[test]
    fn the_method_decides_what_a_target_may_be() {
        for (target, path) in
            [("*", "*"), ("http://a", "*"), ("http://a/", "/"), ("http://a?b", "/")]
        {
            let read = Target::read("OPTIONS", target, Some("a")).expect("a target");
            assert_eq!(read.path(), path, "{target}");
        }
        assert_eq!(Target::read("CONNECT", "a:443", Some("a")), Err(Error::MethodNotServed));
    }

    #[test]
    fn a_path_is_read_in_one_way() {
        for bad in ["/a%2f..%2fb", "/..;/b", "/a/..\\b"] {
            check(bad, Some("a.local"), None);
        }
        for good in ["/a/../b", "/%2e/b", "/a?/..;/b%2f.."] {
            check(good, Some("a.local"), Some(("a.local", good)));
        }
    }

    #[test]
    fn path_and_query_are_told_apart() {
        let target = Target::read("GET", "/a?b?c", Some("a")).expect("a target");
        assert_eq!((target.path(), target.query()), ("/a", "?b?c"));
        for (text, path, query) in [
            ("http://a.local?b?c", "/", "?b?c"),
            ("http://a.local/x?b", "/x", "?b"),
            ("http://a.local", "/", ""),
            ("http://a.local/x", "/x", ""),
            ("/x?", "/x", "?"),
        ] {
            let target = Target::read("GET", text, Some("a")).expect("a target");
            assert_eq!((target.path(), target.query()), (path, query), "{text}");
        }
    }

    #[test]
    fn the_host_is_made_comparable() {
        for (authority, host) in [
            ("a.local", "a.local"),
            ("A.local", "a.local"),
            ("a.local.", "a.local"),
            ("a.local.:80", "a.local"),
            ("[::1]:80", "[::1]"),
        ] {
            let target = Target::read("GET", "/", Some(authority)).expect("a target");
            assert_eq!((target.authority, &*target.host), (authority, host));
        }
    }
}
