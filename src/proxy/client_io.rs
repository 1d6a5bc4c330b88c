//! A client's connection that remembers since when it is slow.
//!
//! hyper has one limit for an idle connection and for a head on its way. This tells the two apart, and sees a
//! client that takes nothing of what it asked for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::worker::Clock;

/// Since when a connection is in the middle of something; 0 where it is not. In the worker's milliseconds.
#[derive(Default)]
pub(super) struct Pace {
    head_since_ms: AtomicU64,
    blocked_since_ms: AtomicU64,
    in_request: AtomicBool,
}

impl Pace {
    /// A whole head has arrived.
    pub(super) fn begin_turn(self: &Arc<Self>) -> Arc<Turn> {
        self.in_request.store(true, Relaxed);
        self.head_since_ms.store(0, Relaxed);
        Arc::new(Turn(Arc::clone(self)))
    }

    /// Whether a request is under way.
    pub(super) fn in_request(&self) -> bool {
        self.in_request.load(Relaxed)
    }

    /// Whether a head has begun and takes too long.
    pub(super) fn is_head_slow(&self, now_ms: u64, limit: Duration) -> bool {
        is_over(&self.head_since_ms, now_ms, limit)
    }

    /// Whether the client takes nothing of what it asked for.
    pub(super) fn is_blocked(&self, now_ms: u64, limit: Duration) -> bool {
        is_over(&self.blocked_since_ms, now_ms, limit)
    }
}

fn is_over(since: &AtomicU64, now_ms: u64, limit: Duration) -> bool {
    let since = since.load(Relaxed);
    since > 0 && u128::from(now_ms.saturating_sub(since)) > limit.as_millis()
}

/// One request with its answer. Both bodies hold it: when they have gone, the next bytes belong to another head.
pub(super) struct Turn(Arc<Pace>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.in_request.store(false, Relaxed);
    }
}

/// The connection with its pace.
pub(super) struct ClientIo {
    stream: TcpStream,
    pace: Arc<Pace>,
    clock: Clock,
}

impl ClientIo {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>, clock: Clock) -> Self {
        Self { stream, pace, clock }
    }

    /// The connection itself, once HTTP is done with it.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn note_write<T>(&self, result: &Poll<T>) {
        let since = &self.pace.blocked_since_ms;
        match result {
            Poll::Ready(_) => since.store(0, Relaxed),
            Poll::Pending if since.load(Relaxed) == 0 => since.store(self.clock.now_ms(), Relaxed),
            Poll::Pending => {}
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let is_new = buf.filled().len() > before && !this.pace.in_request();
        if is_new && this.pace.head_since_ms.load(Relaxed) == 0 {
            this.pace.head_since_ms.store(this.clock.now_ms(), Relaxed);
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
