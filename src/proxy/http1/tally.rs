//! What is counted of a request, at its beginning and at its end: once for everybody whom it concerns.

use std::sync::Arc;

use super::connection::Client;
use super::head::Span;
use super::own;
use super::request::{Request, names};
use crate::live::{Cause, Failed, Kind, Protocol, Verb};
use crate::model::Head;
use crate::proxy::clock::us_as_ms;
use crate::proxy::error::Error;
use crate::proxy::worker::{WayIn, Worker};
use crate::table::{Route, RunningServer};

/// What became of a request whose client left before its answer: as nginx and Traefik 1.7 write it.
pub(super) const CLIENT_LEFT: u16 = 499;

/// What is noted of a request until it ends.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// When its head was there.
    began_us: u64,
    /// When the server was asked that has it now.
    asked_us: u64,
    /// Where its head is in the inbox.
    span: Span,
    kind: Kind,
    /// How long its client was waited for to take the answer, in milliseconds, up to a minute.
    held_up_ms: u16,
    /// Whether its entry point, and its backend, know of it.
    is_at_entry: bool,
    is_at_backend: bool,
    /// The route whose backend knows of it, once it had to wait: another one may be in force by its end.
    began_at: Option<Arc<Route>>,
    /// Whether its answer was counted.
    is_answered: bool,
}

/// Who answered a request.
#[derive(Clone, Copy)]
pub(super) enum By<'r> {
    Server(&'r Route, &'r RunningServer),
    /// Herder, for this frontend if any.
    Us(Option<&'r Route>),
}

impl Tally {
    pub(super) fn new(worker: &Worker, span: Span) -> Self {
        let now_us = worker.clock.now_us();
        Self { began_us: now_us, asked_us: now_us, span, ..Self::default() }
    }

    /// Where its head is in the inbox.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// Whether its answer was counted.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Its client was waited for so long to take the answer.
    pub(super) fn held_up(&mut self, held_up_ms: u32) {
        self.held_up_ms = u16::try_from(held_up_ms).unwrap_or(u16::MAX);
    }

    /// How long it has taken by now, without what its client held it up.
    pub(super) fn took_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.began_us + u64::from(self.held_up_ms) * 1_000)
    }

    /// When its head was there, by the worker's clock, between two of its ticks: steps that count by time need it so.
    pub(super) fn began_ms(&self) -> u64 {
        us_as_ms(self.began_us)
    }

    /// A request that was read, on its way to this frontend. Said again it changes nothing.
    pub(super) fn begin(
        &mut self,
        way_in: &WayIn,
        request: &Request<'_, '_>,
        route: Option<&Route>,
    ) {
        if !self.is_at_entry {
            self.kind = Kind { verb: Verb::of(request.method), protocol: protocol(request) };
        }
        self.count_begun(way_in, route);
    }

    /// It waits for something, or is sent again, on its way to this frontend.
    #[cold]
    pub(super) fn stays_with(&mut self, route: &Arc<Route>) {
        self.began_at.get_or_insert_with(|| Arc::clone(route));
    }

    /// The frontend that it had to wait on its way to.
    pub(super) fn began_at(&self) -> Option<Arc<Route>> {
        self.began_at.clone()
    }

    /// A server is asked, after the request has waited for something else.
    pub(super) fn asks(&mut self, worker: &Worker) {
        self.asked_us = worker.clock.now_us();
    }

    /// When the server was asked that has it now, by the worker's clock.
    pub(super) fn asked_ms(&self) -> u64 {
        us_as_ms(self.asked_us)
    }

    /// How long ago the server was asked.
    pub(super) fn asked_ms_ago(&self, worker: &Worker) -> u64 {
        worker.clock.now_us().saturating_sub(self.asked_us) / 1_000
    }

    /// Another server is asked, for one that did not answer.
    pub(super) fn asks_again(&self, route: &Route) {
        route.backend.live().retried();
    }

    /// It was answered with this status; what its server took counts from when that was asked.
    pub(super) fn answered(&mut self, worker: &Worker, way_in: &WayIn, by: By<'_>, status: u16) {
        let route = match by {
            By::Server(route, _) => Some(route),
            By::Us(route) => route,
        };
        self.count_begun(way_in, route);
        self.is_answered = true;
        let (live, now_us) = (&worker.state.live, worker.clock.now_us());
        let took = live.took(now_us.saturating_sub(self.began_us));
        way_in.live.answered(status, self.kind, took);
        if let Some(route) = route {
            route.live.answered(status, took);
        }
        // Whoever knows that it began learns that it ended.
        if let Some(route) = self.began_at.as_deref().or(route) {
            route.backend.live().answered(status, self.kind, took);
        }
        if let By::Server(_, server) = by {
            let took = match self.asked_us == self.began_us {
                true => took,
                false => live.took(now_us.saturating_sub(self.asked_us)),
            };
            server.live.answered(took);
        }
    }

    /// It went wrong: who is to blame, and what is told of it on the page.
    #[cold]
    pub(super) fn failed(
        &self,
        worker: &Worker,
        client: &Client,
        route: Option<&Route>,
        fault: &Fault<'_>,
    ) {
        let Some(cause) = fault.cause() else { return };
        if let Some(route) = route {
            route.live.failed(cause);
        }
        let failures = &worker.state.live.failures;
        if !cause.is_news() || !failures.admits(cause, worker.clock.now_ms() / 1_000) {
            return;
        }
        let head = client.inbox.get(self.span.start..self.span.end).unwrap_or_default();
        let Asked { method, host, path } = asked(head);
        failures.keep(Failed {
            at_ms: worker.clock.wall_ms(),
            frontend: route.map(|route| route.id.clone()),
            server: fault.server.map(Into::into),
            method,
            host,
            path,
            status: fault.status,
            cause,
            why: match fault.error {
                Some(error) => error.to_string(),
                None => format!("the server answered {}", fault.status),
            },
        });
    }

    /// It can be no request.
    #[cold]
    pub(super) fn refused(&mut self, worker: &Worker, client: &Client, error: &Error) {
        let status = own::status(error);
        self.answered(worker, &client.way_in, By::Us(None), status);
        self.failed(worker, client, None, &Fault { status, error: Some(error), server: None });
    }

    fn count_begun(&mut self, way_in: &WayIn, route: Option<&Route>) {
        if !self.is_at_entry {
            self.is_at_entry = true;
            way_in.live.begun(self.kind);
        }
        if let Some(route) = route.filter(|_| !self.is_at_backend) {
            self.is_at_backend = true;
            route.backend.live().begun(self.kind);
        }
    }
}

/// What went wrong.
pub(super) struct Fault<'f> {
    /// The status that the client got.
    pub(super) status: u16,
    /// Why; none where the server answered with an error of its own.
    pub(super) error: Option<&'f Error>,
    /// The server that was asked.
    pub(super) server: Option<&'f str>,
}

impl Fault<'_> {
    /// None where nothing is wrong, or nobody is to blame for it.
    fn cause(&self) -> Option<Cause> {
        Some(match self.error {
            None if self.status == CLIENT_LEFT => Cause::ClientLeft,
            None if self.status >= 500 => Cause::ServerError,
            None | Some(Error::Unknown) => return None,
            Some(Error::AnsweredHere(answer)) => match answer.status {
                0..400 => return None,
                400..500 => Cause::Denied,
                _ => Cause::Closed,
            },
            Some(Error::SlowClient) => Cause::SlowClient,
            Some(Error::NoServer) => Cause::NoServer,
            Some(Error::Unreachable(_)) => Cause::Network,
            Some(Error::SlowServer(_)) => Cause::Timeout,
            Some(Error::BadAnswer(_) | Error::TooLong) => Cause::BadAnswer,
            Some(Error::Interrupted | Error::Early | Error::NoMeans(_)) => Cause::Network,
            Some(Error::Replaced(500..) | Error::Again(500..)) => Cause::ServerError,
            Some(Error::Replaced(_) | Error::Again(_)) => return None,
            Some(Error::NotKept(_) | Error::Stopping) => Cause::Closed,
            Some(_) => Cause::BadRequest,
        })
    }
}

/// As Traefik 1.7 tells them apart (middlewares/metrics.go, `getRequestProtocol`).
fn protocol(request: &Request<'_, '_>) -> Protocol {
    let is_upgrade = request.facts.upgrade.is_some();
    if is_upgrade && request.lines.header("upgrade").is_some_and(|value| names(value, b"websocket"))
    {
        Protocol::WebSocket
    } else if request.accepts_events() {
        Protocol::Sse
    } else {
        Protocol::Http
    }
}

/// What a head asks for, as far as it can be told; it may be no head at all.
#[derive(Debug, Default, Eq, PartialEq)]
struct Asked {
    method: String,
    host: String,
    path: String,
}

/// The longest head that is looked through for its host.
const LINES_MAX: usize = 100;

fn asked(head: &[u8]) -> Asked {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = lines.take(LINES_MAX).find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let is_host = line[..colon].eq_ignore_ascii_case(b"host");
        is_host.then(|| String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned())
    });
    // Queries hold tokens and names of people.
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Asked { method: method.to_owned(), host: host.unwrap_or_default(), path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], method: &str, host: &str, path: &str) {
        let [method, host, path] = [method, host, path].map(str::to_owned);
        assert_eq!(asked(head), Asked { method, host, path });
    }

    #[test]
    fn what_was_asked_is_told_without_its_query() {
        check(
            b"GET /a?token=x HTTP/1.1\r\nA: b\r\nhOsT: web.local\r\n\r\n",
            "GET",
            "web.local",
            "/a",
        );
        check(b"GET http://me@web.local/a HTTP/1.1\r\n\r\n", "GET", "", "http://me@web.local/a");
        check(b"", "", "", "");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}", "", "");
    }
}
