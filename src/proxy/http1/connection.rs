//! A client's connection: one request after another, until either side has enough.

use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{Interest, ReadBuf};
use tokio::task::yield_now;

use super::answer::Then;
use super::course::After;
use super::exchange::exchange;
use super::head::{Scan, Side, Span};
use super::own::Own;
use super::record;
use super::request::Address;
use super::room;
use super::tally::Tally;
use crate::proxy::clock::Deadline;
use crate::proxy::error::Error;
use crate::proxy::socket::Socket;
use crate::proxy::worker::{Pace, WayIn, Worker};

/// A client's connection.
pub(in crate::proxy) struct Client {
    pub(super) socket: Socket,
    /// When the wait ends that the connection is in.
    pub(super) deadline: Deadline,
    /// What was read and belongs to a request that has not ended. Without memory while the connection idles.
    pub(super) inbox: Vec<u8>,
    /// Written with the first request.
    address: OnceCell<Address>,
    /// Whether a byte of the answer to the request under way went out.
    pub(super) is_answered: bool,
    /// The entry point it came in by.
    pub(super) way_in: Rc<WayIn>,
    peer: SocketAddr,
    /// Since when it waits for its next request.
    idle_since_ms: u64,
    /// When it is looked whether it is still there, for as long as nobody reads what it sends.
    pub(super) look: Option<Deadline>,
}

/// One read of a head takes this much at most: what follows it is copied.
const HEAD_READ_BYTES: usize = 16 * 1024;

/// How long an answer, or a piece of one, is waited for without looking whether the client is still there: most come
/// sooner, and never pay for the look.
pub(super) const WATCH_AFTER_MS: u64 = 500;

/// How often it is looked whether a client is still there that sends more than is read while it waits.
const LOOK_MS: u64 = 500;

/// How long an idle connection is given at a stop, for a request that is already on its way.
const LAST_REQUEST_WAIT_MS: u64 = 50;

/// How long a head that has begun is given at a stop: who means it sends the rest of it at once.
const LAST_HEAD_WAIT_MS: u64 = 1_000;

/// So many requests of one client that were sent at once are answered before others have their turn.
const AT_ONCE_MAX: u32 = 32;

/// How long we wait for a client to close its side after ours: so long at most, and so long where it sends nothing more.
const LINGER_MS: u64 = 30_000;
const LINGER_SILENT_MS: u64 = 5_000;

/// The same at a stop, which waits for it.
const LAST_LINGER_MS: u64 = 1_000;

/// What comes next on a connection.
enum Next {
    /// A request with this head.
    Head(Span),
    /// Something that can be no request.
    Bad(Error),
    /// Nothing.
    End,
}

/// Serves one connection until it ends.
///
/// The size of this future is what an idle connection takes: what it does not need while it idles is boxed.
pub(in crate::proxy) async fn serve<'c>(worker: &'c Worker, mut client: &'c mut Client) {
    let mut room = None;
    let mut served = 0_u32;
    loop {
        let after = match client.next(worker, &mut room).await {
            Next::Head(span) => {
                let begun = room::enter(&mut room, move || exchange(worker, client, span));
                let after;
                (after, client) = begun.await;
                room::leave(&mut room, &worker.rooms);
                after
            }
            Next::Bad(error) => {
                let all = Span { start: 0, end: client.inbox.len() };
                Tally::new(worker, all).refused(worker, client, &error);
                let is_head = client.inbox.trim_ascii_start().starts_with(b"HEAD ");
                let own = Own { error: &error, then: Then::Close, is_head, edits: None };
                Box::pin(client.refuse(worker, &own)).await;
                record::bad(worker, client, &own);
                After::Linger
            }
            Next::End => return,
        };
        match after {
            // What Herder answers itself waits for nobody: others are to have their turn.
            After::Again => {
                served = served.wrapping_add(1);
                if served.is_multiple_of(AT_ONCE_MAX) && !client.inbox.is_empty() {
                    yield_now().await;
                }
            }
            After::Close => return,
            After::Linger => return Box::pin(client.linger(worker)).await,
        }
    }
}

impl Client {
    pub(in crate::proxy) fn new(
        socket: Socket,
        peer: SocketAddr,
        way_in: Rc<WayIn>,
        deadline: Deadline,
    ) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Self {
            socket,
            deadline,
            inbox: Vec::new(),
            address: OnceCell::new(),
            is_answered: false,
            way_in,
            peer,
            idle_since_ms: 0,
            look: None,
        }
    }

    /// Waits for the next head. Where that takes long, the room is given back meanwhile.
    async fn next<R>(&mut self, worker: &Worker, room: &mut Option<R>) -> Next {
        self.look = None;
        let limits = &worker.limits;
        let mut scan = Scan::with_max(limits.head_bytes);
        let (limit_ms, later_ms) = match self.inbox.is_empty() {
            false => (limits.head_ms, 0),
            true if room.is_none() => (limits.idle_ms, 0),
            true => {
                let with_room_ms = limits.idle_ms.min(room::KEPT_MS);
                (with_room_ms, limits.idle_ms - with_room_ms)
            }
        };
        self.deadline.set(&worker.clock, limit_ms);
        self.idle_since_ms = worker.clock.now_ms();
        loop {
            if !self.inbox.is_empty() {
                match scan.advance(&self.inbox, Side::Client) {
                    Ok(Some(span)) if span.end <= limits.head_bytes => return Next::Head(span),
                    Ok(None) if self.inbox.len() <= limits.head_bytes => {}
                    Ok(_) => return Next::Bad(Error::HeadTooLarge),
                    Err(error) => return Next::Bad(error),
                }
            }
            let was_empty = self.inbox.is_empty();
            match poll_fn(|cx| self.poll_more(worker, scan, cx)).await {
                Ok(true) if was_empty => self.deadline.set(&worker.clock, limits.head_ms),
                Ok(true) => {}
                // It closed, which ends half a head too.
                Ok(false) => return Next::End,
                Err(TooLate) if was_empty && room.take().is_some() && !worker.is_draining() => {
                    self.deadline.extend(later_ms);
                }
                Err(TooLate) if scan.is_blank(&self.inbox) => return Next::End,
                Err(TooLate) => return Next::Bad(Error::SlowClient),
            }
        }
    }

    /// Reads more of a head. False: the connection has ended.
    fn poll_more(
        &mut self,
        worker: &Worker,
        scan: Scan,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, TooLate>> {
        let mut scratch = worker.buffers.read.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
        match self.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(())) => {
                if self.inbox.capacity() == 0 {
                    self.inbox = worker.buffers.take();
                }
                self.inbox.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Ok(false)),
            Poll::Pending => {
                if worker.is_draining() {
                    let has_begun = !scan.is_blank(&self.inbox);
                    let wait_ms = if has_begun { LAST_HEAD_WAIT_MS } else { LAST_REQUEST_WAIT_MS };
                    self.deadline.set_at_most(&worker.clock, wait_ms);
                }
                let makes_room =
                    scan.is_blank(&self.inbox) && worker.is_in_the_way(self.idle_since_ms);
                if self.deadline.is_over(&worker.clock) || makes_room {
                    return Poll::Ready(Err(TooLate));
                }
                self.deadline.watch(cx);
                Poll::Pending
            }
        }
    }

    /// Whether the client has left. What it sends while it waits, its next request, is kept, up to the size of a head; whether who
    /// has sent more than that is still there is looked at now and then.
    pub(super) fn poll_gone(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.probe();
        while self.inbox.len() < worker.limits.head_bytes + HEAD_READ_BYTES {
            let mut scratch = worker.buffers.read.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
            match self.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.inbox.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    self.look = None;
                    return Poll::Pending;
                }
            }
        }
        // The reactor wakes nobody who does not read.
        if self.has_left() {
            return Poll::Ready(());
        }
        let look = self.look.get_or_insert_with(|| worker.clock.deadline());
        look.set(&worker.clock, LOOK_MS);
        look.watch(cx);
        Poll::Pending
    }

    /// Waits for somebody else on its behalf, for so many milliseconds at most; [`u64::MAX`] is no bound. Where the wait becomes a
    /// long one it is noticed that the client leaves, if it `looks`: what one sends that is still sending is its body.
    ///
    /// # Errors
    /// Why it is waited no longer.
    pub(super) async fn wait_for<T>(
        &mut self,
        worker: &Worker,
        limit_ms: u64,
        looks: bool,
        other: impl Future<Output = T>,
    ) -> Result<T, Waited> {
        let mut other = pin!(other);
        let mut looks_later = looks && limit_ms > WATCH_AFTER_MS;
        let mut watches = false;
        let first_ms = if looks_later { WATCH_AFTER_MS } else { limit_ms };
        self.deadline.set(&worker.clock, first_ms);
        poll_fn(|cx| {
            if let Poll::Ready(output) = other.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.deadline.is_over(&worker.clock) {
                if !mem::take(&mut looks_later) {
                    return Poll::Ready(Err(Waited::TooLong));
                }
                watches = true;
                self.deadline.extend(limit_ms - WATCH_AFTER_MS);
            }
            if watches && self.poll_gone(worker, cx).is_ready() {
                return Poll::Ready(Err(Waited::ForNobody));
            }
            self.deadline.watch(cx);
            Poll::Pending
        })
        .await
    }

    /// Whether its side of the connection has ended, or broken, as far as the reactor has heard: what it has sent before may
    /// still be there to be read.
    pub(super) fn has_left(&mut self) -> bool {
        let Ok(stream) = self.socket.watched() else { return true };
        let mut cx = Context::from_waker(Waker::noop());
        let ready = pin!(stream.ready(Interest::READABLE)).poll(&mut cx);
        let has_ended = matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed());
        has_ended || !matches!(stream.take_error(), Ok(None))
    }

    /// Whether it has said more than we have read. To close the connection then is to reset it, and what it has not got
    /// yet of its answer is lost.
    pub(super) fn has_more(&self) -> bool {
        self.socket.has_more()
    }

    /// Where it connected from.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Has the connection end with a reset: where the end of the connection may be the end of the body, as for HTTP/1.0, this
    /// says that it is not.
    pub(super) fn reset_at_end(&self) {
        self.socket.reset_at_end();
    }

    /// The client's address, as servers are told it.
    pub(super) fn address(&self) -> &Address {
        self.address.get_or_init(|| Address::new(self.peer().ip(), &self.way_in.forwarder))
    }

    /// Sends one of our own answers. False: it did not go out whole, and no other one may stand in its middle.
    pub(super) async fn refuse(&mut self, worker: &Worker, own: &Own<'_>) -> bool {
        let mut bytes = worker.buffers.take();
        own.write(&worker.clock, &mut bytes);
        let is_whole = self.send(worker, &bytes, worker.limits.body_ms).await;
        worker.buffers.give_back(&mut bytes);
        is_whole
    }

    /// Sends these bytes. False: the client left, or took them too slowly, and may have got some of them.
    pub(super) async fn send(&mut self, worker: &Worker, bytes: &[u8], limit_ms: u64) -> bool {
        self.deadline.set(&worker.clock, limit_ms);
        let mut pace = Pace::begins(&worker.clock);
        let mut sent = 0;
        poll_fn(|cx| {
            while sent < bytes.len() {
                match self.poll_write(cx, &bytes[sent..]) {
                    Poll::Ready(Ok(n @ 1..)) => sent += n,
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending
                        if self.deadline.is_over(&worker.clock)
                            || worker.is_too_slow(&mut pace, sent as u64) =>
                    {
                        return Poll::Ready(false);
                    }
                    Poll::Pending => {
                        self.deadline.watch(cx);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Says as much of this as can be said at once.
    pub(super) fn say_at_once(&mut self, worker: &Worker, own: &Own<'_>) {
        let mut bytes = Vec::new();
        own.write(&worker.clock, &mut bytes);
        let _ = self.poll_write(&mut Context::from_waker(Waker::noop()), &bytes);
    }

    /// Reads, and throws away, what a client still sends after our last word: the kernel would answer it with a reset,
    /// and the client might lose that word (RFC 9112, section 9.6).
    async fn linger(&mut self, worker: &Worker) {
        if self.socket.shut_down().is_err() {
            return;
        }
        let began_ms = worker.clock.now_ms();
        let mut end_ms = began_ms + LINGER_MS;
        let mut pace = Pace::begins(&worker.clock);
        self.deadline.set(&worker.clock, LINGER_SILENT_MS);
        poll_fn(|cx| {
            if worker.is_draining() {
                end_ms = end_ms.min(worker.clock.now_ms() + LAST_LINGER_MS);
                self.deadline.set_at_most(&worker.clock, LAST_LINGER_MS);
            }
            loop {
                let mut scratch = worker.buffers.read.borrow_mut();
                let mut buffer = ReadBuf::new(&mut scratch);
                match self.poll_read(cx, &mut buffer) {
                    _ if self.deadline.is_over(&worker.clock)
                        || worker.is_too_slow(&mut pace, 0) =>
                    {
                        return Poll::Ready(());
                    }
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        let left_ms = end_ms.saturating_sub(worker.clock.now_ms());
                        self.deadline.set(&worker.clock, left_ms.min(LINGER_SILENT_MS));
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => {
                        self.deadline.watch(cx);
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket.poll_read(cx, buffer)
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket.poll_write(cx, bytes);
        self.note_written(written)
    }

    /// The same from two places.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket.poll_write_vectored(cx, pieces);
        self.note_written(written)
    }

    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_answered |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }
}

/// A wait took longer than its limit.
struct TooLate;

/// Why somebody else is not waited for any longer.
pub(super) enum Waited {
    /// The client has left.
    ForNobody,
    /// It took longer than it may.
    TooLong,
}
