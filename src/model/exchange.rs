//! One request on its way, in words of our own: whichever engine carries it, the rooms below `proxy` see this.

use std::borrow::Cow;

/// The header lines of a request, whoever holds them.
pub trait Head: Sync {
    /// The value of the first line of this name (lower case), if there is one.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// A request head with its host and path made comparable once, and what the chain made of it.
pub struct Exchange<'h> {
    /// The entry point it came in by: `http`.
    pub entrypoint: &'h str,
    /// Lower case, without port and trailing dot; empty where an HTTP/1.0 client named none.
    pub host: Cow<'h, str>,
    /// The path as the client sent it, without the query, or what a middleware made of it.
    pub path: Cow<'h, str>,
    /// The prefix that was taken off the path; told to the server in `X-Forwarded-Prefix`.
    pub stripped_prefix: Option<String>,
    /// The other header lines.
    pub head: &'h dyn Head,
}

impl<'h> Exchange<'h> {
    /// A request as it arrived. `host` is made comparable here: see [`comparable_host`].
    pub fn new(entrypoint: &'h str, host: &'h str, path: &'h str, head: &'h dyn Head) -> Self {
        Self::of_host(entrypoint, comparable_host(host), path, head)
    }

    /// A request whose host was made comparable already.
    pub fn of_host(
        entrypoint: &'h str,
        host: Cow<'h, str>,
        path: &'h str,
        head: &'h dyn Head,
    ) -> Self {
        Self { entrypoint, host, path: Cow::Borrowed(path), stripped_prefix: None, head }
    }
}

/// A host as the table knows it: lower case, without port and without the trailing dot.
///
/// `WEB.local.:8080` is `web.local`; an address in brackets keeps them: `[::1]:80` is `[::1]`.
pub fn comparable_host(host: &str) -> Cow<'_, str> {
    // Hosts are short: looking at each byte is faster than a search that begins by getting ready.
    let name = match host.bytes().rposition(|byte| byte == b':' || byte == b']') {
        // A colon inside brackets belongs to an IPv6 address.
        Some(at) if host.as_bytes()[at] == b':' => host.split_at(at).0,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // All bytes at once, without an early end: that is what a processor does best.
    let has_upper = name.bytes().fold(false, |has, byte| has | byte.is_ascii_uppercase());
    if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

/// No header lines at all: for tests and for the route test of `explain`.
impl Head for () {
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: &str) {
        assert_eq!(comparable_host(host), expected);
    }

    #[test]
    fn a_host_is_compared_without_case_port_and_trailing_dot() {
        check("web.local", "web.local");
        check("WEB.Local:8080", "web.local");
        check("web.local.", "web.local");
        check("web.local.:80", "web.local");
        check("[::1]:80", "[::1]");
        check("[2001:DB8::1]", "[2001:db8::1]");
        check("", "");
        check(":80", "");
    }
}
