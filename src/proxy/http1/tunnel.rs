//! A connection that changed its protocol (WebSocket): from then on both sides are joined byte by byte.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::buffers::Buffers;
use crate::proxy::clock::{Clock, Deadline};

/// One direction.
struct Pipe {
    /// Since when its taker is waited for.
    held_up_ms: Option<u64>,
    /// What the reader has not taken yet.
    left: Vec<u8>,
    taken: usize,
    has_ended: bool,
}

/// How long a client may be silent whose server has ended: nobody answers it any more. A client that has ended may still be
/// listening, for as long as its server likes, unless its connection has broken.
pub(super) struct Patience<'p, C> {
    pub(super) clock: &'p Clock,
    pub(super) deadline: &'p Deadline,
    pub(super) silence_ms: u64,
    pub(super) has_broken: fn(&C) -> bool,
}

/// How often it is looked whether the connection of a client that has ended has broken: nobody reads from it, who would learn of it.
const LOOK_MS: u64 = 2_000;

/// So many times that long may a side take nothing of what the other one has said: a database that reads a dump may think for
/// minutes, but who is gone must not be waited for without end.
const TAKER_FACTOR: u64 = 10;

/// What is waited for, besides that one of both says something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    /// Nothing: both may be silent for days.
    Nothing,
    /// For so many milliseconds more, that a side takes what the other one has said.
    Taker(u64),
    /// The client, whose server has ended.
    Client,
    /// The server, whose client has ended.
    Server,
}

/// Joins both sides until both have ended. `early` is what the client said before the change was confirmed. `note` is told
/// how many bytes more went to the server, and to the client.
///
/// # Errors
/// Where a connection breaks, or is waited for too long: both have ended then.
pub(super) async fn join<C: AsyncRead + AsyncWrite + Unpin>(
    client: &mut C,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    early: Vec<u8>,
    buffers: &Buffers,
    Patience { clock, deadline, silence_ms, has_broken }: Patience<'_, C>,
    note: &mut impl FnMut(u64, u64),
) -> io::Result<()> {
    deadline.lift();
    let mut up = Pipe::new(early);
    let mut down = Pipe::new(Vec::new());
    let mut before = Wait::Nothing;
    poll_fn(|cx| {
        let (mut went_up, mut went_down) = (0, 0);
        let has_up_ended = up.poll(cx, client, server, buffers, &mut |bytes| went_up += bytes);
        note(went_up, 0);
        let has_up_ended = has_up_ended?;
        let has_down_ended =
            down.poll(cx, server, client, buffers, &mut |bytes| went_down += bytes);
        note(0, went_down);
        let has_down_ended = has_down_ended?;
        let now_ms = clock.now_ms();
        up.note(went_up, now_ms);
        down.note(went_down, now_ms);
        let held_up_ms = up.held_up_ms.into_iter().chain(down.held_up_ms).min();
        let wait = match (has_up_ended, has_down_ended) {
            (Poll::Ready(()), Poll::Ready(())) => return Poll::Ready(Ok(())),
            _ if let Some(since_ms) = held_up_ms => {
                Wait::Taker((since_ms + silence_ms * TAKER_FACTOR).saturating_sub(now_ms))
            }
            (Poll::Pending, Poll::Ready(())) => Wait::Client,
            (Poll::Ready(()), Poll::Pending) => Wait::Server,
            (Poll::Pending, Poll::Pending) => Wait::Nothing,
        };
        let is_over = wait == before && went_up == 0 && deadline.is_over(clock);
        match wait {
            Wait::Nothing => deadline.lift(),
            Wait::Taker(0) => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Wait::Taker(left_ms) => deadline.set(clock, left_ms),
            Wait::Client if is_over => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Wait::Client if wait != before || went_up > 0 => deadline.set(clock, silence_ms),
            Wait::Server if is_over && has_broken(client) => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Wait::Server if is_over || wait != before => deadline.set(clock, LOOK_MS),
            Wait::Client | Wait::Server => {}
        }
        before = wait;
        deadline.watch(cx);
        Poll::Pending
    })
    .await
}

impl Pipe {
    fn new(left: Vec<u8>) -> Self {
        Self { held_up_ms: None, left, taken: 0, has_ended: false }
    }

    /// Notes whether its taker is waited for, who has taken so much just now.
    fn note(&mut self, went: u64, now_ms: u64) {
        let is_held_up = self.taken < self.left.len();
        let since_ms = self.held_up_ms.filter(|_| went == 0).unwrap_or(now_ms);
        self.held_up_ms = is_held_up.then_some(since_ms);
    }

    /// Moves what can be moved. Ready: one side ended, and the other was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffers: &Buffers,
        note: &mut impl FnMut(u64),
    ) -> Poll<io::Result<()>> {
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        loop {
            while self.taken < self.left.len() {
                match ready!(Pin::new(&mut *to).poll_write(cx, &self.left[self.taken..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    n => {
                        self.taken += n;
                        note(n as u64);
                    }
                }
            }
            buffers.give_back(&mut self.left);
            self.taken = 0;
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            let mut scratch = buffers.read.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            let sent = match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(sent) => sent,
                Poll::Pending => 0,
            };
            note(sent as u64);
            if sent < bytes.len() {
                self.left = buffers.take();
                self.left.extend_from_slice(&bytes[sent..]);
            }
        }
    }
}
