//! Server to client: piece by piece, as it is read, or whole where it is kept.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, ReadBuf};

use super::{
    End, Extent, Failure, STORE_READ_BYTES, STORE_READS_MAX, Transfer, Whole, others_turn,
};
use crate::proxy::buffers::SLOW_READ_BYTES;
use crate::proxy::error::Error;

/// A body of this size goes out in one piece with its head; a larger one is not copied.
const COPY_BYTES_MAX: usize = 8 * 1024;

impl Transfer<'_> {
    /// Server to client. Ready: the exchange has ended.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        let mut released = 0;
        loop {
            while self.taken < self.to_client.len() {
                match self.client.poll_write(cx, &self.to_client[self.taken..]) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        self.taken += n;
                        self.note_progress();
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Failure::Gone)),
                    Poll::Pending => {
                        self.hold_up(true);
                        return Poll::Pending;
                    }
                }
            }
            if self.taken > 0 {
                self.hold_up(false);
                // It reads slowly, or has begun to: it gets smaller pieces, and no large buffer waits with it.
                self.worker.buffers.give_back(&mut self.to_client);
                self.taken = 0;
                self.is_slow = true;
                // What went out before an answer was an interim one.
                self.client.is_answered = self.down.is_some();
            }
            if self.switches {
                return Poll::Ready(Ok(End::Switched));
            }
            match self.release() {
                Ok(true) if released < STORE_READS_MAX => {
                    released += 1;
                    continue;
                }
                Ok(true) => return others_turn(cx),
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
                    reuse: down.reuse.after(self.facts.is_last, is_complete, self.has_noise),
                    has_next: self.has_next,
                    extent: Extent::of(down.body.moved().1),
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
        let window = if self.is_slow { SLOW_READ_BYTES } else { worker.buffers.window() };
        let mut buffer = ReadBuf::new(&mut scratch[..window]);
        let read = match Pin::new(&mut *self.server).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read,
        };
        let bytes = buffer.filled();
        if let Err(error) = read {
            return Poll::Ready(Err(self.server_ended(Some(error))));
        }
        if bytes.is_empty() {
            return Poll::Ready(self.end_of_answer());
        }
        let mut write = worker.buffers.write.borrow_mut();
        write.clear();
        let result = if self.down.is_some() {
            self.body(cx, bytes, &mut write)
        } else {
            self.head(cx, bytes, &mut write)
        };
        // A head has one time for all of it: a byte now and then is no answer.
        if self.half_head.is_none() {
            self.note_progress();
        }
        Poll::Ready(result)
    }

    /// The server closed its side.
    fn end_of_answer(&mut self) -> Result<(), Failure> {
        let Some(down) = &mut self.down else { return Err(self.server_ended(None)) };
        let mut end = Vec::new();
        let ended = down.body.end_of_input(&mut end);
        let sent = match &mut self.hold {
            Some(hold) => hold.push(&[&end], down.body.moved().0),
            None => {
                self.to_client.extend_from_slice(&end);
                Ok(())
            }
        };
        ended.map_err(|_| self.answer_ended("its body ended early"))?;
        sent.map_err(Failure::Refused)
    }

    /// The exchange broke off. Where nothing of the answer has gone out, another one can stand in its place.
    pub(super) fn broke(&self, error: Error) -> Failure {
        let is_kept = self.hold.as_ref().is_some_and(|hold| !hold.is_whole);
        match self.down.is_none() || is_kept {
            true => Failure::Refused(error),
            false => Failure::Cut(error),
        }
    }

    /// The server's connection ended in the middle of its answer.
    fn answer_ended(&self, how: &'static str) -> Failure {
        self.broke(match self.up.is_done() {
            true => Error::BadAnswer(how),
            false => Error::Interrupted,
        })
    }

    fn server_ended(&mut self, error: Option<io::Error>) -> Failure {
        if self.down.is_some() {
            return self.answer_ended("the connection broke in its body");
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

    /// Sends on a piece of the body, after what is in `write`.
    pub(super) fn body(
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
        if used < bytes.len() {
            self.has_noise = true;
        }
        if let Some(hold) = &mut self.hold {
            let kept = hold.push(&[write, as_it_is], down.body.moved().0);
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
                false => self.client.poll_write_vectored(cx, &pieces),
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
