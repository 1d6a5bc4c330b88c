//! What is decided about one request, from its head to its end.

use std::net::IpAddr;
use std::sync::Arc;

use super::answer::Then;
use super::collect::{Collected, Wanted};
use super::connection::Client;
use super::head::Span;
use super::own::{self, Own};
use super::parse::Version;
use super::record;
use super::request::Facts;
use super::tally::{By, CLIENT_LEFT, Fault, Tally};
use crate::middleware::{Ask, Reply};
use crate::model::{Changes, ServerName};
use crate::proxy::error::Error;
use crate::proxy::worker::Worker;
use crate::table::Route;
use crate::telemetry::Record;

/// A request on its way: it outlives every wait and every try.
///
/// Every connection that is in an exchange holds one: what few requests need is boxed.
pub(super) struct Course<'c> {
    pub(super) worker: &'c Worker,
    pub(super) client: &'c mut Client,
    /// What goes to the server next.
    pub(super) out: Vec<u8>,
    /// What the chain made of the request.
    pub(super) changes: Option<Box<Changes>>,
    pub(super) stage: Stage,
    /// Its body, where that was read whole.
    pub(super) collected: Option<Box<Collected>>,
    /// The page that stands in for what came of it.
    pub(super) page: Option<PageOf>,
    /// How often it was sent. Servers that could not be reached do not count.
    pub(super) sent: u32,
    /// Whether it went through all steps anew, for routes had come while it waited.
    pub(super) has_started_over: bool,
    pub(super) tally: Tally,
    /// What is noted of it, where somebody wants to know.
    pub(super) record: Option<Box<Record>>,
}

/// A page that stands in for what came of a request.
#[derive(Clone, Copy)]
pub(super) struct PageOf {
    /// Its place among the pages of the route.
    pub(super) place: usize,
    /// What the client sees.
    pub(super) status: u16,
    /// How much of the inbox is the request's, and whether all of it has come.
    pub(super) used: usize,
    pub(super) is_complete: bool,
}

/// How far a request has come on its chain.
#[derive(Default)]
pub(super) enum Stage {
    /// At its beginning.
    #[default]
    Fresh,
    /// At the step of this number, which wanted to know something: this is what came of it.
    Told(Box<(usize, Reply)>),
    /// Past it; this route's it was.
    Through(Option<Arc<Route>>),
}

/// Why a request does not go to a server now.
pub(super) enum Stop {
    /// It never will.
    Refused(Refusal),
    /// The step of this number wants to know something first.
    Wait(usize, Need),
    /// It has waited, and another table is in force than the one that it began with.
    Outdated,
    /// Its body is to be read whole first.
    Collect(Wanted, Arc<Route>, Facts),
}

/// What a step wants to know.
pub(super) enum Need {
    /// Something that another server knows, for this client.
    Ask(IpAddr, Box<Ask>),
    /// Something to be worked out, for this client.
    Work(IpAddr, Box<dyn FnOnce() -> bool + Send>),
}

/// A request that no server answers.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) route: Option<Arc<Route>>,
    /// Who was asked, where anybody was.
    pub(super) server: Option<ServerName>,
    pub(super) is_head: bool,
    pub(super) after: After,
    /// How much of the inbox is the request's.
    pub(super) used: usize,
    /// Whether the time it took says something of the servers: the client was not waited for.
    pub(super) is_timed: bool,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// Another request may come.
    Again,
    /// It ends.
    Close,
    /// It ends, and the client may still be sending.
    Linger,
}

/// How a request ended.
pub(super) struct Done {
    pub(super) after: After,
    /// How much of the inbox was this request's.
    pub(super) used: usize,
    /// The status of the answer; none where the client left before.
    pub(super) status: Option<u16>,
    pub(super) is_network_error: bool,
    /// Whether the time it took says something of the servers.
    pub(super) is_timed: bool,
}

impl<'c> Course<'c> {
    /// A request whose head is there.
    pub(super) fn new(worker: &'c Worker, client: &'c mut Client, span: Span) -> Self {
        Self {
            worker,
            client,
            out: worker.buffers.take(),
            changes: None,
            stage: Stage::Fresh,
            collected: None,
            page: None,
            sent: 0,
            has_started_over: false,
            tally: Tally::new(worker, span),
            record: record::begin(worker),
        }
    }

    /// It was answered with this status.
    pub(super) fn answered(&mut self, by: By<'_>, status: u16) {
        self.tally.answered(self.worker, &self.client.way_in, by, status);
    }

    /// It went wrong.
    #[cold]
    pub(super) fn failed(&self, route: Option<&Route>, fault: &Fault<'_>) {
        self.tally.failed(self.worker, self.client, route, fault);
    }

    /// The client left while it waited, before it was answered.
    #[cold]
    pub(super) fn left(&mut self) -> Done {
        let route = self.tally.began_at();
        let route = route.as_deref();
        self.answered(By::Us(route), CLIENT_LEFT);
        self.failed(route, &Fault { status: CLIENT_LEFT, error: None, server: None });
        record::failed(&mut self.record, &"the client left");
        self.closed(None)
    }

    /// The worker stops, and the time to finish is over. A client that has no answer yet gets one.
    #[cold]
    pub(super) fn cut_off(&mut self) -> Done {
        record::cut_off(&mut self.record);
        let error = &Error::Stopping;
        let status = own::status(error);
        if !self.client.is_answered && !self.tally.is_answered() {
            let route = self.tally.began_at();
            self.answered(By::Us(route.as_deref()), status);
            self.failed(route.as_deref(), &Fault { status, error: Some(error), server: None });
            let is_head = self.client.inbox[self.tally.span().start..].starts_with(b"HEAD ");
            let own = Own { error, then: Then::Close, is_head, edits: None };
            record::refused(&mut self.record, &own);
            self.client.say_at_once(self.worker, &own);
        }
        self.closed(Some(status))
    }

    /// The connection ends here.
    fn closed(&self, status: Option<u16>) -> Done {
        let (after, used) = (After::Close, self.client.inbox.len());
        Done { after, used, status, is_network_error: false, is_timed: false }
    }
}

impl After {
    /// What becomes of the connection when one of our own answers goes out.
    pub(super) fn refusal(error: &Error, facts: &Facts, is_complete: bool) -> Self {
        match (own::ends_connection(error) || !is_complete, facts.is_kept_alive) {
            // What follows may still be this request.
            (true, _) => Self::Linger,
            // One of HTTP/1.0 would have to be told that it is kept.
            (false, true) if facts.version == Version::Http11 => Self::Again,
            (false, _) => Self::Close,
        }
    }
}
