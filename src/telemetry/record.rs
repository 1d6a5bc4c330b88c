//! What is noted of one request while it is under way. The engine notes, and only where somebody wants to know.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::trace::{Parent, SpanId, Tracked};
use crate::config::Scheme;
use crate::middleware::auth::remove_spellings;
use crate::model::{
    BackendId, Exchange, Follower, FrontendId, Head, LineName, Response, ServerName,
};
use crate::settings::{LineName as Named, Ratio};
use crate::table::{Route, RunningServer};

/// Tries of one request that are told of one by one; of more the last one is.
const TRIES_MAX: usize = 32;

/// A request's id is no longer than this.
const ID_BYTES_MAX: usize = 128;

/// What is noted of every request.
pub(super) struct Wants {
    /// The header line with the request's id.
    pub(super) request_id: Option<Named>,
    /// The part of the requests that is traced.
    pub(super) traces: Option<Ratio>,
    /// Whether the header lines of answers are logged.
    pub(super) lines: bool,
}

/// What is noted of one request.
pub struct Record {
    wants: Arc<Wants>,
    pub(super) began: SystemTime,
    began_at: Instant,
    has_arrived: bool,
    pub(super) id: Option<String>,
    pub(super) tracked: Option<Tracked>,
    /// Whether what the client says of itself was believed.
    pub(super) is_trusted: bool,
    pub(super) frontend: Option<FrontendId>,
    pub(super) backend: Option<BackendId>,
    /// The servers that were asked, one after another.
    pub(super) tries: Vec<Try>,
    /// How many there were besides.
    pub(super) tries_left_out: usize,
    /// Bytes of the request's body that came.
    pub(super) request_bytes: u64,
    /// The answer that went to the client.
    pub(super) answer: Option<Answered>,
    pub(super) error: Option<String>,
}

/// One try at a server.
pub(super) struct Try {
    pub(super) server: ServerName,
    /// Whether it asked for a page in the place of an error, rather than for what the client wants.
    pub(super) is_for_page: bool,
    pub(super) scheme: Scheme,
    /// Its address, or its name, with its port.
    pub(super) authority: String,
    /// The path that it was asked for, with its query, where a trace tells it.
    pub(super) path: String,
    pub(super) began: Duration,
    pub(super) took: Option<Duration>,
    pub(super) span: Option<SpanId>,
    pub(super) status: Option<u16>,
    /// Bytes of the body that came from it.
    pub(super) bytes: u64,
    pub(super) error: Option<String>,
}

/// An answer whose head went to the client.
#[derive(Default)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Bytes of its body that went to the client.
    pub(super) bytes: u64,
    /// Its lines as the server sent them, where they are wanted.
    pub(super) came: Vec<(String, Vec<u8>)>,
    /// Its lines as the client got them.
    pub(super) went: Vec<(String, Vec<u8>)>,
}

impl Record {
    pub(super) fn new(wants: Arc<Wants>) -> Self {
        Self {
            wants,
            began: SystemTime::now(),
            began_at: Instant::now(),
            has_arrived: false,
            id: None,
            tracked: None,
            is_trusted: false,
            frontend: None,
            backend: None,
            tries: Vec::new(),
            tries_left_out: 0,
            request_bytes: 0,
            answer: None,
            error: None,
        }
    }

    /// How long ago the request began.
    pub(super) fn age(&self) -> Duration {
        self.began_at.elapsed()
    }

    /// Its head can be read. It gets an id and a place in a trace, and both are told from here on: to the steps of its
    /// chain, to the server, and to the client.
    pub fn arrived(&mut self, exchange: &mut Exchange<'_>) {
        if std::mem::replace(&mut self.has_arrived, true) {
            return;
        }
        self.is_trusted = exchange.sender.is_trusted;
        let wants = Arc::clone(&self.wants);
        if let Some(name) = &wants.request_id {
            let told = exchange.line(&name.as_str().to_ascii_lowercase());
            let told = told.filter(|id| self.is_trusted && is_id(id)).map(str::to_owned);
            let id =
                self.id.take().or(told).unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)));
            remove_spellings(exchange, name.as_str());
            exchange.change().set_line(name.as_str().to_owned(), id.clone());
            exchange.follow(Echo { name: name.as_str().to_owned(), id: id.clone() });
            self.id = Some(id);
        }
        if let Some(ratio) = wants.traces {
            self.tracked = Some(Tracked::of(exchange, ratio));
        }
    }

    /// What was made of it is thrown away: it arrives once more, under the id that it has.
    pub fn starts_over(&mut self) {
        self.has_arrived = false;
    }

    fn is_sampled(&self) -> bool {
        self.tracked.is_some_and(|tracked| tracked.here.is_sampled)
    }

    /// It is this frontend's.
    pub fn routed(&mut self, route: &Route) {
        if self.frontend.as_ref() != Some(&route.id) {
            self.frontend = Some(route.id.clone());
        }
        if self.backend.as_ref() != Some(route.backend.id()) {
            self.backend = Some(route.backend.id().clone());
        }
    }

    /// It is about to be sent to this server, or a page in the place of what came of it is asked for there.
    pub fn asks(&mut self, exchange: &mut Exchange<'_>, server: &RunningServer, is_for_page: bool) {
        let span = self.tracked.as_ref().map(|tracked| {
            let span = SpanId::random();
            let line = Parent { span, ..tracked.here }.to_string();
            exchange.change().set_line("traceparent", line);
            if tracked.above.is_none() {
                // It says something about a trace that this is no part of.
                exchange.change().remove_line("tracestate");
            }
            span
        });
        if self.tries.len() >= TRIES_MAX {
            self.tries.pop();
            self.tries_left_out += 1;
        }
        let path = match (self.is_sampled(), exchange.query()) {
            (false, _) => String::new(),
            (true, "") => exchange.path.to_string(),
            (true, query) => format!("{}?{query}", exchange.path),
        };
        self.tries.push(Try {
            server: server.name.clone(),
            is_for_page,
            scheme: server.scheme,
            authority: server.authority(),
            path,
            began: self.age(),
            took: None,
            span,
            status: None,
            bytes: 0,
            error: None,
        });
    }

    /// The head of an answer goes to the client: with what a server sent, what is added to it and what is left out. The
    /// bytes of its body follow, unless they are known.
    pub fn answered(
        &mut self,
        response: &Response<'_>,
        added: &[(LineName, String)],
        removed: &[LineName],
    ) {
        let (status, is_servers) = (response.status, response.is_servers);
        let mut answer = Answered { status, ..Answered::default() };
        if self.wants.lines {
            let is_removed =
                |name: &str| removed.iter().any(|removed| removed.eq_ignore_ascii_case(name));
            response.each_line(&mut |name, value| {
                let line = (name.to_owned(), value.to_vec());
                if !is_removed(name) {
                    answer.went.push(line.clone());
                }
                if is_servers {
                    answer.came.push(line);
                }
            });
            let added = added.iter().map(|(name, value)| (name.to_string(), value.clone().into()));
            answer.went.extend(added);
        }
        if let (true, Some(last)) = (is_servers, self.tries.last_mut()) {
            last.status = Some(status);
        }
        self.answer = Some(answer);
    }

    /// So much of the answer's body came from the server, and so much of it goes to the client.
    pub fn moved(&mut self, came: u64, went: u64) {
        if let Some(last) = self.tries.last_mut() {
            last.bytes = came;
        }
        if let Some(answer) = &mut self.answer {
            answer.bytes = went;
        }
    }

    /// The connection changed its protocol, and so many bytes more went to the server and to the client.
    pub fn tunnelled(&mut self, up: u64, down: u64) {
        self.request_bytes += up;
        if let Some(last) = self.tries.last_mut() {
            last.bytes += down;
        }
        if let Some(answer) = &mut self.answer {
            answer.bytes += down;
        }
    }

    /// The body of our own answer is so long.
    pub fn answer_bytes(&mut self, bytes: u64) {
        if let Some(answer) = &mut self.answer {
            answer.bytes = bytes;
        }
    }

    /// So much of the request's body has come.
    pub fn received(&mut self, bytes: u64) {
        self.request_bytes = self.request_bytes.max(bytes);
    }

    /// The last try has ended; with a failure, where it says so.
    pub fn tried(&mut self, error: Option<&dyn std::fmt::Display>) {
        let now = self.age();
        if let Some(last) = self.tries.last_mut().filter(|last| last.took.is_none()) {
            last.took = Some(now.saturating_sub(last.began));
            last.error = error.map(ToString::to_string);
        }
    }

    /// It failed, and why.
    pub fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.error = Some(error.to_string());
    }
}

/// Whether this can be taken for a request's id: short, and harmless wherever it is written.
fn is_id(text: &str) -> bool {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_harmless)
}

/// Tells the client its request's id.
struct Echo {
    name: String,
    id: String,
}

impl Follower for Echo {
    fn on_response(&mut self, response: &mut Response<'_>) {
        response.set_line(self.name.clone(), self.id.clone());
    }
}

/// A request as it came, where its head can be read.
pub struct Asked<'h> {
    /// Its method.
    pub method: &'h str,
    /// Its path, with its query.
    pub path: &'h str,
    /// `HTTP/1.1`
    pub protocol: &'h str,
    /// The host that was asked for, with its port.
    pub authority: &'h str,
    /// Its header lines.
    pub head: &'h dyn Head,
}

#[cfg(test)]
impl Record {
    /// Nothing noted yet.
    pub(super) fn of_test() -> Self {
        Self::new(Arc::new(Wants { request_id: None, traces: None, lines: true }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_harmless() {
        assert!(is_id("7f9c2b") && is_id("a-b_c.d:e/f+g=@"));
        for wrong in ["", "a b", "a\"b", "a\nb", "é", &"a".repeat(129)] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }
}
