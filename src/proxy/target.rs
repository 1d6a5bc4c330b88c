//! What a request is for: one host and one path, or a refusal. Guards what two readers could read in two ways.

use std::net::Ipv6Addr;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Version};

use super::error::Error;
use super::framing;
use crate::model::Head;

/// The host and the path of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// The authority as the client sent it, port included; empty where an HTTP/1.0 client named none.
    pub(super) host: String,
    /// Path and query, in origin form.
    pub(super) path_and_query: PathAndQuery,
}

/// No registered method is half as long.
const METHOD_BYTES_MAX: usize = 64;

/// Reads the target (RFC 9112, section 3.2).
pub(super) fn target<B>(request: &Request<B>) -> Result<Target, Error> {
    if request.method() == Method::CONNECT || request.method().as_str().len() > METHOD_BYTES_MAX {
        return Err(Error::MethodNotServed);
    }
    framing::check_request(request.headers())?;
    let line = host_line(request)?;
    let uri = request.uri();
    let (host, path_and_query) = match (uri.scheme_str(), uri.authority()) {
        (None, None) => (line, uri.path_and_query().cloned()),
        // Absolute form: the target's authority goes before Host (RFC 9112, section 3.2.2).
        (Some("http"), Some(authority)) => (authority.as_str(), uri.path_and_query().cloned()),
        _ => return Err(Error::BadRequest("the target is neither a path nor an http URL")),
    };
    if !is_authority(host) {
        return Err(Error::BadRequest("the host holds what no host can hold"));
    }
    let path_and_query = path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let is_asterisk = path_and_query.as_str() == "*" && request.method() == Method::OPTIONS;
    if !path_and_query.path().starts_with('/') && !is_asterisk {
        return Err(Error::BadRequest("the path does not begin with a slash"));
    }
    Ok(Target { host: host.to_owned(), path_and_query })
}

/// Exactly one Host line, which only HTTP/1.0 may leave out (RFC 9112, section 3.2).
fn host_line<B>(request: &Request<B>) -> Result<&str, Error> {
    let mut lines = request.headers().get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            line.to_str().map_err(|_| Error::BadRequest("the Host line is not plain text"))
        }
        (None, _) if request.version() == Version::HTTP_10 => Ok(""),
        (None, _) => Err(Error::BadRequest("there is no Host line")),
        (Some(_), Some(_)) => Err(Error::BadRequest("there are several Host lines")),
    }
}

/// A host with or without a port, and without user information (RFC 3986, section 3.2).
fn is_authority(text: &str) -> bool {
    let (is_name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => match text.find(':').map(|at| text.split_at(at)) {
            Some((name, port)) => (!name.is_empty() && name.bytes().all(is_name_byte), port),
            None => (text.bytes().all(is_name_byte), ""),
        },
    };
    let is_port = |digits: &str| digits.is_empty() || digits.parse::<u16>().is_ok();
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

/// hyper's header lines, as the rooms below see them.
pub(super) struct Lines<'h>(pub(super) &'h HeaderMap);

impl Head for Lines<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(http::HeaderValue::as_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, hosts: &[&str], expected: Option<(&str, &str)>) {
        let request = hosts.iter().fold(Request::get(target), |r, host| r.header(HOST, *host));
        let found = super::target(&request.body(()).expect("hyper lets this through"));
        let found = found.map(|target| (target.host, target.path_and_query.to_string()));
        let expected = expected.map(|(host, path)| (host.to_owned(), path.to_owned()));
        assert_eq!(found.ok(), expected, "{target} {hosts:?}");
    }

    #[test]
    fn the_target_goes_before_host() {
        check("/a?b=c", &["a.local:81"], Some(("a.local:81", "/a?b=c")));
        check("http://a.local/x", &["b.local"], Some(("a.local", "/x")));
        check("http://a.local", &["b.local"], Some(("a.local", "/")));
        check("//a.local/x", &["b.local"], Some(("b.local", "//a.local/x")));
        check("/", &["[::1]:80"], Some(("[::1]:80", "/")));
        check("https://a.local/", &["a.local"], None);
        check("http://user@a.local/", &["a.local"], None);
        check("a.local:80", &["a.local"], None);
    }

    #[test]
    fn there_is_one_host_and_it_is_one() {
        check("/", &[], None);
        check("/", &["a.local", "a.local"], None);
        for bad in
            ["a b", "a,b", "a/b", "u@a", "a:b", "a:1:2", "a:99999", ":80", "[::1", "[x]", "a\\b"]
        {
            check("/", &[bad], None);
        }
    }

    #[test]
    fn http_1_0_may_name_none() {
        let request = Request::get("/").version(Version::HTTP_10).body(()).expect("a request");
        assert_eq!(target(&request).expect("a target").host, "");
    }
}
