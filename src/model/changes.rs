//! What the steps of a chain make of a request, and what they want to see of its answer.

use std::any::Any;
use std::borrow::Cow;

use super::Head;

/// A header line's name: most are known beforehand.
pub type LineName = Cow<'static, str>;

/// What the steps of a chain made of a request. It borrows nothing of the request, and so outlives every wait and every
/// try at another server. Without memory of its own where no step changed anything.
#[derive(Default)]
pub struct Changes {
    /// The path in the place of the one that was sent.
    pub path: Option<String>,
    /// The query in the place of the one that was sent, without its `?`.
    pub query: Option<String>,
    /// The host that the server sees in the place of the client's.
    pub host: Option<String>,
    /// Lines for the server, after those of the client and our own.
    pub added: Vec<(LineName, String)>,
    /// Lines that the server does not get, neither the client's nor our own.
    pub removed: Vec<LineName>,
    /// Who wants to see the answer, in the order of the chain.
    pub followers: Vec<Box<dyn Follower>>,
    /// Who it is, once a step found out: for the access log.
    pub user: Option<String>,
}

impl Changes {
    /// The server gets this line, and no other one of its name. The client's and our own are left out.
    pub fn set_line(&mut self, name: impl Into<LineName>, value: impl Into<String>) {
        let name = name.into();
        self.remove_line(name.clone());
        self.added.push((name, value.into()));
    }

    /// The server gets no line of this name.
    pub fn remove_line(&mut self, name: impl Into<LineName>) {
        let name = name.into();
        self.added.retain(|(added, _)| !added.eq_ignore_ascii_case(&name));
        if !self.is_removed(&name) {
            self.removed.push(name);
        }
    }

    /// Whether a line of this name is left out.
    pub fn is_removed(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

/// The head of an answer on its way to the client, whoever gave it: a server, or Herder itself.
pub struct Response<'h> {
    /// The status of the answer.
    pub status: u16,
    /// Whether a server gave it; else Herder answers itself.
    pub is_servers: bool,
    /// The lines as the server sent them; none where Herder answers itself.
    head: &'h dyn Head,
    /// Lines for the client besides those that pass.
    pub(crate) added: Vec<(LineName, String)>,
    /// Lines that do not pass.
    pub(crate) removed: Vec<LineName>,
    /// What its body is encoded with on the way, where it is.
    pub(crate) encoding: Option<Encoding>,
}

/// How a body is encoded on its way to the client (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// `gzip`.
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

impl Encoding {
    /// As `Content-Encoding` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

impl<'h> Response<'h> {
    /// An answer as it came.
    pub fn new(status: u16, is_servers: bool, head: &'h dyn Head) -> Self {
        let (added, removed) = (Vec::new(), Vec::new());
        Self { status, is_servers, head, added, removed, encoding: None }
    }

    /// The value of the first line of this name (lower case), as the client would get it now.
    pub fn line(&self, name: &str) -> Option<&[u8]> {
        let added = self.added.iter().find(|(added, _)| added.eq_ignore_ascii_case(name));
        let sent = || self.head.header(name).filter(|_| !self.is_removed(name));
        sent().or_else(|| added.map(|(_, value)| value.as_bytes()))
    }

    /// Shows every line as the server sent it.
    pub fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        self.head.each_line(see);
    }

    /// Whether the client would get a line of this name (lower case) now whose value passes the test.
    pub fn has_line(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        let mut added = self.added.iter().filter(|(added, _)| added.eq_ignore_ascii_case(name));
        added.any(|(_, value)| test(value.as_bytes()))
            || (!self.is_removed(name) && self.head.has_line(name, &mut test))
    }

    /// The client gets this line besides any other ones of its name.
    pub fn add_line(&mut self, name: impl Into<LineName>, value: impl Into<String>) {
        self.added.push((name.into(), value.into()));
    }

    /// The client gets this line, and no other one of its name.
    pub fn set_line(&mut self, name: impl Into<LineName>, value: impl Into<String>) {
        let name = name.into();
        self.remove_line(name.clone());
        self.added.push((name, value.into()));
    }

    /// The client gets no line of this name.
    pub fn remove_line(&mut self, name: impl Into<LineName>) {
        let name = name.into();
        self.added.retain(|(added, _)| !added.eq_ignore_ascii_case(&name));
        if !self.is_removed(&name) {
            self.removed.push(name);
        }
    }

    /// The body is encoded on its way. What says how long or what it is (`Content-Length`, `Content-Encoding`, `ETag`'s
    /// strength) is the caller's to change, except for the framing itself.
    pub fn encode(&mut self, encoding: Encoding) {
        self.encoding = Some(encoding);
    }

    /// Whether a line of this name that the server sent does not pass.
    pub fn is_removed(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

/// Sees what becomes of one request. A step leaves it in [`Changes::followers`]; it is asked in the opposite order of the
/// chain, and dropped when the exchange has ended, however it ended.
pub trait Follower: Any {
    /// Sees the head of the answer, and may change it. Called for each answer that is to go to the client, changes of the
    /// protocol (101) among them and interim ones aside: again for what stands in its place where it breaks off while it is kept.
    fn on_response(&mut self, response: &mut Response<'_>) {
        let _ = response;
    }

    /// The exchange has ended.
    fn on_end(&mut self, ended: &Ended) {
        let _ = ended;
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// The status of the answer that the client got; none where it left before.
    pub status: Option<u16>,
    /// Whether no server could be reached, or none answered in words that can be passed on: what Traefik 1.7 counts as a
    /// network error (502 and 504 of its own).
    pub is_network_error: bool,
    /// Whether the time it took is the servers': the request had come whole before one was asked, and the client did not hold
    /// up the answer for long.
    pub is_timed: bool,
    /// From the end of the request's head to the end of the answer, in microseconds, without the time in which the client
    /// was waited for to take some of it.
    pub took_us: u64,
    /// When it ended, by the worker's clock in milliseconds.
    pub now_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_set_stands_alone() {
        let mut changes = Changes::default();
        changes.added.push(("X-A".into(), "1".to_owned()));
        changes.set_line("x-a", "2");
        assert!(changes.is_removed("X-A"));
        assert_eq!(changes.added, [("x-a".into(), "2".to_owned())]);
        changes.remove_line("X-A");
        assert!(changes.added.is_empty());
    }

    #[test]
    fn the_head_of_an_answer_shows_what_the_client_would_get() {
        let mut response = Response::new(200, true, &());
        assert_eq!(response.line("vary"), None);
        response.add_line("Vary", "Origin");
        response.add_line("Vary", "Accept-Encoding");
        assert!(response.has_line("vary", |value| value == b"Accept-Encoding"));
        assert_eq!(response.line("vary"), Some(&b"Origin"[..]));
        response.set_line("vary", "*");
        assert_eq!(response.added.len(), 1);
    }
}
