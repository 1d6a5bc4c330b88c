//! A request's body read whole, before a server gets any of it.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::connection::Client;
use super::framing::Length;
use super::relay::{Relay, Sink};
use crate::proxy::error::Error;
use crate::proxy::store::Store;
use crate::proxy::worker::{Pace, Worker};
use crate::table::Kept;

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Where the body begins in the inbox.
    pub(super) start: usize,
    pub(super) length: Length,
    /// The client waits for a word before it sends (RFC 9110, section 10.1.1).
    pub(super) expects: bool,
    pub(super) kept: Kept,
    /// How long a pause in it may be.
    pub(super) body_ms: u64,
}

/// A body that has come whole.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) store: Store,
    /// How much of the inbox is the request's, its head included.
    pub(super) used: usize,
}

/// Why a body was not read.
pub(super) enum NotRead {
    /// It is answered.
    Refused(Error),
    /// The client left.
    Gone,
}

/// Reads the body of a request.
pub(super) async fn collect(
    worker: &Worker,
    client: &mut Client,
    wanted: Wanted,
) -> Result<Collected, NotRead> {
    let Wanted { start, length, expects, kept, body_ms } = wanted;
    if matches!(length, Length::Known(length) if length > kept.bytes_max) {
        return Err(NotRead::Refused(Error::BodyTooLarge));
    }
    let mut body = Body {
        pace: Pace::begins(&worker.clock),
        relay: Relay::new(length, Sink::Plain),
        store: Store::new(&worker.reserve, kept.memory_bytes),
        bytes_max: kept.bytes_max,
        plain: Vec::new(),
    };
    // What is there stays: whoever answers in the server's place reads the head anew.
    let used = body.take(&client.inbox[start..]).map_err(NotRead::Refused)?;
    if body.relay.is_done() {
        return Ok(Collected { store: body.store, used: start + used });
    }
    let end = client.inbox.len();
    client.deadline.set(&worker.clock, body_ms);
    if expects && end == start {
        if !client.send(worker, b"HTTP/1.1 100 Continue\r\n\r\n", body_ms).await {
            return Err(NotRead::Gone);
        }
        client.is_answered = false;
    }
    while !body.relay.is_done() {
        poll_fn(|cx| body.poll(worker, client, cx)).await?;
        client.deadline.set(&worker.clock, body_ms);
    }
    Ok(Collected { store: body.store, used: end })
}

struct Body {
    pace: Pace,
    relay: Relay,
    store: Store,
    bytes_max: u64,
    plain: Vec<u8>,
}

impl Body {
    /// Takes what belongs to the body off the front of `bytes`, and tells how much that was.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.plain.clear();
        let used = self.relay.feed(bytes, &mut self.plain);
        let used = used.map_err(|bad| Error::BadRequest(bad.0))?;
        if self.store.len() + self.plain.len() as u64 > self.bytes_max {
            return Err(Error::BodyTooLarge);
        }
        self.store.push(&self.plain).map_err(|error| Error::NotKept(error.to_string()))?;
        Ok(used)
    }

    /// Reads one piece.
    fn poll(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NotRead>> {
        let mut scratch = worker.buffers.read.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match client.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(Err(NotRead::Gone)),
            Poll::Pending
                if client.deadline.is_over(&worker.clock)
                    || worker.is_too_slow(&mut self.pace, self.store.len()) =>
            {
                return Poll::Ready(Err(NotRead::Refused(Error::SlowClient)));
            }
            Poll::Pending => {
                client.deadline.watch(cx);
                return Poll::Pending;
            }
        }
        let used = match self.take(buffer.filled()) {
            Ok(used) => used,
            Err(error) => return Poll::Ready(Err(NotRead::Refused(error))),
        };
        client.inbox.extend_from_slice(&buffer.filled()[used..]);
        Poll::Ready(Ok(()))
    }
}
