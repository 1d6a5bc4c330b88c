//! Client to server: what was written of the request, and the rest of its body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite as _, ReadBuf};

use super::{Failure, STORE_READ_BYTES, STORE_READS_MAX, Transfer, others_turn};
use crate::proxy::error::Error;

impl Transfer<'_> {
    /// Client to server. Ready: it came to a bad end.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let (mut moved, mut pieces) = (false, 0);
        loop {
            while self.sent < self.to_server.len() && self.server_broke.is_none() {
                match Pin::new(&mut *self.server).poll_write(cx, &self.to_server[self.sent..]) {
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
            self.is_flushed = Pin::new(&mut *self.server).poll_flush(cx).is_ready();
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
            self.large_left_up = None;
            if pieces == STORE_READS_MAX {
                self.note_progress();
                return others_turn(cx);
            }
            pieces += 1;
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
                Err(error) => Err(self.broke(Error::NotKept(error.to_string()))),
            });
        }
        let window = self.worker.buffers.window();
        let mut buffer = ReadBuf::new(&mut scratch[..window]);
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
                let sent = match Pin::new(&mut *self.server).poll_write(cx, &bytes[..passed]) {
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
                Err(bad) => return Poll::Ready(Err(self.broke(Error::BadRequest(bad.0)))),
            },
        };
        self.large_left_up = self.worker.buffers.leave(self.to_server.len());
        self.client.inbox.extend_from_slice(&bytes[used..]);
        Poll::Ready(Ok(()))
    }

    /// Whether the client has left, which is all it can tell while it waits, besides its next request.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let had = self.client.inbox.len();
        let gone = self.client.poll_gone(self.worker, cx);
        self.has_next |= self.client.inbox.len() > had;
        gone
    }
}
