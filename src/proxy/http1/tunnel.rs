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
    let mut up = Pipe { left: early, taken: 0, has_ended: false };
    let mut down = Pipe { left: Vec::new(), taken: 0, has_ended: false };
    poll_fn(|cx| {
        let (mut has_moved, had_ended, client_had_ended) = (false, down.has_ended, up.has_ended);
        let mut sent = |bytes| {
            has_moved |= bytes > 0;
            note(bytes, 0);
        };
        let up = up.poll(cx, client, server, buffers, &mut sent)?;
        let down = down.poll(cx, server, client, buffers, &mut |bytes| note(0, bytes))?;
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => return Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Ready(())) if has_moved || !had_ended => {
                deadline.set(clock, silence_ms);
            }
            (Poll::Ready(()), Poll::Pending) if !client_had_ended => {
                deadline.set(clock, LOOK_MS);
            }
            (Poll::Ready(()), Poll::Pending) if deadline.is_over(clock) => {
                if has_broken(client) {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                deadline.set(clock, LOOK_MS);
            }
            _ if deadline.is_over(clock) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        deadline.watch(cx);
        Poll::Pending
    })
    .await
}

impl Pipe {
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
