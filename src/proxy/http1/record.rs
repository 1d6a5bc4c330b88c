//! What is noted of a request for the access log and the traces. Where nobody wants to know, each of these is a look at
//! an option.

use std::sync::Arc;

use super::answer::Edits;
use super::connection::Client;
use super::head::Span;
use super::own::{Own, OwnLines, status};
use super::parse::{self, Lines, Version};
use super::relay::Relay;
use super::request::Request;
use crate::model::{Exchange, Head, Response};
use crate::proxy::error::Error;
use crate::proxy::worker::Worker;
use crate::table::Route;
use crate::telemetry::{Asked, End, Record};

/// A request begins.
pub(super) fn begin(worker: &Worker) -> Option<Box<Record>> {
    worker.observers.as_ref().map(|observers| observers.begin())
}

/// Its head was read, and its frontend looked up.
pub(super) fn arrived(
    record: &mut Option<Box<Record>>,
    exchange: &mut Exchange<'_>,
    route: Option<&Arc<Route>>,
) {
    let Some(record) = record else { return };
    record.arrived(exchange);
    if let Some(route) = route {
        record.routed(route);
    }
}

/// The head of an answer goes to the client.
pub(super) fn answered(
    record: &mut Option<&mut Record>,
    status: u16,
    is_servers: bool,
    head: &dyn Head,
    edits: Option<&Edits>,
) {
    let Some(record) = record else { return };
    let (added, removed) = edits.map(Edits::lines).unwrap_or_default();
    record.answered(&Response::new(status, is_servers, head), added, removed);
}

/// We answer ourselves.
pub(super) fn refused(record: &mut Option<Box<Record>>, own: &Own<'_>) {
    let Some(record) = record else { return };
    let status = status(own.error);
    if status >= 400 {
        record.failed(own.error);
    }
    answered(&mut Some(&mut *record), status, false, &OwnLines(own.error), own.edits);
    let bytes = own.body_bytes();
    record.answer_bytes(bytes);
}

/// So much of its body has come.
pub(super) fn received(record: &mut Option<Box<Record>>, body: &Relay) {
    if let Some(record) = record {
        record.received(body.moved().0);
    }
}

/// A try at a server has ended.
pub(super) fn tried(record: &mut Option<Box<Record>>, error: Option<&Error>) {
    if let Some(record) = record {
        record.tried(error.map(|error| error as _));
    }
}

/// So many bytes more went through a connection that changed its protocol, to the server and to the client.
pub(super) fn tunnelled(record: &mut Option<Box<Record>>, up: u64, down: u64) {
    if let Some(record) = record {
        record.tunnelled(up, down);
    }
}

/// The worker stops, and waits for its end no longer.
pub(super) fn cut_off(record: &mut Option<Box<Record>>) {
    if let Some(record) = record {
        record.tried(None);
        record.failed(&Error::Stopping);
    }
}

/// It failed after its answer had begun.
pub(super) fn failed(record: &mut Option<Box<Record>>, error: &dyn std::fmt::Display) {
    if let Some(record) = record {
        record.failed(error);
    }
}

/// It has ended, well or not. Its head is read again: it still lies where it came.
pub(super) fn end(
    worker: &Worker,
    client: &Client,
    span: Span,
    record: &Record,
    (status, user): (Option<u16>, Option<&str>),
) {
    let Some(observers) = &worker.observers else { return };
    let mut lines = Lines::new();
    let bytes = client.inbox.get(span.start..span.end).unwrap_or_default();
    let request = parse::request(bytes, &mut lines, worker.limits.head_lines);
    let request = request.and_then(Request::read).ok();
    let asked = request.as_ref().map(|request| Asked {
        method: request.method,
        path: &request.target.path_and_query,
        protocol: match request.facts.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        },
        authority: request.target.authority,
        head: &request.lines,
    });
    let end = End { asked: asked.as_ref(), peer: client.peer(), status, user };
    observers.end(record, &end);
}

/// What came can be no request.
pub(super) fn bad(worker: &Worker, client: &Client, own: &Own<'_>) {
    let Some(observers) = &worker.observers else { return };
    let mut record = Some(observers.begin());
    refused(&mut record, own);
    let Some(record) = record else { return };
    let end = End { asked: None, peer: client.peer(), status: Some(status(own.error)), user: None };
    observers.end(&record, &end);
}
