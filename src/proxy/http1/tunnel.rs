//! A connection that changed its protocol (WebSocket): from then on both sides are joined byte by byte.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::buffers::{Buffers, LargeLeft, SLOW_READ_BYTES};
use crate::proxy::clock::{Clock, Deadline};

/// One direction.
struct Pipe<'b> {
    /// What the reader has not taken yet, and what counts it where that is much.
    left: Vec<u8>,
    taken: usize,
    large_left: Option<LargeLeft<'b>>,
    /// Whether the reader did not take the last piece at once: it gets smaller ones.
    is_slow: bool,
    /// Bytes that went since somebody asked.
    went: u64,
    /// When the last ones did.
    went_ms: u64,
    /// Since when the reader is waited for.
    held_up_ms: Option<u64>,
    /// When it ended: one side has said everything, or the other one takes no more.
    ended_ms: Option<u64>,
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
    let (mut up, mut down) = (Pipe::new(early), Pipe::new(Vec::new()));
    let mut looked_ms = 0;
    poll_fn(|cx| {
        let now_ms = clock.now_ms();
        let up_moves = up.poll(cx, client, server, buffers, now_ms);
        let both_move = up_moves.and_then(|()| down.poll(cx, server, client, buffers, now_ms));
        note(mem::take(&mut up.went), mem::take(&mut down.went));
        both_move?;
        let held_up_ms = up.held_up_ms.into_iter().chain(down.held_up_ms).min();
        let due_ms = match (up.ended_ms, down.ended_ms) {
            (Some(_), Some(_)) => return Poll::Ready(Ok(())),
            _ if let Some(since_ms) = held_up_ms => since_ms + silence_ms * TAKER_FACTOR,
            // Both may be silent for days.
            (None, None) => {
                deadline.lift();
                deadline.watch(cx);
                return Poll::Pending;
            }
            (None, Some(ended_ms)) => ended_ms.max(up.went_ms) + silence_ms,
            (Some(ended_ms), None) => {
                if ended_ms.max(looked_ms) + LOOK_MS <= now_ms {
                    if has_broken(client) {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                    looked_ms = now_ms;
                }
                ended_ms.max(looked_ms) + LOOK_MS
            }
        };
        if due_ms <= now_ms {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        deadline.set(clock, due_ms - now_ms);
        deadline.watch(cx);
        Poll::Pending
    })
    .await
}

impl<'b> Pipe<'b> {
    fn new(left: Vec<u8>) -> Self {
        Self {
            left,
            taken: 0,
            large_left: None,
            is_slow: false,
            went: 0,
            went_ms: 0,
            held_up_ms: None,
            ended_ms: None,
        }
    }

    /// Moves what can be moved.
    ///
    /// # Errors
    /// Where the side that is read from has broken.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffers: &'b Buffers,
        now_ms: u64,
    ) -> io::Result<()> {
        if self.ended_ms.is_some() {
            return Ok(());
        }
        if let Poll::Ready(ended) = self.poll_end(cx, from, to, buffers) {
            // What was left for who takes no more is nobody's.
            (self.left, self.taken, self.large_left) = (Vec::new(), 0, None);
            self.ended_ms = Some(now_ms);
            ended?;
        }
        if self.went > 0 {
            self.went_ms = now_ms;
        }
        let is_held_up = self.taken < self.left.len();
        let since_ms = self.held_up_ms.filter(|_| self.went == 0).unwrap_or(now_ms);
        self.held_up_ms = is_held_up.then_some(since_ms);
        Ok(())
    }

    /// Ready: this direction has ended. That its reader takes no more says nothing of what that one has said before.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffers: &'b Buffers,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.taken < self.left.len() {
                match ready!(Pin::new(&mut *to).poll_write(cx, &self.left[self.taken..])) {
                    Ok(0) | Err(_) => return Poll::Ready(Ok(())),
                    Ok(sent) => {
                        self.taken += sent;
                        self.went += sent as u64;
                    }
                }
            }
            buffers.give_back(&mut self.left);
            (self.taken, self.large_left) = (0, None);
            if ready!(Pin::new(&mut *to).poll_flush(cx)).is_err() {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = buffers.read.borrow_mut();
            let window = if self.is_slow { SLOW_READ_BYTES } else { buffers.window() };
            let mut buffer = ReadBuf::new(&mut scratch[..window]);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            }
            let sent = match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(Ok(sent)) => sent,
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => 0,
            };
            self.went += sent as u64;
            self.is_slow = sent < bytes.len();
            if self.is_slow {
                self.left = buffers.take();
                self.left.extend_from_slice(&bytes[sent..]);
                self.large_left = buffers.leave(self.left.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, join as both, repeat};
    use tokio::task::unconstrained;

    use super::*;

    #[tokio::test]
    async fn what_a_server_said_before_it_took_no_more_reaches_its_client() {
        let (mut client, mut near) = duplex(1_000);
        let (closed, other) = duplex(1);
        drop(other);
        client.write_all(b"more").await.expect("sent");
        let mut server = both(&b"enough"[..], closed);
        let (clock, buffers) = (Clock::start(Instant::now()), Buffers::new());
        let deadline = clock.deadline();
        let patience = Patience {
            clock: &clock,
            deadline: &deadline,
            silence_ms: 1_000,
            has_broken: |_| false,
        };
        let mut went = (0, 0);
        let mut note = |up, down| went = (went.0 + up, went.1 + down);
        let joined = join(&mut near, &mut server, Vec::new(), &buffers, patience, &mut note).await;
        assert!(joined.is_ok(), "{joined:?}");
        drop(near);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.expect("text");
        assert_eq!((&*heard, went), ("enough", (0, 6)));
    }

    #[tokio::test]
    async fn where_many_take_nothing_little_is_read_for_each() {
        let buffers = Buffers::new();
        let mut pipes: Vec<_> = (0..70).map(|_| Pipe::new(Vec::new())).collect();
        for pipe in &mut pipes {
            let (mut reader, _other) = duplex(1);
            let mut endless = repeat(b'x');
            let polled =
                poll_fn(|cx| Poll::Ready(pipe.poll(cx, &mut endless, &mut reader, &buffers, 0)));
            unconstrained(polled).await.expect("nothing has broken");
        }
        let left: Vec<_> = pipes.iter().map(|pipe| pipe.left.len()).collect();
        let (first, others) = left.split_at(64);
        assert!(first.iter().all(|&left| left > SLOW_READ_BYTES), "{left:?}");
        assert!(others.iter().all(|&left| left == SLOW_READ_BYTES - 1), "{left:?}");
        drop(pipes);
        assert!(buffers.window() > SLOW_READ_BYTES);
    }
}
