//! What a request is for: one host and one path, or a refusal. Guards what two readers could read in two ways.

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Version};

use super::error::Error;
use crate::model::Head;

/// The host and the path of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// The authority as the client sent it, port included; empty where an HTTP/1.0 client named none.
    pub(super) host: String,
    /// Path and query, in origin form.
    pub(super) path_and_query: PathAndQuery,
}

/// Reads the target (RFC 9112, section 3.2).
pub(super) fn target<B>(request: &Request<B>) -> Result<Target, Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::MethodNotServed);
    }
    let line = host_line(request)?;
    let uri = request.uri();
    let (host, path_and_query) = match (uri.scheme_str(), uri.authority()) {
        (None, None) => (line, uri.path_and_query().cloned()),
        // Absolute form: the target's authority goes before Host (RFC 9112, section 3.2.2).
        (Some("http"), Some(authority)) => (authority.as_str(), uri.path_and_query().cloned()),
        _ => return Err(Error::BadRequest("the target is neither a path nor an http URL")),
    };
    if !host.bytes().all(is_host_byte) {
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

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte)
}

/// hyper's header lines, as the rooms below see them.
pub(super) struct Lines<'h>(pub(super) &'h HeaderMap);

impl Head for Lines<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(http::HeaderValue::as_bytes)
    }
}
