//! One request and its answer, moving between a client and a server: both ways at once, and never more than one piece
//! ahead of whoever reads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite as _, ReadBuf};

use super::answer::{Answer, Edits, Then};
use super::connection::Client;
use super::head::{self, From, Scan, Version};
use super::record;
use super::relay::Relay;
use super::request::Facts;
use super::timer::Timer;
use crate::model::{Follower, Response};
use crate::proxy::buffers::READ_BYTES;
use crate::proxy::error::Error;
use crate::proxy::store::Store;
use crate::proxy::upstream::Upstream;
use crate::proxy::worker::Worker;
use crate::rules::RetryExpression;
use crate::table::{Kept, Page};
use crate::telemetry::Record;

/// How long an answer, or a piece of one, is waited for without looking whether the client is still there: most come
/// sooner, and never pay for the look.
const WATCH_AFTER_MS: u64 = 500;

/// Interim answers (100, 103) that come before one answer.
const INTERIM_MAX: u32 = 32;

/// One read for a client that has not taken the last piece at once.
const SLOW_READ_BYTES: usize = 32 * 1024;

/// One read of a body that was kept.
const STORE_READ_BYTES: usize = 64 * 1024;

/// A body of this size goes out in one piece with its head; a larger one is not copied.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// One exchange under way. What few need is boxed: each connection that waits for an answer holds one of these.
pub(super) struct Transfer<'x> {
    worker: &'x Worker,
    client: &'x mut Client,
    facts: &'x Facts,
    /// The cookie that the answer sets.
    pub(super) cookie: Option<Box<str>>,
    /// Who wants to see the answer.
    pub(super) followers: &'x mut [Box<dyn Follower>],
    /// What the frontend and the backend ask for besides.
    pub(super) special: Option<Box<Special<'x>>>,
    /// How long the head of the answer is waited for.
    response_ms: u64,
    /// How long a pause between two pieces of a body may be.
    body_ms: u64,
    /// The answer, while it is kept until it has come whole.
    hold: Option<Box<Hold>>,
    server: Upstream,
    up: &'x mut Relay,
    to_server: &'x mut Vec<u8>,
    sent: usize,
    /// Why the server takes no more. It may have answered before.
    server_broke: Option<io::Error>,
    down: Option<Down>,
    /// An answer's head that has not come whole.
    half_head: Option<Box<HalfHead>>,
    interims: u32,
    /// Whether other requests went over the server's connection before.
    is_reused: bool,
    /// Whether any byte of the request went out.
    has_sent: bool,
    /// Whether TLS holds nothing back of it.
    is_flushed: bool,
    /// Whether the client did not take the last piece at once.
    is_slow: bool,
    /// Bytes came that belong to no answer, or the server ended the connection.
    is_spoilt: bool,
    /// The client's next request is waiting: no need to look whether it is still there.
    has_next: bool,
    /// Whether the client's leaving is looked for.
    watches: bool,
    switches: bool,
    /// What the client has not taken yet.
    to_client: Vec<u8>,
    taken: usize,
    /// What is noted of it, where somebody wants to know.
    pub(super) record: Option<&'x mut Record>,
    /// Told when the answer begins, where somebody wants to know how long that took.
    pub(super) timer: Option<&'x Timer<'x>>,
}

/// What is special about an exchange; about most nothing is.
pub(super) struct Special<'x> {
    /// Where the request's body is, if it was read whole before.
    pub(super) store: Option<&'x mut Store>,
    /// Pages that stand in for what the server answers.
    pub(super) pages: &'x [Page],
    /// The status that the client sees, whatever the server says: this is such a page.
    pub(super) shown: Option<u16>,
    /// How the answer is kept until it has come whole.
    pub(super) hold: Option<Kept>,
    /// After which answers the request is sent again.
    pub(super) retry: Option<Again<'x>>,
}

/// The beginning of a head.
struct HalfHead {
    bytes: Vec<u8>,
    scan: Scan,
}

/// After which answers a request is sent again.
#[derive(Clone, Copy)]
pub(super) struct Again<'x> {
    pub(super) expression: &'x RetryExpression,
    /// How often it was sent, this time included.
    pub(super) attempts: u32,
    pub(super) method: &'x str,
}

impl Again<'_> {
    /// Whether it is sent again after this status, or after none.
    pub(super) fn wants(&self, status: Option<u16>) -> bool {
        self.expression.holds(self.attempts, status.is_none(), status, self.method)
    }
}

/// An answer that is kept until it has come whole, as the client is to get it.
struct Hold {
    store: Store,
    bytes_max: u64,
    is_whole: bool,
}

/// An answer whose head went out.
struct Down {
    body: Relay,
    status: u16,
    then: Then,
    is_reusable: bool,
}

/// How an exchange ended.
pub(super) enum End {
    /// The answer went out whole.
    Answered(Whole),
    /// Both sides speak another protocol now.
    Switched,
}

/// An answer that went out whole.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) then: Then,
    /// The request came whole, too: the next bytes are another one.
    pub(super) is_complete: bool,
    /// The server's connection may carry another request.
    pub(super) is_reusable: bool,
    /// More has come from the client.
    pub(super) has_next: bool,
}

/// Why an exchange did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of an answer came.
    NoAnswer {
        error: Error,
        /// Not a byte of the request went out either.
        is_unsent: bool,
        /// The connection ended without a word: as one does that was kept open for too long.
        is_dead: bool,
    },
    /// The answer cannot be passed on, and nothing of it was.
    Refused(Error),
    /// The answer broke off after its head had gone out.
    Cut(Error),
    /// The client left.
    Gone,
}

impl Hold {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.store.len() + bytes.len() as u64 > self.bytes_max {
            return Err(Error::TooLong);
        }
        self.store.push(bytes).map_err(|error| Error::NotKept(error.to_string()))
    }
}

impl<'x> Transfer<'x> {
    /// `upstream` comes with whether other requests went over it before; the waits are the answer's and the body's.
    pub(super) fn new(
        worker: &'x Worker,
        client: &'x mut Client,
        facts: &'x Facts,
        (response_ms, body_ms): (u64, u64),
        (server, is_reused): (Upstream, bool),
        up: &'x mut Relay,
        to_server: &'x mut Vec<u8>,
    ) -> Self {
        let transfer = Self {
            worker,
            client,
            facts,
            cookie: None,
            followers: &mut [],
            special: None,
            response_ms,
            body_ms,
            hold: None,
            server,
            up,
            to_server,
            sent: 0,
            server_broke: None,
            down: None,
            half_head: None,
            interims: 0,
            is_reused,
            has_sent: false,
            is_flushed: false,
            is_slow: false,
            is_spoilt: false,
            has_next: false,
            watches: false,
            switches: false,
            to_client: Vec::new(),
            taken: 0,
            record: None,
            timer: None,
        };
        transfer.client.deadline.set(&worker.clock, transfer.limit_ms());
        transfer
    }

    /// Notes how much of both bodies went through.
    pub(super) fn note_moved(&mut self) {
        let Some(record) = &mut self.record else { return };
        record.received(self.up.moved().0);
        if let Some(down) = &self.down {
            let (came, went) = down.body.moved();
            record.moved(came, went);
        }
    }

    /// Gives the server's connection back.
    pub(super) fn into_server(self) -> Upstream {
        self.server
    }

    /// The status that the client was told, where it was told any.
    pub(super) fn status(&self) -> Option<u16> {
        self.down.as_ref().map(|down| down.status)
    }

    /// Whether the request is to be sent again where nothing of an answer came.
    pub(super) fn wants_again_after_failure(&self) -> bool {
        self.retry().is_some_and(|again| again.wants(None))
    }

    fn retry(&self) -> Option<Again<'x>> {
        self.special.as_ref()?.retry
    }

    /// Where the request's body is, if it was read whole before.
    fn store(&mut self) -> Option<&mut Store> {
        self.special.as_mut()?.store.as_deref_mut()
    }

    /// The status that the client sees, whatever the server says.
    fn shown(&self) -> Option<u16> {
        self.special.as_ref()?.shown
    }

    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        if (!self.is_up_done() || self.watches)
            && let Poll::Ready(failure) = self.poll_up(cx)
        {
            return Poll::Ready(Err(failure));
        }
        match self.poll_down(cx) {
            // An interim answer is half on its way: no other one may stand in its middle.
            Poll::Ready(Err(Failure::Refused(error))) if !self.to_client.is_empty() => {
                return Poll::Ready(Err(Failure::Cut(error)));
            }
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => {}
        }
        if self.client.deadline.is_over(&self.worker.clock) {
            let limit_ms = self.whole_limit_ms();
            if self.watches || !self.is_up_done() || limit_ms <= WATCH_AFTER_MS {
                return Poll::Ready(Err(self.too_late()));
            }
            // The wait has become a long one: from now on the client's leaving is noticed at once.
            self.watches = true;
            self.client.deadline.extend(limit_ms - WATCH_AFTER_MS);
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failure::Gone));
            }
        }
        if self.worker.is_cutting() {
            self.cut_off();
        }
        self.client.deadline.watch(cx);
        Poll::Pending
    }

    /// The worker stops, and waits no longer: this was its last turn.
    #[cold]
    fn cut_off(&mut self) {
        self.note_moved();
        if self.down.is_some() && self.facts.version == Version::Http10 {
            self.client.reset_at_end();
        }
    }

    /// Whether the request has gone out whole.
    fn is_up_done(&self) -> bool {
        self.up.is_done() && self.sent == self.to_server.len() && self.is_flushed
    }

    /// How long the wait may take that this exchange is in.
    fn whole_limit_ms(&self) -> u64 {
        match self.down.is_none() && self.is_up_done() {
            true => self.response_ms,
            false => self.body_ms,
        }
    }

    /// The same, or how long it is waited before the client is looked for.
    fn limit_ms(&self) -> u64 {
        match self.is_up_done() && !self.watches {
            true => self.whole_limit_ms().min(WATCH_AFTER_MS),
            false => self.whole_limit_ms(),
        }
    }

    fn note_progress(&self) {
        self.client.deadline.set(&self.worker.clock, self.limit_ms());
    }

    fn too_late(&self) -> Failure {
        if self.down.is_some() {
            return match self.taken < self.to_client.len() {
                true => Failure::Cut(Error::SlowClient),
                false => self.broke(Error::SlowServer("its answer came to a halt")),
            };
        }
        let no_answer = |error| Failure::NoAnswer { error, is_unsent: false, is_dead: false };
        match self.sent < self.to_server.len() {
            true => no_answer(Error::SlowServer("it does not take the request")),
            false if self.up.is_done() => no_answer(Error::SlowServer("no answer in time")),
            false => Failure::Refused(Error::SlowClient),
        }
    }

    /// Client to server. Ready: it came to a bad end.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let mut moved = false;
        loop {
            while self.sent < self.to_server.len() && self.server_broke.is_none() {
                match self.server.poll_write(cx, &self.to_server[self.sent..]) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        self.sent += n;
                        self.has_sent = true;
                        moved = true;
                    }
                    Poll::Ready(Ok(0)) => self.server_broke = Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Err(error)) => self.server_broke = Some(error),
                    Poll::Pending => return self.up_waits(moved),
                }
            }
            if self.server_broke.is_some() {
                return self.up_waits(moved);
            }
            self.is_flushed = self.server.poll_flush(cx).is_ready();
            if !self.is_flushed {
                return self.up_waits(moved);
            }
            if self.up.is_done() {
                if moved {
                    self.note_progress();
                }
                return match self.watches {
                    true => self.poll_gone(cx).map(|()| Failure::Gone),
                    false => Poll::Pending,
                };
            }
            self.to_server.clear();
            self.sent = 0;
            match self.poll_body_of_client(cx) {
                Poll::Ready(Ok(())) => moved = true,
                Poll::Ready(Err(failure)) => return Poll::Ready(failure),
                Poll::Pending => return self.up_waits(moved),
            }
        }
    }

    fn up_waits(&self, moved: bool) -> Poll<Failure> {
        if moved {
            self.note_progress();
        }
        Poll::Pending
    }

    /// Takes the next piece of the request's body.
    fn poll_body_of_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut scratch = self.worker.buffers.read.borrow_mut();
        if let Some(store) = self.special.as_mut().and_then(|special| special.store.as_deref_mut())
        {
            return Poll::Ready(match store.read(&mut scratch[..STORE_READ_BYTES]) {
                Ok(read) => {
                    self.up.pass(read);
                    self.to_server.extend_from_slice(&scratch[..read]);
                    Ok(())
                }
                Err(error) => Err(Failure::Refused(Error::NotKept(error.to_string()))),
            });
        }
        let mut buffer = ReadBuf::new(&mut scratch);
        match self.client.poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Gone)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                return Poll::Ready(Err(Failure::Gone));
            }
            Poll::Ready(Ok(())) => {}
        }
        let bytes = buffer.filled();
        let used = match self.up.pass(bytes.len()) {
            Some(passed) => {
                // Most of it goes out at once, and is not copied.
                let sent = match self.server.poll_write(cx, &bytes[..passed]) {
                    Poll::Ready(Ok(sent)) => sent,
                    Poll::Ready(Err(error)) => {
                        self.server_broke = Some(error);
                        0
                    }
                    Poll::Pending => 0,
                };
                self.to_server.extend_from_slice(&bytes[sent..passed]);
                passed
            }
            None => match self.up.feed(bytes, self.to_server) {
                Ok(used) => used,
                Err(bad) => {
                    let error = Error::BadRequest(bad.0);
                    return Poll::Ready(Err(match self.down {
                        None => Failure::Refused(error),
                        Some(_) => Failure::Cut(error),
                    }));
                }
            },
        };
        self.client.inbox.extend_from_slice(&bytes[used..]);
        Poll::Ready(Ok(()))
    }

    /// Whether the client has left, which is all it can tell while it waits, besides its next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_next {
            return Poll::Pending;
        }
        let mut byte = [0];
        match self.client.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(1..)) => {
                self.has_next = true;
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Server to client. Ready: the exchange has ended.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        loop {
            while self.taken < self.to_client.len() {
                match self.client.poll_write(cx, &self.to_client[self.taken..]) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        self.taken += n;
                        self.note_progress();
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Failure::Gone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.taken > 0 {
                // It reads slowly, or has begun to: it gets smaller pieces, and no large buffer waits with it.
                self.worker.buffers.give_back(&mut self.to_client);
                self.taken = 0;
                self.is_slow = true;
            }
            if self.switches {
                return Poll::Ready(Ok(End::Switched));
            }
            match self.release() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
            if let Some(down) = &self.down
                && down.body.is_done()
            {
                let is_complete = self.is_up_done();
                return Poll::Ready(Ok(End::Answered(Whole {
                    status: down.status,
                    then: down.then,
                    is_complete,
                    is_reusable: down.is_reusable && is_complete && !self.is_spoilt,
                    has_next: self.has_next,
                })));
            }
            match self.poll_server(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Puts the next piece of an answer that was kept, and has come whole, in front of the client. Tells whether there was one.
    fn release(&mut self) -> Result<bool, Failure> {
        let is_done = self.down.as_ref().is_some_and(|down| down.body.is_done());
        let Some(hold) = self.hold.as_mut().filter(|_| is_done) else { return Ok(false) };
        hold.is_whole = true;
        let mut scratch = self.worker.buffers.read.borrow_mut();
        let read = hold.store.read(&mut scratch[..STORE_READ_BYTES]);
        let read = read.map_err(|error| Failure::Cut(Error::NotKept(error.to_string())))?;
        self.to_client.extend_from_slice(&scratch[..read]);
        Ok(read > 0)
    }

    /// Takes what comes next from the server, and sends it on.
    fn poll_server(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let worker = self.worker;
        let mut scratch = worker.buffers.read.borrow_mut();
        let window = if self.is_slow { SLOW_READ_BYTES } else { READ_BYTES };
        let mut buffer = ReadBuf::new(&mut scratch[..window]);
        let read = match self.server.poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read,
        };
        let bytes = buffer.filled();
        if let Err(error) = read {
            return Poll::Ready(Err(self.server_ended(Some(error))));
        }
        if bytes.is_empty() {
            self.is_spoilt = true;
            return Poll::Ready(self.end_of_answer());
        }
        let mut write = worker.buffers.write.borrow_mut();
        write.clear();
        let result = if self.down.is_some() {
            self.body(cx, bytes, &mut write)
        } else {
            self.head(cx, bytes, &mut write)
        };
        self.note_progress();
        Poll::Ready(result)
    }

    /// The server closed its side.
    fn end_of_answer(&mut self) -> Result<(), Failure> {
        let Some(down) = &mut self.down else { return Err(self.server_ended(None)) };
        let mut end = Vec::new();
        let ended = down.body.end_of_input(&mut end);
        let sent = match &mut self.hold {
            Some(hold) => hold.push(&end),
            None => {
                self.to_client.extend_from_slice(&end);
                Ok(())
            }
        };
        ended.map_err(|_| self.broke(Error::BadAnswer("its body ended early")))?;
        sent.map_err(Failure::Refused)
    }

    /// The answer broke off in its body. Where nothing of it has gone out, another one can stand in its place.
    fn broke(&self, error: Error) -> Failure {
        match self.hold.as_ref().is_some_and(|hold| !hold.is_whole) {
            true => Failure::Refused(error),
            false => Failure::Cut(error),
        }
    }

    fn server_ended(&mut self, error: Option<io::Error>) -> Failure {
        if self.down.is_some() {
            return self.broke(Error::BadAnswer("the connection broke in its body"));
        }
        if self.half_head.is_some() || self.interims > 0 {
            return Failure::Refused(Error::BadAnswer("it ended in its head"));
        }
        if self.store().is_none() && !self.up.is_done() && self.has_sent {
            return Failure::Refused(Error::Interrupted);
        }
        // What broke first is the cause.
        let cause = self.server_broke.take().or(error);
        let text = cause.map_or_else(
            || "it closed the connection without an answer".to_owned(),
            |error| error.to_string(),
        );
        let error = Error::Unreachable(text);
        Failure::NoAnswer { error, is_unsent: !self.has_sent, is_dead: self.is_reused }
    }

    /// Reads the head of an answer, or what there is of it.
    fn head(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self.half_head.take() {
            None => self.heads(cx, bytes, write),
            Some(mut half) => {
                half.bytes.extend_from_slice(bytes);
                // One that comes in many pieces is read when its end has come: each byte is looked at once.
                if half.scan.advance(&half.bytes, From::Server).map_err(Failure::Refused)?.is_none()
                {
                    return self.wait_for_head(half, write);
                }
                self.heads(cx, &half.bytes, write)
            }
        }
    }

    /// The rest of a head is to come.
    fn wait_for_head(&mut self, half: Box<HalfHead>, write: &[u8]) -> Result<(), Failure> {
        if half.bytes.len() > self.worker.limits.head_bytes {
            return Err(Failure::Refused(Error::BadAnswer("its head is too large")));
        }
        self.half_head = Some(half);
        self.to_client.extend_from_slice(write);
        Ok(())
    }

    /// Reads a head, and what interim ones stand before it.
    fn heads(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut rest = bytes;
        loop {
            let mut slots = head::slots();
            let slots = &mut slots[..self.worker.limits.head_lines];
            let head = head::answer(rest, slots).map_err(Failure::Refused)?;
            let Some(head) = head else {
                let mut half = Box::new(HalfHead { bytes: rest.to_vec(), scan: Scan::default() });
                if half.scan.advance(rest, From::Server).map_err(Failure::Refused)?.is_some() {
                    return Err(Failure::Refused(Error::BadAnswer("its head cannot be read")));
                }
                return self.wait_for_head(half, write);
            };
            if head.bytes.len() > self.worker.limits.head_bytes {
                return Err(Failure::Refused(Error::BadAnswer("its head is too large")));
            }
            let after = &rest[head.bytes.len()..];
            let answer = Answer::read(head, self.facts).map_err(Failure::Refused)?;
            if !answer.is_interim() {
                if let Some(error) = self.unwanted(answer.status) {
                    return Err(Failure::Refused(error));
                }
                if self.is_empty_page(&answer) {
                    return Err(Failure::Refused(Error::BadAnswer("the page is empty")));
                }
                let answer = answer.under(self.shown());
                self.begin_answer(&answer, write);
                let begun = self.body(cx, after, write);
                if let Err(Failure::Cut(error) | Failure::Refused(error)) = begun {
                    // Nothing of it has gone out.
                    self.down = None;
                    return Err(Failure::Refused(error));
                }
                return begun;
            }
            answer.write_interim(self.facts, write).map_err(Failure::Refused)?;
            if answer.status == 101 {
                record::answered(&mut self.record, 101, true, &answer, None);
                if let Some(record) = &mut self.record {
                    record.tunnelled(0, after.len() as u64);
                }
                self.to_client.extend_from_slice(write);
                self.to_client.extend_from_slice(after);
                self.switches = true;
                return Ok(());
            }
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(Failure::Refused(Error::BadAnswer("too many interim answers")));
            }
            if after.is_empty() {
                self.to_client.extend_from_slice(write);
                return Ok(());
            }
            rest = after;
        }
    }

    /// Why an answer of this status does not go to the client.
    fn unwanted(&self, status: u16) -> Option<Error> {
        let Special { retry, shown, pages, .. } = &**self.special.as_ref()?;
        if retry.is_some_and(|again| again.wants(Some(status))) {
            return Some(Error::Again(status));
        }
        let has_page = shown.is_none() && pages.iter().any(|page| page.is_for(status));
        has_page.then_some(Error::Replaced(status))
    }

    /// Whether it is a page that has no body to show: its status would not fit the one that the client is told.
    fn is_empty_page(&self, answer: &Answer<'_, '_>) -> bool {
        self.shown().is_some() && matches!(answer.status, 204 | 205 | 304)
    }

    fn begin_answer(&mut self, answer: &Answer<'_, '_>, write: &mut Vec<u8>) {
        if let Some(timer) = self.timer {
            timer.answered(answer.status);
        }
        let edits = (!self.followers.is_empty())
            .then(|| Edits::of(Response::new(answer.status, true, answer), self.followers));
        let edits = edits.as_ref();
        record::answered(&mut self.record, answer.status, true, answer, edits);
        let is_stopping = self.worker.is_draining() || !self.is_up_done();
        let then = if is_stopping { Then::Close } else { answer.then(self.facts, edits) };
        let clock = &self.worker.clock;
        let body = answer.write(self.facts, then, self.cookie.as_deref(), edits, clock, write);
        let is_reusable = answer.is_reusable();
        let hold = self.special.as_ref().and_then(|special| special.hold);
        self.hold = hold.map(|kept| {
            Box::new(Hold {
                store: Store::new(&self.worker.reserve, kept.memory_bytes),
                bytes_max: kept.bytes_max.saturating_add(write.len() as u64),
                is_whole: false,
            })
        });
        self.down = Some(Down { body, status: answer.status, then, is_reusable });
    }

    /// Sends on a piece of the body, after what is in `write`.
    fn body(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let Some(down) = &mut self.down else { return Ok(()) };
        let (used, mut as_it_is) = match down.body.pass(bytes.len()) {
            Some(passed) => (passed, &bytes[..passed]),
            None => match down.body.feed(bytes, write) {
                Ok(used) => (used, &[][..]),
                Err(_) => return Err(self.broke(Error::BadAnswer("its chunks cannot be read"))),
            },
        };
        self.is_spoilt |= used < bytes.len();
        if let Some(hold) = &mut self.hold {
            let kept = hold.push(write).and_then(|()| hold.push(as_it_is));
            return kept.map_err(Failure::Refused);
        }
        if as_it_is.len() <= COPY_BYTES_MAX {
            write.extend_from_slice(as_it_is);
            as_it_is = &[];
        }
        let all = write.len() + as_it_is.len();
        let sent = if all == 0 || !self.to_client.is_empty() {
            0
        } else {
            let pieces = [IoSlice::new(write), IoSlice::new(as_it_is)];
            let sent = match as_it_is.is_empty() {
                true => self.client.poll_write(cx, write),
                false => Pin::new(&mut self.client.stream).poll_write_vectored(cx, &pieces),
            };
            match sent {
                Poll::Ready(Ok(sent)) => sent,
                Poll::Ready(Err(_)) => return Err(Failure::Gone),
                Poll::Pending => 0,
            }
        };
        if sent == all {
            // It keeps up again.
            self.is_slow = false;
            return Ok(());
        }
        let of_write = sent.min(write.len());
        self.to_client.extend_from_slice(&write[of_write..]);
        self.to_client.extend_from_slice(&as_it_is[sent - of_write..]);
        Ok(())
    }
}
